"""IDX files, the published sets in them, and the two records that hold data: what is whole is read exactly, what is
not is refused with a name and a way out."""

import gzip
import hashlib
import os
import struct

import hypothesis.extra.numpy as arrays
import numpy as np
import pooch
import pytest
import torch
from hypothesis import given

from diffusion import data
from diffusion.data import MIRRORS, Data, Images, Points, fashion_mnist, idx, mnist, read_idx

needs_mnist = pytest.mark.skipif("SDEKIT_MNIST" not in os.environ, reason="SDEKIT_MNIST names no folder")


def packed(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture(params=[False, True], ids=["raw", "gzip"])
def write(request, tmp_path):
    def write(content, name="file"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(content) if request.param else content)
        return path

    return write


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)


@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=1, max_dims=4, max_side=6)))
def test_every_array_comes_back(tmp_path_factory, array):
    for pack in (bytes, gzip.compress):
        path = tmp_path_factory.getbasetemp() / "round_trip"
        path.write_bytes(pack(packed(array)))
        np.testing.assert_array_equal(read_idx(path), array, strict=True)


def test_gzip_is_told_by_content_not_by_name(tmp_path, pixels):
    for name, content in (("a.gz", packed(pixels)), ("b", gzip.compress(packed(pixels)))):
        (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(read_idx(tmp_path / name), pixels)


GOOD = packed(np.arange(12, dtype=np.uint8).reshape(3, 4))
CORRUPT = {
    "empty": (b"", "has 0 bytes before it ends"),
    "short magic": (GOOD[:3], "has 3 bytes before it ends"),
    "wrong magic": (b"\1" + GOOD[1:], "opens with bytes 01000802"),
    "signed bytes": (GOOD[:2] + b"\x09" + GOOD[3:], "opens with bytes 00000902"),
    "floats": (GOOD[:2] + b"\x0d" + GOOD[3:], "opens with bytes 00000d02"),
    "no sizes": (GOOD[:3] + b"\0" + GOOD[4:], "opens with bytes 00000800"),
    "too many sizes": (GOOD[:3] + b"\xff" + GOOD[4:], "opens with bytes 000008ff"),
    "short header": (GOOD[:11], "ends within its header"),
    "header only": (GOOD[:12], "has 0 bytes after its header, but expected 12"),
    "truncated": (GOOD[:-1], "has 11 bytes after its header, but expected 12"),
    "trailing": (GOOD + b"\0", "has at least 13 bytes after its header, but expected 12"),
    "empty array": (struct.pack(">HBB2I", 0, 8, 2, 0, 4), "which is empty"),
    "other sizes": (struct.pack(">HBB2I", 0, 8, 2, 3, 5) + bytes(12), "expected 15"),
    "absurd sizes": (struct.pack(">HBB4I", 0, 8, 4, *[2**32 - 1] * 4), f"expected {(2**32 - 1) ** 4}"),
    "little-endian sizes": (struct.pack("<HBB2I", 0, 8, 2, 3, 4) + bytes(12), f"expected {12 << 48}"),
}


@pytest.mark.parametrize("case", CORRUPT)
def test_what_is_no_idx_is_refused(write, case):
    content, message = CORRUPT[case]
    path = write(content)
    with pytest.raises(ValueError) as error:
        read_idx(path)
    assert message in str(error.value)
    assert str(error.value).startswith(str(path)) and "Name the folder that holds this data set" in str(error.value)


@pytest.mark.parametrize("size", [3, 11, -9, -1])
def test_a_cut_gzip_is_refused(tmp_path, pixels, size):
    (tmp_path / "cut").write_bytes(gzip.compress(packed(pixels))[:size])
    with pytest.raises(ValueError, match="damaged gzip"):
        read_idx(tmp_path / "cut")


@pytest.mark.parametrize("place", [2, 40, -8, -1])  # the method, the deflated bytes, the checksum, the length
def test_a_changed_gzip_is_refused(tmp_path, pixels, place):
    content = bytearray(gzip.compress(packed(pixels)))
    content[place] ^= 0xFF
    (tmp_path / "changed").write_bytes(content)
    with pytest.raises(ValueError, match="Name the folder that holds"):
        read_idx(tmp_path / "changed")


def test_bytes_after_a_gzip_are_refused(tmp_path, pixels):
    (tmp_path / "more").write_bytes(gzip.compress(packed(pixels)) + b"more")
    with pytest.raises(ValueError, match="damaged gzip"):
        read_idx(tmp_path / "more")


def test_a_gzip_is_not_inflated_beyond_its_header(tmp_path):
    """A gzip that would fill the memory is left after the chunk that shows that it is too long."""
    (tmp_path / "bomb").write_bytes(gzip.compress(GOOD + bytes(20 << 20), 1))
    with pytest.raises(ValueError, match=f"at least {1 << 20} bytes"):
        read_idx(tmp_path / "bomb")


def test_the_md5_is_of_the_uncompressed_bytes(write, pixels):
    path = write(packed(pixels))
    right, other = (hashlib.md5(content).hexdigest() for content in (packed(pixels), b"other"))
    np.testing.assert_array_equal(read_idx(path, right), pixels)
    with pytest.raises(ValueError, match=f"{right} uncompressed, but expected {other}. Name the folder"):
        read_idx(path, other)


# --- mnist() over made-up files, their hashes put in place of the published ones


@pytest.fixture
def digits(tmp_path, monkeypatch, pixels, write):
    """Write a tiny MNIST into tmp_path and pin its hashes; returns what was written."""
    monkeypatch.delenv("SDEKIT_MNIST", raising=False)

    def make(labels=(7, 2, 1, 0, 4), suffix="", folder=""):
        (tmp_path / folder).mkdir(exist_ok=True)
        images, labels = pixels, np.array(labels, np.uint8)
        for stem, array in (("t10k-images-idx3-ubyte", images), ("t10k-labels-idx1-ubyte", labels)):
            write(packed(array), f"{folder}/{stem}{suffix}".lstrip("/"))
            monkeypatch.setitem(data.MNIST_MD5, stem, (hashlib.md5(packed(array)).hexdigest(), "0" * 32))
        return images, labels

    return make


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_reads_either_name_from_either_place(digits, tmp_path, monkeypatch, suffix):
    images, labels = digits(suffix=suffix)
    monkeypatch.setenv("SDEKIT_MNIST", str(tmp_path / "elsewhere"))
    given_folder = mnist("test", tmp_path)  # a folder named in the call comes before the environment's
    monkeypatch.setenv("SDEKIT_MNIST", str(tmp_path))
    for got in (given_folder, mnist("test")):
        np.testing.assert_array_equal(got.images, images)
        np.testing.assert_array_equal(got.labels, labels)
        assert got.classes == tuple("0123456789") and got.name == "mnist"


def test_mnist_reads_the_cache_without_the_network(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path)
    monkeypatch.setattr(pooch, "retrieve", None)
    images, _ = digits(folder="mnist")
    np.testing.assert_array_equal(mnist("test").images, images)


def test_mnist_refuses_another_file_of_the_right_form(digits, tmp_path, pixels):
    digits()
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(packed(pixels[::-1].copy()))
    with pytest.raises(ValueError, match=r"images-idx3-ubyte has MD5 .* but expected .* Name the folder"):
        mnist("test", tmp_path)


@pytest.mark.parametrize("content", [packed(np.zeros((5, 4, 4), np.uint8)), b"\0\0", gzip.compress(b"cut")[:-3]])
@pytest.mark.parametrize("place", ["cache/mnist", "cache/unpacked/abc", "cache/unpacked/abc/digits", "mine"])
def test_only_a_download_is_to_be_deleted(digits, tmp_path, monkeypatch, content, place):
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache")
    (tmp_path / place).mkdir(parents=True)
    digits(folder=place)
    (tmp_path / place / "t10k-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(ValueError) as error:
        mnist("test", tmp_path / place)
    fetched = place == "cache/mnist"
    assert ("delete that file" in str(error.value)) == fetched != ("Name the folder" in str(error.value))


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.delenv("SDEKIT_MNIST", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "sdekit" / "mnist")):
        mnist("test", download=False)


def test_mnist_refuses_labels_that_are_no_digits(digits, tmp_path):
    digits(labels=[7, 2, 10, 0, 4])
    with pytest.raises(ValueError, match=r"label 10 at index 2 is outside 0\.\.9"):
        mnist("test", tmp_path)


def test_mnist_refuses_counts_that_differ(digits, tmp_path):
    digits(labels=[7, 2, 1, 0])
    with pytest.raises(ValueError, match="5 images but 4 labels"):
        mnist("test", tmp_path)


def test_mnist_refuses_an_unknown_split():
    with pytest.raises(ValueError, match="split is 'valid'; it must be one of 'train', 'test'"):
        mnist("valid")


def test_a_named_folder_is_never_downloaded_into(tmp_path, monkeypatch):
    monkeypatch.setattr(pooch, "retrieve", None)
    with pytest.raises(FileNotFoundError, match=r"has neither train-images-idx3-ubyte nor .*gz\. Put"):
        mnist("train", tmp_path)


def test_without_download_the_network_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.delenv("SDEKIT_MNIST", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path)
    monkeypatch.setattr(pooch, "retrieve", None)
    with pytest.raises(FileNotFoundError, match="Put MNIST's four IDX files there"):
        mnist("train", download=False)


# --- the download, with pooch's network taken away


@pytest.fixture
def retrievals(tmp_path, monkeypatch):
    """The calls of pooch.retrieve, and what each is to do: an error to raise, or bytes to deliver."""
    calls, outcomes = [], []

    def retrieve(url, known_hash, fname, path):
        calls.append((url, known_hash))
        outcome = outcomes[len(calls) - 1]
        if isinstance(outcome, Exception):
            raise outcome
        (path / fname).parent.mkdir(parents=True, exist_ok=True)
        (path / fname).write_bytes(outcome)
        return str(path / fname)

    monkeypatch.delenv("SDEKIT_MNIST", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / project)
    monkeypatch.setattr(pooch, "retrieve", retrieve)
    return calls, outcomes


def test_every_mirror_is_tried_and_named(retrievals):
    calls, outcomes = retrievals
    outcomes += [OSError("no route"), ValueError("MD5 hash of downloaded file differs"), OSError()]
    with pytest.raises(ConnectionError) as error:
        mnist("train")
    name = "train-images-idx3-ubyte.gz"
    assert calls == [(mirror + name, "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873") for mirror in MIRRORS]
    for said in (*MIRRORS, "no route", "hash of downloaded file differs", "folder=", "SDEKIT_MNIST"):
        assert said in str(error.value)


def test_the_second_mirror_serves_when_the_first_fails(digits, retrievals, tmp_path):
    calls, outcomes = retrievals
    images, labels = digits()
    for stem in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        (tmp_path / stem).unlink()
    outcomes += [OSError("no route"), gzip.compress(packed(images)), gzip.compress(packed(labels))]
    got = mnist("test")
    np.testing.assert_array_equal(got.images, images)
    files = [f"t10k-{kind}-ubyte.gz" for kind in ("images-idx3", "images-idx3", "labels-idx1")]
    mirrors = [MIRRORS[0], MIRRORS[1], MIRRORS[0]]  # each file is asked of the first mirror first
    assert [url for url, _ in calls] == [mirror + file for mirror, file in zip(mirrors, files)]


# --- Fashion-MNIST, which is found and checked in the same way, and IDX files of any other origin


def test_fashion_has_a_variable_and_hashes_of_its_own(tmp_path, monkeypatch, pixels):
    monkeypatch.setenv("SDEKIT_FASHION", str(tmp_path))
    monkeypatch.setenv("SDEKIT_MNIST", str(tmp_path / "elsewhere"))
    labels = np.array([9, 2, 1, 1, 6], np.uint8)
    for stem, array in (("t10k-images-idx3-ubyte", pixels), ("t10k-labels-idx1-ubyte", labels)):
        (tmp_path / stem).write_bytes(packed(array))
        monkeypatch.setitem(data.FASHION_MD5, stem, (hashlib.md5(packed(array)).hexdigest(), "0" * 32))
    got = fashion_mnist("test")
    assert got.name == "fashion" and [got.classes[k] for k in got.labels[:2]] == ["ankle boot", "pullover"]
    assert idx(tmp_path, "test").classes == got.classes  # known by its hashes
    with pytest.raises(ValueError, match="t10k-images-idx3-ubyte has MD5"):
        mnist("test", tmp_path)


def test_the_two_published_sets_share_no_file():
    hashes = [md5 for table in (data.MNIST_MD5, data.FASHION_MD5) for pair in table.values() for md5 in pair]
    assert len(set(hashes)) == 16 and all(len(md5) == 32 for md5 in hashes)
    assert data.MNIST_MD5.keys() == data.FASHION_MD5.keys()


def test_idx_files_of_another_origin_are_named_by_their_folder(tmp_path, pixels, write):
    write(packed(pixels), "train-images-idx3-ubyte")
    write(packed(np.array([0, 2, 1, 2, 0], np.uint8)), "train-labels-idx1-ubyte")
    got = idx(tmp_path)
    assert got.name == tmp_path.name and got.classes == ("0", "1", "2") and got.labels.tolist() == [0, 2, 1, 2, 0]
    np.testing.assert_array_equal(got.images, pixels)
    with pytest.raises(FileNotFoundError, match=r"no t10k-images-idx3-ubyte and no t10k-labels-idx1-ubyte, nor a \.gz"):
        idx(tmp_path, "test")


# --- Images and Points


def test_black_is_minus_one_and_white_is_one():
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    x = Images(ramp, np.zeros(1, int), ("ramp",), "ramp").tensor()
    assert x.shape == (1, 1, 16, 16) and x.dtype == torch.float32
    exact = np.arange(256) / 127.5 - 1
    assert x.flatten()[[0, 255]].tolist() == [-1.0, 1.0]
    # one rounding in the quotient, which is below 2, and one in the difference
    assert np.abs(x.flatten().numpy() - exact).max() <= 2 * np.finfo(np.float32).eps


def test_colour_keeps_its_channels():
    colour = np.zeros((2, 3, 8, 9), np.uint8)
    assert Images(colour, np.zeros(2, int), ("x",), "x").tensor().shape == (2, 3, 8, 9)


PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 7), np.uint8)
RECORDS = [(Images, PIXELS, (1, 6, 7)), (Images, PIXELS[:, None].repeat(3, axis=1), (3, 6, 7)),
           (Points, PIXELS[:, 0, :2].astype(np.float32), (2,)), (Points, PIXELS.astype(np.float32), (6, 7))]


