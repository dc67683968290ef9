"""Extractors, features and statistics: what they are of is known, and nothing else is taken for it."""

import hashlib
import json
import os

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

from diffusion.data import Images, mnist
from diffusion.metrics import Features, Score, Statistics, digits, extractor, fid, pixels, shipped, statistics
from diffusion.metrics.score import WIDTH, share, smooth
from diffusion.metrics.statistics import SHIPPED
from diffusion.networks.classifier import classifier
from tests.conftest import EPS

real = [
    pytest.mark.mnist,
    pytest.mark.skipif("SDEKIT_MNIST" not in os.environ, reason="SDEKIT_MNIST names no folder"),
]


def net(seed=0, channels=3):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(),
                         nn.Dropout(0.5), nn.Linear(4 * 36, 2))


def pictures(n, channels=3, size=8, seed=0):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module")
def mine():
    return extractor(net(), "2", name="mine", shape=(3, 8, 8), classes=("cat", "dog"))


# --- any module as extractor

def test_features_are_a_layer_s_output_and_probabilities_those_of_the_logits(mine):
    x, base = pictures(7), net().eval()
    seen = mine(x, "toy")
    with torch.no_grad():
        np.testing.assert_allclose(seen.values, base[:3](x).flatten(1).numpy(), atol=1e-6)
        np.testing.assert_allclose(seen.probabilities, base(x).softmax(1).numpy(), atol=1e-6)
    assert (mine.dim, seen.data, seen.extractor) == (144, "toy", str(mine)) and seen.values.dtype == np.float32
    before = extractor(net(), "1", name="mine", shape=(3, 8, 8))(x)  # the next layer writes into its output
    assert before.values.min() < 0
    np.testing.assert_allclose(np.maximum(before.values, 0), seen.values)
    whole = extractor(net(), name="whole", shape=(3, 8, 8))(x)
    assert whole.values.shape == (7, 2) and whole.probabilities is None


def test_features_do_not_depend_on_the_batch(mine):
    x = pictures(23)
    np.testing.assert_allclose(mine(x, batch=5).values, mine(x).values, atol=64 * torch.finfo(torch.float32).eps)


def test_a_digest_is_of_weights_structure_and_layer(mine):
    same = extractor(net(), "2", name="mine", shape=(3, 8, 8))
    assert same.digest == mine.digest and len(mine.digest) == 64
    nudged = net()
    with torch.no_grad():
        nudged[0].bias[0] += 1e-6
    nothing = net()
    nothing[4] = nn.Identity()
    others = [extractor(other, layer, name="mine", shape=(3, 8, 8)).digest for other, layer in
              ((nudged, "2"), (net(), "1"), (nothing, "2"))]
    assert len({mine.digest, *others}) == 4


def test_it_is_of_a_copy_that_no_training_changes():
    base = net().train()
    see = extractor(base, name="mine", shape=(3, 8, 8))
    before = see(pictures(4)).values
    with torch.no_grad():
        base[5].weight.mul_(2)
    np.testing.assert_array_equal(see(pictures(4)).values, before)  # nor does dropout draw
    assert base.training and base[0].weight.requires_grad


def test_prepare_makes_of_the_images_what_the_module_takes():
    grow = lambda x: nn.functional.interpolate(x.expand(-1, 3, -1, -1) / 2 + 0.5, size=(8, 8), mode="bilinear")
    see, base = extractor(net(), "2", name="grey", shape=(1, 4, 4), prepare=grow), net().eval()
    x = pictures(5, 1, 4)
    with torch.no_grad():
        np.testing.assert_allclose(see(x).values, base[:3](grow(x)).flatten(1).numpy(), atol=1e-6)


def test_what_a_picture_cannot_show_is_clipped():
    see = pixels((1, 2, 2))
    x = torch.tensor([-3.0, -1.0, 0.5, 1.7]).reshape(1, 1, 2, 2)
    np.testing.assert_array_equal(see(x).values, [[-1.0, -1.0, 0.5, 1.0]])


def test_bytes_of_images_are_seen_in_the_range_of_models():
    data = Images(np.array([[[0, 255], [51, 0]]], np.uint8), np.array([0]), ("a",), "toy")
    seen = pixels((1, 2, 2))(data)
    np.testing.assert_allclose(seen.values, [[-1, 1, -0.6, -1]], atol=1e-7)
    assert seen.data == "toy" and seen.told == "toy, 1"


