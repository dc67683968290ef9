"""Gradients through the steps: against exact derivatives, finite differences, and a loop written out by hand."""

import numpy as np
import pytest

import sdekit as sk
from sdekit.milstein import milstein, milstein_stratonovich
from sdekit.runge_kutta import dri1, sra, sri, strong_general
from sdekit.stiff import srock, tamed_euler, theta
from sdekit.stratonovich import euler_heun, heun_stratonovich, midpoint, reversible_heun
from tests.conftest import EPS, rounding

torch = pytest.importorskip("torch")
grad, gradcheck = torch.autograd.grad, torch.autograd.gradcheck
DEVICES = ["cpu", pytest.param("cuda", marks=[
    pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")])]


def leaf(*values, device="cpu"):
    """A tensor (values,), or without axes for one value, whose gradient is wanted."""
    tensor = torch.tensor(values, dtype=torch.float64, device=device, requires_grad=True)
    return tensor if len(values) > 1 else tensor[0].detach().requires_grad_()


def growth(mu, sigma):
    return sk.SDE(lambda x, t, mu: mu * x, lambda x, t, sigma: sigma * x, mu=mu, sigma=sigma)


def rotating(kind, a, b):
    """Two components and two noises that do not commute."""
    return kind(lambda x, t, a: (-a * x[0] + np.sin(x[1]), x[0] - a * x[1] * np.exp(-t)),
                lambda x, t, b: ((b * x[1], 0.1), (b * np.cos(x[0]), b * x[0])), a=a, b=b)


def diagonal(kind, a, b):
    return kind(lambda x, t, a: (-a * x[0] + np.sin(x[1]), x[0] - a * x[1] * np.exp(-t)),
                lambda x, t, b: (b * np.cos(x[0]), b * np.log1p(x[1] * x[1])), a=a, b=b)


def additive(kind, a, b):
    return kind(lambda x, t, a: (-a * x[0] + np.sin(x[1]), x[0] - a * x[1] * np.exp(-t)),
                lambda x, t, b: (b, 0.3 * b * t), a=a, b=b)


@pytest.mark.parametrize("device", DEVICES)
def test_the_exact_transition_has_the_exact_derivatives(device):
    """X(T) = x0 exp((mu - sigma^2/2) T + sigma W): dX/dmu = T X, dX/dx0 = X / x0, for numbers and for tensors."""
    mu, x0 = leaf(0.3, device=device), leaf(2.0, 3.0, device=device)
    sde = sk.GeometricBrownianMotion(mu=mu, sigma=0.5)
    final = sk.simulate(sde, x0, t=2.0, steps=5, seed=6).final
    slopes = grad(final.sum(), (mu, x0))
    assert abs(slopes[0] / (2.0 * final.sum()) - 1) <= 80 * EPS
    assert ((slopes[1] * x0 / final - 1).abs() <= 80 * EPS).all()
    paths = sk.simulate(sde, 2.0, t=2.0, steps=5, paths=7, seed=6, device=device)
    assert paths.info["method"] is sk.exact and paths.x.device.type == device
    assert abs(grad(paths.final.sum(), mu)[0] / (2.0 * paths.final.sum()) - 1) <= 80 * EPS


@pytest.mark.parametrize("method, steps, most", [(milstein, 512, 3e-3), (sri, 64, 3e-4)], ids=str)
def test_the_derivative_of_a_path_converges_to_the_exact_one(method, steps, most):
    """dX/dmu = T X and dX/dsigma = (W - sigma T) X on the same path; the constants are those of X itself."""
    mu, sigma = leaf(0.3), leaf(0.5)
    final = sk.simulate(growth(mu, sigma), 1.0, steps=steps, paths=20, seed=1, method=method, save="final").final
    W = torch.as_tensor(sk.Brownian(seed=1, steps=steps, paths=20)(1.0))
    exact = torch.exp((mu - sigma**2 / 2) + sigma * W)
    for ours, theirs in zip(grad(final.sum(), (mu, sigma)), (exact.sum(), ((W - sigma) * exact).sum())):
        assert abs(ours - theirs) <= most * ((1 + abs(W)) * exact).sum()


CASES = [
    (sk.euler_maruyama, rotating, sk.SDE), (milstein, rotating, sk.SDE), (milstein, diagonal, sk.SDE),
    (strong_general, rotating, sk.SDE), (dri1, rotating, sk.SDE), (sri, diagonal, sk.SDE), (sra, additive, sk.SDE),
    (tamed_euler, diagonal, sk.SDE), (srock, rotating, sk.SDE), (theta(0.5, iterations=2), rotating, sk.SDE),
    (heun_stratonovich, rotating, sk.Stratonovich), (euler_heun, rotating, sk.Stratonovich),
    (midpoint, rotating, sk.Stratonovich), (reversible_heun, rotating, sk.Stratonovich),
    (milstein_stratonovich, rotating, sk.Stratonovich),
]


@pytest.mark.parametrize("method, make, kind", CASES, ids=lambda v: getattr(v, "__name__", str(v)))
def test_gradients_are_finite_differences(method, make, kind):
    """With respect to both starts, a parameter, and one with a value for each path; between the steps too."""
    def values(x, y, a, b):
        return sk.simulate(make(kind, a, b), (x, y), steps=2, paths=2, seed=3, method=method, save=[0.0, 0.3, 1.0]).x

    assert gradcheck(values, (leaf(0.5, 0.4), leaf(-0.3), leaf(0.7), leaf(0.2, 0.4)), eps=1e-6, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("method", [sk.euler_maruyama, milstein, sri, tamed_euler, srock], ids=str)
def test_gradients_of_a_tensor_are_finite_differences(method):
    def values(x0, mu, sigma):
        sde = sk.SDE(lambda x, t, mu: mu * np.sin(x), lambda x, t, sigma: sigma * np.sqrt(1.0 + x * x), mu=mu,
                     sigma=sigma)
        return sk.simulate(sde, x0, steps=2, seed=3, method=method).x

    x0 = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(2, 2, 2).requires_grad_()
    assert gradcheck(values, (x0, leaf(0.7), leaf(0.2, 0.4)), eps=1e-6, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("make, rtol", [(diagonal, 1e-2), (additive, 1e-3)])
def test_gradients_of_adaptive_steps_are_finite_differences(make, rtol, device):
    """The cells do not change under a small change of what they start from."""
    def values(x, y, a, b):
        return sk.simulate(make(sk.SDE, a, b), (x, y), steps=2, paths=2, seed=3, rtol=rtol, save=[0.3, 1.0],
                           device=device).x

    assert gradcheck(values, (leaf(0.5, 0.4), leaf(-0.3), leaf(0.7), leaf(0.2, 0.4)), eps=1e-6, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_a_step_that_explodes_and_is_not_taken_has_no_part_in_the_gradient(device):
    """The first attempt overflows on two of three paths; 0 times its infinite derivative would be NaN."""
    stiff = sk.SDE(lambda x, t, k: -k * np.exp(np.abs(x)) * x, lambda x, t: 0.5, k=leaf(1.0, device=device))
    x0 = leaf(8.0, -8.0, 0.1, device=device)
    run = lambda x0: sk.simulate(stiff, x0, steps=1, seed=1, rtol=1e-3, atol=1e-3, save=[0.3, 1.0])
    assert run(x0).info["rejected"] > 10 and grad(run(x0).x.sum(), stiff.parameters["k"])[0].isfinite()
    assert gradcheck(lambda x0: run(x0).x, (x0,), eps=1e-7, atol=1e-5)


def test_gradients_of_an_ode():
    """x' = -k x by rk4, h k = z: x0 R(z)^n, R the polynomial of the exponential; and by dopri5 to its tolerance."""
    k = leaf(0.7)
    ode = sk.ODE(lambda x, t, k: -k * x, k=k)
    fixed = sk.integrate(ode, 2.0, steps=4, checkpoint=3)
    z = -k / 4
    exact = 2.0 * (1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24) ** 4
    assert fixed.info["backend"] == "torch"
    assert abs(grad(fixed.final.sum(), k)[0] / grad(exact, k)[0] - 1) <= 64 * EPS
    adaptive = sk.integrate(ode, 2.0, rtol=1e-8, save=[0.55, 1.0]).x.sum()
    exact = 2.0 * (torch.exp(-0.55 * k) + torch.exp(-k))
    assert abs(grad(adaptive, k)[0] / grad(exact, k)[0] - 1) <= 1e-6


def test_a_square_root_at_zero_does_not_spoil_the_gradient():
    """Full truncation: sqrt(max(v, 0)) is constant where v < 0, so that dv'/dv = 1 - h there."""
    truncated = sk.SDE(lambda v, t: -v, lambda v, t: np.sqrt(np.maximum(v, 0.0)))
    v0 = leaf(-0.5, 0.0, 0.5)
    (slope,) = grad(sk.simulate(truncated, v0, t=0.1, steps=1, seed=3).final.sum(), v0)
    assert ((slope[:2] - 0.9).abs() <= 4 * EPS).all() and slope[2].isfinite()


def test_what_the_path_records_has_gradients():
    """A maximum that stays at the start, and an integral: M = x0, I = x0 h/2 (1 + 2 (1 - h) + (1 - h)^2), h = 1/2."""
    x0 = leaf(2.0)
    fall = sk.SDE(lambda x, t: (-x[0],), lambda x, t: (0.0,))
    tracked = sk.simulate(fall, (x0,), steps=2, paths=3, seed=1,
                          track=[sk.maximum(bridge=False), sk.integral()]).tracked
    assert grad(tracked["maximum"][:, -1].sum(), x0, retain_graph=True)[0] == 3.0
    exact = 0.25 * (1.0 + 2 * 0.5 + 0.25)
    assert abs(grad(tracked["integral"][0, -1], x0)[0] - exact) <= 8 * EPS


def test_what_the_functions_close_over_has_gradients():
    """A network, and a number: the same as in a loop written out by hand."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).double()
    sigma = leaf(0.4)
    own = [*network.parameters(), sigma]
    x = sk.simulate(sk.SDE(lambda x, t: network(x), lambda x, t: sigma), torch.zeros(5, 3, dtype=torch.float64),
                    steps=4, seed=2).final
    dw = torch.as_tensor(0.5 * sk.normals(2, paths=5, steps=4, components=3))
    y = torch.zeros(5, 3, dtype=torch.float64)
    for n in range(4):
        y = y + 0.25 * network(y) + sigma * dw[:, n]
    for ours, theirs in zip(grad(x.square().sum(), own), grad(y.square().sum(), own)):
        assert (ours - theirs).abs().max() <= 16 * rounding(4, theirs.numpy())


def test_a_number_that_is_closed_over_chooses_torch():
    k = leaf(0.7)
    sde = sk.SDE(lambda x, t: -k * x, lambda x, t: 0.0)
    paths = sk.simulate(sde, 2.0, steps=4, paths=3, method=milstein)
    assert paths.info["backend"] == "torch"
    assert abs(grad(paths.final[0], k)[0] + 2.0 * (1 - k / 4) ** 3) <= 16 * EPS
    with torch.no_grad():
        k += 0.1  # the equation has the tensor itself, not its value
    assert abs(sk.simulate(sde, 2.0, steps=4, paths=3).final[0] - 2.0 * (1 - k / 4) ** 4) <= 16 * EPS


@pytest.mark.parametrize("every", [1, 3, 8, 20])
@pytest.mark.parametrize("method", [milstein, reversible_heun], ids=str)
def test_a_checkpoint_changes_no_value(method, every):
    """Saved times on the grid, between its points, in the middle of stretches and at their ends. The gradients' terms
    are added up in another order."""
    a, b, x0 = leaf(0.7), leaf(0.2, 0.4, 0.3), leaf(0.5)
    kind = sk.Stratonovich if method is reversible_heun else sk.SDE
    run = lambda **how: sk.simulate(rotating(kind, a, b), (x0, 0.1), steps=8, paths=3, seed=1, method=method,
                                    save=[0.0, 0.1, 0.25, 0.3, 0.375, 0.8, 0.99], **how).x
    plain, again = run(), run(checkpoint=every)
    assert (plain == again).all()
    for ours, theirs in zip(grad(again.square().sum(), (a, b, x0)), grad(plain.square().sum(), (a, b, x0))):
        assert (ours - theirs).abs().max() <= rounding(8, theirs)


@pytest.mark.parametrize("device", DEVICES)
def test_a_checkpoint_keeps_less_and_computes_again(device):
    """Autograd keeps nothing of the steps, and the backward pass calls the drift once more for each."""
    calls, kept = [], []
    mu = leaf(0.1, device=device)

    def drift(x, t, mu):
        calls.append(t)
        return mu * x * x

    def run(**how):
        calls.clear()
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(lambda v: kept.append(v.nbytes) or v, lambda v: v):
            final = sk.simulate(sk.SDE(drift, lambda x, t: 0.1 * x, mu=mu), torch.full((50, 2), 0.5, device=device),
                                steps=12, seed=1, save="final", **how).final
        forward = len(calls)
        (slope,) = grad(final.sum(), mu)
        return slope, sum(kept), forward, len(calls) - forward

    plain, again = run(), run(checkpoint=4)
    assert plain[0] == again[0] and plain[2:] == (12, 0) and again[2:] == (12, 12)
    assert plain[1] >= 12 * 50 * 2 * 4 and again[1] <= plain[1] / 10


def test_the_step_that_is_not_finite_is_named_within_a_stretch_too():
    burst = sk.SDE(lambda x, t: np.exp(1e6 * (t - 0.6) + 0.0 * x), lambda x, t: 1e-3)
    with pytest.raises(FloatingPointError, match=r"path 0 is not finite after step 4 of 4, at t = 1\.0"):
        sk.simulate(burst, torch.ones(2), steps=4, seed=1, checkpoint=3)


k = torch.tensor(1.0, requires_grad=True)
decay = sk.SDE(lambda x, t, k: -k * x, lambda x, t: 0.0, k=k)
BAD = [
    (lambda: sk.simulate(decay, 1.0, steps=2, backend="numpy"), ValueError, "needs backend='torch', got 'numpy'"),
    (lambda: sk.simulate(decay, np.ones((3, 2)), steps=2), ValueError, r"give a tensor: torch.as_tensor\(x0\)"),
    (lambda: sk.simulate(sk.BrownianMotion(), 1.0, steps=2, checkpoint=2), ValueError,
     "checkpoint= and compile= are for runs on torch, .* got backend='auto'"),
    (lambda: sk.simulate(decay, 1.0, steps=2, checkpoint=0), ValueError, "checkpoint, .* must be at least 1 .* got 0"),
    (lambda: sk.simulate(decay, 1.0, rtol=1e-3, checkpoint=2), ValueError,
     "checkpoint= and compile= go with fixed steps"),
    (lambda: sk.SDE(lambda x, t, a: a * x, lambda x, t: 1.0, a=torch.ones(3, 3)), TypeError,
     r"the parameter a must be a tensor of one real number, or of one for each path; got torch.float32 \(3, 3\)"),
    (lambda: sk.SDE(lambda x, t, a: a * x, lambda x, t: 1.0, a=torch.tensor(torch.nan)), ValueError,
     "the parameter a must be finite"),
    (lambda: sk.simulate(sk.SDE(lambda x, t, k: -k * x, lambda x, t: 0.0, k=torch.ones(3)), 1.0, steps=2, paths=2),
     ValueError, "the parameter k holds 3 values, but there are 2 paths"),
    (lambda: sk.simulate(decay, 1.0, steps=2).extend(2.0), ValueError, "gradients of these paths end with them"),
]


@pytest.mark.parametrize("call, error, message", BAD, ids=[message for *_, message in BAD])
def test_what_has_no_gradient_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
