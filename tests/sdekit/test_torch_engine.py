"""The execution on tensors: states of any shape, a noise for each element, gradients, devices."""

import warnings

import numpy as np
import pytest

import sdekit as sk
from sdekit import noise
from sdekit.maths import rebind
from sdekit.milstein import milstein, milstein_stratonovich
from sdekit.runge_kutta import sri, strong_general
from sdekit.stiff import srock, tamed_euler
from sdekit.stratonovich import euler_heun, heun_stratonovich, midpoint, reversible_heun
from tests.conftest import EPS, rounding
from tests.problems import bump, euler_path

torch = pytest.importorskip("torch")
from sdekit.torch_engine import _with_bits, coarse, normals

gbm = sk.GeometricBrownianMotion(mu=0.3, sigma=0.5)
GRID = np.array([0.0, 0.25, 0.5, 1.5])


def increments(seed, batch, elements, first=0):
    h = np.diff(GRID)
    return h[:, None] ** 0.5 * sk.normals(seed, paths=range(first, first + batch), steps=len(h), components=elements)


@pytest.mark.parametrize("shape", [(4,), (4, 3), (2, 1, 5, 3), (1, 1)])
def test_each_element_of_a_tensor_is_a_component_of_the_noise(shape):
    """Element e of path i is driven by Z(seed, stream, i, step, e), in the order of the tensor's own memory."""
    x0 = torch.linspace(-1, 1, int(np.prod(shape)), dtype=torch.float64).reshape(shape)
    result = sk.simulate(bump, x0, t=GRID, seed=6, first=9)
    assert result.x.shape == (shape[0], len(GRID), *shape[1:]) and result.info["backend"] == "torch"
    elements = int(np.prod(shape[1:]))
    dw = increments(6, shape[0], elements, first=9)
    x = result.x.reshape(shape[0], len(GRID), elements).numpy()
    for e in range(elements):
        exact = euler_path(bump, x0.reshape(shape[0], -1)[:, e].numpy(), GRID, dw[..., e:e + 1])
        assert np.abs(x[..., e] - exact).max() <= rounding(len(GRID), exact)


def test_the_exact_law_holds_element_by_element():
    x0 = torch.full((5, 2), 2.0, dtype=torch.float64)
    result = sk.simulate(gbm, x0, t=GRID, seed=6)
    assert result.info["method"] is sk.exact
    W = increments(6, 5, 2).cumsum(axis=1)
    exact = 2.0 * np.exp((0.3 - 0.125) * GRID[1:, None] + 0.5 * W)
    assert np.abs(result.x[:, 1:].numpy() - exact).max() <= rounding(3, exact)


def test_single_precision_stays_single():
    """The noise is drawn in double and rounded once; each step then rounds a few times more."""
    x0 = torch.ones(6, 3)
    single, double = (sk.simulate(bump, x, t=GRID, seed=6).x for x in (x0, x0.double()))
    assert single.dtype == torch.float32
    assert (single - double).abs().max() <= rounding(3, double.numpy()) * 2**29  # 2^-23 for 2^-52


def test_a_choice_between_two_numbers_has_the_precision_of_the_state():
    sign = sk.SDE(lambda x, t: np.where(x > 0, 0.1, -0.1), lambda x, t: 0.0)
    for dtype in (torch.float32, torch.float64):
        x = sk.simulate(sign, torch.ones(6, 3, dtype=dtype), steps=2).x
        assert x.dtype == dtype and (x[:, 2] - 1.1).abs().max() <= 4 * torch.finfo(dtype).eps


def test_the_start_is_left_as_it_was():
    x0 = torch.ones(3, 2)
    result = sk.simulate(bump, x0, t=GRID, seed=6)
    assert (x0 == 1.0).all() and (result.x[:, 0] == x0).all()
    result.x.zero_()
    assert (x0 == 1.0).all()


def test_a_tensors_path_is_the_same_alone():
    x0 = torch.linspace(0, 1, 12, dtype=torch.float64).reshape(4, 3)
    whole = sk.simulate(bump, x0, t=GRID, seed=6)
    assert (whole.replay(2).x[0] == whole.x[2]).all()
    assert (sk.simulate(bump, x0[2:3], t=GRID, seed=6, first=2).x[0] == whole.x[2]).all()
    assert (whole.final == whole.x[:, -1]).all() and len(whole) == 4


