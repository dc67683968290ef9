"""The U-Net: what it is told reaches its output, what it starts as, and that a picture stays by itself."""

import math
from dataclasses import replace

import pytest
import torch

import diffusion as df
from diffusion.networks.unet import Attention, Block, ChannelNorm, NoiseLevel, UNet
from tests.diffusion.conftest import TINY, shaken

EPS32 = torch.finfo(torch.float32).eps
GUESSING = replace(TINY, components=2, rank=3)
FORMS = [TINY, replace(TINY, attention=False), GUESSING, replace(GUESSING, attention=False, channels=2)]
forms = pytest.mark.parametrize("config", FORMS, ids=lambda c: f"attention={c.attention}, components={c.components}")


def inputs(n=4, config=TINY, seed=0):
    """u with the guess's channels, where there is one; c, label."""
    random = torch.Generator().manual_seed(seed)
    u = torch.randn(n, config.channels * (2 if config.components else 1), config.size, config.size, generator=random)
    return u, torch.linspace(-1, 1, n), torch.arange(n) % (config.classes + 1)


@pytest.mark.parametrize("config", [
    *FORMS, df.UNetConfig(size=8, channels=3, classes=1, patch=1, widths=(8,), embedding=8),
    df.UNetConfig(size=12, channels=2, classes=2, patch=1, widths=(8, 16, 24), blocks=2, components=0, embedding=16),
    df.UNetConfig(size=8, channels=1, classes=4, patch=4, widths=(16, 8), embedding=16)], ids=lambda c: str(c.widths))
def test_its_output_has_the_shape_of_a_sample(config):
    u, c, label = inputs(3, config)
    assert shaken(config)(u, c, label).shape == (3, config.channels, config.size, config.size)


@forms
def test_a_new_network_says_nought(config):
    torch.manual_seed(0)
    u, c, label = inputs(config=config)
    assert (UNet(config)(u, c, label) == 0).all()


def blobs(n=60, channels=1, seed=1):
    """Pictures of three classes, bright at places of their own."""
    random = torch.Generator().manual_seed(seed)
    x = 0.3 * torch.randn(n, channels, 8, 8, generator=random)
    labels = torch.arange(n) % 3
    x[torch.arange(n), :, labels] += 1
    return x, labels


