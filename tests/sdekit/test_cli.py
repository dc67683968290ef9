"""The command line: files that hold what was simulated, numbers that are those of the file, mistakes in one line."""

import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from typer.testing import CliRunner

import sdekit as sk
from sdekit.cli import app

PROCESSES = {
    "brownian": (lambda: sk.BrownianMotion(0.2, 0.5), ("--x0", 1.0, "--mu", 0.2, "--sigma", 0.5)),
    "drift": (lambda: sk.LinearDrift(0.3, 0.5), ("--x0", 1.0, "--a", 0.3, "--sigma", 0.5)),
    "gbm": (lambda: sk.GeometricBrownianMotion(0.2, 0.5), ("--x0", 1.0, "--mu", 0.2, "--sigma", 0.5)),
    "ou": (lambda: sk.OrnsteinUhlenbeck(2.0, 0.2, 0.5), ("--x0", 1.0, "--kappa", 2, "--theta", 0.2, "--sigma", 0.5)),
    "cir": (lambda: sk.CoxIngersollRoss(2.0, 0.2, 0.5), ("--x0", 1.0, "--kappa", 2, "--theta", 0.2, "--sigma", 0.5)),
    "bridge": (lambda: sk.BrownianBridge(0.2, 2.0, 0.5), ("--x0", 1.0, "--end", 0.2, "--horizon", 2, "--sigma", 0.5)),
    "double-well": (lambda: sk.DoubleWell(1.0, 2.0, 0.5), ("--x0", 1.0, "--b", 2.0)),
}
SMALL = ("--steps", 20, "--paths", 50, "--seed", 3, "-T", 2)
every_process = pytest.mark.parametrize("name", PROCESSES)


def run(*arguments):
    return CliRunner().invoke(app, ["simulate", *map(str, arguments)])


def refused(result, message):
    """One line on stderr that says what is wrong, no traceback, exit code 2."""
    assert result.exit_code == 2, (result.exception, result.output)
    assert isinstance(result.exception, SystemExit) and "Traceback" not in result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0], lines


@every_process
@pytest.mark.parametrize("euler", [False, True])
def test_the_file_holds_what_was_simulated(name, euler, tmp_path):
    make, parameters = PROCESSES[name]
    out = tmp_path / "deep" / "paths.npz"
    result = run(name, *parameters, *SMALL, "--out", out, *(["--method", "euler_maruyama"] if euler else []))
    assert result.exit_code == 0, result.output
    assert f"wrote {out}" in result.stdout
    exact = sk.simulate(make(), 1.0, 2.0, 20, 50, seed=3, method=sk.euler_maruyama if euler else None)
    method = str(exact.info["method"])
    with np.load(out) as file:
        np.testing.assert_array_equal(file["t"], exact.t)
        np.testing.assert_array_equal(file["x"], exact.x)
        info = json.loads(str(file["info"]))
    assert info["seed"] == 3 and info["method"] == method
    assert info["equation"] == repr(make()) and info["steps"] == 20


def test_methods_and_tolerances_go_by_name(tmp_path):
    out = tmp_path / "paths.npz"
    result = run("gbm", *SMALL, "--method", "sri", "--rtol", 0.01, "--out", out)
    assert result.exit_code == 0, result.output
    gbm = sk.GeometricBrownianMotion(0.05, 0.2)
    exact = sk.simulate(gbm, 100.0, 2.0, 20, 50, seed=3, method=sk.sri, rtol=0.01)
    np.testing.assert_array_equal(np.load(out)["x"], exact.x)
    refused(run("gbm", *SMALL, "--method", "rk4"), "--method must be one of almost_exact, baoab, dri1, euler_heun")
    refused(run("gbm", *SMALL, "--method", "sra"), "sra takes noise that does not depend on the state")


@every_process
def test_the_numbers_printed_are_those_of_the_paths(name):
    make, parameters = PROCESSES[name]
    result = run(name, *parameters, *SMALL)
    assert result.exit_code == 0, result.output
    end = sk.simulate(make(), 1.0, 2.0, 20, 50, seed=3).final
    number = r"(-?[0-9.e+-]+)"
    said = re.search(rf"at t = 2: mean {number} ± {number} \(standard error\), sd {number}, 5% {number}, "
                     rf"median {number}, 95% {number}", result.stdout)
    exact = [end.mean(), end.std() / 49**0.5, end.std(), *np.quantile(end, [0.05, 0.5, 0.95])]
    np.testing.assert_allclose([float(x) for x in said.groups()], exact, rtol=0.05)
    np.testing.assert_allclose([float(said[k]) for k in (1, 3, 4, 5, 6)], [exact[0], *exact[2:]], rtol=1e-5)
    assert repr(make()) in result.stdout and "path-steps/s" in result.stdout