BODIES = {
    "exp": lambda x, t: np.exp(-x * x), "log": lambda x, t: np.log(1.0 + x * x), "sin": lambda x, t: np.sin(x),
    "cos": lambda x, t: np.cos(x), "tanh": lambda x, t: np.tanh(x), "power": lambda x, t: (1.0 + x * x) ** 0.3,
    "sinh": lambda x, t: np.sinh(np.tanh(x)), "arctan": lambda x, t: np.arctan(x),
    "arctan2": lambda x, t: np.arctan2(x, 1.0), "exp2": lambda x, t: np.exp2(-x * x),
    "expm1": lambda x, t: np.expm1(-x * x), "log1p": lambda x, t: np.log1p(x * x),
    "sqrt": lambda x, t: np.sqrt(1.0 + x * x),
}


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("name", BODIES)
def test_a_path_is_the_same_alone_whatever_the_body_calls(name, backend):
    """Vector instructions and what is left over at an array's end have to give the same bits."""
    sde = sk.SDE(BODIES[name], lambda x, t: 1.0)
    run = lambda **which: np.asarray(sk.simulate(sde, 0.3, steps=11, seed=3, backend=backend, **which).x)
    whole = run(paths=259)
    for count in (1, 2, 3, 5, 100, 255, 258):
        assert (run(paths=count) == whole[:count]).all()
    for k in (1, 17, 257, 258):
        assert (run(paths=1, first=k)[0] == whole[k]).all()


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("shape", [(259,), (20, 3)])
def test_a_tensors_path_is_the_same_alone_whatever_the_body_calls(name, shape):
    """To rounding, not to the bit: Torch's pow, sinh, atan2 and exp2 take other code at the end of a tensor."""
    x0 = torch.linspace(-1, 1, int(np.prod(shape)), dtype=torch.float64).reshape(shape)
    whole = sk.simulate(sk.SDE(BODIES[name], lambda x, t: 1.0), x0, steps=11, seed=3)
    for k in (0, 1, 7, 17, 18, 19):
        assert (whole.replay(k).x[0] - whole.x[k]).abs().max() <= rounding(11, whole.x)


def test_the_number_of_threads_never_changes_a_bit():
    paths, threads = 70_001, torch.get_num_threads()  # torch splits what is longer than 32768
    run = lambda: sk.simulate(bump, 0.3, steps=3, paths=paths, seed=1, save="final", backend="torch").x
    try:
        torch.set_num_threads(1)
        one = run()
        torch.set_num_threads(3)
        assert (run() == one).all()
    finally:
        torch.set_num_threads(threads)


def test_gradients_flow_through_the_paths():
    """dX(T)/dx0 = X(T)/x0 for GBM by Euler-Maruyama, to rounding."""
    x0 = torch.full((4,), 2.0, dtype=torch.float64, requires_grad=True)
    final = sk.simulate(gbm, x0, t=GRID, seed=6, method=sk.euler_maruyama).final
    (slope,) = torch.autograd.grad(final.sum(), x0)
    assert ((slope * x0 / final - 1).abs() <= 32 * EPS).all()


def test_a_network_may_be_the_drift():
    torch.manual_seed(0)
    network = torch.nn.Linear(3, 3).double()
    x0 = torch.zeros(5, 3, dtype=torch.float64)
    with torch.no_grad():
        x = sk.simulate(sk.SDE(lambda x, t: network(x), lambda x, t: 0.0), x0, steps=2).x
        first = 0.5 * network.bias.expand(5, 3)
        assert ((x[:, 1] - first).abs() <= 4 * EPS).all()
        assert ((x[:, 2] - first - 0.5 * network(first)).abs() <= 16 * EPS).all()


def test_integrate_takes_tensors_too():
    x0 = torch.linspace(1, 2, 6, dtype=torch.float64).reshape(2, 3)
    x = sk.integrate(sk.ODE(lambda x, t, k: k * x, k=0.5), x0, steps=4).final
    exact = x0 * (1 + 1 / 8 + 1 / 8**2 / 2 + 1 / 8**3 / 6 + 1 / 8**4 / 24) ** 4
    assert ((x / exact - 1).abs() <= 64 * EPS).all()


def test_a_device_asks_for_torch():
    result = sk.simulate(gbm, 1.0, steps=3, paths=4, seed=1, device="cpu")
    assert isinstance(result.x, torch.Tensor) and result.x.dtype == torch.float64 and result.x.shape == (4, 4)
    assert isinstance(result.mean(), np.ndarray) and result.quantile(0.5).shape == (4,)


