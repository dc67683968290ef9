"""The judge: what the shipped classifier reads in the shipped digits, and how sure a share of n is."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import diffusion as df
from diffusion import metrics
from diffusion.metrics import Evaluation, judge, reading
from diffusion.sampling import Samples
from tests.diffusion.conftest import TINY, shaken


def wilson(right, n, z=1.959963984540054):
    """Wilson 1927: (p + z^2/2n +- z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n)."""
    p = right / n
    middle, half = p + z**2 / (2 * n), z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    return (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)


def samples(label, n=None):
    label = None if label is None else torch.tensor(label)
    n = n or len(label)
    return Samples(torch.zeros(n, 1, 28, 28), label, 35.0, 1.5, df.grid.edm(3), {})


@pytest.fixture
def reads(monkeypatch):
    """Let the classifier read what the test says."""
    return lambda classes: monkeypatch.setattr(metrics, "reading", lambda images: torch.tensor(classes))


def test_at_least_90_of_100_shipped_digits_are_read_as_asked(shipped):
    result = df.evaluate(shipped, 100, steps=12, guidance=0.5, seed=0)
    assert result.n == 100 and result.right >= 90
    assert 2 * 12 + 1 < result.nfe <= 40
    assert result.by_class.shape == (10,) and result.by_class.min() >= 0.5
    assert result.by_class.mean() == pytest.approx(result.accuracy)  # ten of each class


@pytest.mark.parametrize("right, n", [(0, 10), (10, 10), (93, 100), (1, 17), (500, 1000)])
def test_the_interval_is_wilson_s(reads, right, n):
    reads([0] * right + [1] * (n - right))
    result = judge(samples([0] * n))
    assert (result.right, result.n, result.accuracy) == (right, n, right / n)
    assert result.interval == pytest.approx(wilson(right, n), abs=1e-12)


def test_shares_are_told_class_by_class(reads):
    reads([0, 0, 5, 3, 9, 9, 9, 9])
    result = judge(samples([0, 0, 0, 3, 9, 9, 9, 1]))
    assert result.right == 6
    np.testing.assert_array_equal(result.by_class, [2 / 3, 0, *[np.nan], 1, *[np.nan] * 5, 1])
    assert result.nfe == 35.0 and result.seconds == 1.5


def test_of_steps_of_each_digit_s_own_length_the_mean_is_told(reads):
    reads([0, 1])
    drawn = replace(samples([0, 1]), nfe=torch.tensor([30.0, 41.0]))
    assert judge(drawn).nfe == 35.5 and "35.5 network evaluations each" in str(judge(drawn))


def test_its_summary_tells_share_interval_cost_and_classes():
    text = str(Evaluation(200, 190, (0.91, 0.973), np.arange(10) / 10, 35.0, 12.3))
    assert "190 of 200 digits read as the class asked for: 0.9500 (95% interval 0.9100 to 0.9730)" in text
    assert "35 network evaluations each, 12.3 s" in text and "0: 0.000  1: 0.100" in text and "9: 0.900" in text


def test_the_classes_are_asked_for_in_turn(monkeypatch):
    asked = {}

    def sample(denoiser, n, label, **options):
        asked.update(n=n, label=label.tolist(), **options)
        return samples(label.tolist())

    monkeypatch.setattr(metrics, "sample", sample)
    df.evaluate(None, 23, steps=7, guidance=0.25, seed=3)
    assert asked == {"n": 23, "label": [k % 10 for k in range(23)], "steps": 7, "guidance": 0.25, "seed": 3}


def test_reading_is_what_the_classifier_finds_most_likely_in_any_batch(digits):
    images = digits.tensor()[:50]
    exact = df.classifier()(images).argmax(1)
    assert torch.equal(reading(images), exact) and torch.equal(reading(images, batch=7), exact)
    assert (exact.numpy() == digits.labels[:50]).mean() > 0.6  # it reads even digits set in a font


def test_samples_without_labels_are_refused():
    with pytest.raises(ValueError, match="drawn without labels, so no class was asked for; sample with label="):
        judge(samples(None, 5))


@pytest.mark.parametrize("n", [9, 0, -1])
def test_fewer_digits_than_classes_are_refused(n):
    with pytest.raises(ValueError, match=f"at least one digit of each of the 10 classes, got n={n}"):
        df.evaluate(None, n)


def test_a_denoiser_of_other_pictures_is_refused():
    with pytest.raises(ValueError):
        df.evaluate(df.Preconditioned(shaken(TINY), torch.zeros(1, 8, 8), 0.5), 10, steps=1)
    big = df.UNetConfig(size=32, classes=10, widths=(8,), embedding=16)
    with pytest.raises(ValueError, match=r"the classifier got images of shape \(10, 1, 32, 32\)"):
        df.evaluate(df.Preconditioned(shaken(big), torch.zeros(1, 32, 32), 0.5), 10, steps=1)


def test_a_denoiser_without_classes_is_refused():
    with pytest.raises((TypeError, ValueError), match="this denoiser has no classes"):
        df.evaluate(df.exact.Gaussian(0.0, 1.0), 10, shape=(1, 28, 28), steps=1)
