"""Evaluation: what the shipped classifier reads, and all scores in one report, beside what real images score."""

import json
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import diffusion as df
from diffusion import metrics
from diffusion.metrics import Evaluation, Statistics, accuracy, judge, reading
from diffusion.sampling import Samples
from tests.diffusion.conftest import TINY, shaken

ALL = ["accuracy", "copying", "fid", "inception", "kid", "precision", "recall"]


def wilson(right, n, z=1.959963984540054):
    """Wilson 1927: (p + z^2/2n +- z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n)."""
    p = right / n
    middle, half = p + z**2 / (2 * n), z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    return (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)


def samples(label, n=None):
    label = None if label is None else torch.tensor(label)
    n = n or len(label)
    return Samples(torch.zeros(n, 1, 28, 28) - 1, label, 35.0, 1.5, df.grid.edm(3), {})


@pytest.fixture
def reads(monkeypatch):
    """Let the classifier read what the test says."""
    return lambda classes: monkeypatch.setattr(accuracy, "reading", lambda images: torch.tensor(classes))


# --- class accuracy

def test_at_least_90_of_100_shipped_digits_are_read_as_asked(shipped):
    result = df.evaluate(shipped, 100, steps=12, guidance=0.5, seed=0)
    assert result.read.n == 100 and result.read.right >= 90 and result.accuracy == result.read.right / 100
    assert 2 * 12 + 1 < result.info["nfe"] <= 40
    assert result.read.by_class.shape == (10,) and result.read.by_class.min() >= 0.5
    assert result.read.by_class.mean() == pytest.approx(result.accuracy)  # ten of each class
    # of 100 real digits FID is 27, of blank pictures more than a thousand
    assert result["fid"].floor.n == 100 and 0.8 < result["fid"].floors < 2
    assert 6 < result["inception"].value <= 10 and result["accuracy"].floor.value > 0.99


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
    text = str(Evaluation(200, 190, np.arange(10) / 10, 35.0, 12.3))
    low, high = wilson(190, 200)
    assert f"190 of 200 digits read as the class asked for: 0.9500 (95% interval {low:.4f} to {high:.4f})" in text
    assert "35 network evaluations each, 12.3 s" in text and "0: 0.000  1: 0.100" in text and "9: 0.900" in text


def test_reading_is_what_the_classifier_finds_most_likely(digits):
    images = digits.tensor()[:50]
    exact = df.classifier()(images).argmax(1)
    assert torch.equal(reading(images), exact)
    assert (exact.numpy() == digits.labels[:50]).mean() > 0.6  # it reads even digits set in a font


def test_samples_without_labels_are_refused():
    with pytest.raises(ValueError, match="drawn without labels, so no class was asked for; sample with label="):
        judge(samples(None, 5))


# --- what is evaluated

def model(name="mnist", classes="0123456789"):
    """What a trained denoiser of ten classes tells of itself."""
    header = SimpleNamespace(data={"name": name, "classes": list(classes)})
    return df.Derived(SimpleNamespace(classes=10, shape=(1, 28, 28), header=header), lambda *args: None)


@pytest.fixture
def asked(monkeypatch):
    """What `sample` is asked for."""
    found = {}

    def sample(denoiser, n, label, **options):
        found.update(n=n, label=None if label is None else label.tolist(), **options)
        return samples(found["label"], n)

    monkeypatch.setattr(metrics.evaluation, "sample", sample)
    return found


def test_the_classes_are_asked_for_in_turn(asked):
    df.evaluate(model(), 23, steps=7, guidance=0.25, seed=3)
    assert asked == {"n": 23, "label": [k % 10 for k in range(23)], "steps": 7, "guidance": 0.25, "seed": 3,
                     "progress": None}


def test_a_denoiser_without_classes_is_asked_for_none(asked):
    report = df.evaluate(df.exact.Gaussian(0.0, 1.0, shape=(1, 28, 28)), 5)
    assert asked["label"] is None and sorted(report.scores) == ["fid", "inception"]
    assert report.missing["accuracy"] == "no classes were asked for; it takes samples drawn with label="
    with pytest.raises(KeyError, match="accuracy was not measured: no classes were asked for"):
        _ = report.accuracy


@pytest.mark.parametrize("n", [9, 0, -1])
def test_fewer_digits_than_classes_are_refused(n):
    with pytest.raises(ValueError, match=f"at least one digit of each of the 10 classes, got n={n}"):
        df.evaluate(model(), n)


def test_a_denoiser_of_other_pictures_is_refused_before_it_is_sampled():
    small = df.Preconditioned(shaken(TINY), torch.zeros(1, 8, 8), 0.5)
    with pytest.raises(ValueError, match=r"digits takes images of \(1, 28, 28\), and this denoiser makes \(1, 8, 8\)"):
        df.evaluate(small, 10, steps=1)


