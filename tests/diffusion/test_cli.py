"""The command line: what it writes, what it says, and that a mistake costs one line and the exit code 2."""

import importlib
import json
import shlex
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

import diffusion as df
from diffusion import checkpoint, cli
from diffusion.cli import named
from diffusion.cli.arguments import read
from diffusion.cli.named import METHODS
from diffusion.cli.sample import _default_count
from diffusion.cli.train import _name
from diffusion.journal import read_lines
from diffusion.metrics.trained import trained
from diffusion.networks.autoencoder import AutoencoderConfig
from diffusion.presets import PRESETS
from tests.diffusion.conftest import SMALL, TINY, shaken

TRAIN = importlib.import_module("diffusion.cli.train")  # the name in the package is the command
FILE = "checkpoint.safetensors"
DATA = {"name": "blobs", "shape": [1, 8, 8], "range": [-1, 1], "classes": ["a", "b", "c"]}


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


def done(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, (result.exception, result.output)
    return result


def refused(result, message):
    """One line on stderr that says what is wrong (after a progress bar's), no traceback, exit code 2."""
    assert result.exit_code == 2, (result.exception, result.output)
    assert isinstance(result.exception, SystemExit) and "Traceback" not in result.output
    lines = [line for line in result.stderr.strip().splitlines() if "step/s" not in line]
    assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0], lines


def kept(folder, network, data=DATA):
    """A checkpoint of a network with random weights, so that its classes differ; its folder."""
    random = torch.Generator().manual_seed(5)
    net = network.build(torch.zeros(data["shape"]), 0.5)
    for p in net.parameters():
        p.data = 0.5 * torch.randn(p.shape, generator=random) / max(1, p[0].numel()) ** 0.5
    checkpoint.save(folder / FILE, checkpoint.Header(network, 0.5, data),
                    {f"model.{k}": v for k, v in net.state_dict().items()})
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a small network's checkpoint: 8 x 8 pictures of three classes."""
    folder = tmp_path_factory.mktemp("model")
    network = df.Preconditioned(shaken(), torch.zeros(1, 8, 8), 0.5)
    checkpoint.save(folder / FILE, checkpoint.Header(TINY, 0.5, DATA),
                    {f"model.{k}": v for k, v in network.state_dict().items()})
    return folder


@pytest.fixture(scope="module")
def moons(tmp_path_factory):
    """One of points of the plane in two classes."""
    data = {"name": "moons", "shape": [2], "range": [-1, 1], "classes": ["upper", "lower"]}
    return kept(tmp_path_factory.mktemp("moons"), SMALL, data)


@pytest.fixture(scope="module")
def blobs(tmp_path_factory, tiny):
    """The pictures of `tiny` in folders a, b and c, 30 to train on and 10 to test of each."""
    place = tmp_path_factory.mktemp("data") / "blobs"
    for k, (picture, label) in enumerate(zip(tiny.images, tiny.labels)):
        file = place / ("test" if k >= 90 else "train") / "abc"[label] / f"{k:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(file)
    return place