@forms
def test_a_new_denoiser_is_the_gaussian_s(config):
    """Whatever else it is told of the data."""
    torch.manual_seed(0)
    x0, labels = blobs(channels=config.channels)
    model = config.build(torch.zeros(x0[0].shape), 0.7)
    model.fit(x0, labels)
    torch.testing.assert_close(model.center, x0.mean(0))
    exact, x = df.exact.Gaussian(x0.mean(0), 0.7), torch.randn(x0.shape)
    for alpha, sigma in ((1.0, 0.4), (0.3, 2.0)):
        torch.testing.assert_close(model(x, alpha, sigma, labels), exact(x, alpha, sigma), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("config", [TINY, GUESSING], ids=["plain", "guess"])
def test_a_denoiser_knows_noise_levels_alone(config):
    """D(k x, k alpha, k sigma) = D(x, alpha, sigma), for a factor of two bit for bit, and the label matters."""
    x, labels = blobs()
    model = config.build(torch.zeros(1, 8, 8), 0.7)
    model.net.load_state_dict(shaken(config).state_dict())
    model.fit(x, labels)
    whole = model(x, 0.8, 0.5, labels)
    assert torch.equal(model(4 * x, 3.2, 2.0, labels), whole)
    assert (model(x, 0.8, 0.5) != whole).flatten(1).any(1).all()
    for k in (0, 7):
        alone = model(x[k:k + 1], 0.8, torch.tensor([0.5]), labels[k:k + 1])
        torch.testing.assert_close(alone[0], whole[k], rtol=0, atol=1e4 * EPS32 * whole.abs().max().item())


def test_a_new_block_is_the_identity():
    torch.manual_seed(0)
    h, e = torch.randn(2, 8, 4, 4), torch.randn(2, 16)
    assert torch.equal(Block(8, 16)(h, e), h)
    assert torch.equal(Attention(8)(h), h)


@forms
def test_a_picture_does_not_depend_on_its_batch(config):
    net, (u, c, label) = shaken(config), inputs(5, config)
    whole = net(u, c, label)
    for k in range(5):
        alone = net(u[k:k + 1], c[k:k + 1], label[k:k + 1])
        torch.testing.assert_close(alone[0], whole[k], rtol=0, atol=1e3 * EPS32 * whole.abs().max().item())


@forms
def test_every_pixel_the_level_and_the_class_are_seen(config):
    net, (u, c, label) = shaken(config), inputs(1, config)
    u.requires_grad_()
    c.requires_grad_()
    out = net(u, c, label)
    out.square().sum().backward()
    assert (u.grad != 0).all() and (c.grad != 0).all()
    assert not torch.equal(net(u, c, label + 1), out)


@forms
def test_every_parameter_is_trained(config):
    """Each weight matters to the output, every label included when all are asked for."""
    net = shaken(config)
    net(*inputs(8, config)).square().sum().backward()
    assert {name for name, p in net.named_parameters() if p.grad is None or not (p.grad != 0).any()} == set()
    assert (net.label.weight.grad != 0).any(dim=1).all()


def test_the_way_up_adds_what_the_way_down_kept():
    """With nothing coming from the lower size, the picture reaches the output over the skip alone."""
    net, (u, c, label) = shaken(), inputs(1)
    with torch.no_grad():
        net.grow[0].weight.zero_()
    u.requires_grad_()
    net(u, c, label).square().sum().backward()
    assert (u.grad != 0).all()


def test_the_number_after_the_classes_is_a_label_too():
    u, c, _ = inputs(1)
    assert shaken()(u, c, torch.tensor([TINY.classes])).isfinite().all()
    with pytest.raises(IndexError):
        shaken()(u, c, torch.tensor([TINY.classes + 1]))


def test_noise_levels_are_waves_of_frequencies_from_a_quarter_to_16():
    """(cos 2 pi f c, sin 2 pi f c), f geometric."""
    c = torch.tensor([-1.75, -0.3, 0.0, 1.0])
    found = NoiseLevel(16)(c).double()
    f = 0.25 * 64 ** (torch.arange(8, dtype=torch.float64) / 7)
    angle = 2 * math.pi * c[:, None].double() * f
    # float32: the angle, up to 2 pi 16 1.75, is rounded
    allowed = 4 * EPS32 * 2 * math.pi * 16 * 1.75
    assert (found - torch.cat((angle.cos(), angle.sin()), dim=1)).abs().max() <= allowed


def test_levels_between_the_clipped_ends_are_told_apart():
    """c runs over [-7/4, 7/4]; the slowest wave has the period 4, longer than that."""
    c = torch.linspace(-1.75, 1.75, 701)
    distance = torch.cdist(NoiseLevel(16)(c), NoiseLevel(16)(c)) + 10 * torch.eye(701)
    assert distance.min() > 0.1


def test_attention_looks_at_all_pixels():
    layer = Attention(8)
    with torch.no_grad():
        torch.nn.init.normal_(layer.out.weight, generator=torch.Generator().manual_seed(0))
    h = torch.randn(1, 8, 3, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    layer(h)[0, :, 0, 0].sum().backward()
    assert (h.grad != 0).any(dim=1).all()


def test_attention_is_that_of_vaswani():
    """softmax(q k / sqrt d) v over the pixels of the normalised picture, in heads of 32 channels, by hand."""
    torch.manual_seed(0)
    layer, h = Attention(64), torch.randn(2, 64, 2, 3)
    torch.nn.init.normal_(layer.out.weight, std=0.1)
    tokens = layer.norm(h.flatten(2).transpose(1, 2))
    q, k, v = (part.reshape(2, 6, 2, 32) for part in layer.qkv(tokens).split(64, dim=2))
    share = (torch.einsum("bihd,bjhd->bhij", q, k) / 32**0.5).softmax(dim=-1)
    y = layer.out(torch.einsum("bhij,bjhd->bihd", share, v).reshape(2, 6, 64))
    torch.testing.assert_close(layer(h), h + y.transpose(1, 2).reshape(2, 64, 2, 3), rtol=1e-4, atol=1e-5)


def test_channels_are_normalised_at_each_pixel():
    norm, h = ChannelNorm(6), 3 + 2 * torch.randn(2, 6, 4, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        norm.weight.copy_(torch.arange(6))
        norm.bias.fill_(0.5)
    mean, variance = h.mean(1, keepdim=True), h.var(1, correction=0, keepdim=True)
    exact = (h - mean) / (variance + norm.eps).sqrt() * torch.arange(6)[:, None, None] + 0.5
    torch.testing.assert_close(norm(h), exact)


def test_a_block_is_what_its_docstring_says():
    torch.manual_seed(0)
    block, h, e = Block(8, 16), torch.randn(2, 8, 4, 4), torch.randn(2, 16)
    torch.nn.init.normal_(block.conv2.weight, std=0.1)
    silu = torch.nn.functional.silu
    scale, shift = block.film(e)[:, :8, None, None], block.film(e)[:, 8:, None, None]
    y = (1 + scale) * block.norm2(block.conv1(silu(block.norm1(h)))) + shift
    torch.testing.assert_close(block(h, e), h + block.conv2(silu(y)))


@pytest.mark.parametrize("size, patch, widths, least", [(27, 2, (8, 16), 4), (30, 2, (8, 16), 4), (9, 1, (8, 8), 2),
                                                       (28, 2, (8, 8, 8, 8), 16)])
def test_a_side_that_does_not_divide_is_refused(size, patch, widths, least):
    with pytest.raises(ValueError, match=f"side is a multiple of {least}, got {size}; pad or resize them"):
        df.UNetConfig(size=size, patch=patch, widths=widths)


@pytest.mark.parametrize("name", ["size", "channels", "classes", "patch", "blocks", "embedding"])
@pytest.mark.parametrize("value", [0, -2, 2.0, "2", True, None])
def test_numbers_that_are_no_counts_are_refused(name, value):
    with pytest.raises(ValueError, match=f"a U-Net's {name} must be positive whole numbers, got "):
        df.UNetConfig(**{name: value})


@pytest.mark.parametrize("name", ["components", "rank"])
@pytest.mark.parametrize("value", [-1, 2.0, "2", True, None])
def test_gaussians_that_are_no_count_are_refused(name, value):
    with pytest.raises(ValueError, match=f"a U-Net's {name} must be a whole number, got "):
        df.UNetConfig(**{name: value})


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [1, 2, 7, 8, 9, 12, 16, 28, 30, 31, 32, 48, 64, 100, 128, 256])
def test_the_default_fits_pictures_of_any_side(side, channels):
    """Halved, its channels doubled, until few patches are left or an odd number of them."""
    shape = (channels, side, side)
    config = df.UNetConfig.of(shape, 5)
    config.check(shape, 5, "pictures")
    left = side // config.patch // 2 ** (len(config.widths) - 1)
    assert left <= 16 or left % 2
    assert config.widths == tuple(64 * 2**k for k in range(len(config.widths)))


@pytest.mark.parametrize("shape, classes, message", [
    ((1, 12, 12), 3, "for size=8, but blobs has 12"), ((3, 8, 8), 3, "for channels=1, but blobs has 3"),
    ((1, 8, 8), 4, "for classes=3, but blobs has 4"), ((1, 8, 9), 3, "takes square pictures"), ((2,), 3, "square")])
def test_other_pictures_are_refused(shape, classes, message):
    with pytest.raises(ValueError, match=message):
        TINY.check(shape, classes, "blobs")


def test_a_configuration_is_a_record():
    config = df.UNetConfig(widths=[8, 16])
    assert config.widths == (8, 16) and config == df.UNetConfig(widths=(8, 16)) and hash(config)
    with pytest.raises(AttributeError):
        config.size = 32
