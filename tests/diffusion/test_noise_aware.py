"""The classifier of noisy digits: homogeneous as denoisers are, a loss that is its formula, and what ships guides."""

import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import diffusion as df
from diffusion import checkpoint
from diffusion.losses import LogNormal
from diffusion.networks import noise_aware as module
from diffusion.networks.noise_aware import NoiseAware, NoiseAwareConfig, NoisyLabels, noise_aware
from tests.conftest import K

SMALL = NoiseAwareConfig(size=8, classes=3, widths=(8, 8), features=8, templates=6, embedding=8)
shipped = pytest.mark.skipif(not module.WEIGHTS.exists(), reason="no weights are shipped")


def shaken(config=SMALL, seed=0):
    """No weight at zero."""
    net, random = NoiseAware(config, 0.3 * torch.ones(1, 8, 8), 0.7).double(), torch.Generator().manual_seed(seed)
    for p in net.parameters():
        p.data = 0.5 * torch.randn(p.shape, generator=random, dtype=torch.float64) / max(1, p[0].numel()) ** 0.5
    return net.float()


@pytest.fixture(scope="module")
def net():
    return shaken()


def pictures(n, seed=0):
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=10)
@given(c=st.floats(1e-3, 1e3), alpha=st.floats(0.1, 2), sigma=st.floats(0.01, 30))
def test_it_knows_no_scale_and_so_no_process(c, alpha, sigma):
    net, x = shaken(), pictures(4)
    torch.testing.assert_close(net(c * x, c * alpha, c * sigma), net(x, alpha, sigma), atol=1e-4, rtol=1e-4)


def test_a_level_for_each_sample_is_the_same_as_each_alone(net):
    x, a, s = pictures(3), torch.tensor([1.0, 0.5, 0.1]), torch.tensor([0.2, 1.0, 3.0])
    alone = [net(x[i:i + 1], float(a[i]), float(s[i])) for i in range(3)]
    torch.testing.assert_close(net(x, a, s), torch.cat(alone), atol=1e-6, rtol=1e-5)
    assert float((net(x, 1.0, 0.2) - net(x, 1.0, 3.0)).detach().abs().max()) > 1e-2


def test_what_the_layers_see_has_unit_variance_at_every_level():
    """u of x = alpha x_0 + sigma eps with x_0 ~ N(m, s^2)."""
    net, seen = NoiseAware(NoiseAwareConfig(), torch.full((1, 28, 28), 0.4), 0.7), []
    net.logits = lambda u, c: seen.append((u, c)) or torch.zeros(len(u), 10)
    random = torch.Generator().manual_seed(1)
    for alpha, sigma in ((1.0, 0.01), (1.0, 1.0), (0.3, 5.0), (0.1, 0.01)):
        x0, z = (torch.randn(100, 1, 28, 28, generator=random) for _ in range(2))
        net(alpha * (0.4 + 0.7 * x0) + sigma * z, alpha, sigma)
        u, c = seen[-1]
        assert abs(float(u.mean())) <= K / u.numel() ** 0.5 and abs(float(u.var()) - 1) <= K * (2 / u.numel()) ** 0.5
        np.testing.assert_allclose(c, np.log(sigma / alpha) / 4, rtol=1e-5)


def test_the_loss_is_the_log_likelihood_of_labels_at_strata_of_levels(net):
    seen, x = {}, pictures(64).float()

    def logs(noisy, alpha, sigma):
        seen.update(x=noisy, alpha=alpha, sigma=sigma)
        seen["value"] = net(noisy, alpha, sigma)
        return seen["value"]

    label = torch.arange(64) % 3
    terms = NoisyLabels(LogNormal(0.2, 1.5))(logs, x, label, torch.Generator().manual_seed(2))
    torch.testing.assert_close(terms.value, -seen["value"][torch.arange(64), label])
    u = torch.special.ndtr((seen["sigma"].log() - 0.2) / 1.5)
    assert sorted((64 * u).floor().int().tolist()) == list(range(64)) and seen["alpha"] == 1.0
    noise = (seen["x"] - x) / seen["sigma"].view(-1, 1, 1, 1)
    n = noise.numel()
    assert abs(float(noise.mean())) <= K / n**0.5 and abs(float(noise.var()) - 1) <= K * (2 / n) ** 0.5