@pytest.fixture(autouse=True)
def _ctrl_c():
    """Is heeded, which it is not where the tests run in a shell's background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def small(monkeypatch):
    """Networks of the default preset that take no time."""
    def cpu(shape, classes):
        network = df.MLPConfig(tuple(shape), classes, width=16, blocks=1)
        return network, df.Options(batch=16, warm_up=3)

    monkeypatch.setitem(PRESETS, "cpu", cpu)


@pytest.fixture
def drawn(monkeypatch):
    """What is handed to the picture: a list of (samples, columns)."""
    calls, grid = [], df.plot.grid

    def kept(samples, columns=None, *more, **options):
        calls.append((samples, columns))
        return grid(samples, columns, *more, **options)

    monkeypatch.setattr(df.plot, "grid", kept)
    return calls


# sample


def test_sample_writes_a_picture_and_says_what_it_is(model, tmp_path, drawn):
    out = tmp_path / "deep" / "x.png"
    result = done("sample", model, "--out", out, "--index", "0-5", "--steps", 2, "--seed", 7)
    assert f"wrote {out}: samples 0 to 5 of seed 7, " in result.stdout and "network evaluations each" in result.stdout
    assert plt.imread(out).std() > 0 and not plt.get_fignums()
    samples, columns = drawn[0]
    assert samples.shape == (6, 1, 8, 8) and columns == 3  # six samples, the three classes in turn
    exact = df.sample(df.load(model), 6, label=torch.arange(6) % 3, steps=2, method=df.dpmpp_3m, seed=7, guidance=0.5)
    torch.testing.assert_close(samples, exact.samples)
    assert f"{exact.nfe:g} network" in result.stdout


@pytest.mark.parametrize("options, samples, columns", [
    ((), 24, 3), (("--label", "b"), 64, None), (("--index", "0-191"), 192, 3), (("--index", "0-194"), 195, None),
    (("--index", "1-6"), 6, None)])
def test_a_column_for_each_class_where_that_makes_a_picture(model, tmp_path, drawn, options, samples, columns):
    """Eight rows of the classes if nothing is said; about square where it would be one long strip, or no whole rows."""
    done("sample", model, "--out", tmp_path / "x.png", "--steps", 1, "--method", "euler", "--seed", 7, *options)
    assert (len(drawn[0][0]), drawn[0][1]) == (samples, columns)


def test_of_many_classes_a_few_are_drawn():
    counts = [_default_count(SimpleNamespace(shape=(1, 8, 8), classes=k), None) for k in (1, 2, 11, 40, 1000)]
    assert counts == [64, 16, 88, 120, 1000]


def test_sample_i_of_a_seed_is_always_the_same_picture(model, tmp_path, drawn):
    for index in ("0-5", "4-5", "5"):
        done("sample", model, "--out", tmp_path / "x.png", "--index", index, "--steps", 2, "--seed", 7)
    whole, pair, single = (samples for samples, _ in drawn)
    close = {"rtol": 0, "atol": 1e3 * torch.finfo(torch.float32).eps}  # the network's own rounding
    torch.testing.assert_close(pair, whole[4:], **close)
    torch.testing.assert_close(single, whole[5:], **close)


@pytest.mark.parametrize("label, number", [("c", 2), ("2", 2), ("a", 0), ("none", None)])
def test_a_label_is_asked_for_by_name_or_number(model, tmp_path, drawn, label, number):
    done("sample", model, "--out", tmp_path / "x.png", "--index", "0-3", "--label", label, "--steps", 2, "--seed", 1)
    exact = df.sample(df.load(model), 4, label=number, steps=2, method=df.dpmpp_3m, seed=1,
                      guidance=0.0 if number is None else 0.5)
    torch.testing.assert_close(drawn[0][0], exact.samples)


def test_a_name_goes_before_a_number(tmp_path, drawn):
    """Classes called 1, 0, none: --label 0 is the second of them, and none the third."""
    data = {**DATA, "classes": ["1", "0", "none"]}
    kept(tmp_path, df.MLPConfig((1, 8, 8), classes=3, width=16, blocks=1), data)
    for label, number in (("0", 1), ("2", 2), ("none", 2)):
        done("sample", tmp_path, "--out", tmp_path / "x.png", "--index", 0, "--label", label, "--steps", 1, "--seed", 1)
        exact = df.sample(df.load(tmp_path), 1, label=number, steps=1, method=df.dpmpp_3m, seed=1, guidance=0.5)
        torch.testing.assert_close(drawn.pop()[0], exact.samples)


SAME = {"euler": df.euler, "dpmpp-3m": df.dpmpp_3m, "deis-3": df.deis(3), "unipc-3": df.unipc(3), "ddpm": df.ddpm,
        "ancestral": df.ancestral, "reverse-sde": df.reverse_sde(), "flow-ode": df.flow_ode()}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_samples(moons, tmp_path, method):
    done("sample", moons, "--out", tmp_path / "x.npz", "--index", "0-2", "--steps", 3, "--method", method, "--seed", 1)
    samples = torch.from_numpy(np.load(tmp_path / "x.npz")["x"])
    assert samples.isfinite().all()
    if method in SAME:
        grid = df.grid.linspace(df.Discrete(df.linear_betas()), 3) if method == "ddpm" else None
        exact = df.sample(df.load(moons), 3, label=[0, 1, 0], steps=3, seed=1, method=SAME[method], grid=grid)
        torch.testing.assert_close(samples, exact.samples.float())


def test_every_sampler_of_the_package_has_a_name():
    known = {repr(sampler).partition("(")[0] for sampler in METHODS.values()}
    every = {name for name in df.__all__ if isinstance(getattr(df, name), df.Sampler)}
    makers = {"ddim", "deis", "unipc", "churned", "predictor_corrector", "reverse_sde", "flow_ode"}
    assert every | makers <= known
    assert not [name for name in METHODS if name != name.lower() or "_" in name]


@pytest.mark.parametrize("name, method", [("dpmpp_2m", df.dpmpp_2m), ("sde_dpmpp_1", df.sde_dpmpp_1), ("Heun", df.heun),
                                          ("deis", "deis(3)"), ("unipc", "unipc(3)"), ("unipc_2", "unipc(2)")])
def test_names_in_python_are_names_too(name, method):
    assert repr(named.method(name)) == repr(method).strip("'")


def test_a_seed_is_drawn_and_told(model, tmp_path):
    said = [done("sample", model, "--out", tmp_path / "x.png", "--index", 0, "--steps", 1).stdout for _ in range(2)]
    assert "x.png: sample 0 of seed " in said[0]
    seeds = [int(text.split("of seed ")[1].split(",")[0]) for text in said]
    assert seeds[0] != seeds[1] and all(0 <= seed < 2**64 for seed in seeds)


def test_how_samples_come_about_is_written_as_a_strip_and_a_film(model, tmp_path):
    strip, gif = tmp_path / "new" / "strip.png", tmp_path / "film.gif"
    result = done("sample", model, "--out", tmp_path / "x.png", "--index", "4-6", "--steps", 3, "--seed", 2,
                  "--strip", strip, "--gif", gif)
    assert f"wrote {strip}" in result.stdout and f"wrote {gif}" in result.stdout
    assert plt.imread(strip).std() > 0 and getattr(Image.open(gif), "n_frames") == 4  # noqa: B009


def test_the_numbers_of_pictures_are_data_again(model, tmp_path):
    done("sample", model, "--out", tmp_path / "x.npz", "--index", "0-5", "--steps", 2, "--seed", 7)
    data = df.data.load(tmp_path / "x.npz")
    exact = df.sample(df.load(model), 6, label=torch.arange(6) % 3, steps=2, method=df.dpmpp_3m, seed=7,
                      guidance=0.5).samples
    assert data.classes == ("a", "b", "c") and data.labels.tolist() == [0, 1, 2, 0, 1, 2]
    torch.testing.assert_close(data.tensor(), exact.clamp(-1, 1).float(), rtol=0, atol=1.01 / 255)  # half a grey level


def test_a_file_of_one_class_s_samples_is_data_of_that_class(model, tmp_path):
    done("sample", model, "--out", tmp_path / "x.npz", "--index", "0-3", "--steps", 1, "--label", "b")
    data = df.data.load(tmp_path / "x.npz")
    assert data.classes == ("b",) and data.labels.tolist() == [0, 0, 0, 0]


def test_points_are_drawn_as_points_and_without_guidance(moons, tmp_path, monkeypatch):
    calls, points = [], df.plot.points
    monkeypatch.setattr(df.plot, "points", lambda *a, **k: calls.append((a, k)) or points(*a, **k))
    result = done("sample", moons, "--out", tmp_path / "x.png", "--steps", 2, "--seed", 7)
    assert "samples 0 to 1999 of seed 7, 3 network evaluations" in result.stdout
    (samples, label), options = calls[0]
    exact = df.sample(df.load(moons), 2000, label=torch.arange(2000) % 2, steps=2, method=df.dpmpp_3m, seed=7)
    torch.testing.assert_close(samples, exact.samples)
    assert label.tolist() == [0, 1] * 1000 and options["classes"] == ["upper", "lower"]


def test_a_model_of_one_class_is_not_guided(tmp_path):
    data = {**DATA, "classes": ["blobs"]}
    kept(tmp_path, df.MLPConfig((1, 8, 8), classes=1, width=16, blocks=1), data)
    said = done("sample", tmp_path, "--out", tmp_path / "x.png", "--steps", 2, "--seed", 7).stdout
    assert "samples 0 to 63 of seed 7, 3 network evaluations" in said
    said = done("sample", tmp_path, "--out", tmp_path / "x.png", "--steps", 2, "--guidance", 1, "--index", 0).stdout
    exact = df.sample(df.load(tmp_path), 1, label=0, steps=2, method=df.dpmpp_3m, guidance=1.0)
    assert exact.nfe > 3 and f", {exact.nfe:g} network evaluations" in said


@pytest.mark.parametrize("index", ["a", "", "5-2", "-1", "1-", "-", "1-2-3", "1.5", "0-x", "²", "1 2"])
def test_an_index_that_is_no_range_is_refused(model, tmp_path, index):
    refused(run("sample", model, "--out", tmp_path / "x.png", f"--index={index}"), "--index must be a number")
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize("options, message", [
    (("--method", "magic"), "unknown method 'magic'; choose one of euler, ddim, heun, "),
    (("--label", 3), "--label is one of a, b, c, or none; got '3'"), (("--label", -1), "got '-1'"),
    (("--label", "A"), "got 'A'"), (("--label", ""), "got ''"), (("--label", "²"), "got '²'"),
    (("--steps", 0), "steps must be a whole number of at least 1, got 0"),
    (("--steps", 0, "--method", "ddpm"), "steps must be a whole number of at least 1, got 0"),
    (("--steps", 1000, "--method", "ddpm"), "--steps is at most 999 with ddpm"),
    (("--steps", 10**9), "--steps is at most 10,000; got 1,000,000,000"),
    (("--guidance", "nan"), "guidance must be a finite number"),
    (("--guidance", 1, "--label", "none"), "guidance=1.0 needs the classes to guide to"),
    (("--seed", -1), "seed must be at least 0"), (("--seed", 2**64), "seed must be at least 0"),
    (("--index", f"{2**40}-{2**40 + 1}"), "--index must be below 2^40"), (("--index", 10**30), "below 2^40"),
    (("--index", "0-999999999999"), "at most 4096 samples, and --index 0-999999999999 asks for 1000000000000"),
    (("--device", "teapot"), "the device 'teapot' cannot be used here"), (("--device", "cuda:99"), '"cpu" always can'),
])
def test_sample_refuses_what_makes_no_sense(model, tmp_path, options, message):
    refused(run("sample", model, "--out", tmp_path / "x.png", "--index", "0-1", "--steps", 1, *options), message)
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize("flag, name, message", [
    ("--out", "x.xyz", "--out must be the name of a file ending in .png or .pdf"), ("--out", "x", "--out must be"),
    ("--out", "folder", "--out must be"), ("--out", "file/x.png", "--out: the folder of"),
    ("--strip", "x.gif", "--strip must be"), ("--strip", "file/x.png", "--strip: the folder of"),
    ("--gif", "x.png", "--gif must be the name of a file ending in .gif, got"), ("--gif", "folder", "--gif must be"),
    ("--gif", "file/x.gif", "--gif: the folder of")])
def test_a_file_that_cannot_be_written_is_refused_before_any_work(model, tmp_path, monkeypatch, flag, name, message):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr(df, "sample", lambda *a, **k: pytest.fail("it was drawn"))
    refused(run("sample", model, "--out", tmp_path / "y.png", flag, tmp_path / name), message)


@pytest.mark.parametrize("options", [("--out", "/proc/x.png"), ("--gif", "/proc/x.gif"), ("--strip", "/proc/x.png")])
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc")
def test_a_place_that_takes_no_file_is_one_line_too(model, tmp_path, options):
    """Where it seems that one may write, and one can't."""
    refused(run("sample", model, "--out", tmp_path / "y.png", "--index", 0, "--steps", 1, *options), "/proc/x")


