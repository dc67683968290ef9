"""Folders of pictures: the bytes that come of every kind of file, and a name in the message for every bad one."""

import os
import struct
import warnings
import zlib
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from PIL import Image

from diffusion.data import folder

RANDOM = np.random.default_rng(3)
COLOUR = RANDOM.integers(0, 256, (6, 8, 3), np.uint8)
GREY = RANDOM.integers(0, 256, (6, 8), np.uint8)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(path, **options)
    return path


def only(tmp_path, **options):
    """The one picture of a folder, (channels, height, width)."""
    data = folder(tmp_path, **options)
    assert len(data) == 1
    return data.images[0]


# --- which files, in which order


def test_subfolders_are_the_classes_in_the_order_of_their_names(tmp_path):
    for k, name in enumerate(["b/2.png", "b/10.png", "a/z.PNG", "größe/日本.png", "b/1.bmp"]):
        save(tmp_path / name, np.full((4, 5), k, np.uint8))
    for hidden in (".hidden/x.png", "b/.x.png", "__MACOSX/x.png"):
        save(tmp_path / hidden, GREY)
    (tmp_path / "README.txt").write_text("no picture")
    (tmp_path / "a" / "notes.csv").write_text("no picture")
    data = folder(tmp_path)
    assert data.classes == ("a", "b", "größe") and data.labels.tolist() == [0, 1, 1, 1, 2]
    assert data.images[:, 0, 0, 0].tolist() == [2, 4, 1, 0, 3] and data.shape == (1, 4, 5)
    assert data.name == tmp_path.name


def test_a_flat_folder_is_one_class(tmp_path):
    save(tmp_path / "1.png", GREY)
    data = folder(tmp_path)
    assert data.classes == (tmp_path.name,) and data.labels.tolist() == [0]
    np.testing.assert_array_equal(data.images[0, 0], GREY)


@pytest.mark.parametrize("names, message", [
    (["a/1.png", "b/"], r"no pictures in 'b', which holds nothing\. Add"),
    (["a/1.png", "b/1.heic", "c/", "d/.1.png"], r"in 'b', 'c', 'd', which hold files of other kinds \(.*\.heic"),
    ([], "no pictures in .*nothing"),
    (["1.png", "a/1.png"], r"has pictures \(1.png\) beside folders \(a\)"),
    (["a/b/1.png"], r"a holds a folder \(b\) where the pictures of one class should be"),
])
def test_a_layout_that_leaves_a_doubt_is_refused(tmp_path, names, message):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            (tmp_path / name).mkdir()
        else:
            (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=message):
        folder(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere is no folder"):
        folder(tmp_path / "elsewhere")


# --- what a file becomes


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "webp"])
def test_lossless_colour_comes_back(tmp_path, suffix):
    save(tmp_path / f"1.{suffix}", COLOUR, **({"lossless": True} if suffix == "webp" else {}))
    np.testing.assert_array_equal(only(tmp_path), COLOUR.transpose(2, 0, 1))


def test_grey_and_colour_by_request(tmp_path):
    save(tmp_path / "colour" / "1.png", COLOUR)
    save(tmp_path / "grey" / "1.png", GREY)
    grey, colour = folder(tmp_path, channels=1), folder(tmp_path, channels=3)
    luma = COLOUR @ np.array([0.299, 0.587, 0.114])  # ITU-R 601, rounded
    assert np.abs(grey.images[0, 0] - luma).max() <= 0.5 + 1e-2
    np.testing.assert_array_equal(grey.images[1, 0], GREY)
    np.testing.assert_array_equal(colour.images[1], np.stack([GREY] * 3))


@pytest.mark.parametrize("alpha", [0, 1, 100, 255])
def test_transparency_is_composited_on_white(tmp_path, alpha):
    save(tmp_path / "rgba" / "1.png", np.dstack([COLOUR, np.full((6, 8), alpha, np.uint8)]))
    exact = (alpha * COLOUR.astype(float) + (255 - alpha) * 255) / 255
    assert np.abs(only(tmp_path).transpose(1, 2, 0) - exact).max() <= 1  # Pillow's rounding


