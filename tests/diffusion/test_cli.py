"""The command line: what it writes, what it says, and that a mistake costs one line and the exit code 2."""

from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from typer.testing import CliRunner

import diffusion as df
from diffusion import checkpoint
from diffusion.cli import METHODS, _method, app
from tests.diffusion.conftest import TINY, shaken

FILE = "checkpoint.safetensors"
DATA = {"name": "blobs", "shape": [1, 8, 8], "range": [-1, 1], "classes": ["a", "b", "c"]}


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def refused(result, message):
    """One line on stderr that says what is wrong (after a progress bar's), no traceback, exit code 2."""
    assert result.exit_code == 2, (result.exception, result.output)
    assert isinstance(result.exception, SystemExit) and "Traceback" not in result.output
    lines = [line for line in result.stderr.strip().splitlines() if "?step/s" not in line]
    assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0], lines


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a small network's checkpoint: 8 x 8 pictures of three classes."""
    folder = tmp_path_factory.mktemp("model")
    network = df.Preconditioned(shaken(), torch.zeros(1, 8, 8), 0.5)
    checkpoint.save(folder / FILE, checkpoint.Header(TINY, 0.5, DATA),
                    {f"model.{k}": v for k, v in network.state_dict().items()})
    return folder


@pytest.fixture
def drawn(monkeypatch):
    """What is handed to the picture: a list of (samples, columns)."""
    calls, grid = [], df.plot.grid

    def kept(samples, columns=None, **options):
        calls.append((samples, columns))
        return grid(samples, columns, **options)

    monkeypatch.setattr(df.plot, "grid", kept)
    return calls


# sample


def test_sample_writes_a_picture_and_says_what_it_is(model, tmp_path, drawn):
    out = tmp_path / "deep" / "x.png"
    result = run("sample", model, "--out", out, "--index", "0-5", "--steps", 2, "--seed", 7)
    assert result.exit_code == 0, result.output
    assert f"wrote {out}: samples 0 to 5 of seed 7, " in result.stdout and "network evaluations each" in result.stdout
    assert plt.imread(out).std() > 0
    samples, columns = drawn[0]
    assert samples.shape == (6, 1, 8, 8) and columns == 3  # six samples, the three classes in turn
    exact = df.sample(df.load(model), 6, label=torch.arange(6) % 3, steps=2, seed=7, guidance=0.5)
    torch.testing.assert_close(samples, exact.samples)
    assert f"{exact.nfe:g} network" in result.stdout


def test_many_samples_are_about_square_and_not_one_long_strip(model, tmp_path, drawn):
    for last, columns in ((191, 3), (194, None)):  # 64 rows of the three classes, and more
        drawn.clear()
        assert run("sample", model, "--out", tmp_path / "x.png", "--index", f"0-{last}", "--steps", 1, "--method",
                   "euler", "--seed", 7).exit_code == 0
        assert drawn[0][1] == columns


def test_sample_i_of_a_seed_is_always_the_same_picture(model, tmp_path, drawn):
    for index in ("0-5", "4-5", "5"):
        run("sample", model, "--out", tmp_path / "x.png", "--index", index, "--steps", 2, "--seed", 7)
    whole, pair, single = (samples for samples, _ in drawn)
    close = {"rtol": 0, "atol": 1e3 * torch.finfo(torch.float32).eps}  # the network's own rounding
    torch.testing.assert_close(pair, whole[4:], **close)
    torch.testing.assert_close(single, whole[5:], **close)


def test_a_label_is_asked_for_in_every_sample(model, tmp_path, drawn):
    assert run("sample", model, "--out", tmp_path / "x.png", "--index", "0-3", "--label", 2, "--steps", 2, "--seed", 1,
               "--guidance", 0).exit_code == 0
    exact = df.sample(df.load(model), 4, label=2, steps=2, seed=1)
    torch.testing.assert_close(drawn[0][0], exact.samples)


SAME = {"euler": df.euler, "dpmpp-3m": df.dpmpp_3m, "deis-3": df.deis(3), "unipc-3": df.unipc(3), "ddpm": df.ddpm,
        "ancestral": df.ancestral, "reverse-sde": df.reverse_sde(), "flow-ode": df.flow_ode()}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_samples(model, tmp_path, drawn, method):
    result = run("sample", model, "--out", tmp_path / "x.png", "--index", "0-2", "--steps", 3, "--method", method,
                 "--seed", 1)
    assert result.exit_code == 0, result.output
    samples, _ = drawn[0]
    assert samples.isfinite().all()
    if method in SAME:
        grid = df.grid.linspace(df.Discrete(df.linear_betas()), 3) if method == "ddpm" else None
        exact = df.sample(df.load(model), 3, label=[0, 1, 2], steps=3, seed=1, guidance=0.5, method=SAME[method],
                          grid=grid)
        torch.testing.assert_close(samples, exact.samples)