@pytest.mark.parametrize("x, kind, message", [
    (pictures(2, 1), ValueError, r"takes images \(n, channels, height, width\) of \(3, 8, 8\), got \(2, 1, 8, 8\)"),
    (pictures(2)[0], ValueError, "extractor of their own: df.metrics.extractor"),
    (pictures(0), ValueError, r"got \(0, 3, 8, 8\)"),
    ((127 * pictures(2)).byte(), TypeError, "x / 127.5 - 1 of bytes x"),
    (127.5 * (pictures(2) + 1), ValueError, "looks like bytes"),
    (pictures(3).index_fill(0, torch.tensor(1), np.nan), ValueError, r"image 1 is not \(1 of 3"),
    (pictures(3).index_fill(0, torch.tensor(2), np.inf), ValueError, r"image 2 is not \(1 of 3")])
def test_what_is_no_picture_for_it_is_refused(mine, x, kind, message):
    with pytest.raises(kind, match=message):
        mine(x)


def test_pictures_in_0_to_1_are_warned_of(mine):
    with pytest.warns(RuntimeWarning, match=r"looks like \[0, 1\]; .* make it 2 x - 1"):
        mine(pictures(3) / 2 + 0.5)


def test_layers_that_are_not_there_and_features_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="has no layer 'body'; it has 0, 1, 2, 3, 4, 5"):
        extractor(net(), "body", name="mine", shape=(3, 8, 8))
    see = extractor(nn.Flatten(), name="log", shape=(1, 2, 2), prepare=lambda x: x.log())
    with pytest.raises(ValueError, match="extractor log gave features that are not finite"):
        see(pictures(3, 1, 2))


def test_the_digits_extractor_is_the_classifier():
    x, see = pictures(6, 1, 28), digits()
    with torch.no_grad():
        np.testing.assert_allclose(see(x).values, classifier().features(x).numpy(), atol=1e-5)
        np.testing.assert_allclose(see(x).probabilities, classifier()(x).softmax(1).numpy(), atol=1e-5)
    assert see is digits() and see.classes == tuple("0123456789")


# --- statistics

def test_statistics_are_those_of_numpy_in_blocks_of_any_size(monkeypatch):
    z = np.random.default_rng(0).normal(5.0, 1.0, (50, 4)).astype(np.float32)
    for size in (1, 37, 2**20):
        monkeypatch.setattr(statistics, "BLOCK", 4 * size)
        found = Statistics.of(z, "mine", "toy")
        np.testing.assert_allclose(found.mean, z.astype(float).mean(0), rtol=64 * EPS)
        np.testing.assert_allclose(found.covariance, np.cov(z.astype(float).T), rtol=1e-13, atol=1e-14)


