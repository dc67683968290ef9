"""Views and D say the same: each view by its definition, both ways, in all pairs; and denoisers of others' networks."""

import math
import pickle
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffusion import views
from diffusion.denoiser import Preconditioned, column
from diffusion.exact import Gaussian
from diffusion.process import (
    EDM,
    VE,
    VP,
    Cosine,
    Discrete,
    Process,
    RectifiedFlow,
    SubVP,
    cosine_betas,
    linear_betas,
    zero_terminal,
)
from tests.conftest import EPS
from tests.diffusion.conftest import Net
from tests.strategies import numbers

ZERO_TERMINAL = Discrete(zero_terminal(linear_betas(50, 1e-3, 0.3)))
PROCESSES = [EDM(), VE(), VP(), VP(0.5, 0.5), SubVP(), Cosine(), RectifiedFlow(), Discrete(linear_betas()),
             Discrete(cosine_betas(20)), ZERO_TERMINAL]
NAMES = ["eps", "x0", "v", "score", "flow", "F"]
DEGREE = {"v": 1, "score": -1}  # of homogeneity in (x, alpha, sigma); 0 for the others
M, S = 0.7, 0.4  # centre and spread of the views F and of the Gaussian data


def named(name: str, process: Process) -> views.View:
    return {"flow": lambda: views.flow(process), "F": lambda: views.edm(M, S)}.get(name, lambda: getattr(views, name))()


def definition(name, process, alpha, sigma, D, eps):
    """A view in D and eps alone, without a difference that cancels; with all signs +, the size of its terms."""
    (fall, rise), r = process.slopes(views.moments(process, alpha, sigma)[0].time), math.hypot(alpha * S, sigma)
    return {"eps": lambda: eps, "x0": lambda: D, "v": lambda: alpha * eps - sigma * D, "score": lambda: -eps / sigma,
            "flow": lambda: fall * D + rise * eps,
            "F": lambda: sigma / (S * r) * (D - M) - alpha * S / r * eps}[name]()


def size(name, process, alpha, sigma):
    """Of the terms of a view, for |D|, |eps| and |m| up to 3."""
    fall, rise = (abs(slope) for slope in process.slopes(views.moments(process, alpha, sigma)[0].time))
    r = math.hypot(alpha * S, sigma)
    return 3 * {"eps": 1, "x0": 1, "v": alpha + sigma, "score": 1 / sigma, "flow": fall + rise,
                "F": 2 * sigma / (S * r) + alpha * S / r}[name]


def parts():
    """D and eps, up to 3 in size."""
    random = torch.Generator().manual_seed(0)
    return (torch.randn(2, 7, 3, generator=random, dtype=torch.float64)).clamp(-3, 3)


@st.composite
def levels(draw):
    """A process and its alpha and sigma, the noise level between 1e-6 and 1e6, on a scale between 1e-3 and 1e3."""
    process = draw(st.sampled_from(PROCESSES))
    top = min(process.level(process.times[1]).noise, 1e6)
    level = process.at(math.exp(draw(numbers(math.log(1e-6), math.log(top * 0.999)))))
    c = draw(st.just(1.0) | numbers(1e-3, 1e3))
    return process, c * level.alpha, c * level.sigma


def rounded(alpha, sigma):
    """What a conversion may lose, relative to the size of a view's terms."""
    return views.ROUNDING * EPS * max(alpha / sigma, sigma / alpha)


# The definitions, both ways


@pytest.mark.parametrize("name", NAMES)
@given(at=levels())
def test_a_view_is_its_definition_both_ways(name, at):
    process, alpha, sigma = at
    view, (D, eps), lost = named(name, process), parts(), rounded(alpha, sigma)
    x, value = alpha * D + sigma * eps, definition(name, process, alpha, sigma, D, eps)
    assert (view.of(D, x, alpha, sigma) - value).abs().max() <= lost * size(name, process, alpha, sigma)
    assert (view.x0(value, x, alpha, sigma) - D).abs().max() <= lost * 3


