"""Points of the plane are drawn where they are, in their class's colour and under its name."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import diffusion as df

X = torch.tensor([[0.0, 3.0], [1.0, -2.0], [4.0, 0.5], [-1.0, 7.0]])


def drawn(ax):
    return {c.get_label(): np.asarray(c.get_offsets()).tolist() for c in ax.collections}


def colour(collection):
    return tuple(np.asarray(collection.get_facecolor())[0])


def named(ax):
    """In the legend."""
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_each_class_has_its_points_its_colour_and_its_name():
    ax = df.plot.points(X, torch.tensor([1, 0, 1, 1]), classes=("upper", "lower"))
    assert drawn(ax) == {"upper": [X[1].tolist()], "lower": X[[0, 2, 3]].tolist()}
    assert len({colour(c) for c in ax.collections}) == 2 and named(ax) == ["upper", "lower"]
    assert ax.get_aspect() == 1


def test_a_class_has_its_colour_also_where_others_are_missing():
    both, one = df.plot.points(X, [0, 1, 0, 1], classes=("u", "l")), df.plot.points(X, 1, classes=("u", "l"))
    lower = next(c for c in both.collections if c.get_label() == "l")
    assert colour(lower) == colour(one.collections[0])
    assert drawn(one) == {"l": X.tolist()}


def test_without_labels_there_is_no_legend():
    ax = df.plot.points(X.numpy())
    assert ax.get_legend() is None and list(drawn(ax).values()) == [X.tolist()]
    assert named(df.plot.points(X, [2, 2, 0, 2])) == ["class 0", "class 2"]


def test_the_legend_s_dots_are_of_one_size_however_many_points_there_are():
    legends = [df.plot.points(X.repeat(n, 1), 0).get_legend() for n in (2, 300, 5000)]
    np.testing.assert_allclose([legend.legend_handles[0].get_sizes()[0] for legend in legends], 40)


@pytest.mark.parametrize("shape", [(4.0, 1.5), (1.0, 1.0), (1.5, 4.0)])
@pytest.mark.parametrize("label", [None, 0])
def test_the_canvas_has_the_shape_of_the_data(shape, label):
    """The axes, in the data's shape, leave of the canvas only the 1.5 inches of numbers, names and legend."""
    ax = df.plot.points(torch.tensor(shape) * torch.eye(2), label)
    ax.figure.draw_without_rendering()
    ax.apply_aspect()
    assert (ax.figure.get_size_inches() - ax.get_window_extent().size / ax.figure.dpi < 1.5).all()


def test_it_draws_into_given_axes():
    _, (left, right) = plt.subplots(1, 2)
    assert df.plot.points(X, ax=right) is right and not left.collections


@pytest.mark.parametrize("x, label, message", [
    (torch.zeros(3, 5), None, r"points of the plane are \(n, 2\), got \(3, 5\)"), (torch.zeros(0, 2), None, "got"),
    (torch.zeros(2), None, "got"), (X, [0, 1], "one for each of the 4 points; got 2")])
def test_what_is_no_set_of_points_is_refused(x, label, message):
    with pytest.raises(ValueError, match=message):
        df.plot.points(x, label)
