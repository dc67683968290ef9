"""Mosaics: every picture in its place, its pixels as they are, one white pixel around each."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import diffusion as df


def shown(ax):
    return np.asarray(ax.images[0].get_array())


def pictures(n, channels=1, height=3, width=4):
    return torch.linspace(-1, 1, n * channels * height * width).reshape(n, channels, height, width)


@pytest.mark.parametrize("n, columns, down", [(1, 1, 1), (6, 3, 2), (7, 3, 3), (5, 8, 1), (4, 4, 1), (3, 1, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_picture_is_in_its_place(n, columns, down, channels):
    x = pictures(n, channels)
    mosaic = shown(df.plot.grid(x, columns))
    assert mosaic.shape[:2] == (down * 5, columns * 6)
    mosaic = mosaic.reshape(down * 5, columns * 6, channels)
    for k in range(down * columns):
        row, column = divmod(k, columns)
        cell = mosaic[5 * row:5 * row + 5, 6 * column:6 * column + 6]
        if k < n:
            np.testing.assert_allclose(cell[1:-1, 1:-1], (x[k].permute(1, 2, 0) + 1) / 2, rtol=1e-6)
            cell = np.concatenate([cell[0], cell[-1], cell[:, 0], cell[:, -1]])
        assert (cell == 1).all()


@pytest.mark.parametrize("n, columns", [(1, 1), (4, 2), (5, 3), (9, 3), (12, 4), (64, 8)])
def test_without_a_number_of_columns_it_is_about_square(n, columns):
    assert shown(df.plot.grid(pictures(n))).shape == (-(-n // columns) * 5, columns * 6)


def test_minus_1_is_black_and_1_is_white_and_what_is_beyond_is_cut():
    x = torch.tensor([-7.0, -1.0, 0.0, 1.0, 9.0]).reshape(1, 1, 1, 5)
    ax = df.plot.grid(x)
    assert shown(ax)[1, 1:-1].tolist() == [0, 0, 0.5, 1, 1]
    assert ax.images[0].get_clim() == (0, 1) and ax.images[0].get_cmap().name == "gray"
    assert ax.images[0].get_interpolation() == "nearest"


def test_rows_and_columns_have_their_names_beside_the_middle():
    ax = df.plot.grid(pictures(6), 3, rows=["a", "b"], titles=["x", "y", "z"])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["x", "y", "z"]
    assert ax.get_yticks().tolist() == [2.5, 7.5] and ax.get_xticks().tolist() == [3, 9, 15]


@pytest.mark.parametrize("names, message", [
    ({"rows": ["a"]}, r"rows must name each of the 2 rows of this mosaic, got 1: \['a'\]"),
    ({"titles": ["a", "b"]}, "titles must name each of the 3 columns"), ({"titles": list("abcd")}, "got 4")])
def test_too_few_or_too_many_names_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        df.plot.grid(pictures(6), 3, **names)


@pytest.mark.parametrize("columns", [0, -1])
def test_columns_are_one_or_more(columns):
    with pytest.raises(ValueError, match="columns must be at least 1"):
        df.plot.grid(pictures(6), columns)


def test_arrays_are_pictures_too():
    np.testing.assert_array_equal(shown(df.plot.grid(pictures(6).numpy())), shown(df.plot.grid(pictures(6))))


def test_without_names_there_are_no_ticks():
    ax = df.plot.grid(pictures(6), 3)
    assert len(ax.get_xticks()) == len(ax.get_yticks()) == 0


def test_it_draws_into_given_axes_and_returns_them():
    _, (left, right) = plt.subplots(1, 2)
    assert df.plot.grid(pictures(2), ax=right) is right and not left.images
    count = len(plt.get_fignums())
    df.plot.grid(pictures(2), ax=left)
    assert len(plt.get_fignums()) == count


def test_samples_are_left_as_they_are():
    x = 3 * torch.ones(2, 1, 3, 3, requires_grad=True)
    df.plot.grid(x)
    assert (x == 3).all()


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (2, 2, 3, 4), (2, 4, 3, 4), (1, 2, 1, 3, 4)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"pictures must be \(n, 1 or 3 channels, height, width\), got"):
        df.plot.grid(torch.zeros(shape))


def test_no_picture_is_refused():
    with pytest.raises(ValueError):
        df.plot.grid(torch.zeros(0, 1, 3, 4))


def test_it_can_be_written_to_a_file(tmp_path):
    df.plot.grid(pictures(4), titles=["a", "b"], rows=["c", "d"]).figure.savefig(tmp_path / "x.png")
    assert plt.imread(tmp_path / "x.png").std() > 0
