"""Checkpoints: what is written is what is read, and whatever is not a whole checkpoint is refused by name."""

import builtins
import json
import os
import pickle
import re
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

import diffusion as df
from diffusion import checkpoint
from diffusion.checkpoint import SHIPPED, Header
from diffusion.denoiser import parameter_count
from diffusion.records import written as in_json
from tests.diffusion.conftest import TINY, shaken

DATA = {"name": "blobs", "shape": [1, 8, 8], "range": [-1, 1], "classes": ["a", "b", "c"]}
HEADER = Header(TINY, 0.37, DATA, {"seed": 2, "steps": 5})
FILE = "checkpoint.safetensors"
ENTRY = {f.name: in_json(getattr(HEADER, f.name)) for f in fields(HEADER)}  # the header's, as JSON has it


def model():
    center = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(3))
    return df.Preconditioned(shaken(seed=4), center, HEADER.spread).eval().requires_grad_(False)


def written(path, header=HEADER, change=lambda tensors: tensors):
    """A checkpoint at `path`, its tensors passed through `change`."""
    return checkpoint.save(path, header, change({f"model.{k}": v for k, v in model().state_dict().items()}))


def with_entry(path, text, name="diffusion"):
    """The same tensors and digests under another header entry, or none."""
    file = written(path)
    with safe_open(file, framework="pt") as opened:
        about = opened.metadata()
    about = {k: v for k, v in {**about, name: text}.items() if v is not None}
    save_file(load_file(file), file, metadata=about)
    return file


# Round trip


def test_what_is_loaded_is_what_was_saved(tmp_path):
    loaded = df.load(written(tmp_path / "some.safetensors"))
    exact = model()
    assert loaded.header == HEADER and loaded.spread == exact.spread and loaded.config == TINY
    for name, value in exact.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded(x, 1.0, 0.7, [0, 1, 2]), exact(x, 1.0, 0.7, [0, 1, 2]))


def test_a_loaded_denoiser_is_frozen_and_in_eval_mode(tmp_path):
    loaded = df.load(written(tmp_path / "some.safetensors"))
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())


def test_it_is_loaded_in_single_precision_whatever_the_default(tmp_path):
    file = written(tmp_path / "some.safetensors")
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    plain = df.load(file)(x, 1.0, 0.7)
    torch.set_default_dtype(torch.float64)
    try:
        loaded = df.load(file)
        found = loaded(x, 1.0, 0.7)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {p.dtype for p in (*loaded.parameters(), *loaded.buffers())} == {torch.float32}
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-4)


def test_a_folder_stands_for_the_checkpoint_inside(tmp_path):
    written(tmp_path / FILE)
    assert df.load(tmp_path).header == df.load(str(tmp_path)).header == HEADER


def test_every_tensor_comes_back_and_a_prefix_chooses(tmp_path):
    tensors = {"model.a": torch.arange(6.0).reshape(2, 3).T, "net.a": torch.tensor(3, dtype=torch.int64),
               "adam.x": torch.zeros(0), "net.b": torch.tensor([1.5, -2.0], dtype=torch.float64, requires_grad=True)}
    file = checkpoint.save(tmp_path / "deep" / "er" / "f.safetensors", HEADER, tensors)
    header, found = checkpoint.read(file)
    assert header == HEADER and found.keys() == tensors.keys()
    assert all(torch.equal(found[k], tensors[k]) and found[k].dtype == tensors[k].dtype for k in tensors)
    assert checkpoint.read(file, prefix="net.")[1].keys() == {"net.a", "net.b"}


def test_the_header_is_json_that_anyone_can_read(tmp_path):
    content = written(tmp_path / "f").read_bytes()
    length = int.from_bytes(content[:8], "little")
    entry = json.loads(json.loads(content[8:8 + length])["__metadata__"]["diffusion"])
    assert entry == json.loads(json.dumps(ENTRY))
    assert entry["version"] == 2 and entry["network"]["kind"] == "UNetConfig" and entry["spread"] == 0.37


def test_other_tensors_beside_the_model_s_do_no_harm(tmp_path):
    file = written(tmp_path / "f", change=lambda t: {**t, "net.x": torch.zeros(3), "adam.y": torch.zeros(3)})
    assert df.load(file).header == HEADER


