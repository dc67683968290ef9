"""Data sets in NumPy's .npz files: an array of samples, and with it labels and the names of the classes.

    images or x       (n, ...)     uint8: pictures; floats: pictures in a stated range, or points
    labels or y       (n,)         integers; without them all are of one class
    classes           (K,)         strings; without them 0, ..., max(labels)

Nothing is ever unpickled, and an array is not made before its file is known to hold it.
"""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np
import psutil

from diffusion.data.images import Images
from diffusion.data.labelled import check_finite
from diffusion.data.points import Points

_SAMPLES, _LABELS, _CLASSES = ("images", "x"), ("labels", "y"), ("classes",)
_COLOURS = (1, 2, 3)  # how many channels pictures have


def npz(path: str | os.PathLike, span: tuple[float, float] | None = None) -> Images | Points:
    """The samples of a .npz file: `Images` of bytes, `Points` of floats.

    path    uint8 samples: (n, height, width), (n, channels, height, width) or (n, height, width, channels), with 1 to
            3 channels; float samples: (n, ...)
    span    the numbers (black, white) of float pictures, such as (0, 1): they are mapped to -1 and 1, and a grey (n,
            height, width) gets its channel. None: x is taken as it is, and `images` of floats are refused

    Raises ValueError for a file that is damaged, lacks an array, or holds one of another type, shape or range, naming
    it; TypeError for a span that is not two numbers; MemoryError where it is larger than what is free;
    FileNotFoundError.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     np.savez(f"{place}/two.npz", images=np.zeros((2, 8, 8, 3), np.uint8), labels=[0, 1], classes=["a", "b"])
    ...     data = npz(f"{place}/two.npz")
    >>> data.shape, data.classes, data.name
    ((3, 8, 8), ('a', 'b'), 'two')
    """
    path = Path(path)
    key, samples, labels, classes = _read(path)
    n = len(samples)
    labels, classes = _labels(path, labels, classes, n)
    if samples.dtype == np.uint8:
        if span is not None:
            raise ValueError(f"{path}: {key!r} are bytes, which are pictures in 0..255 already. Leave span out.")
        return Images(_channels_first(path, key, samples), labels, classes, path.stem)
    if samples.dtype.kind != "f" or samples.ndim < 2:
        raise ValueError(f"{path}: {key!r} is {samples.dtype} of shape {samples.shape}; it must be uint8 or floats, of "
                         "shape (n, ...). Convert it before saving.")
    check_finite(f"{path}: {key!r}", samples)
    if span is not None:
        samples = _scaled(path, key, _channels_first(path, key, samples), span)
    elif key == "images":
        raise ValueError(f"{path}: 'images' are {samples.dtype} in {samples.min():g}..{samples.max():g}. Say which "
                         "numbers are black and white, such as span=(0, 1), or save bytes.")
    return Points(samples.astype(np.float32), labels, classes, path.stem)


def _read(path: Path) -> tuple[str, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """The name of the samples, the samples, labels and classes."""
    try:
        with zipfile.ZipFile(path) as packed:
            entries = {info.filename.removesuffix(".npy"): info for info in packed.infolist()}

            def take(names: tuple[str, ...]) -> tuple[str, np.ndarray | None]:
                there = [name for name in names if name in entries]
                if len(there) > 1:
                    raise ValueError(f"{path} holds both {' and '.join(map(repr, there))}. Keep one of them.")
                return (there[0], _array(path, packed, entries[there[0]], there[0])) if there else (names[0], None)

            (key, samples), (_, labels), (_, classes) = take(_SAMPLES), take(_LABELS), take(_CLASSES)
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged or no .npz file ({error}). Save it again with numpy.savez.") from error
    if samples is None or samples.ndim == 0 or len(samples) == 0:
        raise ValueError(f"{path} holds {', '.join(map(repr, entries)) or 'nothing'}; it must hold samples as 'images' "
                         "or 'x', at least one, and may hold 'labels' or 'y', and 'classes'.")
    return key, samples, labels, classes


def _array(path: Path, packed: zipfile.ZipFile, info: zipfile.ZipInfo, key: str) -> np.ndarray:
    free = psutil.virtual_memory().available
    if info.file_size > 0.45 * free:  # an array and the float32 made of it
        raise MemoryError(f"{path}: {key!r} takes {info.file_size / 2**30:,.1f} GiB and {free / 2**30:,.1f} GiB are "
                          "free. Save fewer samples, or bytes in place of floats.")
    try:
        with packed.open(info) as stream:
            header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            shape, _, dtype = header[np.lib.format.read_magic(stream)](stream)
            claimed = math.prod(shape) * dtype.itemsize
            if not dtype.hasobject and claimed != info.file_size - stream.tell():
                raise ValueError(f"its header claims {claimed:,} bytes and {info.file_size - stream.tell():,} follow")
        with packed.open(info) as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)
    except (ValueError, KeyError, OSError, TypeError) as error:
        raise ValueError(f"{path}: {key!r} can't be read as an array ({error}). Save plain numbers or strings with "
                         "numpy.savez; pickled objects are never loaded.") from error


