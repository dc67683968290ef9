"""Labelled images in memory, and MNIST from its IDX files.

An image of bytes u in {0, ..., 255} is seen by every model as x = u / 127.5 - 1 in [-1, 1], so that 0 is -1
and 255 is 1 exactly. MNIST is never read unchecked: the MD5 of the *uncompressed* bytes is compared at every
read, whoever packed the file, because a metric of other images than it claims is worse than none.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pooch
import torch
from numpy.typing import ArrayLike

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://yann.lecun.com/exdb/mnist/",
)

# file: (MD5 of the uncompressed bytes, MD5 of the .gz as published)
MNIST_MD5 = {
    "train-images-idx3-ubyte": ("6bbc9ace898e44ae57da46a324031adb", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    "train-labels-idx1-ubyte": ("a25bea736e30d166cdddb491f175f624", "d53e105ee54ea40749a09fcbcd1e9432"),
    "t10k-images-idx3-ubyte": ("2646ac647ad5339dbf082846283269ea", "9fb629c4189551a2d022fa330f9573f3"),
    "t10k-labels-idx1-ubyte": ("27ae3e4e09519cfbb04c329615203637", "ec29112dd5afa0611ce80d1b7f02629c"),
}
SPLITS = {"train": "train", "test": "t10k"}

_UNSIGNED_BYTE = 0x08
_MAX_DIMS = 4  # (n, channels, height, width)
_CHUNK = 1 << 20


@dataclass(frozen=True, eq=False)
class Images:
    """Images of bytes with a class each.

    images: uint8, (n, height, width) or (n, channels, height, width)
    labels: integers in 0, ..., len(classes) - 1, (n,)
    classes: what label k is called
    name: of the data, for tables and checkpoints

    Raises ValueError where the arrays don't fit together.

    >>> data = Images(np.zeros((3, 28, 28), np.uint8), np.array([1, 0, 1]), ("a", "b"), "blank")
    >>> len(data), data.tensor().shape, data.tensor().min().item()
    (3, torch.Size([3, 1, 28, 28]), -1.0)
    >>> data.subset([1]).labels
    array([0])
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    name: str

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim not in (3, 4):
            raise ValueError(
                f"{self.name}: images are {self.images.dtype} of shape {self.images.shape}; they must be "
                "uint8 of shape (n, height, width) or (n, channels, height, width). Convert them to 0..255."
            )
        if not np.issubdtype(self.labels.dtype, np.integer) or self.labels.ndim != 1:
            raise ValueError(
                f"{self.name}: labels are {self.labels.dtype} of shape {self.labels.shape}; they must be "
                "integers of shape (n,), one class index an image."
            )
        if len(self.images) != len(self.labels):
            raise ValueError(
                f"{self.name}: {len(self.images)} images but {len(self.labels)} labels; each image needs one "
                "label. Take both from the same split."
            )
        outside = (self.labels < 0) | (self.labels >= len(self.classes))
        if outside.any():
            first = int(outside.argmax())
            raise ValueError(
                f"{self.name}: label {self.labels[first]} at index {first} is outside "
                f"0..{len(self.classes) - 1}, the classes {self.classes}. Name that class, or drop it."
            )

    def __len__(self) -> int:
        return len(self.images)

    def tensor(self) -> torch.Tensor:
        """x = u / 127.5 - 1, float32 in [-1, 1], (n, channels, height, width); grey has one channel."""
        x = torch.from_numpy(self.images.astype(np.float32))
        x = x.div_(127.5).sub_(1.0)
        return x if x.ndim == 4 else x[:, None]  # (n, channels, height, width)

    def subset(self, which: int | ArrayLike) -> Images:
        """The first `which` images if that is a number, else those at the indices (or the mask) `which`."""
        if isinstance(which, (int, np.integer)):
            if not 0 <= which <= len(self):
                raise ValueError(
                    f"{self.name}: subset of the first {which} images, but there are {len(self)}; ask for "
                    f"0 to {len(self)}, or pass indices."
                )
            which = np.arange(which)
        index = np.asarray(which)
        if index.size == 0:
            index = index.astype(np.intp)  # np.asarray([]) is float64, which does not index
        return Images(self.images[index], self.labels[index], self.classes, self.name)


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
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(map(repr, SPLITS))}.")
    names = (f"{SPLITS[split]}-images-idx3-ubyte", f"{SPLITS[split]}-labels-idx1-ubyte")
    images, labels = (read_idx(_find(name, folder, download), MNIST_MD5[name][0]) for name in names)
    return Images(images, labels.astype(np.int64), tuple("0123456789"), "mnist")