# Writing is all or nothing


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    file = written(tmp_path / "f")
    content = file.read_bytes()

    def full(tensors, path, metadata):
        path.write_bytes(content[:100])
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        written(file, replace(HEADER, spread=0.5))
    assert file.read_bytes() == content and df.load(file).header == HEADER


def test_a_disk_that_has_no_room_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    file = written(tmp_path / "f")

    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match=r"f could not be written .*No space left.*what stood there before still does"):
        written(file, replace(HEADER, spread=0.5))
    assert df.load(file).header == HEADER and [p.name for p in tmp_path.iterdir()] == ["f"]


def test_what_cannot_be_kept_is_refused_before_anything_is_written(tmp_path):
    file = written(tmp_path / "f")
    with pytest.raises(TypeError, match="its class function is not recorded"):
        written(file, replace(HEADER, training={"loss": lambda: 0}))
    assert df.load(file).header == HEADER and [p.name for p in tmp_path.iterdir()] == ["f"]


def test_weights_that_share_their_memory_are_written_by_each_name(tmp_path):
    """As those of a tied autoencoder do, which safetensors alone refuses."""
    weight = torch.arange(6.0).reshape(2, 3)
    tensors = {"net.a": weight, "net.b": weight, "net.c": weight.T, "net.d": weight[0], "net.e": weight.expand(4, 2, 3)}
    found = checkpoint.read(checkpoint.save(tmp_path / "f", HEADER, tensors))[1]
    assert all(torch.equal(found[name], value) for name, value in tensors.items()) and found.keys() == tensors.keys()


def test_a_crash_before_the_file_is_renamed_leaves_the_old_one(tmp_path, monkeypatch):
    file = written(tmp_path / "f")
    content = file.read_bytes()

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        written(file, replace(HEADER, spread=0.5))
    assert file.read_bytes() == content


def test_a_second_write_replaces_the_first_and_leaves_nothing_beside_it(tmp_path):
    file = written(tmp_path / "f")
    written(file, replace(HEADER, spread=0.5))
    assert df.load(file).spread == 0.5 and [p.name for p in tmp_path.iterdir()] == ["f"]


# What is no whole checkpoint


REFUSED = r"is not a whole checkpoint of this package|do not fit the network|holds no averaged weights"


def test_a_missing_file_is_named_with_what_to_do(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path / "no" / "folder", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"no checkpoint at {tmp_path}.*train one with `diffusion train"):
            df.load(path)


@pytest.mark.parametrize("part", [0.0, 0.001, 0.05, 0.3, 0.9, 0.9999])
def test_a_file_cut_off_is_refused(tmp_path, part):
    file = written(tmp_path / "f")
    content = file.read_bytes()
    file.write_bytes(content[:int(part * len(content))])
    with pytest.raises(ValueError, match=REFUSED):
        df.load(file)


def test_a_file_that_is_too_long_is_refused(tmp_path):
    file = written(tmp_path / "f")
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(ValueError, match=REFUSED):
        df.load(file)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("bytes") / "f"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=REFUSED):
        df.load(file)


@given(st.integers(0, 10**9), st.integers(0, 7))
def test_a_bit_flipped_in_the_weights_is_refused(tmp_path_factory, place, bit):
    file = written(tmp_path_factory.mktemp("bits") / "f")
    content = bytearray(file.read_bytes())
    begin = 8 + int.from_bytes(content[:8], "little")
    content[begin + place % (len(content) - begin)] ^= 1 << bit
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"the tensor .* is not the one that was written"):
        df.load(file)


