"""The perceptron: it begins as the Gaussian's denoiser, all that it is told matters, a sample stays by itself."""

import math

import pytest
import torch

import diffusion as df
from diffusion.networks.mlp import MLP, Block
from tests.diffusion.conftest import SMALL

EPS32 = torch.finfo(torch.float32).eps
CONFIGS = [SMALL, df.MLPConfig((3, 2), classes=1, width=8, blocks=2), df.MLPConfig((5,), classes=4, width=6, blocks=3)]


def shaken(config=SMALL, seed=0):
    """One with no weight at nought."""
    net, random = MLP(config), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=random) / max(1, p[0].numel()) ** 0.5)
    return net


def inputs(n=6, config=SMALL, seed=0):
    u = torch.randn(n, *config.shape, generator=torch.Generator().manual_seed(seed))
    return u, torch.linspace(-1, 1, n), torch.arange(n) % (config.classes + 1)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_its_output_has_the_shape_of_its_input(config):
    u, c, label = inputs(config=config)
    assert shaken(config)(u, c, label).shape == u.shape


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_new_denoiser_is_the_gaussian_s(config):
    torch.manual_seed(0)
    x, _, label = inputs(config=config)
    center = torch.arange(math.prod(config.shape), dtype=torch.float32).reshape(config.shape)
    model, exact = config.build(center, 0.7), df.exact.Gaussian(center.double(), 0.7)
    for alpha, sigma in ((1.0, 0.4), (0.3, 2.0)):
        torch.testing.assert_close(model(x, alpha, sigma, label), exact(x, alpha, sigma), rtol=1e-5, atol=1e-5)


def test_a_sample_does_not_depend_on_its_batch():
    net, (u, c, label) = shaken(), inputs()
    whole = net(u, c, label)
    for k in range(len(u)):
        alone = net(u[k:k + 1], c[k:k + 1], label[k:k + 1])
        torch.testing.assert_close(alone[0], whole[k], rtol=0, atol=1e3 * EPS32 * whole.abs().max().item())


def test_every_number_of_the_input_the_level_and_the_class_reach_every_output():
    config = CONFIGS[1]
    net, (u, c, label) = shaken(config), inputs(1, config)
    u.requires_grad_()
    c.requires_grad_()
    for out in net(u, c, label).flatten():
        du, dc = torch.autograd.grad(out, (u, c), retain_graph=True)
        assert (du != 0).all() and (dc != 0).all()
    assert (net(u, c, label) != net(u, c, label + 1)).all()


def test_every_parameter_is_trained():
    net = shaken()
    net(*inputs()).square().sum().backward()
    assert {name for name, p in net.named_parameters() if p.grad is None or not (p.grad != 0).any()} == set()
    assert (net.label.weight.grad != 0).any(dim=1).all()


def test_a_block_is_what_its_docstring_says():
    torch.manual_seed(0)
    block, h, e = Block(6), torch.randn(4, 6), torch.randn(4, 6)
    assert torch.equal(block(h, e), h)  # a new one is the identity
    torch.nn.init.normal_(block.second.weight)
    silu, (scale, shift) = torch.nn.functional.silu, block.film(e).split(6, dim=1)
    y = silu((1 + scale) * block.norm(block.first(silu(h))) + shift)
    torch.testing.assert_close(block(h, e), h + y @ block.second.weight.T + block.second.bias)


def test_the_label_after_the_classes_is_none_and_there_is_no_other():
    u, c, _ = inputs(1)
    shaken()(u, c, torch.tensor([SMALL.classes]))
    with pytest.raises(IndexError):
        shaken()(u, c, torch.tensor([SMALL.classes + 1]))


@pytest.mark.parametrize("name", ["classes", "width", "blocks"])
@pytest.mark.parametrize("value", [0, -2, 2.0, "2", True, None])
def test_numbers_that_are_no_counts_are_refused(name, value):
    with pytest.raises(ValueError, match=f"a perceptron's {name} must be a positive whole number, got "):
        df.MLPConfig(**{name: value})


def test_an_odd_width_is_refused():
    with pytest.raises(ValueError, match="width must be even, got 7"):
        df.MLPConfig(width=7)


def test_a_configuration_is_a_record():
    config = df.MLPConfig([3, 2])
    assert config == df.MLPConfig((3, 2)) and hash(config) and config.shape == (3, 2)
    with pytest.raises(AttributeError):
        config.width = 8


@pytest.mark.parametrize("shape, classes", [((3,), 2), ((2,), 3), ((2, 1), 2)])
def test_data_of_another_shape_or_number_of_classes_are_refused(shape, classes):
    SMALL.check((2,), 2, "clouds")
    with pytest.raises(ValueError, match=r"the network is for samples of shape \(2,\) and 2 classes, but clouds has"):
        SMALL.check(shape, classes, "clouds")
