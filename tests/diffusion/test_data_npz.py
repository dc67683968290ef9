"""NumPy's .npz files: bytes and floats of every layout, and no pickle, ever."""

import io
import pickle
import zipfile
from types import SimpleNamespace

import hypothesis.extra.numpy as arrays
import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion.data import Images, Points, npz

RANDOM = np.random.default_rng(5)
BYTES = RANDOM.integers(0, 256, (4, 6, 8, 3), np.uint8)
LABELS = np.array([1, 0, 2, 1])


@pytest.fixture
def save(tmp_path):
    def save(**arrays):
        np.savez(tmp_path / "some.npz", **arrays)
        return tmp_path / "some.npz"

    return save


@pytest.mark.parametrize("images, first", [
    (BYTES, BYTES[0].transpose(2, 0, 1)), (BYTES.transpose(0, 3, 1, 2), BYTES[0].transpose(2, 0, 1)),
    (BYTES[..., 0], BYTES[0, None, :, :, 0]), (BYTES[..., :1], BYTES[0, None, :, :, 0]),
])
@pytest.mark.parametrize("key", ["images", "x"])
def test_bytes_are_pictures_with_their_channels_first(save, images, first, key):
    data = npz(save(**{key: images}, labels=LABELS))
    assert isinstance(data, Images) and data.name == "some" and data.classes == ("0", "1", "2")
    np.testing.assert_array_equal(data.images[0], first)
    np.testing.assert_array_equal(data.labels, LABELS)


@given(arrays.arrays(np.float64, arrays.array_shapes(min_dims=2, max_dims=4, max_side=5),
                     elements=st.floats(-1e6, 1e6)))
def test_floats_are_points_of_any_shape(tmp_path_factory, x):
    path = tmp_path_factory.getbasetemp() / "round.npz"
    np.savez_compressed(path, x=x)
    data = npz(path)
    assert isinstance(data, Points) and data.shape == x.shape[1:] and data.classes == ("round",)
    np.testing.assert_array_equal(data.x, x.astype(np.float32), strict=True)


@pytest.mark.parametrize("black, white", [(0, 1), (-1, 1), (0, 255), (1, 0)])
def test_a_span_maps_black_to_minus_one_and_white_to_one(save, black, white):
    x = npz(save(images=black + (white - black) * (BYTES / 255)), span=(black, white))
    exact = BYTES.transpose(0, 3, 1, 2) / 127.5 - 1
    assert x.shape == (3, 6, 8) and np.abs(x.x - exact).max() <= 4 * np.finfo(np.float32).eps


def test_names_of_classes_and_labels_under_their_other_name(save):
    data = npz(save(x=np.zeros((4, 2)), y=LABELS.astype(np.uint8), classes=["a", "b", "größe"]))
    assert data.classes == ("a", "b", "größe") and data.labels.dtype == np.int64