@pytest.mark.parametrize("options, message", [(("--strip", "s.png"), "--strip and --gif show pictures"),
                                              (("--gif", "s.gif"), "this model makes points of shape (2,)"),
                                              (("--index", "0-1000000"), "at most 1000000 samples")])
def test_points_have_no_moments_to_show(moons, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    refused(run("sample", moons, *options), message)


def test_samples_that_are_not_drawn_can_be_had_as_numbers(tmp_path):
    kept(tmp_path, df.MLPConfig((5,), classes=1, width=16, blocks=1), {**DATA, "shape": [5], "classes": ["cloud"]})
    refused(run("sample", tmp_path, "--out", tmp_path / "x.png"), "write the numbers, with --out samples.npz")
    done("sample", tmp_path, "--out", tmp_path / "x.npz", "--index", "0-6", "--steps", 1)
    assert df.data.load(tmp_path / "x.npz").shape == (5,)


def test_a_model_that_is_not_there_is_refused(tmp_path):
    for command in ("sample", "evaluate", "compare"):
        refused(run(command, tmp_path / "no"), "no checkpoint at")
    (tmp_path / FILE).write_bytes(b"nonsense")
    refused(run("sample", tmp_path), "is not a whole checkpoint of this package")


@pytest.mark.parametrize("network, kind", [(AutoencoderConfig((1, 8, 8), (4,)), "Autoencoder"),
                                           (df.presets.classifier((1, 8, 8), 3)[0], "NoiseAware")])
@pytest.mark.parametrize("command", ["sample", "evaluate", "compare"])
def test_a_checkpoint_of_another_network_is_refused(tmp_path, command, network, kind):
    refused(run(command, kept(tmp_path, network)), f"holds a {kind}, which is no denoiser; give one that")


@pytest.mark.parametrize("command, function", [("sample", "sample"), ("evaluate", "evaluate"), ("compare", "compare")])
def test_ctrl_c_is_one_word(model, shipped, tmp_path, monkeypatch, command, function):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(df, function, lambda *a, **k: signal.raise_signal(signal.SIGINT))
    result = run(command)
    assert (result.exit_code, result.stderr.strip(), result.stdout) == (130, "stopped", "")


def test_a_warning_is_a_line_and_no_place_in_the_source(model, tmp_path, monkeypatch, capsys):
    import warnings
    before, sample = warnings.formatwarning, df.sample

    def warned(*arguments, **options):
        print(warnings.formatwarning("mind the gap", UserWarning, "cli.py", 3, "df.sample()"), end="")
        return sample(*arguments, **options)

    monkeypatch.setattr(df, "sample", warned)
    said = done("sample", model, "--out", tmp_path / "x.png", "--index", 0, "--steps", 1).stdout
    assert said.startswith("warning: mind the gap\nwrote ") and warnings.formatwarning is before


# evaluate


def test_evaluate_prints_the_report_and_writes_it(shipped, tmp_path):
    file = tmp_path / "new" / "report.json"
    result = done("evaluate", "-n", 20, "--steps", 1, "--guidance", 0, "--json", file)
    exact = df.evaluate(shipped, 20, steps=1, method=df.dpmpp_3m, seed=0)
    assert result.stdout.split(", 2 network")[0] == str(exact).split(", 2 network")[0]
    assert "of 20 digits read as the class asked for" in result.stdout and "95% interval" in result.stdout
    told = json.loads(file.read_text())
    assert told["scores"]["fid"]["value"] == pytest.approx(exact["fid"].value) and told["nfe"] == 2


def test_evaluate_guides_as_sample_does(shipped, monkeypatch):
    asked = []
    monkeypatch.setattr(df, "evaluate", lambda net, n, **options: asked.append((n, options)) or "told")
    done("evaluate", "--method", "unipc", "--steps", 7, "--seed", 3)
    done("evaluate", "-n", 50, "--guidance", 1.5)
    (n, options), (_, again) = asked
    assert (n, options["guidance"], options["seed"], len(options["grid"])) == (1000, 0.5, 3, 7)
    assert repr(options["method"]) == "unipc(3)" and again["guidance"] == 1.5
    assert options["data"] is options["held_out"] is options["extractor"] is None


@pytest.fixture(scope="module")
def judge(blobs, tmp_path_factory):
    """A classifier of the blobs, by the command line."""
    out = tmp_path_factory.mktemp("runs") / "judge"
    said = done("train", blobs, "--preset", "classifier", "--steps", 60, "--batch", 30, "--out", out).stdout
    assert said == (f"blobs: 90 images of shape (1, 8, 8), 3 classes; on cpu, into {out}\n"
                    f"wrote {out / FILE}; evaluate takes it as --extractor\n")
    return out


def test_other_pictures_are_graded_by_a_classifier_of_their_own(model, blobs, judge, tmp_path):
    file = tmp_path / "r.json"
    said = done("evaluate", model, "-n", 24, "--steps", 1, "--data", blobs, "--extractor", judge, "--json", file).stdout
    train, test = (df.data.folder(blobs / split) for split in ("train", "test"))
    exact = df.evaluate(df.load(model), 24, data=train, held_out=test, extractor=trained(df.load(judge)), steps=1,
                        method=df.dpmpp_3m, seed=0, guidance=0.5)
    told = json.loads(file.read_text())["scores"]
    assert set(told) == {"accuracy", "fid", "inception", "kid", "precision", "recall", "copying"}
    assert {k: v["value"] for k, v in told.items()} == pytest.approx({k: exact[k].value for k in told}, rel=1e-5)
    assert told["accuracy"]["floor"]["value"] > 0.9  # it learned what it judges by
    assert "as blobs classifier " in said and "not measured" not in said


def test_a_model_of_one_class_is_graded_beside_that_class(blobs, judge, tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(df, "evaluate", lambda net, n, **options: asked.update(options) or "told")
    kept(tmp_path, df.MLPConfig((1, 8, 8), classes=1, width=16, blocks=1), {**DATA, "classes": ["b"]})
    done("evaluate", tmp_path, "--data", blobs, "--extractor", judge)
    for split, count in (("data", 30), ("held_out", 10)):
        assert asked[split].classes == ("b",) and asked[split].labels.tolist() == [0] * count
    assert asked["guidance"] == 0.0
    whole = df.data.folder(blobs / "train")
    np.testing.assert_array_equal(asked["data"].images, whole.images[whole.labels == 1])


def test_data_without_a_test_split_hold_nothing_out(model, blobs, judge, monkeypatch):
    asked = {}
    monkeypatch.setattr(df, "evaluate", lambda net, n, **options: asked.update(options) or "told")
    done("evaluate", model, "--data", blobs / "train", "--extractor", judge)
    assert len(asked["data"]) == 90 and asked["held_out"] is None


def test_a_test_split_that_is_spoilt_is_not_passed_over(model, blobs, judge, tmp_path):
    shutil.copytree(blobs, tmp_path / "blobs")
    (tmp_path / "blobs" / "test" / "c" / "119.png").write_text("no picture")
    refused(run("evaluate", model, "--data", tmp_path / "blobs", "--extractor", judge), "119.png can't be read as a")


@pytest.mark.parametrize("options, message", [
    (("-n", 5), "at least one digit of each of the 10 classes, got n=5"), (("-n", -5), "got n=-5"),
    (("--method", "ode"), "unknown method 'ode'"), (("--steps", -1), "steps must be a whole number"),
    (("--seed", -1), "seed must be at least 0"), (("--data", "mnst"), "unknown data 'mnst'"),
    (("--size", 28), "--size 28 says how to read the data; name them, with --data"),
    (("--json", "x.txt"), "--json must be the name of a file ending in .json"),
    (("--extractor", "nowhere"), "no checkpoint at nowhere"), (("--data", "moons"), "name its own data")])
def test_evaluate_refuses_what_makes_no_sense(options, message):
    refused(run("evaluate", *options), message)


def test_evaluate_says_what_other_pictures_and_points_need(model, moons):
    refused(run("evaluate", model, "-n", 10), "train one: diffusion train DATA --preset classifier --out")
    refused(run("evaluate", moons), "evaluate is for pictures, and this model makes points of shape (2,)")
    refused(run("evaluate", model, "--extractor", model), "an extractor is a classifier that was trained")


# compare


def test_compare_prints_a_row_for_each_method_and_budget(moons, tmp_path):
    out = tmp_path / "new" / "c.png"
    said = done("compare", moons, "--methods", "euler, dpmpp_2m", "--nfe", "5,9", "-n", 8, "--out", out).stdout
    exact = df.compare(df.load(moons), [df.euler, df.dpmpp_2m], nfe=[5, 9], n=8, label=torch.arange(8) % 2, rounds=1)
    assert said.startswith(f"{moons}, 8 samples of EDM()") and f"wrote {out}" in said and out.exists()
    rows = [line.split() for line in said.splitlines() if line.startswith(("euler ", "dpmpp_2m "))]
    assert [(r[0], int(r[1]), float(r[3])) for r in rows] == [
        (repr(r.method), r.steps, pytest.approx(r.rms.value, rel=0.1)) for r in exact.rows if r.rms]


@pytest.mark.parametrize("options, message", [
    (("--nfe", ""), "--nfe is numbers separated by commas"), (("--nfe", "9,x"), "got '9,x'"),
    (("--nfe", 0), "nfe must be at least 1"), (("--nfe", 1), "no method could be run"),
    (("-n", 4), "n must be at least 8"), (("-n", -4), "n must be at least 8"), (("--methods", ""), "unknown method ''"),
    (("--methods", "heun,heun"), "methods must be one or more different ones"),
    (("--methods", "heun,magic"), "unknown method 'magic'"), (("--guidance", "inf"), "guidance must be a finite"),
    (("--out", "x.txt"), "--out must be the name of a file")])
def test_compare_refuses_what_makes_no_sense(moons, options, message):
    refused(run("compare", moons, *options), message)


# train


def test_train_writes_a_checkpoint_that_samples_and_resumes(small, tmp_path):
    out = tmp_path / "run"
    result = done("train", "moons", "--out", out, "--steps", 22, "--batch", 4, "--seed", 5)
    assert f"wrote {out / FILE}; look at it with: diffusion sample {out}" in result.stdout
    assert "closed-form Gaussian's" in result.stdout and "level        error" in result.stdout
    assert sorted(file.name for file in out.iterdir()) == [FILE, "metrics.jsonl", "training.png"]
    history = df.load(out).header.training
    assert (history["step"], history["seed"], history["options"].batch) == (22, 5, 4)

    refused(run("train", "moons", "--out", out, "--steps", 30), "already holds a checkpoint; add --resume")
    refused(run("train", "moons", "--out", out, "--steps", 21, "--resume"), "22 steps behind it, and 21 are asked for")
    assert df.load(out).header.training == history

    done("train", "moons", "--out", out, "--steps", 30, "--resume")
    history = df.load(out).header.training
    assert (history["step"], history["seed"], history["options"].batch) == (30, 5, 4)
    assert [line["step"] for line in read_lines(out)] == [20, 22, 30]
    done("sample", out, "--out", out / "s.png", "--index", "0-9", "--steps", 1)


def test_a_finished_run_says_so(small, tmp_path):
    done("train", "moons", "--out", tmp_path, "--steps", 2)
    before = df.load(tmp_path)
    for again in ((), ("--steps", 2)):
        said = done("train", "moons", "--out", tmp_path, "--resume", *again).stdout
        assert "has taken all of its steps already; --resume with more --steps" in said
    after = df.load(tmp_path)
    assert after.header == before.header
    assert all(torch.equal(v, before.state_dict()[k]) for k, v in after.state_dict().items())


@pytest.mark.parametrize("name", ["preset", "batch", "loss", "precision", "seed", "dequantise"])
def test_a_resumed_run_does_not_take_what_it_would_not_heed(small, tmp_path, name):
    (tmp_path / FILE).touch()
    values = {"preset": ["cpu"], "batch": [3], "loss": ["v"], "precision": ["float32"], "seed": [0], "dequantise": []}
    refused(run("train", "moons", "--out", tmp_path, "--resume", "--steps", 9, f"--{name}", *values[name]),
            f"a resumed run keeps what it began with; leave out --{name}")


def test_a_folder_of_pictures_is_trained_on(blobs, small, tmp_path):
    out = tmp_path / "run"
    done("train", blobs, "--out", out, "--images", 41, "--batch", 4, "--size", 4, "--channels", 3)
    header = df.load(out).header
    assert header.data["shape"] == [3, 4, 4] and header.data["classes"] == ["a", "b", "c"]
    assert header.training["step"] == 11  # 41 images in batches of four
    assert plt.imread(out / "snapshots.png").std() > 0 and plt.imread(out / "training.png").std() > 0
    done("train", blobs, "--out", out, "--steps", 12, "--size", 4, "--channels", 3, "--resume")
    assert (out / "snapshots-from-11.png").exists()  # beside the first, which is not lost
    refused(run("train", blobs, "--out", out, "--resume", "--steps", 20), "trained on blobs, samples of shape [3,")
    refused(run("train", "moons", "--out", out, "--resume", "--steps", 20), "Go on with the same data, or choose")


def test_snapshots_may_be_left_out(blobs, small, tmp_path):
    done("train", blobs, "--out", tmp_path, "--steps", 1, "--no-snapshots")
    assert not (tmp_path / "snapshots.png").exists()


@pytest.mark.parametrize("name", ["b", "1"])
def test_a_class_is_learned_alone(blobs, small, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    done("train", blobs, "--steps", 2, "--class", name)
    header = df.load(Path("runs", f"blobs-{name}")).header
    assert header.data["classes"] == ["b"] and header.training["n"] == 30
    assert header.data["name"] == "blobs, class b"
    refused(run("train", blobs, "--steps", 3, "--out", f"runs/blobs-{name}", "--resume"), "classes ['b']")
    done("train", blobs, "--steps", 3, "--class", name, "--resume")


@pytest.mark.parametrize("data, name", [("moons", "moons"), ("a/b/flowers", "flowers"), ("flowers.tar.gz", "flowers"),
                                        ("./x.npz", "x"), ("https://a.org/d/cats.zip", "cats"), ("a b'c", "a-b-c")])
def test_a_run_is_called_as_its_data(data, name):
    assert _name(data) == name


def test_a_run_on_the_folder_where_one_is_has_its_name(tmp_path, monkeypatch):
    (tmp_path / "flowers").mkdir()
    monkeypatch.chdir(tmp_path / "flowers")
    assert _name(".") == "flowers"


def test_the_options_reach_the_data_and_the_training(blobs, small, tmp_path, monkeypatch):
    asked, load = [], df.data.load
    monkeypatch.setattr(df.data, "load", lambda what, split, **options: asked.append((what, split, options))
                        or load(blobs))
    done("train", "mnist", "--out", tmp_path, "--steps", 1, "--batch", 2, "--loss", "min-snr", "--precision",
         "bfloat16", "--dequantise", "--folder", "here", "--sha256", "12")
    assert asked == [("mnist", "train", {"folder": Path("here"), "sha256": "12"})]
    options = df.load(tmp_path).header.training["options"]
    assert options == df.Options(batch=2, warm_up=3, loss=df.losses.min_snr(), precision="bfloat16", dequantise=True)


def test_the_preset_is_the_device_s_unless_it_is_named(tmp_path, monkeypatch):
    """And what the preset says stays, but for what is said beside it."""
    asked = []
    monkeypatch.setattr(df, "train", lambda data, **options: asked.append(options) or iter(()))
    for options in ((), ("--preset", "gpu", "--batch", 3)):
        run("train", "moons", "--out", tmp_path, "--steps", 1, "--device", "cpu", *options)
    own, gpu = asked
    assert own["network"] == df.MLPConfig((2,), 2) and own["options"].batch == df.Options().batch
    assert gpu["options"].batch == 3 and gpu["options"].learning_rate == df.presets.gpu((2,), 2)[1].learning_rate
    assert gpu["options"].precision == own["options"].precision == df.presets.precision("cpu")


@pytest.mark.parametrize("options, message", [
    (("cifar",), "unknown data 'cifar'; known are mnist, fashion, moons"),
    (("./cifar",), "there is no file or folder ./cifar"), (("moons", "--size", 8), "moons does not take size"),
    (("https://example.invalid/a.zip",), "needs the hash of what is to come"),
    (("moons", "--class", "left"), "--class is one of upper, lower; got 'left'"),
    (("moons", "--class", 2), "got '2'"), (("moons", "--class", -1), "got '-1'"),
    (("moons", "--steps", 0), "steps must be positive"), (("moons", "--minutes", -1), "minutes must be positive"),
    (("moons", "--minutes", "nan"), "minutes must be positive"), (("moons", "--images", 0), "images must be positive"),
    (("moons", "--steps", 2, "--minutes", 1), "give minutes, steps or images, one of them"),
    (("moons", "--batch", 0), "batch must be positive"), (("moons", "--batch", -3), "batch must be positive"),
    (("moons", "--loss", "mse"), "--loss is one of edm, ddpm, v, min_snr, flow, likelihood; got 'mse'"),
    (("moons", "--preset", "tpu"), "--preset is one of cpu, gpu, classifier; got 'tpu'"),
    (("moons", "--preset", "classifier"), "the classifier is for pictures"),
    (("moons", "--precision", "int8"), "precision must be one of"),
    (("moons", "--precision", "float16", "--device", "cpu"), "float16 needs a GPU"),
    (("moons", "--device", "teapot"), "the device 'teapot' cannot be used here"),
    (("moons", "--resume"), "no checkpoint at"), (("moons", "--seed", -1), "seed must be at least 0"),
    (("moons", "--seed", 2**33), "seed must be at least 0 and below 4294967296")])
def test_train_refuses_what_makes_no_sense(small, tmp_path, options, message):
    out = tmp_path / "run"
    length = () if {"--steps", "--minutes", "--images"} & set(options) else ("--steps", 1)
    refused(run("train", *options, *length, "--out", out), message)
    assert not out.exists()


def test_a_classifier_has_its_own_loss_and_needs_classes(blobs, tmp_path):
    refused(run("train", blobs, "--preset", "classifier", "--loss", "v", "--out", tmp_path), "leave --loss out")
    refused(run("train", blobs, "--preset", "classifier", "--class", "a", "--out", tmp_path), "two classes or more")


@pytest.mark.parametrize("options, message", [
    ((), "is coloured and "), (("--channels", 1), "must be alike. Give size="), (("--size", 4), "Give channels=1"),
    (("--channels", 2), "channels must be 1 (grey), 3"), (("--size", 0), "size must be at least 1")])
def test_a_folder_of_mixed_pictures_is_refused_by_its_files(small, tmp_path, options, message):
    place = tmp_path / "mixed"
    place.mkdir()
    for name, mode, size in (("1", "RGB", (8, 8)), ("2", "L", (8, 8)), ("3", "L", (9, 8))):
        Image.effect_noise(size, 60).convert(mode).save(place / f"{name}.png")
    refused(run("train", place, "--steps", 1, "--out", tmp_path / "run", *options), message)
    assert read(str(place), "train", {"size": 4, "channels": 3, "folder": None}).shape == (3, 4, 4)


def test_an_out_that_is_a_file_or_below_one_is_refused(small, tmp_path):
    (tmp_path / "file").touch()
    refused(run("train", "moons", "--steps", 1, "--out", tmp_path / "file"), "--out is a folder, and")
    refused(run("train", "moons", "--steps", 1, "--out", tmp_path / "file" / "x"), "file/x")


def test_train_without_mnist_says_what_to_do(tmp_path):
    result = run("train", "mnist", "--folder", tmp_path, "--out", tmp_path / "run", "--steps", 1)
    refused(result, "MNIST's four IDX files")


def pressed(monkeypatch, step):
    """Ctrl-C between two steps, while the progress bar is drawn."""
    class Bar(TRAIN.tqdm):
        def update(self, n=1):
            super().update(n)
            if self.n == step:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(TRAIN, "tqdm", Bar)


def test_ctrl_c_says_how_to_go_on_and_that_is_the_same_run(small, blobs, tmp_path, monkeypatch):
    """The command that is told, as it is told, leads to the weights of the run that was not stopped."""
    told = ("--batch", 8, "--size", 4, "--class", "b", "--device", "cpu", "--seed", 3, "--no-snapshots")
    done("train", blobs, "--out", tmp_path / "whole", "--steps", 7, *told)
    with monkeypatch.context() as patch:
        pressed(patch, 3)
        result = run("train", blobs, "--out", tmp_path / "a part", "--steps", 7, *told)
    assert result.exit_code == 130 and df.load(tmp_path / "a part").header.training["step"] == 3
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("stopped; go on with: diffusion train ") and last.endswith("--no-snapshots --resume")
    program, *words = shlex.split(last.partition("with: ")[2])
    assert program == "diffusion" and "--steps" not in words
    done(*words)
    one, other = (load_file(tmp_path / name / FILE) for name in ("whole", "a part"))
    assert one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_ctrl_c_before_the_length_is_known_says_the_minutes_again(small, tmp_path, monkeypatch):
    pressed(monkeypatch, 2)
    result = run("train", "moons", "--out", tmp_path, "--minutes", 1)
    assert result.exit_code == 130
    assert result.stderr.strip().endswith(f"diffusion train moons --out {tmp_path} --minutes 1.0 --resume")


def test_ctrl_c_before_the_first_step_says_all_of_it_again(small, tmp_path, monkeypatch):
    monkeypatch.setattr(df.data, "load", lambda *a, **k: signal.raise_signal(signal.SIGINT))
    result = run("train", "moons", "--out", tmp_path, "--steps", 9, "--batch", 3, "--loss", "v", "--dequantise")
    assert result.exit_code == 130
    assert result.stderr.strip() == (
        "stopped before the first step, and nothing was kept; begin again with: diffusion train moons "
        f"--out {tmp_path} --steps 9 --batch 3 --loss v --dequantise")


def test_an_ordinary_kill_is_ctrl_c(small, tmp_path, monkeypatch):
    """SIGTERM, as `timeout`, containers and schedulers send it."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(df.data, "load", lambda *a, **k: signal.raise_signal(signal.SIGTERM))
    result = run("train", "moons", "--out", tmp_path, "--steps", 9)
    assert result.exit_code == 130 and "stopped before the first step" in result.stderr
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_is_lost_at_the_last_save_is_said(small, tmp_path, monkeypatch):
    """Ctrl-C where the disk is full: the error, not a command that would not work."""
    def full(*arguments):
        raise OSError(28, "No space left on device")

    pressed(monkeypatch, 2)
    monkeypatch.setattr(checkpoint, "save", full)
    refused(run("train", "moons", "--out", tmp_path, "--steps", 9), "No space left on device")


def test_a_loss_that_is_not_finite_is_one_line(small, tmp_path, monkeypatch):
    def diverged(*args, **options):
        yield df.Record(1, 10, 0.5, 3.0, 1.0)
        raise FloatingPointError("the loss is nan at step 2;\n  the last checkpoint is kept.")

    monkeypatch.setattr(df, "train", diverged)
    refused(run("train", "moons", "--out", tmp_path, "--steps", 10), "error: the loss is nan at step 2; the last")


def test_twenty_minutes_is_what_train_does_if_nothing_is_said(small, tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(df, "train", lambda data, **options: asked.update(options) or (_ for _ in ()))
    done("train", "moons", "--out", tmp_path)
    assert asked["minutes"] == 20.0 and asked["steps"] is asked["images"] is None and asked["resume"] is False
    (tmp_path / FILE).touch()
    done("train", "moons", "--out", tmp_path, "--resume")
    assert asked["minutes"] is None and asked["resume"] is True and asked["network"] is asked["options"] is None


def test_progress_begins_where_the_run_does(small, tmp_path, monkeypatch):
    shown = []

    class Bar(TRAIN.tqdm):
        def update(self, n=1):
            super().update(n)
            shown.append((self.initial, self.n, self.total))
            assert self.postfix.startswith("loss ") and self.postfix.endswith(" samples/s")

    monkeypatch.setattr(TRAIN, "tqdm", Bar)
    done("train", "moons", "--out", tmp_path, "--steps", 3)
    done("train", "moons", "--out", tmp_path, "--steps", 5, "--resume")
    assert shown == [(0, 1, 3), (0, 2, 3), (0, 3, 3), (3, 4, 5), (3, 5, 5)]


@pytest.mark.parametrize("command", ["train", "sample", "evaluate", "compare"])
def test_every_command_has_help(command):
    result = run(command, "--help")
    assert result.exit_code == 0 and "Usage" in result.stdout


def test_without_a_command_there_is_help_and_train_asks_for_data():
    assert all(command in run().output for command in ("train", "sample", "evaluate", "compare"))
    assert "Usage" in run("train").output and "DATA" in run("train").output
    assert run("train", "--steps", 1).exit_code == 2


@pytest.mark.parametrize("arguments", [("sample", "--steps", "many"), ("train", "--steps", "3"), ("paint",),
                                       ("train", "moons", "--minutes", "soon"), ("evaluate", "-n", "1.5"),
                                       ("sample", "--magic"), ("train", "moons", "--class"), ("compare", "a", "b")])
def test_what_cannot_be_parsed_is_a_usage_error(arguments):
    result = run(*arguments)
    assert result.exit_code == 2 and "Traceback" not in result.output and result.stderr