def read_idx(path: str | os.PathLike, md5: str | None = None) -> np.ndarray:
    """The array of unsigned bytes in an IDX file, raw or gzipped (told by its content, not by its name).

        bytes 0, 1: zero    byte 2: the type, 8 = unsigned byte    byte 3: d
        d sizes, 4 bytes each, big-endian; their product in bytes, row-major; and nothing after.

    md5: of the uncompressed file; where given, another one is refused.
    Returns a read-only uint8 array of the d sizes. Raises ValueError for anything that is not such a file.

    Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database, "File formats".

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "x").write_bytes(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 7, 8, 9]))
    ...     read_idx(Path(folder, "x"))
    array([[7, 8, 9]], dtype=uint8)
    """
    path = Path(path)
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if zipped else raw
        try:
            header, shape = _idx_header(stream, path)
            body = _idx_body(stream, path, shape)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _refusal(path, f"is damaged gzip ({error}); a whole .gz or an uncompressed file") from error
    # hashed in two parts: joining them would copy the images
    digest = hashlib.md5(header, usedforsecurity=False)
    digest.update(body)
    if md5 is not None and digest.hexdigest() != md5:
        raise _refusal(path, f"has MD5 {digest.hexdigest()} uncompressed; {md5}")
    return np.frombuffer(bytes(body), np.uint8).reshape(shape)


def _idx_header(stream: BinaryIO, path: Path) -> tuple[bytes, tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) < 4:
        raise _refusal(path, f"has {len(magic)} bytes before it ends; an IDX file opens with 4")
    if magic[:2] != b"\0\0" or magic[2] != _UNSIGNED_BYTE or not 1 <= magic[3] <= _MAX_DIMS:
        raise _refusal(path, f"opens with bytes {magic.hex()}; 0000 08 0d with d = 1 to {_MAX_DIMS} sizes")
    sizes = stream.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise _refusal(path, f"ends within its header; {magic[3]} sizes of 4 bytes each")
    return magic + sizes, tuple(np.frombuffer(sizes, ">u4").tolist())


def _idx_body(stream: BinaryIO, path: Path, shape: tuple[int, ...]) -> bytearray:
    claimed = math.prod(shape)
    if claimed == 0:
        raise _refusal(path, f"claims the shape {shape}, which is empty; sizes of at least 1")
    # Grows with what is there: neither the header nor a gzip is to be trusted with the memory. Reading on to
    # the end is also what makes gzip compare its checksum.
    body = bytearray()
    while len(body) <= claimed and (chunk := stream.read(_CHUNK)):
        body += chunk
    if len(body) != claimed:
        have = f"{len(body)}" if len(body) < claimed else f"at least {len(body)}"
        raise _refusal(path, f"has {have} bytes after its header; {claimed} for the shape {shape}")
    return body


def _refusal(path: Path, got_and_expected: str) -> ValueError:
    got, _, expected = got_and_expected.partition("; ")
    return ValueError(f"{path} {got}, but expected {expected}. Delete that file and fetch it again.")


def _find(name: str, folder: str | os.PathLike | None, download: bool) -> Path:
    named = folder or os.environ.get("SDEKIT_MNIST")
    place = Path(named) if named else Path(pooch.os_cache("sdekit")) / "mnist"
    for path in (place / name, place / f"{name}.gz"):
        if path.is_file():
            return path
    if download and not named:
        return _fetch(name, place)
    raise FileNotFoundError(
        f"{place} has neither {name} nor {name}.gz. Put MNIST's four IDX files there, or call "
        "mnist(download=True) without a folder and without SDEKIT_MNIST to fetch them."
    )


def _fetch(name: str, place: Path) -> Path:
    failures = []
    for mirror in MIRRORS:
        url, md5 = f"{mirror}{name}.gz", f"md5:{MNIST_MD5[name][1]}"
        try:
            return Path(pooch.retrieve(url, md5, f"{name}.gz", place))
        except (OSError, ValueError) as error:  # no network, an HTTP status; another hash than published
            failures.append(f"  {mirror}: {type(error).__name__}: {error}")
    raise ConnectionError(
        f"{name}.gz came from none of the mirrors:\n" + "\n".join(failures) + "\nFetch MNIST's four IDX "
        "files another way and name their folder: mnist(folder=...) or the environment's SDEKIT_MNIST."
    )