def test_other_ways_to_be_transparent(tmp_path):
    palette = Image.fromarray(np.uint8([[0, 1], [1, 0]]), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    save(tmp_path / "p" / "1.png", palette, transparency=1)
    save(tmp_path / "key" / "1.png", np.uint8([[7, 9], [9, 7]]), transparency=9)  # grey 9 is clear
    data = folder(tmp_path, channels=3)
    np.testing.assert_array_equal(data.images[0, :, 0], [[7, 255]] * 3)
    np.testing.assert_array_equal(data.images[1, :, 0].T, [[10, 20, 30], [255, 255, 255]])


def test_black_and_white_is_grey(tmp_path):
    save(tmp_path / "1.png", Image.fromarray(GREY > 100))
    np.testing.assert_array_equal(only(tmp_path)[0], 255 * (GREY > 100))


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_become_eight(tmp_path, suffix):
    levels = np.uint16([[0, 128, 129, 257], [25700, 65406, 65407, 65535]])
    save(tmp_path / f"1.{suffix}", levels)
    np.testing.assert_array_equal(only(tmp_path)[0], np.rint(levels / 257))
    np.testing.assert_array_equal(only(tmp_path, channels=3)[2], np.rint(levels / 257))


def test_pictures_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side
    save(tmp_path / "1.png", GREY, exif=exif)
    np.testing.assert_array_equal(only(tmp_path)[0], np.rot90(GREY, -1))


def test_cmyk_becomes_rgb(tmp_path):
    ink = np.zeros((8, 16, 4), np.uint8)
    ink[:, 8:, 3] = 255  # the right half: all of the black ink
    save(tmp_path / "1.jpg", Image.fromarray(ink, "CMYK"), quality=100)
    picture = only(tmp_path)
    assert picture.shape == (3, 8, 16) and picture[:, :, :8].min() > 250 and picture[:, :, 8:].max() < 5


def test_sizes_are_cut_in_the_middle_and_resized(tmp_path):
    wide, tall = RANDOM.integers(0, 256, (6, 11), np.uint8), RANDOM.integers(0, 256, (11, 6), np.uint8)
    save(tmp_path / "tall.png", tall)
    save(tmp_path / "wide.png", wide)
    exact = folder(tmp_path, size=6).images[:, 0]  # nothing to resize: the pixels themselves
    np.testing.assert_array_equal(exact, [tall[2:8], wide[:, 2:8]])
    small = folder(tmp_path, size=3).images[1, 0]
    assert small.shape == (3, 3) and not np.array_equal(small, wide[::2, 2:8:2])  # averaged, not picked


@pytest.mark.parametrize("size", [5, 16, 40])
def test_a_plain_picture_stays_plain_at_every_size(tmp_path, size):
    save(tmp_path / "1.png", np.full((17, 23, 3), (200, 3, 77), np.uint8))
    np.testing.assert_array_equal(only(tmp_path, size=size), np.broadcast_to([[[200]], [[3]], [[77]]], (3, size, size)))


def test_shrinking_keeps_the_mean(tmp_path):
    """The filter is stretched with the shrinking, so that no stripe slips between its taps."""
    save(tmp_path / "1.png", np.uint8(255 * (np.arange(128)[None] % 2) * np.ones((128, 1))))
    assert np.abs(only(tmp_path, size=16)[0, 2:-2, 2:-2].astype(float) - 127.5).max() <= 2


# --- pictures that differ


def test_two_files_of_other_sizes_are_named(tmp_path):
    save(tmp_path / "a" / "1.png", GREY)
    save(tmp_path / "b" / "2.png", GREY[:, :5])
    with pytest.raises(ValueError, match=r"a.1\.png has 8 x 6 pixels and .*b.2\.png 5 x 6; .* size=5"):
        folder(tmp_path)


def test_two_files_of_other_colour_are_named(tmp_path):
    save(tmp_path / "a" / "1.png", GREY)
    save(tmp_path / "b" / "2.png", COLOUR)
    with pytest.raises(ValueError, match=r"a.1\.png is grey and .*b.2\.png coloured; .* channels=1 .* channels=3"):
        folder(tmp_path)


@pytest.mark.parametrize("options, error, message", [
    ({"channels": 2}, ValueError, r"channels must be 1 \(grey\), 3 \(colour\) or None .* got 2"),
    ({"size": 0}, ValueError, "size must be at least 1"),
    ({"size": 3.5}, TypeError, "size must be a whole number, got 3.5"),
])
def test_options_that_make_no_sense(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        folder(tmp_path, **options)


def test_what_does_not_fit_the_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    for k in range(3):
        save(tmp_path / f"{k}.png", COLOUR)
    (tmp_path / "9.png").write_bytes(b"never reached")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=4 * COLOUR.size))
    with pytest.raises(MemoryError, match=f"4 pictures x {COLOUR.size} bytes"):
        folder(tmp_path)