def test_every_sampler_of_the_package_has_a_name():
    named = {repr(sampler).partition("(")[0] for sampler in METHODS.values()}
    every = {name for name in df.__all__ if isinstance(getattr(df, name), df.Sampler)}
    makers = {"ddim", "deis", "unipc", "churned", "predictor_corrector", "reverse_sde", "flow_ode"}
    assert every | makers <= named
    assert not [name for name in METHODS if name != name.lower() or "_" in name]


@pytest.mark.parametrize("name, method", [("dpmpp_2m", df.dpmpp_2m), ("sde_dpmpp_1", df.sde_dpmpp_1),
                                          ("deis", "deis(3)"), ("unipc", "unipc(3)"), ("unipc_2", "unipc(2)")])
def test_names_in_python_are_names_too(name, method):
    assert repr(_method(name)) == repr(method).strip("'")


def test_a_seed_is_drawn_and_told(model, tmp_path):
    said = [run("sample", model, "--out", tmp_path / "x.png", "--index", 0, "--steps", 1).stdout for _ in range(2)]
    assert "x.png: sample 0 of seed " in said[0]
    seeds = [int(text.split("of seed ")[1].split(",")[0]) for text in said]
    assert seeds[0] != seeds[1] and all(0 <= seed < 2**64 for seed in seeds)


@pytest.mark.parametrize("index", ["a", "", "5-2", "-1", "1-", "-", "1-2-3", "1.5", "0-x", "²", "1 2"])
def test_an_index_that_is_no_range_is_refused(model, tmp_path, index):
    result = run("sample", model, "--out", tmp_path / "x.png", f"--index={index}", "--steps", 1)
    refused(result, "--index must be a number")
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize("options, message", [
    (("--method", "magic"), "unknown method 'magic'; choose one of euler, ddim, heun, "),
    (("--label", 3), "label 3 is outside the classes of this model: 0 to 2"),
    (("--label", -1), "label -1 is outside"),
    (("--steps", 0), "steps must be a whole number of at least 1, got 0"),
    (("--steps", 0, "--method", "ddpm"), "steps must be a whole number of at least 1, got 0"),
    (("--guidance", "nan"), "guidance must be a finite number"),
    (("--seed", -1), "seed must be at least 0"), (("--seed", 2**64), "seed must be at least 0"),
    (("--index", f"{2**40}-{2**40 + 1}"), "--index must be below 2^40"), (("--index", 10**30), "below 2^40"),
    (("--index", "0-999999999999"), "at most 4096 samples, and --index 0-999999999999 asks for 1000000000000"),
])
def test_sample_refuses_what_makes_no_sense(model, tmp_path, options, message):
    refused(run("sample", model, "--out", tmp_path / "x.png", "--index", "0-1", "--steps", 1, *options), message)
    assert not (tmp_path / "x.png").exists()


def test_a_picture_of_an_unknown_kind_is_refused(model, tmp_path):
    refused(run("sample", model, "--out", tmp_path / "x.xyz", "--index", 0, "--steps", 1), "xyz")


def test_a_picture_that_cannot_be_written_is_refused(model, tmp_path):
    (tmp_path / "file").touch()
    refused(run("sample", model, "--out", tmp_path / "file" / "x.png", "--index", 0, "--steps", 1), "file")


@pytest.mark.parametrize("name", ["x", "folder"])
def test_the_file_that_it_says_it_wrote_is_there(model, tmp_path, name):
    """Or none, and it says why: a name without a suffix gets one from matplotlib."""
    (tmp_path / "folder").mkdir()
    result = run("sample", model, "--out", tmp_path / name, "--index", 0, "--steps", 1)
    if result.exit_code:
        refused(result, "")
    else:
        assert Path(result.stdout.split("wrote ")[1].split(": sample ")[0]).is_file()


def test_a_model_that_is_not_there_is_refused(tmp_path):
    for command in ("sample", "evaluate"):
        refused(run(command, tmp_path / "no"), "no checkpoint at")
    (tmp_path / FILE).write_bytes(b"nonsense")
    refused(run("sample", tmp_path), "is not a whole checkpoint of this package")


# evaluate


def test_evaluate_prints_share_interval_and_cost(monkeypatch, shipped):
    monkeypatch.setattr(df, "load", lambda path: shipped)
    result = run("evaluate", "-n", 10, "--steps", 1, "--guidance", 0)
    assert result.exit_code == 0, result.output
    exact = str(df.evaluate(shipped, 10, steps=1, seed=0))
    assert result.stdout.split(", 3 network")[0] == exact.split(", 3 network")[0]
    assert "of 10 digits read as the class asked for" in result.stdout and "95% interval" in result.stdout


@pytest.mark.parametrize("options, message", [
    (("-n", 5), "at least one digit of each of the 10 classes, got n=5"),
    (("--method", "ode"), "unknown method 'ode'"), (("--steps", -1), "steps must be a whole number"),
    (("--seed", -1), "seed must be at least 0")])
def test_evaluate_refuses_what_makes_no_sense(options, message):
    refused(run("evaluate", *options), message)


