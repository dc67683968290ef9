"""Mosaics: every picture in its place, its pixels as they are, one white pixel around each. Strips and snapshots are
mosaics of what a run went through; a training's two panels hold the numbers of its lines."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import diffusion as df
from diffusion.exact import Gaussian
from diffusion.snapshots import Snapshot


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


@pytest.mark.parametrize("n, columns", [(1, 1), (3, 3), (4, 2), (5, 3), (7, 3), (8, 4), (9, 3), (10, 5), (12, 4),
                                        (20, 5), (26, 6), (64, 8)])
def test_without_a_number_of_columns_it_is_about_square_and_full_where_it_can_be(n, columns):
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


@pytest.mark.parametrize("wrong, name", [("a", "str"), (None, "NoneType"), (["a"], "list"),
                                         (np.array(["a"]), "ndarray")])
def test_what_is_no_array_is_refused(wrong, name):
    with pytest.raises(TypeError, match=rf"pictures must be a tensor or an array \(n, .*, got {name}"):
        df.plot.grid(wrong)


def test_pictures_that_are_all_nan_are_refused_and_others_drawn_beside_them():
    x = pictures(3)
    x[1] = torch.nan
    assert np.isfinite(shown(df.plot.grid(x, 3))[:, :6]).all()
    with pytest.raises(ValueError, match="every number of these 3 pictures is NaN"):
        df.plot.grid(torch.full_like(x, torch.nan))


def test_no_picture_is_refused():
    with pytest.raises(ValueError):
        df.plot.grid(torch.zeros(0, 1, 3, 4))


def test_it_can_be_written_to_a_file(tmp_path):
    df.plot.grid(pictures(4), titles=["a", "b"], rows=["c", "d"]).figure.savefig(tmp_path / "x.png")
    assert plt.imread(tmp_path / "x.png").std() > 0


def cells(ax, side):
    """(down, columns, side, side) of a mosaic of square grey pictures, in [-1, 1]."""
    mosaic = 2 * shown(ax) - 1
    down, columns = (length // (side + 2) for length in mosaic.shape)
    return mosaic.reshape(down, side + 2, columns, side + 2).transpose(0, 2, 1, 3)[:, :, 1:-1, 1:-1]


HOW = {"shape": (1, 4, 4), "steps": 7, "seed": 3, "method": df.ancestral}


@pytest.mark.parametrize("process", [df.EDM(), df.VP(), df.RectifiedFlow()])
@pytest.mark.parametrize("sample", [0, 2])
def test_a_strip_shows_state_noise_estimate_and_the_next_state(process, sample):
    """At n: x_n / r_n, eps_n / 2, D(x_n), x_(n+1) / r_(n+1), cut to [-1, 1]; after the last the estimate itself."""
    model = Gaussian(0.2, 0.5)
    found = list(df.steps(model, 3, process=process, **HOW))
    ax = df.plot.strip(found, at=[0, 4, -1], sample=sample)
    mosaic = cells(ax, 4)
    for column, n in enumerate((0, 4, 7)):
        at, r = found[n], lambda m: (m.level.alpha**2 + m.level.sigma**2) ** 0.5
        after = found[n + 1].x / r(found[n + 1]) if n < 7 else at.x0
        for row, x in enumerate((at.x / r(at), at.eps / 2, at.x0, after)):
            np.testing.assert_allclose(mosaic[row, column], x[sample, 0].clamp(-1, 1), atol=1e-6)
    assert [label.get_text().split("\n")[0] for label in ax.get_xticklabels()] == [
        "step 1 of 8", "step 5 of 8", "step 8 of 8"]


def test_a_strip_is_the_same_of_moments_and_of_kept_samples_by_default_first_middle_and_last():
    model = Gaussian(0.2, 0.5)
    kept = df.sample(model, 2, keep=True, dtype=torch.float64, **HOW)
    one, other = df.plot.strip(kept), df.plot.strip(df.steps(model, 2, **HOW), at=(0, 3, 7))
    np.testing.assert_allclose(shown(one), shown(other))
    np.testing.assert_allclose(cells(one, 4)[3, 2], kept.samples[0, 0].clamp(-1, 1))
    assert one.get_xticklabels()[1].get_text() == other.get_xticklabels()[1].get_text()


@pytest.mark.parametrize("at", [[], [8], [-9], [0, 99]])
def test_a_strip_of_steps_that_are_not_there_is_refused(at):
    with pytest.raises(ValueError, match="at names steps from 0 to 7"):
        df.plot.strip(df.steps(Gaussian(0.0, 1.0), 1, **HOW), at=at)


def test_samples_without_a_trajectory_make_no_strip():
    with pytest.raises(ValueError, match="keep=True"):
        df.plot.strip(df.sample(Gaussian(0.0, 1.0), 1, **HOW))
    with pytest.raises(ValueError, match="no moment"):
        df.plot.strip([])


def test_snapshots_are_a_row_a_moment():
    shots = [Snapshot(100, 1.0, pictures(3, 1, 4, 4)), Snapshot(2000, 9.0, -pictures(3, 1, 4, 4))]
    ax = df.plot.snapshots(shots)
    np.testing.assert_allclose(cells(ax, 4).reshape(6, 1, 4, 4), torch.cat([shot.samples for shot in shots]), atol=1e-6)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["100 steps", "2,000 steps"]
    with pytest.raises(ValueError, match="no snapshot"):
        df.plot.snapshots(df.Snapshots(3))


def lines(n, levels=True):
    """Of a training's metrics.jsonl, the error at each level a multiple of the step."""
    found = []
    for k in range(1, n + 1):
        step = 20 * k
        line = {"step": step, "loss": 1 / k}
        found.append(line | {"levels": [[0.1, 2 / step, 0.3], [3.0, 4 / step, 0.5]]} if levels else line)
    return found


