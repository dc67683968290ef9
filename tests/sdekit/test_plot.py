"""Pictures of paths: what is drawn is what was computed."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

import sdekit as sk
from sdekit.plot import envelope, fan


@pytest.fixture(autouse=True)
def _figures_are_closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def paths():
    return sk.simulate(sk.BrownianMotion(mu=0.3), 1.0, t=2.0, steps=20, paths=300, seed=1)


@pytest.fixture(scope="module")
def pair():
    sde = sk.SDE(lambda x, t: (0.0, 1.0), lambda x, t: (1.0, 0.1))
    return sk.simulate(sde, (0.0, 5.0), t=1.0, steps=10, paths=50, seed=1)


def edges(band, times):
    """The lower and the upper edge of a filled band, at the times."""
    corners = band.get_paths()[0].vertices
    at = [corners[np.isclose(corners[:, 0], t), 1] for t in times]
    return np.array([y.min() for y in at]), np.array([y.max() for y in at])


def drawn(ax):
    return [line.get_ydata() for line in ax.lines]


def test_bands_lie_between_the_quantiles(paths):
    ax = fan(paths, bands=(0.9, 0.5))
    wide, narrow = ax.collections  # the wide one below
    for band, share in ((wide, 0.9), (narrow, 0.5)):
        low, high = edges(band, paths.t)
        np.testing.assert_allclose(low, np.quantile(paths.x, (1 - share) / 2, axis=0))
        np.testing.assert_allclose(high, np.quantile(paths.x, (1 + share) / 2, axis=0))
        inside = ((paths.x >= low) & (paths.x <= high)).mean(axis=0)
        assert np.abs(inside[1:] - share).max() <= 2 / len(paths)
    assert wide.get_label() == "90% of the paths" and narrow.get_label() == "50% of the paths"


def test_the_first_paths_and_the_mean_are_drawn(paths):
    for lines in (0, 1, 5):
        *some, mean = drawn(fan(paths, lines=lines))
        np.testing.assert_array_equal(np.reshape(some, (-1, 21)), paths.x[:lines])
        np.testing.assert_allclose(mean, paths.x.mean(axis=0))


def test_axes_title_and_legend_say_what_it_is(paths):
    ax = fan(paths)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("t", "X")
    assert ax.get_title() == "300 paths, BrownianMotion(mu=0.3, sigma=1.0)"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["90% of the paths", "50% of the paths", "mean"]
    assert ax.get_xlim() == (0, 2)
    assert [t.get_text() for t in fan(paths, bands=(), label="average").get_legend().get_texts()] == ["average"]


def test_a_fan_draws_into_given_axes(paths):
    _, (left, right) = plt.subplots(1, 2)
    assert fan(paths, right) is right and not left.lines and right.lines
    assert paths.plot(left, bands=(0.8,), lines=2) is left and len(left.collections) == 1 and len(left.lines) == 3


def test_a_system_is_drawn_by_component(pair):
    for component in (0, 1):
        *some, mean = drawn(fan(pair, component=component))
        np.testing.assert_array_equal(some, pair.x[:5, :, component])
        np.testing.assert_allclose(mean, pair.x[:, :, component].mean(axis=0))
    np.testing.assert_array_equal(drawn(fan(pair))[0], pair.x[0, :, 0])
    np.testing.assert_array_equal(drawn(envelope(pair, 5.0, 1.0, component=1))[0], pair.x[0, :, 1])


def test_the_one_component_of_a_number_can_be_named(paths):
    np.testing.assert_array_equal(drawn(fan(paths, component=0))[0], paths.x[0])


@pytest.mark.parametrize("draw", [fan, lambda paths, **options: envelope(paths, 0.0, 1.0, **options)])
@pytest.mark.parametrize("component", [2, -1])
def test_a_component_that_there_is_not_is_refused(pair, draw, component):
    with pytest.raises(ValueError, match=f"component must be from 0 to 1, got {component}"):
        draw(pair, component=component)


@pytest.mark.parametrize("bands", [(0.0,), (1.0,), (0.5, 90), (-0.5,), (float("nan"),)])
def test_bands_outside_0_and_1_are_refused(paths, bands):
    with pytest.raises(ValueError, match="bands are shares of the paths between 0 and 1"):
        fan(paths, bands=bands)


def test_pictures_cannot_be_drawn_over_time():
    torch = pytest.importorskip("torch")
    images = sk.simulate(sk.BrownianMotion(), torch.zeros(3, 1, 4, 4), steps=5, seed=0)
    with pytest.raises(ValueError, match=r"only numbers and systems can be drawn over time, .* \(3, 6, 1, 4, 4\)"):
        fan(images)


def test_numbers_on_torch_are_drawn_too():
    torch = pytest.importorskip("torch")
    paths = sk.simulate(sk.BrownianMotion(), torch.zeros(8, dtype=torch.float64), steps=5, seed=0)
    np.testing.assert_array_equal(drawn(fan(paths))[0], paths.x[0])


def test_an_envelope_is_the_mean_and_one_and_two_deviations(paths):
    process = sk.BrownianMotion(mu=0.3)
    mean, std = process.mean(1.0, paths.t), process.variance(1.0, paths.t) ** 0.5
    ax = envelope(paths, mean, std, lines=7)
    for band, k in zip(ax.collections, (2, 1)):
        low, high = edges(band, paths.t)
        np.testing.assert_allclose(low, mean - k * std, atol=1e-15)
        np.testing.assert_allclose(high, mean + k * std, atol=1e-15)
    *some, middle = drawn(ax)
    np.testing.assert_array_equal(some, paths.x[:7])
    np.testing.assert_array_equal(middle, mean)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["mean ± 2 sd", "mean ± sd", "mean"]
    assert ax.get_title() == "7 paths, BrownianMotion(mu=0.3, sigma=1.0)"


def test_an_envelope_takes_numbers_and_draws_no_more_paths_than_there_are(paths):
    few = sk.simulate(sk.BrownianMotion(), 0.0, steps=4, paths=3, seed=0)
    ax = envelope(few, 0.5, 2.0)
    assert len(ax.lines) == 4 and ax.get_title().startswith("3 paths")
    assert edges(ax.collections[1], few.t)[1].tolist() == [2.5] * 5


def test_an_envelope_of_another_length_is_refused(paths):
    with pytest.raises(ValueError):
        envelope(paths, np.zeros(5), 1.0)


def test_a_noise_free_curve_can_be_drawn():
    curve = sk.integrate(sk.LinearDrift(a=0.1), 10.0, t=10.0, steps=10)
    ax = curve.plot()
    assert ax.get_title().startswith("1 path") and ax.get_title().endswith("ODE(a=0.1)")
    np.testing.assert_allclose(drawn(ax)[-1], curve.x[0])


@pytest.mark.parametrize("make", [
    lambda: sk.simulate(sk.BrownianMotion(), 0.0, steps=3, paths=200, seed=1, save="final"),
    lambda: sk.summarize(sk.BrownianMotion(), 0.0, steps=3, paths=200, seed=1)], ids=["paths", "summary"])
def test_at_a_single_time_it_is_a_histogram(make):
    ax = make().plot()
    counts, edges, _ = ax.patches[0].get_data()
    assert abs((counts * np.diff(edges)).sum() - 1.0) < 0.02 and ax.get_ylabel() == "density"