def test_the_shipped_statistics_are_not_for_other_data(asked):
    report = df.evaluate(model("fashion", "abcdefghij"), 10)
    assert report.missing["fid"] == "these are of fashion, and the statistics that are shipped of mnist; give data="
    assert "reads 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, and these are other classes" in report.missing["accuracy"]
    assert sorted(report.scores) == ["inception"]


# --- scores beside their floors

@pytest.fixture(scope="module")
def parts(digits):
    """Some to be judged, the data, and others held out."""
    return digits.subset(np.arange(100)), digits.subset(np.arange(100, 300)), digits.subset(np.arange(300, 400))


@pytest.fixture(scope="module")
def report(parts):
    some, data, held_out = parts
    return df.evaluate(some, data=data, held_out=held_out)


def test_real_digits_score_like_real_digits(report, parts):
    assert sorted(report.scores) == ALL and report.missing == {}
    for name in ("fid", "kid", "inception", "precision", "recall", "accuracy"):
        score = report[name]
        assert score.n == score.floor.n == 100
        size = max(score.high - score.low, score.floor.high - score.floor.low)
        assert abs(score.value - score.floor.value) < 1.5 * size  # 3 standard errors of a difference are 1.06 of it
    assert report["copying"].low < 0.5 < report["copying"].high
    assert report.accuracy == (reading(parts[0].tensor()).numpy() == parts[0].labels).mean()


def test_it_prints_a_table_and_json(report):
    text = str(report)
    assert text.splitlines()[0].startswith(f"{report.read.right} of 100 digits read as the class asked for")
    for told in ("Fréchet distance (FID)", "95% interval", "drawn digits, 200", "drawn digits, 100", "0579c5950599",
                 "distances: median"):
        assert told in text
    told = json.loads(report.json())
    assert told["scores"]["fid"]["value"] == report["fid"].value and told["n"] == 100
    assert told["scores"]["kid"]["floor"]["low"] == report["kid"].floor.low and len(told["by_class"]) == 10


def test_without_held_out_images_the_floor_is_of_images_taken_out_of_the_data(parts):
    some, data, _ = parts
    report = df.evaluate(some.tensor(), data=data)
    assert sorted(report.scores) == ["fid", "inception", "kid", "precision", "recall"]
    assert report["fid"].floor.reference == "drawn digits, 100" and report["fid"].reference == "drawn digits, 200"
    assert report["kid"].floor.value == pytest.approx(0, abs=3 * (report["kid"].floor.high - report["kid"].floor.low))
    assert set(report.missing) == {"accuracy", "copying"}


def test_features_that_were_made_once_and_statistics_do_for_data(parts, report):
    some, data, held_out = parts
    see = metrics.digits()
    made = df.evaluate(some, data=see(data), held_out=see(held_out))
    for name in ("fid", "kid", "inception", "precision", "recall"):
        assert made[name].as_dict() == report[name].as_dict()
    assert "held_out=" in made.missing["copying"]
    alone = df.evaluate(some, data=see(data).statistics())
    assert alone["fid"].value == report["fid"].value and alone["fid"].floor is None and "kid" in alone.missing


def test_the_first_n_of_samples_are_scored(parts):
    some, data, _ = parts
    few = df.evaluate(some, 40, data=data)
    assert few.info["n"] == 40 and few["fid"].value == df.evaluate(some.subset(40), data=data)["fid"].value
    assert few["precision"].reference == "drawn digits, 40" and "mostly bias" in str(few)


def test_reports_of_one_extractor_and_reference_are_compared(report, parts):
    some, data, held_out = parts
    noise = torch.randn(100, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    noisy = df.evaluate(some.tensor() + 0.5 * noise, data=data, held_out=held_out)
    apart = noisy - report
    assert apart["fid"].low > 0 and apart["kid"].low > 0 and report["fid"] < noisy["fid"] and "accuracy" not in apart
    yours = df.evaluate(some, data=data, held_out=held_out, extractor=replace(metrics.digits(), name="yours"))
    with pytest.raises(ValueError, match="different extractors do not compare: 'digits 0579c5950599' and 'yours"):
        _ = report - yours
    with pytest.raises(ValueError, match="different references do not compare"):
        _ = report - df.evaluate(some, data=held_out)


def test_colour_pictures_are_scored_by_an_extractor_of_one_s_own():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh(), nn.AvgPool2d(3), nn.Flatten(), nn.Linear(24, 4))
    see = metrics.extractor(net, "2", name="mine", shape=(3, 8, 8), classes=("a", "b", "c", "d"))
    law = df.exact.Gaussian(0.0, 0.3, shape=(3, 8, 8))
    data, held_out = law.sample(300, seed=1).float(), law.sample(200, seed=2).float()
    report = df.evaluate(law.sample(200, seed=3).float(), data=data, held_out=held_out, extractor=see)
    assert sorted(report.scores) == [name for name in ALL if name != "accuracy"]
    assert report["fid"].floors == pytest.approx(1.0, abs=0.5) and report["copying"].low < 0.5 < report["copying"].high
    drawn = df.evaluate(law, 20, data=data, held_out=held_out, extractor=see, steps=4, seed=3)
    assert drawn.scores.keys() == report.scores.keys() and drawn.info["nfe"] == 9
    labelled = df.Images(np.zeros((20, 3, 8, 8), np.uint8), np.arange(20) % 4, ("w", "x", "y", "z"), "letters")
    assert "reads a, b, c, d, and these are other classes" in df.evaluate(labelled, extractor=see).missing["accuracy"]