def test_evaluate_refuses_other_pictures(model):
    refused(run("evaluate", model, "-n", 10, "--steps", 1), "")


# train


@pytest.fixture
def mnist(monkeypatch, digits):
    """In place of MNIST's files, drawn digits; what was asked for is kept."""
    asked = []

    def stand_in(split="train", folder=None, download=True):
        asked.append((split, folder))
        return digits

    monkeypatch.setattr(df, "mnist", stand_in)
    return asked


def test_train_writes_a_checkpoint_that_loads_samples_and_resumes(mnist, tmp_path):
    result = run("train", "mnist", "--out", tmp_path, "--steps", 2, "--batch", 4, "--seed", 5, "--folder", "here")
    assert result.exit_code == 0, result.output
    assert f"wrote {tmp_path / FILE}" in result.stdout
    assert [(split, str(folder)) for split, folder in mnist] == [("train", "here")]
    header = df.load(tmp_path).header
    assert (header.training["step"], header.training["seed"], header.training["options"]["batch"]) == (2, 5, 4)

    refused(run("train", "mnist", "--out", tmp_path, "--steps", 3), "already holds a checkpoint; add --resume")
    assert df.load(tmp_path).header == header

    result = run("train", "mnist", "--out", tmp_path, "--steps", 3, "--resume")
    assert result.exit_code == 0, result.output
    history = df.load(tmp_path).header.training
    assert (history["step"], history["seed"], history["options"]["batch"]) == (3, 5, 4)


def test_train_takes_the_loss_and_the_precision(mnist, tmp_path):
    result = run("train", "--out", tmp_path, "--steps", 1, "--batch", 2, "--loss", "ddpm", "--bfloat16")
    assert result.exit_code == 0, result.output
    options = df.load(tmp_path).header.training["options"]
    assert (options["loss"], options["precision"]) == ("ddpm", "bfloat16")


@pytest.mark.parametrize("options, message", [
    (("cifar",), "unknown data 'cifar'; this version trains on: mnist"),
    (("--steps", 0), "minutes and steps must be positive"), (("--minutes", -1), "minutes and steps must be positive"),
    (("--steps", 2, "--minutes", 1), "give minutes or steps, one of them"),
    (("--batch", 0, "--steps", 1), "batch must be positive"),
    (("--loss", "mse", "--steps", 1), "loss must be one of edm, ddpm; got 'mse'"),
    (("--resume", "--steps", 5), "no checkpoint at"),
    (("--seed", 2**70, "--steps", 1, "--batch", 2), "seed"), (("--seed", 2**33, "--steps", 1, "--batch", 2), "seed")])
def test_train_refuses_what_makes_no_sense(mnist, tmp_path, options, message):
    out = tmp_path / "run"
    refused(run("train", *options, "--out", out), message)
    assert not out.exists()


def test_train_without_mnist_says_what_to_do(tmp_path):
    result = run("train", "--folder", tmp_path, "--out", tmp_path / "run", "--steps", 1)
    refused(result, "Put MNIST's four IDX files there")


def test_ctrl_c_says_how_to_go_on(mnist, tmp_path, monkeypatch):
    def interrupted(*args, **options):
        yield df.Record(1, 10, 0.5, 3.0, 1.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(df, "train", interrupted)
    result = run("train", "--out", tmp_path, "--steps", 10)
    assert result.exit_code == 130
    assert f"stopped; go on with: diffusion train mnist --out {tmp_path} --resume" in result.stderr


def test_a_loss_that_is_not_finite_is_one_line(mnist, tmp_path, monkeypatch):
    def diverged(*args, **options):
        yield df.Record(1, 10, 0.5, 3.0, 1.0)
        raise FloatingPointError("the loss is nan at step 2; the last checkpoint is kept.")

    monkeypatch.setattr(df, "train", diverged)
    result = run("train", "--out", tmp_path, "--steps", 10)
    assert result.exit_code == 2 and "error: the loss is nan at step 2" in result.stderr
    assert "Traceback" not in result.output


def test_twenty_minutes_is_what_train_does_if_nothing_is_said(mnist, tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(df, "train", lambda data, **options: asked.update(options) or iter(()))
    assert run("train", "--out", tmp_path).exit_code == 0
    assert asked["minutes"] == 20.0 and asked["steps"] is None and asked["resume"] is False


@pytest.mark.parametrize("command", ["train", "sample", "evaluate"])
def test_every_command_has_help(command):
    result = run(command, "--help")
    assert result.exit_code == 0 and "Usage" in result.stdout


def test_without_a_command_there_is_help():
    assert "train" in run().output and "sample" in run().output and "evaluate" in run().output


@pytest.mark.parametrize("arguments", [("sample", "--steps", "many"), ("sample", "--label", "x"), ("paint",),
                                       ("train", "--minutes", "soon"), ("evaluate", "-n", "1.5")])
def test_what_cannot_be_parsed_is_a_usage_error(arguments):
    result = run(*arguments)
    assert result.exit_code == 2 and "Traceback" not in result.output and result.stderr