@every_process
def test_the_picture_is_not_empty(name, tmp_path):
    plot = tmp_path / "deep" / "fan.png"
    result = run(name, *PROCESSES[name][1], *SMALL, "--plot", plot)
    assert result.exit_code == 0 and f"wrote {plot}" in result.stdout
    assert plt.imread(plot).std() > 0.01


@every_process
def test_every_process_runs_as_it_is(name):
    assert run(name, "--paths", 20, "--seed", 1).exit_code == 0


def test_fewer_times_can_be_kept(tmp_path):
    run("ou", *SMALL, "--save", 5, "--out", tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as file:
        assert file["t"].tolist() == [0, 0.5, 1, 1.5, 2] and file["x"].shape == (50, 5)


def test_a_file_without_a_suffix_gets_one_and_it_is_said(tmp_path):
    result = run("ou", *SMALL, "--out", tmp_path / "x.y")
    assert f"wrote {tmp_path / 'x.y.npz'}" in result.stdout and (tmp_path / "x.y.npz").exists()


def test_a_seed_is_drawn_and_told():
    said = [run("ou", "--paths", 5, "--steps", 5).stdout for _ in range(2)]
    seeds = [int(re.search(r"seed=(\d+)", text)[1]) for text in said]
    assert seeds[0] != seeds[1]
    again = run("ou", "--paths", 5, "--steps", 5, "--seed", seeds[0]).stdout
    assert again.splitlines()[1] == said[0].splitlines()[1]


@pytest.mark.parametrize("arguments, message", [
    (("brownian", "--sigma", 0), "BrownianMotion needs sigma > 0, got 0.0"),
    (("brownian", "--sigma", "nan"), "the parameter sigma must be finite"),
    (("drift", "--a", 0), "LinearDrift needs a != 0"), (("drift", "--sigma", -1), "LinearDrift needs sigma > 0"),
    (("gbm", "--sigma", -0.2), "GeometricBrownianMotion needs sigma > 0"),
    (("gbm", "--mu", "inf"), "the parameter mu must be finite"),
    (("ou", "--kappa", -1), "OrnsteinUhlenbeck needs kappa > 0"),
    (("ou", "--x0", "nan"), "x0 must be finite"),
    (("ou", "--paths", 0), "paths must be at least 1"), (("ou", "--paths", -5), "paths must be at least 1"),
    (("ou", "--steps", 0), "steps must be at least 1"), (("ou", "--steps", -1), "steps must be at least 1"),
    (("ou", "-T", 0), "time must run forwards"), (("ou", "-T", -1), "time must run forwards"),
    (("ou", "-T", "inf"), "times must be finite"),
    (("ou", "--seed", -1), "seed must be at least 0"), (("ou", "--seed", 2**64), "seed must be at least 0"),
    (("ou", "--save", -1), "save must be at least 1"),
    (("ou", "--save", 0), "save must be at least 1"),
    (("gbm", "--mu", 1e5), "is not finite after step"),
    (("brownian", "--paths", 10**11, "--steps", 1, "--save", 1), "the result would take"),
])
def test_what_makes_no_sense_is_refused(arguments, message, tmp_path):
    small = () if "--paths" in arguments else ("--paths", 5)
    refused(run(*arguments, *small, "--out", tmp_path / "x.npz", "--plot", tmp_path / "x.png"), message)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_of_an_unknown_kind_is_refused(tmp_path):
    refused(run("ou", *SMALL, "--plot", tmp_path / "x.xyz"), "xyz")


@pytest.mark.parametrize("option", ["--out", "--plot"])
def test_a_file_that_cannot_be_written_is_refused(tmp_path, option):
    (tmp_path / "file").touch()
    refused(run("ou", *SMALL, option, tmp_path / "file" / ("x.npz" if option == "--out" else "x.png")), "file")


@pytest.mark.parametrize("arguments", [
    ("ou", "--steps", "many"), ("ou", "--mu", 1), ("hestia",), ("ou", "--sigma", "x"), ("ou", "--paths", 1.5)])
def test_what_cannot_be_parsed_is_a_usage_error(arguments):
    result = run(*arguments)
    assert result.exit_code == 2 and "Traceback" not in result.output and result.stderr


@pytest.mark.parametrize("arguments", [
    ["--help"], ["simulate", "--help"], *(["simulate", name, "--help"] for name in PROCESSES)])
def test_everything_has_help(arguments):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0 and "Usage" in result.stdout


def test_without_a_process_there_is_help():
    assert all(name in run().output for name in PROCESSES)