def test_given_increments_drive_each_element_of_a_tensor():
    dw = np.random.default_rng(2).normal(size=(4, 2, 3))  # (batch, steps, ...)
    x = sk.simulate(sk.BrownianMotion(), torch.zeros(4, 3, dtype=torch.float64), steps=2, noise=dw).x
    assert np.abs(x[:, 1:].numpy() - dw.cumsum(axis=1)).max() <= rounding(2, dw)


def test_given_increments_drive_a_tensor_of_numbers():
    dw = np.random.default_rng(2).normal(size=(4, 2))
    x = sk.simulate(sk.BrownianMotion(), torch.zeros(4, dtype=torch.float64), steps=2, noise=dw).x
    assert np.abs(x[:, 1:].numpy() - dw.cumsum(axis=1)).max() <= rounding(2, dw)


BAD = [
    (lambda: sk.simulate(gbm, torch.zeros(4, dtype=torch.int64), steps=2), TypeError,
     r"a tensor x0 must be of floats with a first axis of paths, got torch.int64 \(4,\)"),
    (lambda: sk.simulate(gbm, torch.tensor(1.0), steps=2), TypeError, r"first axis of paths, got torch.float32 \(\)"),
    (lambda: sk.simulate(gbm, torch.zeros(0, 2), steps=2), TypeError, r"first axis of paths, got .*\(0, 2\)"),
    (lambda: sk.simulate(gbm, torch.ones(4), steps=2, paths=3), ValueError,
     "x0 is a tensor of 4 paths, but paths=3; leave paths out"),
    (lambda: sk.simulate(gbm, torch.full((4,), torch.nan), steps=2), ValueError, "x0 must be finite"),
    (lambda: sk.simulate(gbm, torch.ones(4), steps=2, backend="numpy"), ValueError,
     "a torch tensor or a device needs backend='torch', got 'numpy'"),
    (lambda: sk.simulate(sk.SDE(lambda x, t: torch.zeros(2, 4, 3), lambda x, t: 1.0), torch.zeros(4, 3), steps=2),
     ValueError, r"x0 has shape \(4, 3\), but .* gives \(2, 4, 3\); they must return the state's shape"),
    (lambda: sk.simulate(gbm, torch.ones(4, 3), steps=2, noise=np.zeros((4, 2, 1))), ValueError,
     r"noise must hold increments dW of shape .*, got \(4, 2, 1\)"),
]


@pytest.mark.parametrize("call, error, message", BAD, ids=[message for *_, message in BAD])
def test_tensors_that_do_not_fit_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_first_path_with_an_element_that_is_not_finite_is_named():
    x0 = torch.full((5, 2, 3), 100.0)
    x0[3, 1, 2] = 1.0
    burst = sk.SDE(lambda x, t: np.exp(1e6 * (t - 0.6) - 1e6 * (x - 1.0) ** 2), lambda x, t: 1e-3)
    with pytest.raises(FloatingPointError, match=r"path 3 is not finite after step 4 of 4, at t = 1\.0"):
        sk.simulate(burst, x0, steps=4, seed=1)


    with pytest.raises(FloatingPointError, match=r"path 3 is not finite after step 4 of 4, at t = 1\.0"):
        sk.simulate(burst, x0, steps=4, seed=1, checkpoint=3)


METHODS = [sk.euler_maruyama, milstein, sri, tamed_euler, srock, strong_general]
STRATONOVICH = [euler_heun, heun_stratonovich, midpoint, reversible_heun, milstein_stratonovich]


