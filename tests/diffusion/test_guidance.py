"""Guidance is a function of denoisers: its formula, its interval, its cost, and its law on Gaussians.

Where classes differ in their mean alone, D = m + k (x - alpha m), D(x, y) + w (D(x, y) - D(x, none)) is the denoiser of
the class with its mean moved to m_y + w (m_y - m_none), exactly.
"""

import math
import pickle

import pytest
import torch
from hypothesis import given

import diffusion as df
from diffusion.problems import mixture
from tests.conftest import EPS, assert_gaussian
from tests.diffusion.conftest import Classes
from tests.strategies import numbers

MEANS = (-1.0, 2.0, 0.5)  # two classes, and none


def classes():
    return Classes(MEANS, 0.4)


def states(n=6):
    return torch.randn(n, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


LABEL = torch.tensor([0, 1, 0, 1, 1, 0])


@given(numbers(-1.0, 5.0).filter(bool), numbers(0.05, 1.0), numbers(0.05, 20.0))
def test_guided_classes_move_away_from_none(w, alpha, sigma):
    x = states()
    moved = Classes([m + w * (m - MEANS[-1]) for m in MEANS], 0.4)
    difference = df.classifier_free(classes(), w)(x, alpha, sigma, LABEL) - moved(x, alpha, sigma, LABEL)
    assert difference.abs().max() <= 32 * EPS * (1 + abs(w)) * (3 + x.abs().max() / alpha)


def test_at_scale_nought_it_is_the_denoiser_itself():
    data = classes()
    assert df.classifier_free(data, 0.0) is data


def test_at_scale_minus_1_it_is_the_unconditional_denoiser():
    x = states()
    torch.testing.assert_close(df.classifier_free(classes(), -1.0)(x, 1.0, 2.0, LABEL), classes()(x, 1.0, 2.0))


def test_both_denoisers_are_evaluated_in_one_batch():
    data = classes()
    df.classifier_free(data, 0.5)(states(), 1.0, 2.0, LABEL)
    assert data.batches == [12]


@pytest.mark.parametrize("alpha, sigma, guided", [
    (1.0, 0.5, True), (1.0, 2.0, True), (1.0, 8.0, True), (1.0, 0.499, False), (1.0, 8.001, False),
    (0.1, 0.2, True), (0.1, 2.0, False)])  # it is the noise level sigma/alpha that counts
def test_it_acts_within_its_interval_alone(alpha, sigma, guided):
    data, x = classes(), states()
    found = df.classifier_free(data, 3.0, (0.5, 8.0))(x, alpha, sigma, LABEL)
    assert data.batches == [12 if guided else 6]
    assert torch.equal(found, classes()(x, alpha, sigma, LABEL)) is not guided


def test_without_a_condition_nothing_is_guided():
    data, x = classes(), states()
    assert torch.equal(df.classifier_free(data, 3.0)(x, 1.0, 2.0), classes()(x, 1.0, 2.0))
    assert data.batches == [6]


def test_a_denoiser_without_classes_is_refused():
    with pytest.raises(TypeError, match=r"needs a denoiser that knows classes.*sample it with guidance=0"):
        df.classifier_free(df.exact.Gaussian(0.0, 1.0), 2.0)


@pytest.mark.parametrize("classes", [None, 0, -1, 2.5, True, "3"])
def test_how_many_classes_there_are_is_a_whole_number(classes):
    with pytest.raises(TypeError, match="classes is how many there are, a whole number of at least 1"):
        df.classifier_guided(df.exact.Gaussian(0.0, 1.0), torch.log, classes)


def test_the_label_for_none_is_not_guided():
    """`classes` and one number stand for a label as they do everywhere."""
    data, x = mixture(), torch.randn(4, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    guided = df.classifier_guided(data, data.log_posterior, 3)
    label = torch.tensor([0, 1, 2, 3])
    torch.testing.assert_close(guided(x, 1.0, 1.0, label), data(x, 1.0, 1.0, label))
    torch.testing.assert_close(guided(x, 1.0, 1.0, 1), data(x, 1.0, 1.0, 1))
    free = df.classifier_free(guided, 1.5)
    torch.testing.assert_close(free(x, 1.0, 1.0, 1), 2.5 * data(x, 1.0, 1.0, 1) - 1.5 * data(x, 1.0, 1.0))
    with torch.inference_mode():
        torch.testing.assert_close(guided(x.clone(), 1.0, 1.0, 1), data(x, 1.0, 1.0, 1))


def test_a_classifier_that_does_not_fit_is_told():
    data = mixture()
    with pytest.raises(ValueError, match=r"gave a tensor of shape \(2, 3\) for 2 samples.* \(2, 4\)"):
        df.sample(df.classifier_guided(data, data.log_posterior, 4), 2, label=0, steps=2, seed=0)
    with pytest.raises(TypeError, match="not differentiable by autograd"):
        detached = df.classifier_guided(data, lambda *a: data.log_posterior(*a).detach(), 3)
        df.sample(detached, 2, label=0, steps=2, seed=0)


@pytest.mark.parametrize("method", [df.heun, df.flow_ode(), df.reverse_sde(), df.ddpm], ids=repr)
def test_guided_samples_are_those_of_the_moved_class(method):
    """With every sampler, number by number on the same noise; float32 is what samples are kept in."""
    w, label = 1.5, torch.arange(8) % 2
    options = {"shape": (2,), "steps": 20, "method": method, "seed": 8, "label": label}
    moved = Classes([m + w * (m - MEANS[-1]) for m in MEANS], 0.4)
    moved.center = MEANS[-1]  # both start from the data without classes
    guided = df.sample(classes(), 8, guidance=w, interval=(0.0, math.inf), **options)
    assert torch.allclose(guided.samples, df.sample(moved, 8, **options).samples, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(guided.samples, df.sample(classes(), 8, **options).samples, atol=0.1)


def test_a_class_asked_for_is_sampled_from_its_own_law():
    """The flow carries N(m_none, r_0^2) to N(m_y + (r/r_0)(m_none - m_y), r^2), and D closes with its share s^2/r^2;
    the error of 100 Heun steps is of order 1/100^2 of that."""
    n, label, s = 4000, torch.arange(4000) % 2, 0.4
    found = df.sample(classes(), n, label=label, shape=(1,), steps=100, seed=8).samples[:, 0].double()
    r0, r = ((s**2 + sigma**2) ** 0.5 for sigma in (40.0, 0.02))
    for y in (0, 1):
        end = MEANS[y] + s**2 / r**2 * r / r0 * (MEANS[-1] - MEANS[y])
        assert_gaussian(found[label == y], end, (s**2 / r) ** 2)


@pytest.mark.parametrize("scale", [math.nan, math.inf, -math.inf])
def test_a_scale_that_is_not_finite_is_refused(scale):
    with pytest.raises(ValueError, match="guidance must be a finite number, 0 for none"):
        df.classifier_free(classes(), scale)


@pytest.mark.parametrize("interval", [(-1.0, 2.0), (2.0, 2.0), (3.0, 2.0), (math.nan, 1.0), (0.0, math.nan)])
def test_an_interval_that_is_empty_is_refused(interval):
    with pytest.raises(ValueError, match=r"the interval of noise levels must be \(low, high\) with 0 <= low < high"):
        df.classifier_free(classes(), 1.0, interval)


@pytest.mark.parametrize("make, message", [
    (lambda: df.classifier_free(classes(), "1"), r"guidance must be a number, got '1' \(str\)"),
    (lambda: df.classifier_free(classes(), 1.0, rescale="a"), "rescale must be a number"),
    (lambda: df.classifier_guided(classes(), mixture().log_posterior, 3, scale=None), "guidance must be a number"),
])
def test_what_is_no_number_is_refused_by_its_name(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize("make", [lambda data: df.classifier_free(data, 1.5, (0.1, 9.0), rescale=0.5),
                                  lambda data: df.classifier_guided(data, data.log_posterior, 3, scale=2.0)])
def test_a_guided_denoiser_is_the_same_from_a_pickle(make):
    guided = make(mixture())
    again, x = pickle.loads(pickle.dumps(guided)), torch.linspace(-2, 2, 8, dtype=torch.float64).reshape(4, 2)
    assert repr(again) == repr(guided) and again.classes == 3
    assert torch.equal(again(x, 0.6, 0.8, 1), guided(x, 0.6, 0.8, 1))
    assert not torch.equal(again(x, 0.6, 0.8, 1), mixture()(x, 0.6, 0.8, 1))
