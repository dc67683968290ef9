"""The extractor of every score: the very file that is pinned, deterministic, no feature dead, and right."""

import os

import numpy as np
import pytest
import safetensors
import torch

from diffusion.data import mnist
from diffusion.networks import classifier as module
from diffusion.networks.classifier import Classifier, classifier

real = [
    pytest.mark.mnist,
    pytest.mark.skipif("SDEKIT_MNIST" not in os.environ, reason="SDEKIT_MNIST names no folder"),
]


def blobs(n):
    """Smooth strokes at random: digits' spectrum without digits, so that no data is needed."""
    noise = torch.randn(n, 1, 7, 7, generator=torch.Generator().manual_seed(0))
    return torch.tanh(2 * torch.nn.functional.interpolate(noise, (28, 28), mode="bicubic"))


@torch.no_grad()
def features(x):
    return torch.cat([classifier().features(part) for part in x.split(500)]).double()


@pytest.fixture(scope="module")
def test_set():
    return mnist("test")


def test_another_file_is_refused(tmp_path, monkeypatch):
    content = bytearray(module.WEIGHTS.read_bytes())
    content[-1] ^= 1
    (tmp_path / "weights").write_bytes(content)
    monkeypatch.setattr(module, "WEIGHTS", tmp_path / "weights")
    with pytest.raises(ValueError, match=f"has SHA-256 .*, but {module.SHA256} is pinned.* Restore the file"):
        classifier.__wrapped__()


def test_the_weights_say_where_they_come_from():
    with safetensors.safe_open(module.WEIGHTS, "pt") as file:
        header = file.metadata()
    assert {"data", "epochs", "seed", "minutes", "command", "test_accuracy"} <= set(header)
    assert float(header["test_accuracy"]) >= 0.994
    assert module.WEIGHTS.stat().st_size < 2_000_000


def test_it_is_loaded_once_frozen_and_in_eval_mode():
    net = classifier()
    assert net is classifier() and not net.training
    assert not any(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("what", [Classifier.__call__, Classifier.features])
def test_an_image_does_not_depend_on_its_batch(what):
    x, net = blobs(30), classifier()
    whole = what(net, x)
    # Sums of up to 96 * 9 products, six layers deep: another batch size may only sum them in another order
    close = {"rtol": 0, "atol": 6 * 96 * 9 * torch.finfo(x.dtype).eps}
    torch.testing.assert_close(what(net, x), whole, rtol=0, atol=0)
    torch.testing.assert_close(torch.cat([what(net, part) for part in x.split(7)]), whole, **close)
    torch.testing.assert_close(torch.cat([what(net, part) for part in x.split(1)]), whole, **close)
    torch.testing.assert_close(what(net, x.flip(0)).flip(0), whole, **close)


def test_logits_are_the_head_of_the_features():
    x, net = blobs(8), classifier()
    torch.testing.assert_close(net(x), net.head(torch.nn.functional.silu(net.features(x))))
    assert net.features(x).shape == (8, Classifier.dim) and net(x).shape == (8, 10)


def test_features_pass_a_gradient_to_every_pixel():
    x = blobs(4).requires_grad_()
    classifier().features(x).square().sum().backward()
    assert x.grad is not None and (x.grad != 0).all()


def test_no_feature_is_dead():
    z = features(blobs(500))
    assert (z.std(0) > 0.1).all()
    assert np.linalg.matrix_rank(np.cov(z.numpy().T)) == Classifier.dim


@pytest.mark.parametrize("shape", [(28, 28), (2, 28, 28), (2, 3, 28, 28), (2, 1, 32, 32)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"it takes \(batch, 1, 28, 28\) in"):
        classifier()(torch.zeros(shape))


class TestOnMnist:
    pytestmark = real

    @torch.no_grad()
    def test_it_reads_digits(self, test_set):
        logits = torch.cat([classifier()(part) for part in test_set.tensor().split(500)])
        assert (logits.argmax(1) == torch.tensor(test_set.labels)).double().mean() >= 0.994

    def test_features_are_standardised_and_none_repeats_others(self, test_set):
        z = features(test_set.tensor())
        # The bounds are wider than the error of 1 / sqrt(n) of a mean: the writers of the test set are others
        # than the training set's.
        assert z.mean(0).abs().max() < 0.15
        assert (z.std(0) > 0.85).all() and (z.std(0) < 1.15).all()
        eigenvalues = np.linalg.eigvalsh(np.cov(z.numpy().T))
        assert eigenvalues.min() > 1e-3 * eigenvalues.max()