def _labels(path: Path, labels: np.ndarray | None, classes: np.ndarray | None,
            n: int) -> tuple[np.ndarray, tuple[str, ...]]:
    if classes is not None and (classes.dtype.kind != "U" or classes.ndim != 1):
        raise ValueError(f"{path}: 'classes' is {classes.dtype} of shape {classes.shape}; it must be strings of shape "
                         "(classes,).")
    if labels is None:
        if classes is not None and len(classes) != 1:
            raise ValueError(f"{path} names {len(classes)} classes but holds no 'labels'. Save both, or neither.")
        return np.zeros(n, np.int64), (path.stem,) if classes is None else tuple(map(str, classes))
    if labels.dtype.kind not in "iu" or labels.shape != (n,):
        raise ValueError(f"{path}: the labels are {labels.dtype} of shape {labels.shape}; they must be integers of "
                         f"shape ({n},), one for each sample.")
    there = np.unique(labels)
    names = tuple(map(str, there if classes is None else classes))
    if classes is None and not np.array_equal(there, np.arange(len(there))):
        raise ValueError(f"{path}: the labels that occur are {there[:5].tolist()}{' ...' if len(there) > 5 else ''}; "
                         "without 'classes' they must be 0, 1, 2, ..., each of them. Number those that are there.")
    empty = [name for k, name in enumerate(names) if k not in there]
    if empty:
        raise ValueError(f"{path}: no sample of {', '.join(map(repr, empty))}. Add some, or take the class out.")
    return labels.astype(np.int64), names


def _channels_first(path: Path, key: str, samples: np.ndarray) -> np.ndarray:
    """(n, height, width) as (n, 1, height, width), and channels at the end moved to their place."""
    if samples.ndim == 3:
        return samples[:, None]
    if samples.ndim == 4 and samples.shape[1] in _COLOURS:
        return samples
    if samples.ndim == 4 and samples.shape[3] in _COLOURS:
        return samples.transpose(0, 3, 1, 2)
    raise ValueError(f"{path}: {key!r} has the shape {samples.shape}; pictures are (n, height, width), (n, channels, "
                     "height, width) or (n, height, width, channels), with 1 to 3 channels.")


def _scaled(path: Path, key: str, samples: np.ndarray, span: tuple[float, float]) -> np.ndarray:
    try:
        black, white = map(float, span)
    except (TypeError, ValueError):
        raise TypeError(f"span is two numbers (black, white), such as (0, 1), got {span!r}") from None
    if not (math.isfinite(black) and math.isfinite(white) and black != white):
        raise ValueError(f"span must be two different numbers (black, white), got {span!r}")
    low, high = float(samples.min()), float(samples.max())
    if not min(black, white) <= low <= high <= max(black, white):
        raise ValueError(f"{path}: {key!r} lies in {low:g}..{high:g}, outside span={span}. Give the span that the "
                         "pictures have.")
    return (2 * (samples - black) / (white - black) - 1).astype(np.float32)