@pytest.mark.parametrize("other", NAMES)
@pytest.mark.parametrize("name", NAMES)
@given(at=levels())
def test_there_and_back_over_any_other_view(name, other, at):
    process, alpha, sigma = at
    one, two, (D, eps) = named(name, process), named(other, process), parts()
    x, value = alpha * D + sigma * eps, definition(name, process, alpha, sigma, D, eps)
    there = two.of(one.x0(value, x, alpha, sigma), x, alpha, sigma)
    back = one.of(two.x0(there, x, alpha, sigma), x, alpha, sigma)
    lost = rounded(alpha, sigma)
    assert (there - definition(other, process, alpha, sigma, D, eps)).abs().max() <= lost * size(other, *at)
    assert (back - value).abs().max() <= lost * size(name, *at)


@pytest.mark.parametrize("name", NAMES)
@given(at=levels(), power=st.integers(-6, 6))
def test_a_factor_of_two_changes_a_view_by_its_degree(name, at, power):
    process, alpha, sigma = at
    view, (D, x), k = named(name, process), parts(), 2.0**power
    value, scaled = view.of(D, x, alpha, sigma), view.of(D, k * x, k * alpha, k * sigma)
    assert torch.equal(scaled, k ** DEGREE.get(name, 0) * value)
    assert torch.equal(view.x0(scaled, k * x, k * alpha, k * sigma), view.x0(value, x, alpha, sigma))


@pytest.mark.parametrize("process", PROCESSES[:7], ids=repr)
def test_the_flow_s_velocity_is_how_x_changes(process):
    """d/dt (alpha D + sigma eps) at fixed D and eps by centred differences of steps h and 2h, joined to order 4; what
    is left is about (error of order 2)^2 in relative size, and rounding of EPS |x| / h."""
    D, eps = parts()
    t, h = 0.4 * process.times[1] + 0.0123, 1e-3

    def x(t):
        return process.alpha(t) * D + process.sigma(t) * eps

    fine, coarse = ((x(t + d) - x(t - d)) / (2 * d) for d in (h, 2 * h))
    velocity = views.flow(process).of(D, x(t), process.alpha(t), process.sigma(t))
    scale, relative = velocity.abs().max(), ((coarse - fine).abs().max() / velocity.abs().max()).item()
    assert relative < 1e-2
    allowed = 10 * relative**2 * scale + 64 * EPS * x(t).abs().max() / h
    assert ((4 * fine - coarse) / 3 - velocity).abs().max() <= allowed


def test_the_rectified_flow_is_the_straight_line_s():
    D, eps = parts()
    flow = views.flow(RectifiedFlow())
    for t, c in ((0.3, 1.0), (0.3, 7.0), (1.0, 1.0), (1.0, 0.01)):  # on any scale, at alpha = 0 too
        found = flow.of(D, c * ((1 - t) * D + t * eps), c * (1 - t), c * t)
        torch.testing.assert_close(found, eps - D, rtol=0, atol=256 * EPS)


def test_f_is_what_the_preconditioned_network_says():
    f = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    center, x = 0.3 * f[0] - 0.2, f.double() + 1
    model = Preconditioned(Net(lambda u, c, label: f), center, S)
    for alpha, sigma in ((1.0, 0.3), (0.2, 0.8), (0.0, 1.0)):
        found = views.edm(center, S)(model, x, alpha, sigma)
        torch.testing.assert_close(found, f.double(), rtol=0, atol=256 * EPS * max(1, alpha / sigma))


def test_a_view_of_a_gaussian_denoiser_hands_on_the_condition():
    seen = []
    denoiser = lambda x, alpha, sigma, condition=None: seen.append((alpha, sigma, condition)) or 0 * x
    x = parts()[0]
    torch.testing.assert_close(views.v(denoiser, x, 0.6, 0.8, 3), 0.75 * x)
    assert seen == [(0.6, 0.8, 3)]


@pytest.mark.parametrize("name", NAMES)
def test_a_level_for_each_sample_is_the_same_as_one_by_one(name):
    D, x = parts()
    alpha, sigma = torch.linspace(0.9, 0.1, 7).double(), torch.linspace(0.1, 0.95, 7).double()
    view = named(name, VP())
    value = view.of(D, x, alpha, sigma)
    for i in range(7):
        a, s, row = float(alpha[i]), float(sigma[i]), slice(i, i + 1)
        assert torch.equal(value[row], view.of(D[row], x[row], a, s))
        assert torch.equal(view.x0(value, x, alpha, sigma)[row], view.x0(value[row], x[row], a, s))
    mixed = view.of(D, x, 0.5, sigma)  # a number and a tensor
    torch.testing.assert_close(mixed, view.of(D, x, torch.full((7,), 0.5).double(), sigma), rtol=0, atol=0)


