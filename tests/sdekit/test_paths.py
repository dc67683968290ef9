"""Results: statistics over the paths, what is told about them, replay by number, one file."""

import json

import numpy as np
import pytest

import sdekit as sk
from tests.conftest import rounding

ou = sk.OrnsteinUhlenbeck(kappa=1.5, theta=0.2, sigma=0.8)


@pytest.fixture(scope="module")
def paths():
    return sk.simulate(ou, 1.0, t=(1.0, 3.0), steps=8, paths=101, seed=7, stream=2, first=3, save=5)


def test_statistics_go_over_the_paths_at_each_time(paths):
    x = paths.x
    assert x.shape == (101, 5)
    assert np.abs(paths.mean() - x.sum(axis=0) / 101).max() <= rounding(101, x)
    deviation = np.sqrt(((x - x.mean(axis=0)) ** 2).sum(axis=0) / 101)
    assert np.abs(paths.std() - deviation).max() <= rounding(101, x)
    assert np.abs(paths.var() - deviation**2).max() <= rounding(101, x)


def test_quantiles_are_those_of_the_sorted_paths(paths):
    x = np.sort(paths.x, axis=0)
    assert (paths.quantile(0.25) == x[25]).all()  # the 101 paths cut [0, 1] into hundredths
    assert (paths.quantile([0.0, 0.5, 1.0]) == x[[0, 50, 100]]).all()


def test_a_systems_statistics_keep_the_components():
    system = sk.SDE(lambda x, t: x, lambda x, t: x)
    paths = sk.simulate(system, (1.0, 2.0), steps=4, paths=5, seed=1)
    assert paths.x.shape == (5, 5, 2) and paths.final.shape == (5, 2)
    assert paths.mean().shape == paths.std().shape == paths.var().shape == (5, 2)
    assert paths.quantile([0.1, 0.9]).shape == (2, 5, 2)


def test_the_final_values_are_the_last(paths):
    assert (paths.final == paths.x[:, -1]).all() and len(paths) == 101


def test_a_result_tells_how_it_came_to_be(paths):
    assert dict(paths.info) | {"equation": ou, "method": sk.exact, "backend": "numpy", "seed": 7, "stream": 2,
                               "first": 3, "steps": 8, "noise": 1} == dict(paths.info)
    assert repr(paths) == ("Paths(101 paths, 5 times from 1.0 to 3.0, OrnsteinUhlenbeck(kappa=1.5, theta=0.2, "
                           "sigma=0.8), exact, numpy, seed=7)")


def test_what_is_told_is_enough_to_repeat_it(paths):
    told = {k: paths.info[k] for k in ("seed", "stream", "first", "steps", "method", "backend")}
    assert (sk.simulate(paths.info["equation"], 1.0, t=(1.0, 3.0), paths=101, save=5, **told).x == paths.x).all()


def test_a_seed_that_was_drawn_is_told():
    one, two = (sk.simulate(ou, 1.0, steps=2, paths=2) for _ in range(2))
    assert one.info["seed"] != two.info["seed"]
    assert (sk.simulate(ou, 1.0, steps=2, paths=2, seed=one.info["seed"]).x == one.x).all()


def test_a_run_on_given_increments_or_without_noise_tells_no_seed():
    given_ = sk.simulate(ou, 1.0, steps=2, noise=[[0.5, -0.5]])
    curve = sk.integrate(ou, 1.0, steps=2)
    for result in (given_, curve):
        assert "seed" not in result.info and "seed" not in repr(result)


def test_a_replay_has_every_step_of_the_path(paths):
    alone = paths.replay(np.int64(17))
    assert alone.x.shape == (1, 9) and (alone.x[0, ::2] == paths.x[17]).all()
    assert (alone.t == np.linspace(1.0, 3.0, 9)).all() and alone.info["first"] == 3 + 17
    assert (alone.replay(0).x == alone.x).all()


@pytest.mark.parametrize("path, error, message", [
    (101, IndexError, "there are 101 paths, numbered from 0 to 100; got 101"),
    (-1, IndexError, "numbered from 0 to 100; got -1"),
    (1.0, TypeError, "replay takes the number of a path, got 1.0"),
    (True, TypeError, "replay takes the number of a path, got True"),
    ("a", TypeError, "replay takes the number of a path, got 'a'"),
    (None, TypeError, "replay takes the number of a path, got None"),
])
def test_a_path_that_is_not_there_cannot_be_replayed(paths, path, error, message):
    with pytest.raises(error, match=message):
        paths.replay(path)


@pytest.mark.parametrize("q", [5, -0.1, [0.5, 1.5], float("nan"), None])
def test_quantiles_are_asked_for_by_probabilities(paths, q):
    with pytest.raises(ValueError, match=r"quantiles are asked for by probabilities from 0 to 1, got .*write 0\.05"):
        paths.quantile(q)


@pytest.mark.parametrize("name", ["run.npz", "run"])
def test_a_file_holds_times_values_and_what_is_told(paths, tmp_path, name):
    file = paths.save(tmp_path / "new" / name)
    assert file == tmp_path / "new" / "run.npz"
    with np.load(file) as held:
        assert (held["t"] == paths.t).all() and (held["x"] == paths.x).all()
        info = json.loads(str(held["info"]))
    assert info["seed"] == 7 and info["equation"] == repr(ou) and info["method"] == "exact"


def test_a_result_cannot_be_changed(paths):
    with pytest.raises(AttributeError):
        paths.t = None
