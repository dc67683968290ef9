"""A classifier that was trained is an extractor: its features, before the nonlinearity, and its probabilities."""

import numpy as np
import pytest
import torch

import diffusion as df
from diffusion.checkpoint import Header
from diffusion.metrics.trained import LEVEL, trained
from diffusion.networks.noise_aware import NoiseAwareConfig
from diffusion.networks.perceptron import PerceptronConfig

ABOUT = {"name": "blobs", "shape": [1, 8, 8], "range": [-1, 1], "classes": ["a", "b", "c"]}
NOISE_AWARE = NoiseAwareConfig(size=8, classes=3, widths=(8, 8), features=8, templates=6, embedding=8)
PERCEPTRON = PerceptronConfig((1, 8, 8), (7, 5), 3)


def built(config):
    torch.manual_seed(2)
    net = config.build(torch.zeros(1, 8, 8), 0.5)
    net.header = Header(config, 0.5, ABOUT)
    return net


def pictures(n=9):
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("config, dim", [(NOISE_AWARE, 8), (PERCEPTRON, 5)])
def test_its_probabilities_are_the_classifier_s_and_its_features_may_be_negative(config, dim):
    net, x = built(config), pictures()
    seen = trained(net)(x)
    log = net(x, 1.0, LEVEL) if config is NOISE_AWARE else net(x)
    torch.testing.assert_close(torch.from_numpy(seen.probabilities).float(), log.exp().detach())
    assert seen.values.shape == (9, dim) and (seen.values < 0).any() and (seen.values > 0).any()
    assert trained(net).classes == ("a", "b", "c") and trained(net).shape == (1, 8, 8)


def test_the_perceptron_s_features_lead_to_its_probabilities():
    """p = softmax(W_3 s(z) + b_3), and the features are z sqrt(d) / |z|."""
    net, x = built(PERCEPTRON), pictures()
    seen, z = trained(net)(x), net.net[:-2]((x + 1) / 2)
    p = net.net[-1](z.sigmoid()).softmax(1)
    torch.testing.assert_close(p.detach(), torch.from_numpy(seen.probabilities).float())
    torch.testing.assert_close((z * 5**0.5 / z.norm(dim=1, keepdim=True)).detach(), torch.from_numpy(seen.values))


def test_the_noise_aware_one_s_are_those_of_its_layer():
    net, x, found = built(NOISE_AWARE), pictures(), []
    seen = trained(net)(x)
    with net.features.register_forward_hook(lambda _module, _inputs, z: found.append(z.detach())):
        net(x, 1.0, LEVEL)
    torch.testing.assert_close(found[0] * 8**0.5 / found[0].norm(dim=1, keepdim=True), torch.from_numpy(seen.values))
    assert not net.features._forward_hooks  # what was given is as it was


@pytest.mark.parametrize("config", [NOISE_AWARE, PERCEPTRON])
def test_features_are_of_unit_root_mean_square_however_great_the_weights(config):
    net = built(config)
    with torch.no_grad():
        for p in net.parameters():
            p *= 10
    seen = trained(net)(pictures(40))
    np.testing.assert_allclose((seen.values**2).mean(1), 1, rtol=1e-5)
    assert abs(df.metrics.kid(seen.subset(np.arange(20)), seen.subset(np.arange(20, 40))).value) < 8


def test_features_of_nothing_are_0():
    see = trained(built(PerceptronConfig((1, 8, 8), (), 3)))  # whose features are the pixels, 0 for black
    np.testing.assert_array_equal(see(torch.full((2, 1, 8, 8), -1.0)).values, 0)


def test_a_perceptron_without_hidden_layers_gives_its_pixels():
    assert trained(built(PerceptronConfig((1, 8, 8), (), 3))).dim == 64


def test_it_is_known_by_its_data_and_its_weights():
    net = built(NOISE_AWARE)
    one, other = str(trained(net)), str(trained(built(PERCEPTRON)))
    assert one.startswith("blobs classifier ") and one != other and one == str(trained(net))


def test_other_networks_are_refused():
    with pytest.raises(TypeError, match=r"an extractor is a classifier .* got a Preconditioned"):
        trained(df.load())
    net = built(PERCEPTRON)
    net.header = None
    with pytest.raises(ValueError, match="does not say what it was trained on"):
        trained(net)