@pytest.mark.parametrize("record, x, shape", RECORDS)
def test_both_records_are_what_training_asks_for(record, x, shape):
    labels = np.array([3, 1, 4, 1, 5])
    whole = record(x, labels, tuple("012345"), "pi")
    assert isinstance(whole, Data) and whole.shape == shape and len(whole) == 5
    assert whole.tensor().shape == (5, *shape) and whole.tensor().dtype == torch.float32
    cases = [(2, [0, 1]), ([4, 0], [4, 0]), (labels == 1, [1, 3]), ([], []), (np.int64(5), range(5))]
    for which, index in cases:
        part = whole.subset(which)
        assert type(part) is record and part.shape == shape
        np.testing.assert_array_equal(part.tensor(), whole.tensor()[list(index)])
        np.testing.assert_array_equal(part.labels, labels[list(index)])
        assert part.classes == whole.classes and part.name == whole.name and len(part) == len(index)


@pytest.mark.parametrize("n", [-1, 6])
@pytest.mark.parametrize("record, x, shape", RECORDS)
def test_a_subset_of_more_than_there_is_is_refused(record, x, shape, n):
    with pytest.raises(ValueError, match=f"first {n} (images|points), but there are 5; ask for 0 to 5"):
        record(x, np.zeros(5, int), ("x",), "x").subset(n)