@pytest.mark.parametrize("shape", [(1,), (5,), (1, 3, 8, 8), (2, 3, 8, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("method", METHODS + STRATONOVICH, ids=str)
def test_every_method_keeps_shape_and_precision(method, dtype, shape):
    """The functions see the state's kind alone; what comes out agrees with the elements as paths of their own."""
    seen = set()

    def drift(x, t):
        seen.add((x.dtype, tuple(x.shape)))
        return np.sin(x) * np.exp(-t)

    kind = sk.SDE if method in METHODS else sk.Stratonovich
    sde = kind(drift, lambda x, t: 0.1 * np.cos(x))
    x0 = torch.linspace(-1, 1, int(np.prod(shape)), dtype=dtype).reshape(shape)
    x = sk.simulate(sde, x0, steps=3, seed=4, method=method).x
    assert x.dtype == dtype and x.shape == (shape[0], 4, *shape[1:]) and {d for d, _ in seen} == {dtype}
    assert {s for _, s in seen} == {shape}
    double = sk.simulate(sde, x0.double(), steps=3, seed=4, method=method).x
    assert (x - double).abs().max() <= 64 * 3 * torch.finfo(dtype).eps


def test_words_are_those_of_numpy_bit_for_bit_and_normals_to_rounding():
    counters = np.random.default_rng(0).integers(0, 2**32, (6, 1000))
    ours = rebind(noise.philox, _with_bits)(*torch.as_tensor(counters))
    assert all((a.numpy() == b).all() for a, b in zip(ours, noise.philox(*counters)))
    for law, mine in ((noise.pair, normals), (noise.quad, coarse)):
        path, component = np.arange(2**40 - 500, 2**40)[:, None], np.arange(3)
        theirs = law(*np.array([[7], [2**31 + 3]]), path, component, np.int64(5), np.int64(0))
        ours = mine((7, 2**31 + 3), torch.as_tensor(path), torch.as_tensor(component), 5)
        single = 2.0**-23 if law is noise.quad else EPS
        assert all(np.abs(a.numpy() - b).max() <= 16 * single for a, b in zip(ours, theirs))


def test_a_start_that_is_not_contiguous_or_wants_a_gradient_stays_as_it_is():
    wide = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(3, 8)
    for view in (wide.T, wide[:, ::2], wide[:1].expand(4, 8)):
        leaf = view.detach().requires_grad_()
        x = sk.simulate(bump, leaf, t=GRID, seed=6).x
        plain = sk.simulate(bump, view.contiguous(), t=GRID, seed=6).x
        assert (x - plain).abs().max() <= rounding(3, plain) and x.requires_grad and leaf.grad is None
        assert (leaf == view).all()
    assert (wide == torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(3, 8)).all()


def test_functions_that_change_their_argument_are_refused():
    def drift(x, t):
        x -= 1.0
        return x

    with pytest.raises(ValueError, match=r"changes its argument in place; write x = x - 1\.0"):
        sk.simulate(sk.SDE(drift, lambda x, t: 1.0), torch.ones(3), steps=2)
    with torch.inference_mode():  # without the counter that tells
        assert sk.simulate(bump, torch.ones(3), steps=2, seed=1).x.isfinite().all()


@pytest.mark.parametrize("device, reason", [("cuda:99", "cuda|CUDA"), ("hal", "hal|device")])
def test_a_device_that_is_not_there_is_named(device, reason):
    with pytest.raises(ValueError, match=rf"device='{device}' cannot be used here \(.*({reason}).*\); there is cpu"):
        sk.simulate(gbm, 1.0, steps=2, paths=3, device=device)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_refused(dtype):
    with pytest.raises(TypeError, match=r"must be float32 or float64, got torch\.\w*float16, .* give x0\.float\(\)"):
        sk.simulate(gbm, torch.ones(3, dtype=dtype), steps=2)


def test_compiled_steps_give_the_same_numbers_and_gradients():
    """To rounding; a step that cannot be compiled goes on without, and says why. The one slow test of this file."""
    mu = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    sde = sk.SDE(lambda x, t, mu: mu * np.sin(x) * np.exp(-t), lambda x, t: 0.5 * np.sqrt(1.0 + x * x), mu=mu)

    def run(**how):
        final = sk.simulate(sde, 1.0, t=GRID, paths=100, seed=1, save="final", **how).final
        return final.detach(), torch.autograd.grad(final.sum(), mu)[0]

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        quick = run(compile=True)
    if any("torch.compile failed" in str(w.message) for w in told):
        pytest.skip(f"torch.compile does not work here: {told[0].message}")
    for ours, theirs in zip(quick, run()):
        assert (ours - theirs).abs().max() <= rounding(3, theirs)
    branch = sk.SDE(lambda x, t: x if float(x.sum()) > 0 else -x, lambda x, t: 0.1)
    with pytest.warns(RuntimeWarning, match="torch.compile failed on a step, which goes on without it: "):
        x = sk.simulate(branch, torch.ones(5), steps=3, seed=1, compile=True).x
    assert (x - sk.simulate(branch, torch.ones(5), steps=3, seed=1).x).abs().max() <= 1e-6


on_gpu = lambda test: pytest.mark.gpu(pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")(test))


@on_gpu
@pytest.mark.parametrize("shape", [(300,), (20, 3)])
def test_a_gpu_draws_the_same_noise(shape):
    """Brownian motion adds the increments alone: to rounding the same on every device."""
    x0 = torch.zeros(shape, dtype=torch.float64)
    cpu, gpu = (sk.simulate(sk.BrownianMotion(), x0.to(device), steps=7, seed=5, method=sk.euler_maruyama).x.cpu()
                for device in ("cpu", "cuda"))
    assert (cpu - gpu).abs().max() <= rounding(7, cpu.numpy())


@on_gpu
def test_a_gpu_has_the_same_words():
    counters = torch.as_tensor(np.random.default_rng(0).integers(0, 2**32, (6, 1000)))
    philox = rebind(noise.philox, _with_bits)
    assert all((a == b.cpu()).all() for a, b in zip(philox(*counters), philox(*counters.cuda())))


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("method", METHODS + STRATONOVICH, ids=str)
def test_a_gpu_follows_the_same_paths(method, dtype):
    kind = sk.SDE if method in METHODS else sk.Stratonovich
    sde = kind(lambda x, t: np.sin(x) * np.exp(-t), lambda x, t: 0.1 * np.cos(x))
    x0 = torch.linspace(-1, 1, 120, dtype=dtype).reshape(5, 4, 6)
    cpu, gpu = (sk.simulate(sde, x0, steps=3, seed=4, method=method, device=device).x for device in ("cpu", "cuda"))
    assert gpu.device.type == "cuda" and gpu.dtype == dtype
    assert (cpu - gpu.cpu()).abs().max() <= 64 * 3 * torch.finfo(dtype).eps


@on_gpu
def test_a_gpu_follows_systems_with_areas_bridges_and_parameters_of_each_path():
    sde = sk.SDE(lambda x, t, k: (-k * x[0], x[0]), lambda x, t: ((0.1 * x[1], 0.2), (0.3, 0.1 * x[0])),
                 k=np.linspace(0.5, 1.0, 70))
    run = lambda device: sk.simulate(sde, (1.0, 0.5), steps=4, seed=4, method=strong_general, device=device,
                                     save=[0.1, 0.5, 0.9], track=None)
    assert np.abs(run("cuda").values - run("cpu").values).max() <= rounding(4, run("cpu").values) * 4
    track = lambda device: sk.simulate(gbm, 1.0, steps=4, paths=70, seed=4, device=device,
                                       track=[sk.maximum(), sk.first_passage(1.2)]).tracked
    ours, theirs = track("cuda"), track("cpu")
    assert (ours["maximum"].cpu() - theirs["maximum"]).abs().max() <= rounding(16, theirs["maximum"])
    assert (ours["first_passage"].cpu().isinf() == theirs["first_passage"].isinf()).all()


@on_gpu
@pytest.mark.parametrize("x0", [1.0, torch.linspace(1, 2, 12, dtype=torch.float64).reshape(4, 3)], ids=["70", "4x3"])
def test_a_gpu_takes_the_same_adaptive_steps(x0):
    sde = sk.SDE(lambda x, t: -x * x * x, lambda x, t: 0.5 * x)
    paths = None if isinstance(x0, torch.Tensor) else 70
    cpu, gpu = (sk.simulate(sde, x0, steps=4, paths=paths, seed=4, rtol=1e-3, save=[0.1, 0.5, 1.0], device=device)
                for device in ("cpu", "cuda"))
    assert (cpu.info["accepted"], cpu.info["rejected"]) == (gpu.info["accepted"], gpu.info["rejected"])
    assert np.abs(cpu.values - gpu.values).max() <= rounding(64, cpu.values)


@on_gpu
def test_a_gpu_has_the_same_gradients():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).double()
    x0 = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3)

    def slopes(device, **how):
        moved = network.to(device)
        final = sk.simulate(sk.SDE(lambda x, t: moved(x), lambda x, t: 0.3), x0.to(device), steps=6, seed=1,
                            **how).final
        return [g.cpu() for g in torch.autograd.grad(final.square().sum(), list(moved.parameters()))]

    for how in ({}, {"checkpoint": 4}):
        for ours, theirs in zip(slopes("cuda", **how), slopes("cpu")):
            assert (ours - theirs).abs().max() <= 16 * rounding(6, theirs)


@on_gpu
def test_a_gpu_compiles_the_same_numbers():
    sde = sk.SDE(lambda x, t: np.sin(x) * np.exp(-t), lambda x, t: 0.5 * np.sqrt(1.0 + x * x))
    plain, quick = (sk.simulate(sde, 1.0, t=GRID, paths=1000, seed=1, device="cuda", compile=how).x
                    for how in (False, True))
    assert (plain - quick).abs().max() <= rounding(3, plain.cpu())


@on_gpu
def test_half_precision_is_refused_on_a_gpu():
    with pytest.raises(TypeError, match="must be float32 or float64"):
        sk.simulate(gbm, torch.ones(3, dtype=torch.bfloat16, device="cuda"), steps=2)
