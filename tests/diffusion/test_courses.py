"""The courses' networks: their sizes, what they see, and that each objective is its own formula."""

import json

import numpy as np
import pytest
import torch

import diffusion as df
from diffusion import checkpoint
from diffusion.data import Points
from diffusion.denoiser import parameter_count
from diffusion.losses import Terms
from diffusion.networks.autoencoder import (
    AutoencoderConfig,
    NextState,
    Reconstruction,
    StepperConfig,
    stacked,
)
from diffusion.networks.perceptron import NLL, PerceptronConfig
from diffusion.records import reading, written
from examples.curriculum.courses import plain
from tests.conftest import K

CENTER, SPREAD = torch.zeros(1, 28, 28), 0.6
CONFIGS = (PerceptronConfig(), AutoencoderConfig(), AutoencoderConfig((40,), (7, 5), pictures=False), StepperConfig(),
           StepperConfig((1, 8, 8), (9,), 3), PerceptronConfig((1, 8, 8), (6,), 3))
LOSSES = (NLL(), Reconstruction(), Reconstruction(0.0), NextState())


def built(config, seed=0):
    torch.manual_seed(seed)
    return config.build(torch.zeros(config.shape), SPREAD)


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def linear(inputs, outputs):
    return (inputs + 1) * outputs


@pytest.mark.parametrize("config, count", [
    (PerceptronConfig(), linear(784, 512) + linear(512, 512) + linear(512, 10)),
    (AutoencoderConfig(), linear(784, 400) + 2 * linear(400, 400) + linear(400, 784)),
    (StepperConfig(), linear(785, 400) + linear(400, 400) + linear(400, 784))])
def test_they_are_of_the_sizes_that_the_courses_say(config, count):
    assert parameter_count(built(config)) == count


@pytest.mark.parametrize("record", [*CONFIGS, *LOSSES], ids=str)
def test_they_can_be_kept_in_a_checkpoint(record):
    assert reading(json.loads(json.dumps(written(record)))) == record


def test_the_classifier_is_two_sigmoids_and_a_softmax_of_pictures_in_0_1():
    net, x = built(PerceptronConfig()), 2 * torch.rand(5, 1, 28, 28, generator=random()) - 1
    h = (x.flatten(1) + 1) / 2
    first, second, last = (layer for layer in net.net if isinstance(layer, torch.nn.Linear))
    for layer in (first, second):
        h = 1 / (1 + (-(h @ layer.weight.T + layer.bias)).exp())
    logits = h @ last.weight.T + last.bias
    torch.testing.assert_close(net(x), logits - logits.exp().sum(1, keepdim=True).log())


def test_its_loss_is_the_log_likelihood_of_the_label():
    net, x, label = built(PerceptronConfig()), torch.rand(4, 1, 28, 28, generator=random()), torch.tensor([3, 0, 9, 3])
    terms = NLL()(net, x, label, random())
    torch.testing.assert_close(terms.value, torch.stack([-net(x)[i, label[i]] for i in range(4)]))
    assert terms.level is None
    with pytest.raises(ValueError, match="drop_label=0"):
        NLL()(net, x, torch.tensor([3, 10, 9, 3]), random())


def test_the_autoencoder_is_linear_up_to_its_sigmoid():
    net = built(AutoencoderConfig())
    x, y, rest = (2 * torch.rand(3, 1, 28, 28, generator=random(s)) - 1 for s in range(3))
    code = [net.encode(v) for v in (x, y, rest, x + y - rest)]
    torch.testing.assert_close(code[3], code[0] + code[1] - code[2], atol=1e-5, rtol=1e-4)
    logit = [torch.logit((net(v).double() + 1) / 2) for v in (x, y, rest, x + y - rest)]
    torch.testing.assert_close(logit[3], logit[0] + logit[1] - logit[2], atol=1e-4, rtol=1e-3)
    assert float(net(50 * x).detach().abs().max()) <= 1


def test_codes_are_seen_about_their_mean_in_units_of_their_spread():
    config = AutoencoderConfig((3,), (2,), pictures=False)
    net = config.build(torch.tensor([1.0, 2.0, 3.0]), 0.5)
    x = torch.tensor([[1.5, 2.0, 2.5]])
    torch.testing.assert_close(net.inside(x), torch.tensor([[1.0, 0.0, -1.0]]))
    torch.testing.assert_close(net.outside(net.inside(x)), x)
    torch.testing.assert_close(net(x), net.center + 0.5 * net.decoder(net.encoder(net.inside(x))))


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_the_denoising_loss_is_of_pictures_in_0_1_that_got_noise(noise):
    """By the formula with the same noise; and E |y + n z - y|^2 = n^2 where the network gives back what it got."""
    net, x = built(AutoencoderConfig()), 2 * torch.rand(4, 1, 28, 28, generator=random(1)) - 1
    z, y = torch.randn(x.shape, generator=random(7)), (x + 1) / 2
    back = (net(2 * (y + noise * z) - 1) + 1) / 2
    value = Reconstruction(noise)(net, x, torch.zeros(4), random(7)).value
    torch.testing.assert_close(value, (back - y).square().mean((1, 2, 3)))
    net.encoder, net.decoder = torch.nn.Identity(), torch.nn.Identity()
    same = Reconstruction(noise)(net, x, torch.zeros(4), random(7)).value.detach().numpy()
    assert abs(same.mean() - noise**2) <= K * noise**2 * (2 / x.numel()) ** 0.5 + 1e-12