# --- a ladder: what is worse scores worse

def blurred(x, width):
    at = torch.arange(-4.0, 5.0)
    k = torch.exp(-(at**2) / (2 * width**2))
    k = k / k.sum()
    x = nn.functional.conv2d(x + 1, k.reshape(1, 1, 1, -1), padding=(0, 4))
    return nn.functional.conv2d(x, k.reshape(1, 1, -1, 1), padding=(4, 0)) - 1


def worse(x, labels):
    """By name, sets of images, each worse than the one before."""
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return {
        "noise": [x, *((x + s * noise).clamp(-1, 1) for s in (0.1, 0.3, 0.8))],
        "blur": [x, *(blurred(x, w) for w in (0.6, 1.0, 2.0))],
        "classes left out": [x[labels < k][:100] for k in (10, 8, 5)],
        "one picture again and again": [x[torch.arange(len(x)) % k] for k in (len(x), 50, 20, 5)],
    }


@pytest.mark.parametrize("what", ["noise", "blur", "classes left out", "one picture again and again"])
def test_what_is_worse_scores_worse(digits, what):
    see = metrics.digits()
    y, some = see(digits.subset(np.arange(200, 400))), digits.subset(200)
    rungs = [see(x) for x in worse(some.tensor(), torch.tensor(some.labels))[what]]
    for score in (metrics.fid, metrics.kid):
        values = [score(x, y) for x in rungs]
        assert sorted(values, key=lambda s: s.value) == values and values[-1].low > values[0].high
    share = metrics.precision if what in ("noise", "blur") else metrics.recall
    values = [share(x, y) for x in rungs]
    assert values[0].low > values[-1].high and all(b.value <= a.value + 0.02 for a, b in pairwise(values))


# --- bad input

@pytest.mark.parametrize("source, options, kind, message", [
    ("runs/mnist", {}, TypeError, "a denoiser, `Samples`, `Images`, or a tensor"),
    (torch.zeros(1, 1, 28, 28) - 1, {}, ValueError, "two samples or more, got 1"),
    (torch.full((4, 1, 28, 28), np.nan), {}, ValueError, "image 0 is not"),
    (torch.zeros(4, 3, 32, 32) - 1, {}, ValueError, "need an extractor of their own"),
    (torch.zeros(4, 1, 28, 28, dtype=torch.uint8), {}, TypeError, "x / 127.5 - 1 of bytes"),
    (torch.zeros(4, 1, 28, 28) - 1, {"n": 5}, ValueError, "n"),
    (torch.zeros(4, 1, 28, 28) - 1, {"steps": 5}, TypeError, "steps: options are for drawing samples"),
    (torch.zeros(4, 1, 28, 28) - 1, {"extractor": "inception"}, TypeError,
     r"one of df\.metrics\.extractor\(.* df\.metrics\.trained\(model\) for .* --preset classifier; got str"),
    (torch.zeros(4, 1, 28, 28) - 1, {"data": torch.zeros(9, 1, 28, 28) - 1}, ValueError, "must be 16 or more"),
    (torch.zeros(3, 1, 28, 28) - 1, {"data": torch.zeros(99, 1, 28, 28) - 1}, ValueError, "more than 3 images of each"),
    (torch.zeros(4, 1, 28, 28) - 1, {"data": Statistics(9, np.zeros(2), np.eye(2), "other", "toy")}, ValueError,
     "different extractors")])
def test_what_cannot_be_scored_is_refused(source, options, kind, message):
    with pytest.raises(kind, match=message):
        df.evaluate(source, **options)


def test_a_judge_that_is_no_extractor_yet_is_named_by_its_class():
    with pytest.raises(TypeError, match=r"got Sequential$"):
        df.evaluate(torch.zeros(4, 1, 28, 28) - 1, 4, extractor=nn.Sequential(nn.Flatten(), nn.Linear(784, 3)))


def test_held_out_images_that_were_trained_on_are_refused_before_anything_is_drawn(parts, monkeypatch):
    _, data, _ = parts
    monkeypatch.setattr(metrics.evaluation, "sample", None)
    for held_out in (data, data.subset(np.arange(50, 150)), data.tensor()):
        with pytest.raises(ValueError, match="images are among the 200 training images; give held_out="):
            df.evaluate(model(), 20, data=data, held_out=held_out)