def test_dropped_labels_are_refused(tiny):
    with pytest.raises(ValueError, match="drop_label=0"):
        list(df.train(tiny, steps=3, network=SMALL, options=df.Options(loss=NoisyLabels(), drop_label=0.9)))


@pytest.mark.parametrize("config, message", [(NoiseAwareConfig(), r"is for pictures of shape \(1, 28, 28\)"),
                                             (NoiseAwareConfig(size=8, classes=4), "and 4 classes, but blobs")])
def test_other_data_are_refused(config, message, tiny):
    with pytest.raises(ValueError, match=message):
        df.train(tiny, steps=1, network=config)
    with pytest.raises(ValueError, match="multiple of 4"):
        NoiseAwareConfig(size=30)


def test_it_learns_and_comes_back_from_its_file(tiny, tmp_path):
    """Blobs told by their place: in noise of half their height more are read rightly than twice chance."""
    options = df.Options(batch=30, learning_rate=5e-3, drop_label=0.0, warm_up=5,
                         loss=NoisyLabels(LogNormal(-1.0, 0.5)))
    *_, last = df.train(tiny, steps=60, network=SMALL, options=options, out=tmp_path)
    net, x, label = df.load(tmp_path), tiny.tensor(), torch.from_numpy(tiny.labels)
    noisy = x + 0.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(net(noisy, 1.0, 0.5), last.model(noisy, 1.0, 0.5))
    right = float((net(noisy, 1.0, 0.5).argmax(1) == label).float().mean())
    assert right - K * (right * (1 - right) / len(x)) ** 0.5 > 1 / 3


@shipped
def test_the_weights_that_ship_are_a_checkpoint_of_train_with_the_average_alone():
    header, tensors = checkpoint.read(module.WEIGHTS)
    assert all(name.startswith("model.") for name in tensors) and module.WEIGHTS.stat().st_size < 1.5e6
    assert header.data["name"] == "mnist" and header.training["options"].loss == NoisyLabels()
    assert header.network == NoiseAwareConfig() and not noise_aware().training


@shipped
def test_it_makes_a_model_that_is_told_nothing_draw_what_was_asked_for():
    """Of 20 digits, drawn without telling the network their class, all but few are read as asked; unguided, a tenth."""
    model, asked = df.load(), torch.arange(20) % 10
    guided = df.classifier_guided(model, noise_aware(), classes=10, scale=2.0, interval=(0.1, 20.0))
    how = {"steps": 12, "method": df.dpmpp_2m, "seed": 0, "progress": False}
    found = df.metrics.reading(df.sample(guided, 20, label=asked, **how).samples)
    plain = df.metrics.reading(df.sample(model, 20, **how).samples)
    assert int((found == asked).sum()) >= 17 and int((plain == asked).sum()) <= 9


@shipped
@pytest.mark.mnist
@pytest.mark.skipif("SDEKIT_MNIST" not in os.environ, reason="SDEKIT_MNIST names no folder")
@pytest.mark.parametrize("level, least", [(0.05, 0.98), (0.5, 0.97), (1.0, 0.93), (2.0, 0.7)])
def test_it_reads_noisy_test_images(level, least):
    test = df.mnist("test").subset(1000)
    x = test.tensor()
    noisy = x + level * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        right = float((noise_aware()(noisy, 1.0, level).argmax(1) == torch.from_numpy(test.labels)).float().mean())
    assert right >= least - K * (least * (1 - least) / 1000) ** 0.5