# The two ends


@pytest.mark.parametrize("name", NAMES)
def test_without_noise_every_view_tells_the_data_and_none_is_told(name):
    process = RectifiedFlow()
    view, (D, value) = named(name, process), parts()
    if name == "x0":
        assert torch.equal(view.of(D, value, 1.0, 0.0), D)
        return
    torch.testing.assert_close(view.x0(value, 0.5 * D, 0.5, 0.0), D, rtol=4 * EPS, atol=4 * EPS)
    for sigma in (0.0, torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0])):
        with pytest.raises(ZeroDivisionError, match="exists only where sigma > 0, got sigma = 0; end the grid"):
            view.of(D, D, 1.0, sigma)


@pytest.mark.parametrize("process", [RectifiedFlow(), Cosine()], ids=repr)
@pytest.mark.parametrize("name", ["x0", "v", "flow", "F"])
def test_without_data_these_views_are_finite_both_ways(name, process):
    view, (D, eps) = named(name, process), parts()
    level = process.level(1.0)
    x, value = level.sigma * eps, definition(name, process, level.alpha, level.sigma, D, eps)
    torch.testing.assert_close(view.of(D, x, level.alpha, level.sigma), value, rtol=64 * EPS, atol=64 * EPS)
    torch.testing.assert_close(view.x0(value, x, level.alpha, level.sigma), D, rtol=64 * EPS, atol=64 * EPS)


@pytest.mark.parametrize("name", ["eps", "score"])
def test_without_data_the_noise_is_all_of_x_and_does_not_tell_the_data(name):
    view, (D, x) = named(name, VP()), parts()
    assert torch.equal(view.of(D, x, 0.0, 2.0), {"eps": x / 2, "score": -x / 4}[name])
    for alpha in (0.0, torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0])):
        with pytest.raises(ZeroDivisionError, match=f"{name} tells the data only where alpha > 0, got alpha = 0"):
            view.x0(x, x, alpha, 1.0)


@pytest.mark.parametrize("process, noise", [(VP(), 0.0), (VE(), 0.0), (Cosine(), 0.0), (ZERO_TERMINAL, math.inf)])
def test_an_infinite_velocity_is_refused(process, noise):
    level, (D, x) = process.at(noise), parts()
    with pytest.raises(ZeroDivisionError, match=r"the velocity of .* is infinite"):
        views.flow(process).x0(D, x, level.alpha, level.sigma)


def test_the_spread_is_positive():
    for spread in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="spread of the data is a positive number"):
            views.edm(0.0, spread)


# Moments of a process


@given(at=levels())
def test_a_moment_has_the_noise_level_that_was_asked_for(at):
    process, alpha, sigma = at
    (level,) = views.moments(process, alpha, sigma)
    assert level.noise == pytest.approx(sigma / alpha, rel=64 * EPS * max(1, (sigma / alpha) ** 2))


def test_the_rounding_of_a_type_does_not_lead_out_of_the_process():
    for process in (VP(), EDM(), VE(), Discrete(linear_betas())):
        top = process.level(process.times[1])
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            alpha = torch.tensor([top.alpha], dtype=dtype)
            sigma = torch.nextafter(torch.tensor([top.sigma], dtype=torch.float32), torch.tensor(math.inf)).to(dtype)
            (level,) = views.moments(process, alpha, sigma)
            assert level.noise == pytest.approx(top.noise, rel=8 * torch.finfo(dtype).eps)
        with pytest.raises(ValueError, match="noise level"):
            views.moments(process, top.alpha, top.sigma * (1 + 1e-6))


@pytest.mark.parametrize("alpha, sigma", [(0.0, 0.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0), (math.nan, 1.0)])
def test_what_is_no_level_is_refused(alpha, sigma):
    with pytest.raises(ValueError, match="alpha and sigma are at least 0, and not both 0"):
        views.moments(VP(), alpha, sigma)


# Anyone's network