# --- files that are no pictures


def png_of(width, height):
    """A PNG that claims a size and holds hardly a byte of it."""
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1:]


def encoded(tmp_path, suffix):
    path = save(tmp_path.parent / f"encoded.{suffix}", np.kron(COLOUR, np.ones((8, 8, 1), np.uint8)))
    return path.read_bytes()


BAD = {
    "empty": ("png", lambda good: b""),
    "text": ("png", lambda good: b"this is not a picture\n"),
    "a page": ("jpg", lambda good: b"<!DOCTYPE html><html><body>404 Not Found</body></html>"),
    "half a png": ("png", lambda good: good[:len(good) // 2]),
    "half a jpg": ("jpg", lambda good: good[:len(good) // 2]),
    "half a bmp": ("bmp", lambda good: good[:len(good) // 2]),
    "half a tif": ("tif", lambda good: good[:len(good) // 2]),
    "half a webp": ("webp", lambda good: good[:len(good) // 2]),
    "a changed png": ("png", lambda good: flipped(good, len(good) // 2)),
    "a changed header": ("png", lambda good: flipped(good, 18)),
    "PostScript": ("png", lambda good: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
    "large": ("png", lambda good: png_of(10_000, 9_000)),
    "huge": ("png", lambda good: png_of(2**31 - 1, 2**31 - 1)),
    "no pixels": ("png", lambda good: png_of(0, 0)),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_named(tmp_path, case):
    suffix, spoil = BAD[case]
    save(tmp_path / "good" / f"1.{suffix}", COLOUR)
    (tmp_path / "spoilt").mkdir()
    (tmp_path / "spoilt" / f"2.{suffix}").write_bytes(spoil(encoded(tmp_path, suffix)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Pillow's, about the file
        with pytest.raises(ValueError, match=rf"spoilt.2\.{suffix} can't be read as a picture .* Remove or replace it"):
            folder(tmp_path, size=8, channels=3)


def test_pixels_without_a_known_range_are_refused(tmp_path):
    save(tmp_path / "1.tif", np.float32([[0.0, 1.0]]))
    with pytest.raises(ValueError, match=r"1\.tif can't be read .*its pixels are floats"):
        folder(tmp_path)
    save(tmp_path / "1.tif", np.int32([[0, 65536]]))
    with pytest.raises(ValueError, match=r"1\.tif can't be read .*lie in 0\.\.65536, beyond 16 bits"):
        folder(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="links and pipes of Unix")
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("nowhere")], ids=["pipe", "broken link"])
def test_what_is_no_file_is_named_and_never_opened(tmp_path, make):
    make(tmp_path / "1.png")
    with pytest.raises(ValueError, match=r"1\.png is a broken link or no regular file"):
        folder(tmp_path)


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    save(tmp_path / "1.png", GREY)

    def refuse(path, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(ValueError, match=r"1\.png can't be read as a picture \(PermissionError"):
        folder(tmp_path)