FLOATS = np.zeros((4, 2))
BAD = {
    "no samples": ({"z": FLOATS}, {}, "holds 'z'; it must hold samples as 'images' or 'x'"),
    "none of them": ({"x": FLOATS[:0]}, {}, "at least one"),
    "a number": ({"x": np.float64(3)}, {}, "at least one"),
    "two names": ({"x": FLOATS, "images": BYTES}, {}, "both 'images' and 'x'"),
    "integers": ({"x": np.zeros((4, 2), np.int64)}, {}, r"'x' is int64 of shape \(4, 2\); it must be uint8 or floats"),
    "complex": ({"x": 1j * FLOATS}, {}, "'x' is complex128"),
    "strings": ({"x": np.array(["a", "b"])}, {}, "'x' is <U1"),
    "numbers in a row": ({"x": FLOATS[:, 0]}, {}, r"of shape \(4,\)"),
    "five channels": ({"x": np.zeros((4, 5, 6, 7), np.uint8)}, {}, r"shape \(4, 5, 6, 7\); pictures are"),
    "flat bytes": ({"x": np.zeros((4, 64), np.uint8)}, {}, r"shape \(4, 64\); pictures are"),
    "float images": ({"images": BYTES / 255}, {}, r"'images' are float64 in 0\.\.\.*1\. .* span=\(0, 1\)"),
    "another span": ({"images": BYTES / 1.0}, {"span": (0, 1)}, r"lies in \d\.\.25\d, outside span=\(0, 1\)"),
    "NaN in a span": ({"images": BYTES * np.nan}, {"span": (0, 1)}, r"'images': sample 0 is not finite \(4 of 4"),
    "NaN without a span": ({"images": np.where(np.arange(4)[:, None, None] == 3, np.nan, np.ones((4, 8, 8)))}, {},
                           r"sample 3 is not finite \(1 of 4"),
    "infinite points": ({"x": np.where(np.arange(4)[:, None] >= 2, -np.inf, FLOATS)}, {}, "sample 2 is not finite"),
    "two classes of one name": ({"x": FLOATS, "labels": [0, 1, 0, 1], "classes": ["a", "a"]}, {}, "is called 'a'"),
    "an empty span": ({"images": BYTES / 255}, {"span": (1, 1)}, r"two different numbers .*, got \(1, 1\)"),
    "a span of bytes": ({"images": BYTES}, {"span": (0, 1)}, "Leave span out"),
    "NaN": ({"x": np.array([[0, np.nan]])}, {}, "'x': sample 0 is not finite"),
    "labels as floats": ({"x": FLOATS, "labels": LABELS / 1.0}, {}, r"the labels are float64 of shape \(4,\)"),
    "labels as words": ({"x": FLOATS, "labels": ["a"] * 4}, {}, r"the labels are <U1"),
    "too few labels": ({"x": FLOATS, "y": LABELS[:3]}, {}, r"integers of shape \(4,\), one for each sample"),
    "one-hot labels": ({"x": FLOATS, "y": np.eye(4, dtype=int)}, {}, r"int64 of shape \(4, 4\)"),
    "labels from 1": ({"x": FLOATS, "y": LABELS + 1}, {}, r"that occur are \[1, 2, 3\]; without 'classes'"),
    "a gap": ({"x": FLOATS, "y": [0, 2, 2, 10**12]}, {}, r"that occur are \[0, 2, 1000000000000\]"),
    "below 0": ({"x": FLOATS, "y": LABELS - 1, "classes": ["a", "b", "c"]}, {}, "no sample of 'c'"),
    "beyond the classes": ({"x": FLOATS, "y": [0, 1, 2, 3], "classes": ["a", "b", "c"]}, {},
                           r"label 3 at index 3 is outside 0\.\.2"),
    "an empty class": ({"x": FLOATS, "y": [0, 2, 2, 0], "classes": ["a", "b", "c"]}, {}, "no sample of 'b'"),
    "classes without labels": ({"x": FLOATS, "classes": ["a", "b"]}, {}, "names 2 classes but holds no 'labels'"),
    "classes as numbers": ({"x": FLOATS, "y": LABELS, "classes": [1, 2, 3]}, {}, "'classes' is int64"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_named(save, case):
    arrays, options, message = BAD[case]
    with pytest.raises(ValueError, match=message) as error:
        npz(save(**arrays), **options)
    assert "some" in str(error.value) or "span must" in str(error.value)


class Trap:
    """What a pickle would run."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize("key", ["x", "labels", "classes"])
def test_objects_are_never_unpickled(save, key):
    arrays = {"x": FLOATS, "labels": LABELS, "classes": np.array(["a", "b", "c"])}
    arrays[key] = np.array([Trap()] * 4, dtype=object)
    with pytest.raises(ValueError, match=f"some.npz: '{key}' can't be read as an array .* never loaded"):
        npz(save(**arrays))


def test_a_bare_pickle_is_no_npz(tmp_path):
    (tmp_path / "some.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match=r"some.npz is damaged or no .npz file"):
        npz(tmp_path / "some.npz")


@pytest.mark.parametrize("cut", [0, 10, 0.5, -10])
def test_a_cut_file_is_named(save, cut):
    path = save(x=np.random.default_rng(0).normal(size=(50, 8)))
    whole = path.read_bytes()
    path.write_bytes(whole[:int(cut * len(whole)) if isinstance(cut, float) else cut])
    with pytest.raises(ValueError, match=r"some.npz is damaged or no .npz file"):
        npz(path)


def test_a_changed_file_is_named(save):
    path = save(x=np.zeros((500, 8)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"some.npz.*CRC"):
        npz(path)


def claims(tmp_path, shape, body, version=(1, 0)):
    """A .npz whose array's header claims a shape."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    content = bytearray(stream.getvalue() + body)
    content[6:8] = bytes(version)
    with zipfile.ZipFile(tmp_path / "some.npz", "w") as packed:
        packed.writestr("x.npy", bytes(content))
    return tmp_path / "some.npz"


@pytest.mark.parametrize("shape, version", [((2**40, 8), (1, 0)), ((3, 2), (1, 0)), ((1, 1), (1, 0)), ((2, 2), (9, 9))])
def test_a_header_is_not_trusted(tmp_path, shape, version):
    with pytest.raises(ValueError, match=r"some.npz: 'x' can't be read as an array"):
        npz(claims(tmp_path, shape, bytes(32), version))


def test_a_true_header_is(tmp_path):
    assert npz(claims(tmp_path, (2, 2), bytes(32))).shape == (2,)


def test_what_does_not_fit_the_memory_is_refused(save, monkeypatch):
    path = save(x=np.zeros((1000, 8)))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=100_000))
    with pytest.raises(MemoryError, match=r"some.npz: 'x' takes"):
        npz(path)


@pytest.mark.parametrize("span", [5, (0,), (0, 1, 2), "ab", (None, 1)])
def test_a_span_is_two_numbers(save, span):
    with pytest.raises(TypeError, match=r"span is two numbers \(black, white\), such as \(0, 1\), got"):
        npz(save(images=BYTES / 255), span=span)