def test_a_bit_flipped_in_the_header_ends_in_no_other_error(tmp_path):
    """Every bit of the length, two of every byte of the version and the network, one of every seventh byte besides. A
    flip in a name or a number of the data or the history leaves a whole file: then it loads."""
    file = written(tmp_path / "f")
    content = file.read_bytes()
    length = 8 + int.from_bytes(content[:8], "little")
    begin, end = content.index(b'{\\"network'), content.index(b"spread") + 16
    at = content.index(b'version\\"')
    flips = [(i, bit) for i in range(8) for bit in range(8)] + [(i, i % 8) for i in range(8, length, 7)]
    flips += [(i, bit) for i in (*range(begin, end), *range(at, at + 12)) for bit in (0, 1 + i % 3)]
    refused, other = 0, {}
    for i, bit in flips:
        damaged = bytearray(content)
        damaged[i] ^= 1 << bit
        file.write_bytes(damaged)
        try:
            df.load(file)
        except Exception as error:
            refused += 1
            if not (isinstance(error, ValueError) and re.search(f"{REFUSED}|by a newer version", str(error))):
                other[bytes(damaged[max(0, i - 20):i + 10])] = repr(error)
    assert other == {} and refused > len(flips) / 2


@pytest.mark.parametrize("text", [
    None, "", "{}", "[]", "[1]", "1", "null", '"text"', "{", "nan", "[" * 100_000, '{"version": "2"}', '{"version": 2}',
    *(json.dumps({"version": 2, "spread": 1.0, "data": {"shape": [1, 8, 8]}, "network": network}) for network in (
        None, [], {}, 3, {"size": 8}, {"kind": "UNetConfig", "size": 8, "patch": 0},
        {"kind": "UNetConfig", "size": 8, "widths": []}, {"kind": "UNetConfig", "size": 8, "deep": 3},
        {"kind": "UNetConfig", "size": "8"}, {"kind": "UNetConfig", "size": 8, "widths": [-8, 16]},
        {"kind": "UNetConfig", "size": 8, "classes": -5}, {"kind": "UNetConfig", "widths": [8, 16], "embedding": 15},
        {"kind": "VP"}, {"kind": "Unheard"}, {"kind": ["UNetConfig"]}, {"kind": {"a": 1}}))])
def test_a_header_that_is_not_ours_is_refused(tmp_path, text):
    file = with_entry(tmp_path / "f", text)
    with pytest.raises(ValueError, match=REFUSED):
        df.load(file)


@pytest.mark.parametrize("text", [None, "", "{}", "[]", "null", "1", '{"model.center": 3}'])
def test_weights_without_their_digests_are_refused(tmp_path, text):
    file = with_entry(tmp_path / "f", text, name="sha256")
    with pytest.raises(ValueError, match=REFUSED):
        df.load(file)


@pytest.mark.parametrize("change", [
    {"spread": "wide"}, {"spread": None}, {"spread": 0.0}, {"spread": -1.0}, {"spread": float("nan")}])
def test_a_spread_that_is_no_positive_number_is_refused(tmp_path, change):
    file = with_entry(tmp_path / "f", json.dumps({**ENTRY, **change}))
    with pytest.raises(ValueError):
        df.load(file)


@pytest.mark.parametrize("version", [3, 7])
def test_a_newer_version_is_refused_by_its_number(tmp_path, version):
    later = {**ENTRY, "version": version, "more": [1], "network": {"kind": "Later"}}
    file = with_entry(tmp_path / "f", json.dumps(later))
    message = rf"written by a newer version .* format is version {version}, this package reads 2\); update"
    with pytest.raises(ValueError, match=message):
        df.load(file)


@pytest.mark.parametrize("version", [1, 0, -1, "2", 2.5, None, True])
def test_another_version_is_refused_by_its_number(tmp_path, version):
    file = with_entry(tmp_path / "f", json.dumps({**ENTRY, "version": version}))
    with pytest.raises(ValueError, match=rf"its format version is {version!r}, this package reads 2"):
        df.load(file)


