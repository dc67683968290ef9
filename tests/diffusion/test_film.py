"""A film's frames are a run's moments: states over sqrt(alpha^2 + sigma^2) above estimates of x_0, to a grey level,
each half under a bar with its name."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import diffusion as df
from diffusion.exact import Gaussian
from diffusion.film import BAR

HOW = {"steps": 6, "seed": 2, "method": df.ddim()}
LEVEL = 1.01 / 127.5  # one grey level in [-1, 1], and rounding


def frames(path):
    """(frames, height, width, 3) in [-1, 1], and how long each stands."""
    found, times = [], []
    with Image.open(path) as film:
        for n in range(film.n_frames):
            film.seek(n)
            found.append(np.asarray(film.convert("RGB"), float) / 127.5 - 1)
            times.append(film.info["duration"])
    return np.stack(found), times


def halves(made, height, width):
    """States and estimates, (2, frames, height, width, 3), without what is written above them."""
    assert made.shape[1] == 2 * (BAR + height)
    return np.stack([made[:, top:top + height, :width] for top in (BAR, 2 * BAR + height)])


@pytest.mark.parametrize("process", [df.EDM(), df.VP()])
def test_each_frame_shows_a_moment(process, tmp_path):
    model = Gaussian(0.1, 0.4)
    found = list(df.steps(model, 3, shape=(1, 5, 4), process=process, **HOW))
    made, times = frames(df.film(found, tmp_path / "a.gif", size=3, seconds=2.1))
    assert len(made) == 7 and (made == made[..., :1]).all()
    assert times == [300] * 6 + [1800]
    for frame, moment in zip(halves(made, 3 * 7, 3 * 18).swapaxes(0, 1), found):
        small = frame[:, 1::3, 1::3, 0].reshape(2, 7, 3, 6).transpose(0, 2, 1, 3)[:, :, 1:-1, 1:-1]
        r = (moment.level.alpha**2 + moment.level.sigma**2) ** 0.5
        for shown, x in zip(small, (moment.x / r, moment.x0)):
            np.testing.assert_allclose(shown, x[:, 0].clamp(-1, 1), atol=LEVEL)


def test_kept_samples_make_the_same_film(tmp_path):
    model = Gaussian(0.1, 0.4)
    kept = df.sample(model, 3, shape=(1, 5, 4), keep=True, dtype=torch.float64, **HOW)
    one, other = (frames(df.film(run, tmp_path / "a.gif"))[0]
                  for run in (kept, df.steps(model, 3, shape=(1, 5, 4), **HOW)))
    np.testing.assert_array_equal(one, other)


def test_a_film_in_colours_and_in_rows_has_a_place_for_each(tmp_path):
    """A GIF's palette holds 256 colours, so that colours are kept roughly; where pictures are alike they are exact."""
    found = list(df.steps(Gaussian(0.1, 0.4), 5, shape=(3, 4, 4), **HOW))
    made, _ = frames(df.film(found, tmp_path / "deep" / "a.gif", columns=2, size=1))
    last = halves(made, 18, 12)[1, -1].reshape(3, 6, 2, 6, 3).transpose(0, 2, 4, 1, 3)
    last = last[..., 1:-1, 1:-1].reshape(6, 3, 4, 4)
    assert float(np.abs(last[:5] - found[-1].x0.clamp(-1, 1).numpy()).mean()) < 0.1


def test_the_halves_are_apart_and_named_and_the_first_tells_the_moment(tmp_path):
    """Bars are white but for what is written; that of the states changes from frame to frame, the other's stays."""
    made, _ = frames(df.film(df.steps(Gaussian(0.1, 0.4), 3, shape=(1, 5, 4), **HOW), tmp_path / "a.gif", size=1))
    above, between = made[:, :BAR], made[:, BAR + 7:2 * BAR + 7]
    for bar in (above, between):
        assert (bar < 0).any() and (bar[:, [0, 1, -1]] == 1).all() and (bar[:, :, -1] == 1).all()
    assert len(np.unique(above, axis=0)) == 7 and (between == between[0]).all()


@pytest.mark.parametrize("label, columns", [
    ([0, 1, 2] * 4, 3), ([2, 0] * 3, 2), (None, 4), (1, 4), ([0, 1, 2] * 3 + [0, 1, 1], 4), (list(range(12)), 4)])
def test_labels_that_take_turns_have_a_column_each(label, columns, tmp_path):
    n = len(label) if isinstance(label, list) else 12
    run = df.sample(Gaussian(0.1, 0.4), n, shape=(1, 4, 4), keep=True, **HOW)
    run = replace(run, label=None if label is None else torch.as_tensor(label).expand(n))
    made, _ = frames(df.film(run, tmp_path / "a.gif", size=1))
    assert made.shape[1] == 2 * (BAR + 6 * n // columns)


def test_frames_that_are_alike_are_all_there(tmp_path):
    one = next(df.steps(Gaussian(0.1, 0.4), 1, shape=(1, 4, 4), **HOW))
    made, times = frames(df.film([one] * 5, tmp_path / "a.gif", seconds=1.0))
    assert (made == made[0]).all() and sum(times) == 1000 + 1500


@pytest.mark.parametrize("run, path, options, message", [
    ([], "a.gif", {}, "no moment"), (None, "a.png", {}, "a film is a .gif"), (None, "a.gif", {"seconds": 0}, "seconds"),
    (None, "a.gif", {"size": 0}, "size=0"), (None, "a.gif", {"size": 1.5}, "size=1.5")])
def test_what_makes_no_film_is_refused(run, path, options, message, tmp_path):
    run = df.steps(Gaussian(0.1, 0.4), 1, shape=(1, 4, 4), **HOW) if run is None else run
    with pytest.raises(ValueError, match=message):
        df.film(run, tmp_path / path, **options)
    assert not list(tmp_path.iterdir())


def test_points_make_no_film(tmp_path):
    with pytest.raises(ValueError, match="pictures must be"):
        df.film(df.steps(Gaussian(0.1, 0.4), 1, shape=(2,), **HOW), tmp_path / "a.gif")