def test_the_steps_loss_is_of_the_state_before_on_the_line_to_noise():
    """S(y_t) = y_(t-1) when S goes back along the line to the x_0 that it is told; one wrong step costs its square."""
    config, x = StepperConfig(), 2 * torch.rand(64, 1, 28, 28, generator=random(1)) - 1

    class Told:
        """x_t - (noise - x_0) / T, from x_t = (1 - t/T) x_0 + (t/T) noise."""

        def __init__(self, off=0.0):
            self.config, self.off, self.t = config, off, None

        def __call__(self, now, t):
            self.t = t
            share = (t / 5).view(-1, 1, 1, 1)
            return now - (now - x) / share / 5 + self.off

    exact, off = Told(), Told(0.3)
    assert float(NextState()(exact, x, torch.zeros(64), random(3)).value.max()) < 1e-10
    assert sorted(set(exact.t.tolist())) == [1, 2, 3, 4, 5]
    torch.testing.assert_close(NextState()(off, x, torch.zeros(64), random(3)).value, torch.full((64,), 0.15**2))


def test_the_noise_at_the_end_of_the_steps_is_that_which_the_walk_begins_with():
    seen = {}

    class Seen:
        config = StepperConfig(steps=1)  # t = T alone

        def __call__(self, now, t):
            seen["x"] = now
            return now

    NextState()(Seen(), torch.full((100, 1, 28, 28), 0.7), torch.zeros(100), random(5))
    x, n = seen["x"].numpy(), 78400
    assert abs(x.mean()) <= K / n**0.5 and abs(x.var() - 1) <= K * (2 / n) ** 0.5


def test_a_walk_takes_its_steps_in_turn_and_its_time_is_an_input():
    net, z = built(StepperConfig()), torch.randn(2, 1, 28, 28, generator=random())
    found = net.walk(z)
    assert found.shape == (6, 2, 1, 28, 28)
    for k, t in enumerate((5, 4, 3, 2, 1)):
        torch.testing.assert_close(found[k + 1], net(found[k], t))
    each = net(z, torch.tensor([2, 4]))
    torch.testing.assert_close(each, torch.stack([net(z[:1], 2)[0], net(z[1:], 4)[0]]))
    assert float((net(z, 2) - net(z, 4)).abs().max()) > 1e-3


@pytest.mark.parametrize("config", [PerceptronConfig(), PerceptronConfig((1, 8, 8), classes=4), AutoencoderConfig(),
                                    StepperConfig((3, 8, 8))])
def test_other_data_are_refused(config, tiny):
    with pytest.raises(ValueError, match="but blobs has"):
        df.train(tiny, steps=1, network=config)


@pytest.mark.parametrize("config, loss", [(PerceptronConfig((1, 8, 8), (6,), 3), NLL()),
                                          (AutoencoderConfig((1, 8, 8), (9, 4)), Reconstruction()),
                                          (StepperConfig((1, 8, 8), (9,), 3), NextState())])
def test_they_train_resume_and_load(config, loss, tiny, tmp_path):
    """Adam alone: the average is the network itself, at every step."""
    def run(**options):
        return list(df.train(tiny, network=config, options=plain(loss, 1e-3, 16), **options))

    whole = run(steps=30)
    assert np.mean([r.loss for r in whole[-10:]]) < np.mean([r.loss for r in whole[:10]])
    for record in df.train(tiny, steps=30, network=config, options=plain(loss, 1e-3, 16), out=tmp_path):
        if record.step == 11:
            break
    *_, last = df.train(tiny, steps=30, out=tmp_path, resume=True)
    header, tensors = checkpoint.read(tmp_path)
    assert header.network == config and header.training["options"].loss == loss
    assert last.loss == whole[-1].loss and last.learning_rate == 1e-3
    for name, value in df.load(tmp_path).state_dict().items():
        assert torch.equal(value, whole[-1].model.state_dict()[name]) and torch.equal(value, tensors[f"net.{name}"])


def test_plain_steps_are_those_of_adam(tiny):
    """One parameter, whose gradient is what the loss says: theta <- theta - rate m / (sqrt v + eps)."""
    class Line:
        def __call__(self, model, x0, label, random):
            return Terms(model.net[1].bias.sum().expand(len(x0)) * (1 + 0 * x0.flatten(1)[:, 0]))

    config = PerceptronConfig((1, 8, 8), (), 3)
    start, *_, end = df.train(tiny, steps=5, network=config, options=plain(Line(), 0.01, 16))
    assert start.model is end.model
    begin = {}
    for record in df.train(tiny, steps=5, network=config, options=plain(Line(), 0.01, 16)):
        begin[record.step] = record.model.net[1].bias.clone()
    moved = begin[5] - begin[1]
    torch.testing.assert_close(moved, torch.full((3,), -0.04), atol=1e-6, rtol=1e-5)


def test_a_stack_is_trained_layer_by_layer(tiny):
    """The first layer is that of a lone training; the second one's data are its codes; the stack goes through all."""
    options = plain(Reconstruction(0.1), 1e-3, 16)
    net = stacked(tiny, (10, 4), steps=20, options=options, seed=3)
    *_, alone = df.train(tiny, steps=20, network=AutoencoderConfig((1, 8, 8), (10,)), options=options, seed=3)
    x = tiny.tensor()[:5]
    first, second = net.layers
    for name, value in alone.model.state_dict().items():
        assert torch.equal(value, first.state_dict()[name])
    codes = first.encode(tiny.tensor())
    data = Points(codes.numpy(), tiny.labels, tiny.classes, "codes")
    config = AutoencoderConfig((10,), (4,), pictures=False)
    *_, inner = df.train(data, steps=20, network=config, options=options, seed=3)
    torch.testing.assert_close(inner.model(codes[:5]), second(codes[:5]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(net.encode(x), second.encode(first.encode(x)))
    torch.testing.assert_close(net(x), first.decode(second(first.encode(x))))
    assert net.encode(x).shape == (5, 4) and net(x).shape == x.shape