def exact_net(name, process, x, t, dtype=torch.float64):
    """What a perfect network for data N(M, S^2) predicts at times t, without cancellation, sample by sample."""
    rows = []
    for y, time in zip(x.double(), t.tolist()):
        level = process.level(time)
        r2 = (level.alpha * S) ** 2 + level.sigma**2
        y = y - level.alpha * M
        D, eps = M + level.alpha * S**2 / r2 * y, level.sigma / r2 * y
        fall, rise = process.slopes(time) if name == "flow" else (0, 0)
        rows.append({"eps": eps, "x0": D, "v": level.alpha * eps - level.sigma * D, "score": -y / r2,
                     "flow": fall * D + rise * eps, "F": 0 * y}[name])
    return torch.stack(rows).to(x.dtype)


@pytest.mark.parametrize("name", NAMES)
@given(at=levels())
def test_a_perfect_network_gives_the_exact_denoiser(name, at):
    process, alpha, sigma = at
    sigma = min(max(sigma, 1e-3 * alpha), 1e3 * alpha)  # away from the ends
    model = views.denoiser(partial(exact_net, name, process), name, process, center=M, spread=S)
    x = math.hypot(alpha, sigma) * parts()[0]
    exact = Gaussian(M, S)(x, alpha, sigma)
    assert (model(x, alpha, sigma) - exact).abs().max() <= 1e-10


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
@pytest.mark.parametrize("name", NAMES)
def test_a_level_for_each_sample_reaches_the_network(name, process):
    """Each sample is asked for at its own time, on the process's own scale."""
    noise = torch.tensor([0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 0.05], dtype=torch.float64)
    noise = noise.clamp(max=process.level(process.times[1]).noise)
    alpha = torch.tensor([1.0, 3.0, 0.1, 1.0, 0.5, 2.0, 1.0], dtype=torch.float64)
    model = views.denoiser(partial(exact_net, name, process), name, process, center=M, spread=S)
    x = column(alpha * (1 + noise), parts()[0]) * parts()[0]
    torch.testing.assert_close(model(x, alpha, alpha * noise), Gaussian(M, S)(x, alpha, alpha * noise),
                               rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", ["x0", "v", "F", "flow"])
@pytest.mark.parametrize("process", [RectifiedFlow(), Cosine(), ZERO_TERMINAL], ids=repr)
def test_at_pure_noise_a_perfect_network_gives_the_mean(name, process):
    model = views.denoiser(partial(exact_net, name, process), name, process, center=M, spread=S)
    x = parts()[0]
    if name == "flow" and process is ZERO_TERMINAL:
        with pytest.raises(ZeroDivisionError, match="velocity"):
            model(x, 0.0, 1.0)
    else:
        assert (model(x, 0.0, 3.0) - M).abs().max() <= 64 * EPS
        some = model(x, torch.tensor([0.0, 1, 0, 1, 0, 1, 0]), torch.ones(7))
        assert (some[::2] - M).abs().max() <= 64 * EPS
        torch.testing.assert_close(some[1::2], Gaussian(M, S)(x[1::2], 1.0, 1.0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["eps", "score"])
def test_at_pure_noise_other_networks_are_refused(name):
    model = views.denoiser(partial(exact_net, name, Cosine()), name, Cosine())
    with pytest.raises(ZeroDivisionError, match="tells the data only where alpha > 0"):
        model(parts()[0], 0.0, 1.0)


@given(at=levels(), power=st.integers(-6, 6))
def test_a_network_s_denoiser_depends_on_the_noise_level_alone(at, power):
    process, alpha, sigma = at
    model, x, k = views.denoiser(lambda x, t: x.sin(), "v", process), parts()[0], 2.0**power
    assert torch.equal(model(k * x, k * alpha, k * sigma), model(x, alpha, sigma))


class Module(torch.nn.Module):
    """A network with weights and classes of its own, in any floating type; `seen` is what it was asked."""

    def __init__(self, dtype):
        super().__init__()
        self.count = torch.nn.Parameter(torch.tensor(0), requires_grad=False)  # an integer before the floats
        self.linear = torch.nn.Linear(3, 3, dtype=dtype)
        self.label = torch.nn.Embedding(5, 3, dtype=dtype)
        self.seen = []

    def forward(self, x, t, label):
        self.seen.append((x.dtype, t, label))
        return self.linear(x) + self.label(label) + t.to(x.dtype)[:, None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("own", [torch.float32, torch.float64])
def test_a_module_computes_in_its_own_type(dtype, own):
    net = Module(dtype)
    model, x = views.denoiser(net, "eps", VP(), shape=(3,), classes=4), parts()[0].to(own)
    level = VP().level(0.25)
    found = model(x, level.alpha, level.sigma, 2)
    (seen, t, label), = net.seen
    assert found.dtype == own and seen == dtype and t.dtype == torch.promote_types(dtype, torch.float32)
    assert t.tolist() == pytest.approx([0.25] * 7, rel=1e-6) and label.tolist() == [2] * 7
    predicted = net(x.to(dtype), t, label).detach().to(own)
    torch.testing.assert_close(level.alpha * found.detach() + level.sigma * predicted, x, rtol=0,
                               atol=16 * torch.finfo(own).eps * (x.abs().max() + predicted.abs().max()).item())
    found.sum().backward()
    assert net.linear.weight.grad.abs().min() > 0


def test_labels_are_handed_on_and_none_is_the_number_of_classes():
    net = Module(torch.float64)
    model = views.denoiser(net, "x0", VP(), classes=4)
    for condition, labels in ((None, [4] * 7), (3, [3] * 7), (torch.arange(7) % 5, [0, 1, 2, 3, 4, 0, 1])):
        model(parts()[0], 1.0, 1.0, condition)
        assert net.seen[-1][2].tolist() == labels and net.seen[-1][2].dtype == torch.int64
    with pytest.raises(ValueError, match="label 5 is outside the classes of this model: 0 to 3"):
        model(parts()[0], 1.0, 1.0, 5)
    plain = views.denoiser(lambda x, t: x, "x0", VP())
    with pytest.raises(TypeError, match=r"the condition 1 was given, but this network takes no labels; .* classes="):
        plain(parts()[0], 1.0, 1.0, 1)


def test_times_may_be_whole_steps_counted_from_nought():
    """Networks of Ho et al. 2020 in the wild take t = 0, ..., T - 1 for the steps 1, ..., T."""
    process, seen = Discrete(linear_betas()), []
    model = views.denoiser(lambda x, t: seen.append(t) or x, "eps", process, time=views.timestep)
    alphas, sigmas = zip(*((process.alpha(t), process.sigma(t)) for t in (1, 2, 7, 500, 999, 1000, 0.2)))
    model(parts()[0], torch.tensor(alphas, dtype=torch.float64), torch.tensor(sigmas, dtype=torch.float64))
    assert seen[0].dtype == torch.int64 and seen[0].tolist() == [0, 1, 6, 499, 998, 999, 0]
    other = views.denoiser(lambda x, t: seen.append(t) or x, "eps", EDM(), time=lambda level: math.log(level.sigma) / 4)
    other(parts()[0], 1.0, 3.0)
    assert seen[1].dtype == torch.float64 and seen[1].tolist() == [math.log(3.0) / 4] * 7


@pytest.mark.parametrize("process", [VP(), EDM()], ids=repr)
def test_steps_counted_from_nought_are_refused_where_time_is_continuous(process):
    with pytest.raises(ValueError, match=r"timestep belongs to Discrete\(betas\).* or give time=lambda level: "):
        views.denoiser(lambda x, t: x, "eps", process, time=views.timestep)


def held():
    return parts()[0].clone().requires_grad_(True)


def detaching(x, t):
    return Module(x.dtype).linear(x.detach())  # it has parameters to be differentiated, but not x


@pytest.mark.parametrize("net", [torch.no_grad()(lambda x, t: x.sin()), lambda x, t: x.detach().sin(), detaching])
def test_a_derivative_without_the_network_s_part_is_refused(net):
    """x stays in D by the view: its derivative would be finite, and wrong."""
    model = views.denoiser(net, "eps", VP())
    with pytest.raises(TypeError, match="not differentiable by autograd"):
        model(held(), 1.0, 1.0)
    with torch.no_grad():  # where none is asked for, it is as good as any
        assert not model(held(), 1.0, 1.0).requires_grad


def in_place(x, t):
    x.mul_(1.0)
    return x.sin()


@pytest.mark.parametrize("net", [lambda x, t: x, lambda x, t: 0.0 * x, lambda x, t: x.float().sin(), in_place])
def test_a_network_that_is_differentiable_is_taken(net):
    assert views.denoiser(net, "x0", VP())(held(), 1.0, 1.0).requires_grad


def test_a_message_names_a_module_by_its_type():
    net = Module(torch.float64)
    assert views.brief(net) == "a Module"
    assert "\n" not in views.brief(net.forward)
    model = views.denoiser(net, "eps", VP(), classes=4)
    assert views.brief(model) == "the denoiser of a Module, which predicts eps"


def test_a_denoiser_says_what_it_is_made_for():
    model = views.denoiser(lambda x, t: x, views.v, VP(), shape=[2, 3], center=0.5, spread=2, classes=7)
    assert (model.shape, model.center, model.spread, model.classes, model.view) == ((2, 3), 0.5, 2.0, 7, views.v)
    center = torch.zeros(4, 5)
    assert views.denoiser(lambda x, t: x, "v", VP(), center=center).shape == (4, 5)
    plain = views.denoiser(lambda x, t: x, "F", VP())
    assert (plain.shape, plain.center, plain.spread, plain.classes) == (None, 0.0, 1.0, None)


@pytest.mark.parametrize("process, noise", [(VP(), 160.0), (EDM(), 81.0), (Discrete(linear_betas()), 1e3)])
def test_a_level_that_the_network_does_not_know_is_refused(process, noise):
    model = views.denoiser(lambda x, t: x, "eps", process)
    with pytest.raises(ValueError, match=r"the noise level sigma/alpha of .* goes from 0 to"):
        model(parts()[0], 1.0, noise)


@pytest.mark.parametrize("net, got", [
    (lambda x, t: x[:, :2], r"but returned one of shape \(7, 2\)"),
    (lambda x, t: torch.cat((x, x), 1), r"of its input's shape \(7, 3\), but returned one of shape \(7, 6\)"),
    (lambda x, t: torch.cat((x, x), 1), r"such as lambda x, t: net\(x, t\)\[:, :3\]$"),
    (lambda x, t: x[:, :2], "picks eps out of it$"), (lambda x, t: x[:, 0], "picks eps out of it$"),
    (lambda x, t: (x,), r"returned a tuple; .* net\(x, t\)\[0\]$"), (lambda x, t: x.numpy(), "returned a ndarray")])
def test_what_a_network_should_not_return(net, got):
    with pytest.raises(ValueError, match=got):
        views.denoiser(net, "eps", VP())(parts()[0], 1.0, 1.0)


@pytest.mark.parametrize("options, error, message", [
    ({"predicts": "noise"}, ValueError, "predicts is a View or one of eps, x0, v, score, F, flow; got 'noise'"),
    ({"process": VP}, TypeError, r"process is a Process with its parameters, such as VP\(\)"),
    ({"spread": 0.0}, ValueError, "spread of the data is a positive number"),
    ({"shape": (2,), "center": torch.zeros(3)}, ValueError, r"the data has shape \(3,\), and a sample \(2,\)"),
    ({"classes": 0}, ValueError, "classes is a whole number of at least 1"),
    ({"classes": 2.0}, ValueError, "classes is a whole number of at least 1")])
def test_what_makes_no_denoiser(options, error, message):
    with pytest.raises(error, match=message):
        views.denoiser(**{"net": lambda x, t: x, "predicts": "eps", "process": VP(), **options})


def test_a_wrong_number_of_levels_is_refused():
    with pytest.raises(ValueError, match="one for each of the 7 samples; got 3"):
        views.denoiser(lambda x, t: x, "v", VP())(parts()[0], torch.ones(3), torch.ones(3))


@pytest.mark.parametrize("predicts", ["eps", "x0", "v", "score", "flow", "F"])
def test_a_denoiser_of_a_network_can_be_sent_to_another_process(predicts):
    made = views.denoiser(torch.mul, predicts, Cosine(), shape=(2,))
    asked = torch.tensor([[0.3, -1.2]]), 0.8, 0.5
    assert torch.equal(pickle.loads(pickle.dumps(made))(*asked), made(*asked))