@pytest.mark.parametrize("which, kind, message", [
    ([100], IndexError, r"indices 100 to 100, but there are 5 \w+; indices are 0 to 4, or from -5"),
    ([0, -6], IndexError, "indices -6 to 0, but there are 5"),
    ([True] * 4, IndexError, "a mask of 4 for 5"),
    *((which, TypeError, "whole number, the first so many; of indices; or of a mask") for which in
      ("a", 1.5, [0.5], ["a"], [[0, 1]], None, True, slice(2)))])
@pytest.mark.parametrize("record, x, shape", RECORDS[::2])
def test_what_picks_no_subset_is_refused(record, x, shape, which, kind, message):
    with pytest.raises(kind, match=message):
        record(x, np.zeros(5, int), ("x",), "pi").subset(which)


@pytest.mark.parametrize("record, x, shape", RECORDS[::2])
def test_indices_count_from_the_end_too(record, x, shape):
    np.testing.assert_array_equal(record(x, np.arange(5), tuple("abcde"), "pi").subset([-1, -5, 4]).labels, [4, 0, 4])


@pytest.mark.parametrize("record, x, shape", RECORDS[::2])
def test_two_classes_of_one_name_are_refused(record, x, shape):
    with pytest.raises(ValueError, match=r"pi: 3 classes, of which more than one is called 'a'; .* Rename one"):
        record(x, np.arange(5) % 3, ("a", "b", "a"), "pi")


