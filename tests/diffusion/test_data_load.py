"""One argument for all data: what each kind of name leads to, and what is said to one that leads nowhere."""

import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pooch
import pytest
from PIL import Image

from diffusion import data
from diffusion.data import Data, load

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache")


@pytest.fixture
def pictures(tmp_path):
    """Make a folder of one grey picture for each name."""
    def make(*names):
        for k, name in enumerate(names):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (9, 7), k).save(path)
        return tmp_path / Path(names[0]).parts[0]

    return make


@pytest.mark.parametrize("name", ["moons", "swiss-roll", "swiss_roll", "Eight-Gaussians", "checkerboard"])
def test_toys_by_name(name):
    train, test = load(name, n=50, seed=4), load(name, "test", n=50, seed=4)
    assert isinstance(train, Data) and train.shape == (2,) and len(train) == len(test) == 50
    toy = getattr(data, name.lower().replace("-", "_"))
    np.testing.assert_array_equal(train.x, toy(50, seed=4).x)
    assert train.classes == test.classes and (test.x != train.x).any()


@pytest.mark.parametrize("name, variable", [("mnist", "SDEKIT_MNIST"), ("fashion", "SDEKIT_FASHION")])
def test_published_data_by_name(tmp_path, monkeypatch, name, variable):
    monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"t10k-images-idx3-ubyte.*{variable}"):
        load(name, "test")


def test_a_folder_of_pictures_and_its_options(pictures):
    place = pictures("set/a/1.png", "set/b/1.png")
    for what in (place, str(place)):
        loaded = load(what, size=4, channels=3)
        assert loaded.shape == (3, 4, 4) and loaded.classes == ("a", "b") and loaded.name == "set"
    with pytest.raises(ValueError, match="set has no test split"):
        load(place, "test")


def test_a_folder_with_splits(pictures):
    place = pictures("set/train/a/1.png", "set/train/b/1.png", "set/test/a/1.png", "set/test/b/1.png")
    train, test = load(place), load(place, "test")
    assert train.name == test.name == "set" and train.classes == test.classes == ("a", "b")
    assert train.images[:, 0, 0, 0].tolist() == [0, 1] and test.images[:, 0, 0, 0].tolist() == [2, 3]


def test_splits_of_other_classes_are_refused(pictures):
    place = pictures("set/train/a/1.png", "set/train/b/1.png", "set/test/b/1.png")
    with pytest.raises(ValueError, match=r"same classes, and 'a' are in one of them alone"):
        load(place, "test")


def test_an_archive_of_either_folder(tmp_path, pictures):
    place = pictures("set/a/1.png", "set/b/1.png")
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as packed:
        for file in sorted(place.rglob("*.png")):
            packed.write(file, file.relative_to(tmp_path))
    loaded = load(tmp_path / "packed.zip", size=5)
    assert loaded.shape == (1, 5, 5) and loaded.classes == ("a", "b") and loaded.name == "set"
    with pytest.raises(ValueError, match=r"packed\.zip has SHA-256 .* but expected 000"):
        load(tmp_path / "packed.zip", sha256="0" * 64)


def test_a_folder_of_idx_files(tmp_path):
    def packed(array):
        return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()

    for stem, n in (("train", 3), ("t10k", 2)):
        (tmp_path / f"{stem}-images-idx3-ubyte").write_bytes(packed(np.zeros((n, 5, 5), np.uint8)))
        (tmp_path / f"{stem}-labels-idx1-ubyte").write_bytes(packed(np.arange(n, dtype=np.uint8)))
    assert len(load(tmp_path)) == 3 and len(load(tmp_path, "test")) == 2


def test_a_file_of_numpys(tmp_path):
    np.savez(tmp_path / "some.npz", images=np.ones((2, 5, 5)))
    assert load(tmp_path / "some.npz", span=(0, 1)).tensor().unique().tolist() == [1.0]
    with pytest.raises(ValueError, match=r"some\.npz has no test split"):
        load(tmp_path / "some.npz", "test")


@pytest.mark.parametrize("what, split, options, error, message", [
    ("mnst", "train", {}, ValueError, "unknown data 'mnst'; known are mnist, fashion, moons, .*npz file, by its path"),
    ("no/where", "train", {}, FileNotFoundError, "there is no file or folder no/where; known are mnist"),
    ("where.zip", "train", {}, FileNotFoundError, "there is no file or folder where.zip"),
    ("moons", "valid", {}, ValueError, "split is 'valid'; it must be one of 'train', 'test'"),
    ("moons", "train", {"size": 3}, TypeError, "moons does not take size; its options are n, seed, noise"),
    ("mnist", "train", {"n": 3}, TypeError, "mnist does not take n; its options are folder, download"),
    ("https://example.org/x.zip", "train", {}, ValueError, "needs the hash"),
    (None, "train", {}, TypeError, r"by a text or a path, got None \(NoneType\); known are mnist"),
    (3, "train", {}, TypeError, r"by a text or a path, got 3 \(int\)"),
    ("moons", "train", {"noise": "a"}, TypeError, r"noise must be a number, got 'a' \(str\)"),
])
def test_what_leads_nowhere(what, split, options, error, message):
    with pytest.raises(error, match=message):
        load(what, split, **options)


def test_the_drawn_shapes(tmp_path):
    """The script of the documentation: eleven classes, the same pictures for the same seed, whatever their number."""
    def drawn(out, each, seed):
        subprocess.run([sys.executable, ROOT / "examples" / "shapes.py", out, "--size", "16", "--each", str(each),
                        "--seed", str(seed)], check=True, capture_output=True)
        return load(out)

    two, three, other = drawn(tmp_path / "a", 2, 0), drawn(tmp_path / "b", 3, 0), drawn(tmp_path / "c", 2, 1)
    assert two.shape == (3, 16, 16) and len(two.classes) == 11 and np.bincount(two.labels).tolist() == [2] * 11
    np.testing.assert_array_equal(two.images, three.images[np.arange(33) % 3 < 2])
    assert not (two.images == other.images).all(axis=(1, 2, 3)).any()


@pytest.mark.parametrize("name", ["x/1.png", "x/1.JPG"])
def test_a_picture_is_not_its_folder(tmp_path, pictures, name):
    place = pictures(name)
    with pytest.raises(ValueError, match=rf"is one picture; name the folder that it lies in, {place}\."):
        load(tmp_path / name)
