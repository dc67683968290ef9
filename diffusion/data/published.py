"""Published data sets in IDX files: MNIST, Fashion-MNIST, and any other that comes as four files of those names.

The published ones are never read unchecked: the MD5 of the *uncompressed* bytes is compared at every read, whoever
packed the file, because a metric of other images than it claims is worse than none. The .gz as published is compared
too when it is fetched.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch

from diffusion.data.idx import read_idx, read_with_md5
from diffusion.data.images import Images
from diffusion.data.labelled import check_split

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://yann.lecun.com/exdb/mnist/",
)
FASHION_MIRRORS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",  # the publisher's own, which has no https
)

# file: (MD5 of the uncompressed bytes, MD5 of the .gz as published)
MNIST_MD5 = {
    "train-images-idx3-ubyte": ("6bbc9ace898e44ae57da46a324031adb", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    "train-labels-idx1-ubyte": ("a25bea736e30d166cdddb491f175f624", "d53e105ee54ea40749a09fcbcd1e9432"),
    "t10k-images-idx3-ubyte": ("2646ac647ad5339dbf082846283269ea", "9fb629c4189551a2d022fa330f9573f3"),
    "t10k-labels-idx1-ubyte": ("27ae3e4e09519cfbb04c329615203637", "ec29112dd5afa0611ce80d1b7f02629c"),
}
FASHION_MD5 = {
    "train-images-idx3-ubyte": ("f4a8712d7a061bf5bd6d2ca38dc4d50a", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    "train-labels-idx1-ubyte": ("9018921c3c673c538a1fc5bad174d6f9", "25c81989df183df01b3e8a0aad5dffbe"),
    "t10k-images-idx3-ubyte": ("8181f5470baa50b63fa0f6fddb340f0a", "bef4ecab320f06d8554ea6380940ec79"),
    "t10k-labels-idx1-ubyte": ("15d484375f8d13e6eb1aabb0c3f46965", "bb300cfdad3c16e7a12a480ee83cd310"),
}
_STEMS = {"train": "train", "test": "t10k"}


@dataclass(frozen=True)
class _Publication:
    """Where four files come from, what they hash to, and what their labels mean."""

    name: str
    title: str
    variable: str  # of the environment: a folder that holds the files
    mirrors: tuple[str, ...]
    md5: dict[str, tuple[str, str]]
    classes: tuple[str, ...]


_MNIST = _Publication("mnist", "MNIST", "SDEKIT_MNIST", MIRRORS, MNIST_MD5, tuple("0123456789"))
_FASHION = _Publication("fashion", "Fashion-MNIST", "SDEKIT_FASHION", FASHION_MIRRORS, FASHION_MD5,
                        ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
                         "ankle boot"))


def mnist(split: str = "train", folder: str | os.PathLike | None = None, download: bool = True) -> Images:
    """MNIST: 60,000 ("train") or 10,000 ("test") handwritten digits, (n, 28, 28).

    The IDX files, gzipped or not, are read from `folder`; without one from the folder in the environment
    variable SDEKIT_MNIST; without that from the pooch cache, and if `download` is true they are fetched into
    it first. A folder that is named is the only one looked in.

    Raises ValueError for an unknown split or a file whose content is not MNIST's, FileNotFoundError where a
    file is missing and may not be fetched, ConnectionError where no mirror delivers it.

    Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database; licence CC BY-SA 3.0.

    >>> mnist("test").labels[:5]  # doctest: +SKIP
    array([7, 2, 1, 0, 4])
    """
    return _published(_MNIST, split, folder, download)


def fashion_mnist(split: str = "train", folder: str | os.PathLike | None = None, download: bool = True) -> Images:
    """Fashion-MNIST: 60,000 ("train") or 10,000 ("test") articles of clothing in 10 classes, (n, 28, 28).

    Found as `mnist` is, the environment's variable being SDEKIT_FASHION, and with the same errors.

    Source: H. Xiao, K. Rasul, R. Vollgraf 2017, Fashion-MNIST, arXiv:1708.07747; licence MIT, Zalando SE.

    >>> fashion_mnist("test").classes[0]  # doctest: +SKIP
    'T-shirt/top'
    """
    return _published(_FASHION, split, folder, download)


def idx(folder: str | os.PathLike, split: str = "train") -> Images:
    """Images from the IDX files of a folder, named as MNIST's are: train-images-idx3-ubyte and so on, or .gz of them.

    Files that hash as MNIST's or Fashion-MNIST's get those names and classes; of others label k is called str(k), and
    the folder names the data. Raises FileNotFoundError where a file is missing, ValueError for anything damaged.

    >>> idx("folder/of/mnist", "test").name  # doctest: +SKIP
    'mnist'
    """
    names = _names(split)
    found = [_found(Path(folder), name) for name in names]
    missing = [name for name, path in zip(names, found) if path is None]
    if missing:
        raise FileNotFoundError(f"{folder} has no {' and no '.join(missing)}, nor a .gz of that name; put both files "
                                f"of the split {split!r} there.")
    read = [read_with_md5(path) for path in found if path is not None]
    for known in (_MNIST, _FASHION):
        if all(digest == known.md5[name][0] for name, (_, digest) in zip(names, read)):
            return _images(read[0][0], read[1][0], known.classes, known.name)
    labels = read[1][0]
    return _images(read[0][0], labels, tuple(map(str, range(int(labels.max()) + 1))), Path(folder).resolve().name)


def holds_idx(folder: Path) -> bool:
    """Whether a folder holds IDX files of these names."""
    return any(_found(folder, name) for split in _STEMS for name in _names(split))


def _published(data: _Publication, split: str, folder: str | os.PathLike | None, download: bool) -> Images:
    images, labels = (read_idx(_find(data, name, folder, download), data.md5[name][0]) for name in _names(split))
    return _images(images, labels, data.classes, data.name)


def _images(images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], name: str) -> Images:
    return Images(images, labels.astype(np.int64), classes, name)


def _names(split: str) -> tuple[str, str]:
    check_split(split)
    return f"{_STEMS[split]}-images-idx3-ubyte", f"{_STEMS[split]}-labels-idx1-ubyte"


def _found(place: Path, name: str) -> Path | None:
    return next((path for path in (place / name, place / f"{name}.gz") if path.is_file()), None)


def _find(data: _Publication, name: str, folder: str | os.PathLike | None, download: bool) -> Path:
    named = folder or os.environ.get(data.variable)
    place = Path(named) if named else Path(pooch.os_cache("sdekit")) / data.name
    found = _found(place, name)
    if found is not None:
        return found
    if download and not named:
        return _fetch(data, name, place)
    raise FileNotFoundError(f"{place} has neither {name} nor {name}.gz. Put {data.title}'s four IDX files there, or "
                            f"allow the download: no folder, no {data.variable} in the environment, download=True.")


def _fetch(data: _Publication, name: str, place: Path) -> Path:
    failures = []
    for mirror in data.mirrors:
        try:
            return Path(pooch.retrieve(f"{mirror}{name}.gz", f"md5:{data.md5[name][1]}", f"{name}.gz", place))
        except (OSError, ValueError) as error:  # no network, an HTTP status; another hash than published
            failures.append(f"  {mirror}: {type(error).__name__}: {error}")
    raise ConnectionError(f"{name}.gz came from none of the mirrors:\n" + "\n".join(failures) +
                          f"\nFetch {data.title}'s four IDX files another way and name their folder: folder=... or the "
                          f"environment's {data.variable}.")