def test_a_training_shows_its_losses_and_its_errors_beside_the_gaussians(tmp_path):
    told = lines(60)
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told))
    for run in (tmp_path, str(tmp_path), tmp_path / "metrics.jsonl", told):
        left, right = df.plot.training(run)
        raw, mean = (line.get_xydata() for line in left.lines)
        np.testing.assert_allclose(raw, [[line["step"], line["loss"]] for line in told])
        np.testing.assert_allclose(mean, [[told[k]["step"], (told[k - 1]["loss"] + told[k]["loss"]) / 2]
                                          for k in range(1, 60)])
        curves = {line.get_label(): line.get_xydata() for line in right.lines}
        for step in (120, 400, 1200):
            np.testing.assert_allclose(curves[f"after {step:,} steps"], [[0.1, 2 / step], [3.0, 4 / step]])
        np.testing.assert_allclose(curves["Gaussian, closed form"], [[0.1, 0.3], [3.0, 0.5]])
        assert len(curves) == 4
        plt.close("all")


def test_a_training_of_one_line_or_without_levels_is_shown_too():
    left, right = df.plot.training(lines(1))
    assert len(left.lines) == 2 and len(right.lines) == 2
    left, right = df.plot.training(lines(9, levels=False))
    assert not right.lines and not right.axison and right.texts[0].get_text() == "this loss has\nno noise levels"
    left.figure.draw_without_rendering()
    assert left.get_position().width > 3 * right.get_position().width


@pytest.mark.parametrize("n, curves", [(1, 1), (2, 2), (3, 2), (60, 3)])
def test_the_last_errors_of_a_training_have_the_colour_of_its_loss(n, curves):
    left, right = df.plot.training(lines(n))
    colours = [line.get_color() for line in right.lines if line.get_label().startswith("after")]
    assert colours[-1] == left.lines[1].get_color() == "C0" and len(set(colours)) == len(colours) == curves


@pytest.mark.parametrize("loss, scale", [([1.0, 0.5, 0.2], "linear"), ([1.0, 0.5, 0.05], "log"),
                                         ([9.0, 1.0, 0.0], "linear"), ([-1.0, 1.0, 90.0], "linear")])
def test_losses_are_on_a_logarithmic_axis_where_they_span_a_decade(loss, scale):
    left, _ = df.plot.training([{"step": 15 * k, "loss": value} for k, value in enumerate(loss, 1)])
    assert left.get_yscale() == scale
    assert all(tick == round(tick) for tick in left.get_xticks())


def test_a_folder_without_lines_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no line of a training"):
        df.plot.training(tmp_path)
    with pytest.raises(ValueError, match="no line of a training"):
        df.plot.training([])


def test_a_training_is_drawn_as_its_journal_tells_it(tiny, tmp_path):
    options = df.Options(batch=16, warm_up=3)
    network = df.MLPConfig((1, 8, 8), classes=3, width=8, blocks=1)
    *_, last = df.train(tiny, steps=40, network=network, options=options, out=tmp_path)
    left, right = df.plot.training(tmp_path)
    assert left.lines[0].get_xdata().tolist() == [20, 40]
    np.testing.assert_allclose(right.lines[-1].get_ydata(), [row.gaussian for row in last.levels.rows()], rtol=1e-3)
    np.testing.assert_allclose(right.lines[-2].get_ydata(), [row.error for row in last.levels.rows()], rtol=1e-3)