def test_the_sum_of_two_is_of_both_sets():
    a, b = (np.random.default_rng(k).normal(k, 1 + k, (20 + k, 3)) for k in (0, 1))
    found, exact = Statistics.of(a, "mine", "a") + Statistics.of(b, "mine", "b"), np.concatenate([a, b])
    assert (found.n, found.data) == (41, "a + b")
    np.testing.assert_allclose(found.mean, exact.mean(0), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(found.covariance, np.cov(exact.T), rtol=1e-13, atol=1e-14)
    with pytest.raises(ValueError, match="different extractors do not compare: 'mine' and 'yours'"):
        _ = Statistics.of(a, "mine", "a") + Statistics.of(b, "yours", "b")


def test_what_is_saved_comes_back_bit_for_bit(tmp_path):
    made = Statistics.of(np.random.default_rng(0).normal(size=(9, 4)), "mine 1", "toy", "by hand")
    made = Statistics(made.n, made.mean, made.covariance, "mine 1", "toy", "by hand", {"fid": [[10, 1.0, 0.5, 2.0]]})
    again = Statistics.load(made.save(tmp_path / "deep" / "toy.safetensors"))
    for name in ("n", "extractor", "data", "source", "floors"):
        assert getattr(again, name) == getattr(made, name)
    np.testing.assert_array_equal(again.mean, made.mean)
    np.testing.assert_array_equal(again.covariance, made.covariance)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["toy.safetensors"]


def test_files_of_other_kinds_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(FileNotFoundError, match="no statistics at"):
        Statistics.load(path)
    told = json.dumps({"n": 3, "extractor": "mine", "data": "toy"})
    bad = [{"mean": np.zeros(2), "covariance": np.zeros((3, 3))}, {"mean": np.zeros(2)},
           {"mean": np.zeros(2), "covariance": np.full((2, 2), np.nan)}]
    for tensors, header in [*((b, told) for b in bad), (bad[0], "{}"), (bad[0], "[1]")]:
        save_file(tensors, path, metadata={"statistics": header})
        with pytest.raises(ValueError, match=f"{path} does not hold whole statistics"):
            Statistics.load(path)
    path.write_bytes(SHIPPED.read_bytes()[:-10])
    with pytest.raises(ValueError, match="does not hold whole statistics"):
        Statistics.load(path)
    with pytest.raises(ValueError, match="two images or more, got 1"):
        Statistics.of(np.zeros((1, 2)), "mine", "toy")


def test_floors_lie_on_lines_in_1_over_n():
    table = {"fid": [[10, 12.0, 10.0, 14.0], [20, 7.0, 6.0, 8.0], [40, 5.0, 4.5, 5.5]]}
    made = Statistics(99, np.zeros(1), np.eye(1), "mine", "toy", floors=table)
    at = lambda n: made.floor("fid", n)
    assert made.floor("kid", 20) is None and at(9) is None
    assert at(16).value == pytest.approx(7 + (12 - 7) * (1 / 16 - 1 / 20) / (1 / 10 - 1 / 20)) and at(16).n == 16
    assert (at(20).low, at(20).value, at(20).high) == (6.0, 7.0, 8.0)
    assert (at(10**6).value, at(10**6).n, at(10**6).reference) == (5.0, 40, "toy, 99")


def test_the_shipped_statistics_are_of_the_shipped_extractor_and_small():
    found = shipped()
    assert (found.n, found.data, found.extractor) == (60_000, "mnist", str(digits()))
    assert SHIPPED.stat().st_size < 100_000
    # standardised over the very set that they are of; every direction is alive
    np.testing.assert_allclose(found.mean, 0.0, atol=0.02)
    np.testing.assert_allclose(np.diag(found.covariance), 1.0, atol=0.05)  # over batches of it
    assert np.linalg.eigvalsh(found.covariance).min() > 1e-3
    for name in ("fid", "inception", "accuracy"):
        table = np.array(found.floors[name])
        assert (np.diff(table[:, 0]) > 0).all() and table[-1, 0] == 10_000
        assert (table[:, 2] <= table[:, 1]).all() and (table[:, 1] <= table[:, 3]).all()
    assert (np.diff(np.array(found.floors["fid"])[:, 1]) < 0).all()


class TestOnMnist:
    pytestmark = real

    def test_the_shipped_statistics_are_of_these_images(self):
        data = mnist("train")
        assert hashlib.sha256(data.images.tobytes()).hexdigest() in shipped().source
        picked = np.random.default_rng(0).permutation(60_000)[:1000]  # every 60th would not do: they come in some order
        few = digits()(data.subset(picked)).statistics()
        off = (few.mean - shipped().mean) / (np.diag(shipped().covariance) / 1000) ** 0.5
        assert np.abs(off).max() < 4.5

    def test_h_is_what_the_test_images_score(self):
        score = fid(digits()(mnist("test")), shipped())
        h = shipped().floor("fid", 10_000)
        assert score.value == pytest.approx(h.value, rel=1e-4)
        assert (score.low, score.high) == pytest.approx((h.low, h.high), rel=1e-3)


# --- scores

def score(value=3.0, half=0.4, name="fid", extractor="mine 1", reference="toy, 9"):
    return Score(name, value, value - half, value + half, 100, reference, extractor)


def test_a_difference_has_the_interval_of_independent_scores():
    found = score(5.0, 0.3) - score(3.0, 0.4)
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 1.5, 2.5))
    assert score(3.0) < score(3.1) and score(3.1) > score(3.0) and not score(3.0) < score(3.0)


@pytest.mark.parametrize("what, other", [("extractor", "yours 2"), ("name", "kid"), ("reference", "toy, 10")])
def test_scores_of_different_kinds_refuse(what, other):
    for compare in (lambda a, b: a - b, lambda a, b: a < b, lambda a, b: a > b):
        with pytest.raises(ValueError, match=f"different {what}s do not compare: .* measure both with one extractor"):
            compare(score(), score(**{what: other}))


def test_a_floor_is_of_the_same_score_and_extractor():
    assert score(6.0).over(score(3.0, reference="toy, 5")).floors == 2.0
    with pytest.raises(ValueError, match="different extractors"):
        score().over(score(extractor="yours"))
    with pytest.raises(ValueError, match="has no floor"):
        _ = score().floors


def test_a_smooth_score_has_the_interval_of_a_mean():
    psi = np.array([1.0, 2.0, 6.0])
    found = smooth("fid", 5.0, psi, "toy", "mine")
    assert found.high - 5.0 == pytest.approx(WIDTH * psi.std(ddof=1) / 3**0.5) == 5.0 - found.low
    assert share("precision", 3, 12, "toy", "mine").value == 0.25


def test_features_of_a_subset_keep_what_they_are_of():
    whole = Features(np.arange(6.0).reshape(3, 2), np.eye(3), "mine 1", "toy")
    part = whole.subset(np.array([2, 0]))
    np.testing.assert_array_equal(part.values, [[4, 5], [0, 1]])
    np.testing.assert_array_equal(part.probabilities, np.eye(3)[[2, 0]])
    assert (part.extractor, part.data, len(part)) == ("mine 1", "toy", 2)