def test_points_are_seen_as_they_are_and_copied():
    x = np.float32([[1.5, -7.25], [0.0, 1e30]])
    points = Points(x, np.array([0, 0]), ("x",), "x")
    points.tensor().zero_()
    np.testing.assert_array_equal(points.tensor(), x)


@pytest.mark.parametrize("x, labels, message", [
    (np.zeros((2, 2)), [0, 0], r"x is float64 of shape \(2, 2\); it must be float32"),
    (np.zeros(2, np.float32), [0, 0], r"float32 of shape \(2,\); it must be .* x\[:, None\]"),
    (np.float32([[0, 1], [2, np.nan], [np.inf, 0]]), [0, 0, 0], r"sample 1 is not finite \(2 of 3 are not\)\. Drop"),
    (np.full((4, 2, 3), np.inf, np.float32), [0] * 4, r"sample 0 is not finite \(4 of 4"),
    (np.zeros((2, 2), np.float32), [0], "2 points but 1 labels"),
    (np.zeros((2, 2), np.float32), [0, 1], r"label 1 at index 1 is outside 0\.\.0"),
])
def test_points_that_do_not_fit_are_refused(x, labels, message):
    with pytest.raises(ValueError, match=message):
        Points(x, np.array(labels), ("x",), "x")


@pytest.mark.parametrize(
    "images, labels, message",
    [
        (np.zeros((2, 4, 4)), np.zeros(2, int), "float64 of shape"),
        (np.zeros((2, 16), np.uint8), np.zeros(2, int), r"shape \(2, 16\); they must be"),
        (np.zeros((2, 4, 4), np.uint8), np.zeros(2), "labels are float64"),
        (np.zeros((2, 4, 4), np.uint8), np.zeros((2, 1), int), r"labels are int64 of shape \(2, 1\)"),
        (np.zeros((2, 4, 4), np.uint8), np.zeros(3, int), "2 images but 3 labels"),
        (np.zeros((2, 4, 4), np.uint8), np.array([0, -1]), "label -1 at index 1 is outside 0..0"),
    ],
)
def test_images_that_do_not_fit_are_refused(images, labels, message):
    with pytest.raises(ValueError, match=message):
        Images(images, labels, ("x",), "x")


@pytest.mark.mnist
@needs_mnist
@pytest.mark.parametrize("split, n, first", [("train", 60_000, 50419), ("test", 10_000, 72104)])
def test_the_real_mnist(split, n, first):
    digits = mnist(split)
    assert len(digits) == n and digits.images.shape == (n, 28, 28)
    assert "".join(digits.classes[label] for label in digits.labels[:5]) == str(first)
    assert (np.bincount(digits.labels, minlength=10) > n / 12).all()  # every class is there