CHANGES = {
    "no tensors": lambda t: {},
    "no average": lambda t: {k.replace("model.", "net."): v for k, v in t.items()},
    "no centre": lambda t: {k: v for k, v in t.items() if k != "model.center"},
    "one missing": lambda t: {k: v for k, v in t.items() if k != "model.net.stem.weight"},
    "one too many": lambda t: {**t, "model.net.other": torch.zeros(3)},
    "another shape": lambda t: {**t, "model.net.stem.bias": torch.zeros(9)},
    "a centre of another size": lambda t: {**t, "model.center": torch.zeros(1, 12, 12)},
    "a centre of three channels": lambda t: {**t, "model.center": torch.zeros(3, 8, 8)},
    "a centre of one number": lambda t: {**t, "model.center": torch.zeros(())},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_tensors_that_do_not_fit_are_refused(tmp_path, change):
    with pytest.raises(ValueError):
        df.load(written(tmp_path / "f", change=change))


def test_another_network_s_weights_are_refused(tmp_path):
    file = written(tmp_path / "f", replace(HEADER, network=replace(TINY, classes=4)))
    with pytest.raises(ValueError, match="do not fit the network that its header names"):
        df.load(file)


def test_the_classifier_s_weights_are_no_checkpoint():
    with pytest.raises(ValueError, match="has no 'diffusion' entry in its header"):
        df.load(SHIPPED.with_name("classifier.safetensors"))


@pytest.mark.parametrize("data", [{}, {"shape": "wide"}, {"shape": [1, 8]}, {"shape": None}, None, 3, []])
def test_data_of_no_shape_are_refused(tmp_path, data):
    file = with_entry(tmp_path / "f", json.dumps({**ENTRY, "data": data}))
    with pytest.raises(ValueError):
        df.load(file)


def test_a_device_that_is_not_there_is_refused(tmp_path):
    file = written(tmp_path / "f")
    with pytest.raises(ValueError, match="the device 'abacus' cannot be used here"):
        df.load(file, device="abacus")


# Nothing is unpickled


class Bomb:
    def __reduce__(self):
        return builtins.exec, ("raise SystemExit('unpickled')",)


@pytest.mark.parametrize("write", [lambda file: file.write_bytes(pickle.dumps(Bomb())),
                                   lambda file: torch.save({"model": Bomb()}, file)], ids=["pickle", "torch.save"])
def test_a_pickle_is_refused_and_not_run(tmp_path, write):
    write(tmp_path / "f.safetensors")
    with pytest.raises(ValueError, match="is not a whole checkpoint"):
        df.load(tmp_path / "f.safetensors")


def test_loading_never_calls_pickle(tmp_path, monkeypatch):
    file = written(tmp_path / "f")
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, None)
    monkeypatch.setattr(torch, "load", None)
    assert df.load(file).header == HEADER


# The shipped digits


def test_the_shipped_weights_are_small(shipped):
    assert SHIPPED.stat().st_size < 16_000_000
    assert parameter_count(shipped) < 2_000_000


def test_the_shipped_file_holds_the_average_alone():
    assert all(name.startswith("model.") for name in load_file(SHIPPED))


def test_the_shipped_header_tells_data_steps_and_classes(shipped):
    header = shipped.header
    assert header.data["shape"] == [1, 28, 28] == list(shipped.center.shape) and header.data["range"] == [-1, 1]
    assert header.data["classes"] == list("0123456789") and "mnist" in header.data["name"]
    assert header.network.classes == 10 and header.network == shipped.config
    assert {"step", "steps", "images", "seconds", "seed", "options"} <= set(header.training)
    assert header.training["images"] == header.training["step"] * header.training["options"].batch


def test_the_shipped_options_are_options_of_this_version(shipped):
    assert isinstance(shipped.header.training["options"], df.Options)


def test_the_shipped_weights_are_finite_numbers_of_single_precision():
    for name, value in load_file(SHIPPED).items():
        assert value.dtype == torch.float32 and value.isfinite().all(), name


def test_the_shipped_centre_and_spread_are_mnist_s(shipped):
    """The mean of all pixels of MNIST's training images is 0.1307 of 1; their spread about the mean image s."""
    assert shipped.center.mean().item() == pytest.approx(2 * 0.1307 - 1, abs=1e-3)
    assert 0 < shipped.spread < 2 * 0.3081  # about one grey it is 0.3081; about the mean image, less
    assert np.abs(shipped.center.numpy()).max() <= 1


@pytest.mark.parametrize("path", [3, 1.5, b"runs", ["runs"]])
def test_what_is_no_path_is_refused(path):
    for open in (df.load, checkpoint.read):
        with pytest.raises(TypeError, match="named by the path of its file or its folder, got "):
            open(path)
