"""A folder of pictures as `Images`: each subfolder is a class, its name the class's; a folder without any is one class.

Every picture becomes bytes in the same way, whatever file it comes from:

1. It is turned upright as its EXIF orientation says.
2. 16-bit grey v becomes round(v / 257), so that 65535 is 255. Of 16-bit colour Pillow keeps the upper byte.
3. Transparency is composited on white.
4. Palettes, CMYK and the like become RGB, or grey of it by ITU-R 601: 0.299 R + 0.587 G + 0.114 B.
5. With `size`, the largest centred square is cut out and resized to size x size with Pillow's bicubic filter, which is
   stretched over the pixels that it shrinks, as Parmar et al. 2022 recommend for FID.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import psutil
from PIL import Image, ImageOps
from tqdm import tqdm

from diffusion.data.images import Images
from sdekit.noise import whole

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM")  # and none that runs a program, as EPS does
_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")
_LARGEST = 2**14  # pixels along a side


def folder(path: str | os.PathLike, size: int | None = None, channels: int | None = None) -> Images:
    """The pictures of a folder, classes and files in the order of their names; (n, channels, height, width).

    path      files of the kinds png, jpg, webp, bmp, tif, ppm and pgm, in subfolders, which are the classes, or all in
              the folder itself; hidden files and files of other kinds are left out
    size      cut and resize all to size x size pixels; None: all must have one size
    channels  make all grey (1) or coloured (3); None: all must be the one or the other

    Raises ValueError naming the files that can't be read, two files that differ in size or colour, or the classes
    without a picture; FileNotFoundError where there is no folder, MemoryError where n times the bytes of a picture
    are more than is free.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     for name in ("cat", "dog"):
    ...         os.mkdir(f"{place}/{name}")
    ...         Image.new("RGB", (20, 10), "red").save(f"{place}/{name}/1.png")
    ...     data = folder(place, size=8)
    >>> data.shape, data.classes, data.labels, data.images[0, :, 0, 0]
    ((3, 8, 8), ('cat', 'dog'), array([0, 1]), array([255,   0,   0], dtype=uint8))
    """
    place = Path(path).resolve()
    if channels not in (None, 1, 3):
        raise ValueError(f"channels must be 1 (grey), 3 (colour) or None (as the files are), got {channels!r}")
    if size is not None:
        size = whole("size", size, _LARGEST + 1, start=1)
    members = _classes(place)
    files = [file for group in members.values() for file in group]
    labels = np.repeat(np.arange(len(members)), [len(group) for group in members.values()])
    return Images(_read(files, size, channels, place.name), labels, tuple(members), place.name)


def pictures(place: Path) -> list[Path]:
    """What a folder shows of pictures, by name."""
    return [entry for entry in visible(place) if entry.suffix.lower() in SUFFIXES and not entry.is_dir()]


def subfolders(place: Path) -> list[Path]:
    """What a folder shows of folders, by name."""
    return [entry for entry in visible(place) if entry.is_dir()]


def visible(place: Path) -> list[Path]:
    """Without hidden entries, and without what macOS puts into archives."""
    return sorted(entry for entry in place.iterdir() if not entry.name.startswith(".") and entry.name != "__MACOSX")


def _classes(place: Path) -> dict[str, list[Path]]:
    """The files of each class."""
    if not place.is_dir():
        raise FileNotFoundError(f"{place} is no folder; name one whose subfolders are the classes.")
    folders, loose = subfolders(place), pictures(place)
    if folders and loose:
        raise ValueError(f"{place} has pictures ({loose[0].name}) beside folders ({folders[0].name}), so that it is "
                         "not clear which class they are of. Move them into a folder of their own.")
    for inner in folders:
        deeper = subfolders(inner)
        if deeper:
            raise ValueError(f"{inner} holds a folder ({deeper[0].name}) where the pictures of one class should be. "
                             f"Name the folder whose subfolders are the classes, such as {inner}.")
    members = {inner.name: pictures(inner) for inner in folders} or {place.name: loose}
    empty = [name for name, group in members.items() if not group]
    if empty:
        others = sorted({file.suffix for name in empty for file in (place / name if folders else place).iterdir()})
        raise ValueError(f"{place}: no pictures in {', '.join(map(repr, empty))}, which hold{'s' * (len(empty) == 1)} "
                         f"{'files of other kinds (' + ', '.join(others) + ')' if any(others) else 'nothing'}. Add "
                         f"some ({', '.join(SUFFIXES)}), or remove the folder.")
    return members


def _read(files: list[Path], size: int | None, channels: int | None, name: str) -> np.ndarray:
    """The bytes of all files, (n, channels, height, width)."""
    images = np.empty((0, 0, 0, 0), np.uint8)
    with tqdm(files, unit="picture", delay=2.0, leave=False) as bar:
        for k, file in enumerate(bar):
            picture = _bytes(file, size, channels)
            if k == 0:
                images = _room(len(files), picture, name)
                bar.set_description(f"{name}, {images.nbytes / 2**20:,.0f} MiB", refresh=False)
            elif picture.shape != images.shape[1:]:
                raise ValueError(_difference(files[0], images.shape[1:], file, picture.shape))
            images[k] = picture
    return images


def _room(n: int, picture: np.ndarray, name: str) -> np.ndarray:
    need, free = n * picture.nbytes, psutil.virtual_memory().available
    if need > 0.9 * free:
        raise MemoryError(f"{name}: {n:,} pictures x {picture.nbytes:,} bytes would take {need / 2**30:,.1f} GiB and "
                          f"{free / 2**30:,.1f} GiB are free. Give a smaller size=, or take fewer pictures.")
    return np.empty((n, *picture.shape), np.uint8)


def _difference(first: Path, one: tuple[int, ...], second: Path, other: tuple[int, ...]) -> str:
    if one[0] != other[0]:
        say = {1: "grey", 3: "coloured"}
        return (f"{first} is {say[one[0]]} and {second} {say[other[0]]}; they must be alike. Give channels=1 to make "
                "all grey or channels=3 to make all coloured.")
    return (f"{first} has {one[2]} x {one[1]} pixels and {second} {other[2]} x {other[1]}; they must be alike. Give "
            f"size=, such as size={min(*one[1:], *other[1:])}, to cut and resize all to squares.")


def _bytes(file: Path, size: int | None, channels: int | None) -> np.ndarray:
    """One picture, (channels, height, width)."""
    if not file.is_file():
        raise ValueError(f"{file} is a broken link or no regular file. Remove it.")
    try:
        with warnings.catch_warnings():
            # Pillow warns above 89 million pixels and refuses from twice that; here both are a refusal
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=_FORMATS) as image:
                picture = _plain(ImageOps.exif_transpose(image), channels)
        if size is not None:
            picture = _square(picture, size)
    except MemoryError:
        raise
    except Exception as error:  # broken files raise whatever the decoder trips over: OSError, SyntaxError, struct.error
        raise ValueError(f"{file} can't be read as a picture ({type(error).__name__}: {error}). Remove or replace "
                         "it.") from error
    array = np.asarray(picture)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def _plain(image: Image.Image, channels: int | None) -> Image.Image:
    """Of mode L or RGB, without transparency."""
    grey = image.mode in _GREY if channels is None else channels == 1
    if image.mode == "F":
        raise ValueError("its pixels are floats, whose black and white are not known; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    if image.has_transparency_data:
        below = Image.new("RGBA", image.size, "white")
        below.alpha_composite(image.convert("RGBA"))
        image = below
    return image.convert("L" if grey else "RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"its pixels lie in {values.min()}..{values.max()}, beyond 16 bits; save it with 8 or 16")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _square(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
