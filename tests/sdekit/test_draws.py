"""What a transition draws: the numbers of sdekit.normals, uniforms, exponentials, gammas and poissons, everywhere."""

import numpy as np
import pytest
from hypothesis import given

import sdekit as sk
from sdekit import draws, noise
from tests import strategies
from tests.conftest import EPS, array

SHAPES = np.geomspace(0.01, 1e4, 40)
MEANS = np.concatenate([[0.0, 9.999, 10.0, 10.001, 1e6], np.geomspace(0.01, 1e4, 35)])
LAWS = {  # the draw of component k, and the same numbers by their names; p is one parameter for each path
    "normal": (lambda place, p, k: draws.normal(place, k), lambda p, *names: sk.normals(*names)),
    "uniform": (lambda place, p, k: draws.uniform(place, k), lambda p, *names: sk.uniforms(*names)),
    "exponential": (lambda place, p, k: draws.exponential(place, k), lambda p, *names: sk.exponentials(*names)),
    "gamma": (lambda place, p, k: draws.gamma(place, p, k),
              lambda p, *names: sk.gammas(*names, shape=p[:, None, None])),
    "poisson": (lambda place, p, k: draws.poisson(place, p, k),
                lambda p, *names: sk.poissons(*names, mean=p[:, None, None])),
}
PARAMETER = {"gamma": SHAPES, "poisson": MEANS}


def close(ours, names_, law):
    """Whole numbers are equal; the others to the last places of exp and ln."""
    if law == "poisson":
        return (ours == names_).all()
    return (np.abs(ours - names_) <= 64 * EPS * np.abs(names_)).all()


@pytest.mark.parametrize("law", LAWS)
@given(strategies.seeds, strategies.streams, strategies.paths, strategies.steps, strategies.components)
def test_a_draw_is_the_number_of_its_names(law, seed, stream, path, step, k):
    """All branches at once: one array holds small and large shapes and means."""
    draw, by_name = LAWS[law]
    p = PARAMETER.get(law, SHAPES)
    path = min(path, 2**40 - len(p))
    words = np.array(noise.key(seed, stream))[:, None]
    place = (*words, np.arange(path, path + len(p)), np.array([step]))
    names_ = seed, stream, range(path, path + len(p)), range(step, step + 1), range(k, k + 1)
    assert close(draw(place, p, k), by_name(p, *names_)[:, 0, 0], law)


def _all_five(x, t, h, place, a, m):
    return (draws.normal(place, 2), draws.uniform(place, 2), draws.exponential(place, 2), draws.gamma(place, a, 2),
            draws.poisson(place, m, 2))


@pytest.mark.parametrize("first", [0, 3 * 2**30, 2**32 - 20])
def test_every_execution_draws_them_at_every_step(backend, first):
    """Even and odd steps, across 2^32 paths, every branch beside every other."""
    process = sk.MarkovProcess(_all_five, a=SHAPES, m=MEANS)
    x = array(sk.simulate(process, (0.0,) * 5, steps=5, seed=11, stream=3, first=first, backend=backend).x)[:, 1:]
    names_ = 11, 3, range(first, first + 40), 5, range(2, 3)
    for i, law in enumerate(LAWS):
        assert close(x[..., i], LAWS[law][1](PARAMETER.get(law, SHAPES), *names_)[..., 0], law), law


def test_two_draws_of_one_law_need_two_numbers():
    place = (*np.array(noise.key(1))[:, None], np.arange(5), np.array([0]))
    for law, (draw, _) in LAWS.items():
        p = np.full(5, 1e4)
        assert (draw(place, p, 0) == draw(place, p, 0)).all()
        assert (draw(place, p, 0) != draw(place, p, 1)).any(), law


def test_a_shape_and_a_mean_may_be_one_number_for_all_paths():
    place = (*np.array(noise.key(9, 4))[:, None], np.arange(100), np.array([7]))
    names_ = 9, 4, 100, range(7, 8)
    for p in (0.5, 3.0, 2000.0):
        assert close(draws.gamma(place, p, 0), sk.gammas(*names_, shape=p)[:, 0, 0], "gamma")
        assert close(draws.poisson(place, p, 0), sk.poissons(*names_, mean=p)[:, 0, 0], "poisson")


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("bad", [-3.0, -0.5, 0.0])
def test_a_shape_or_a_mean_that_is_none_gives_nan_and_ends(backend, bad):
    if backend == "torch":
        pytest.importorskip("torch")
    kinds = {"gamma": lambda x, t, h, place, bad: x + draws.gamma(place, bad, 0),
             "poisson": lambda x, t, h, place, bad: x + draws.poisson(place, np.sqrt(bad - 0.1), 0),
             "negative": lambda x, t, h, place, bad: x + draws.poisson(place, bad - 0.1, 0)}
    for transition in kinds.values():
        process = sk.MarkovProcess(transition, bad=np.array([2.0, bad, 3.0]))
        with pytest.raises(FloatingPointError, match="path 1 is not finite"):
            sk.simulate(process, 0.0, steps=2, seed=1, backend=backend)


def test_they_end_where_they_are_compiled_too():
    process = sk.MarkovProcess(lambda x, t, h, place, bad: x + draws.poisson(place, bad, 0), bad=np.array([20.0, -1.0]))
    with pytest.raises(FloatingPointError, match="path 1 is not finite"):
        sk.simulate(process, 0.0, steps=2, seed=1, backend="numba")
