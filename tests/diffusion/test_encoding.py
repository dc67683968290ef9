"""The flow both ways: closed forms on Gaussian data, round trips, and the way between two pictures."""

import math

import numpy as np
import pytest
import torch

import diffusion as df
import sdekit as sk
from diffusion.encoding import decode, encode, interpolate
from diffusion.problems import mixture

MIXTURE = mixture()
PROCESSES = [df.EDM(), df.VE(), df.VP(), df.SubVP(), df.Cosine(), df.RectifiedFlow()]
VARIANCES = torch.tensor([0.01, 0.3, 4.0], dtype=torch.float64)
MEAN = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)
every_method = pytest.mark.parametrize("method", [sk.euler, sk.heun, sk.rk4], ids=repr)


def stretched(x, source, target):
    """The flow of N(MEAN, VARIANCES): every element keeps its place in the law."""
    a, b = ((level.alpha * MEAN, (level.alpha**2 * VARIANCES + level.sigma**2).sqrt()) for level in (source, target))
    return b[0] + (x - a[0]) / a[1] * b[1]


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_gaussian_data_go_up_and_down_in_closed_form(process):
    data = df.exact.Gaussian(MEAN, cov=torch.diag(VARIANCES))
    low, high = (process.level(t) for t in process.span)
    x, latent = data.sample(20, low.alpha, low.sigma, seed=1), data.sample(20, high.alpha, high.sigma, seed=2)
    up, down = encode(data, x, process=process), decode(data, latent, process=process)
    torch.testing.assert_close(up / high.sigma, stretched(x, low, high) / high.sigma, rtol=0, atol=1e-4)
    torch.testing.assert_close(down, stretched(latent, high, low), rtol=0, atol=1e-4)


@every_method
def test_on_a_grid_it_converges_at_the_order_of_the_method(method):
    process, span = df.VP(), (0.01, 1.0)
    x = MIXTURE.sample(200, process.alpha(0.01), process.sigma(0.01), seed=1)
    fine = encode(MIXTURE, x, grid=df.grid.log_snr(process, 256, span), method=sk.rk4)
    off = [(encode(MIXTURE, x, grid=df.grid.log_snr(process, n, span), method=method) - fine).square().mean().sqrt()
           for n in (16, 32, 64)]
    slopes = np.log2(np.array(off[:-1]) / np.array(off[1:]))
    assert (np.abs(slopes - method.order) < 0.35).all(), slopes


@every_method
def test_there_and_back_is_where_it_was_to_the_order_of_the_method(method):
    x = MIXTURE.sample(200, 1.0, 0.02, seed=1)
    off = []
    for n in (16, 32, 64):
        options = {"grid": df.grid.edm(n), "method": method}
        off.append((decode(MIXTURE, encode(MIXTURE, x, **options), **options) - x).square().mean().sqrt())
    slopes = np.log2(np.array(off[:-1]) / np.array(off[1:]))
    assert (slopes > method.order - 0.35).all(), slopes


def test_without_a_grid_there_and_back_is_where_it_was_to_the_tolerance():
    x = MIXTURE.sample(100, 1.0, 0.02, seed=1)
    for tolerance in (1e-4, 1e-7):
        options = {"rtol": tolerance, "atol": tolerance}
        back = decode(MIXTURE, encode(MIXTURE, x, **options), **options)
        assert (back - x).square().mean().sqrt() < 30 * tolerance


def test_sample_comes_down_from_a_latent_where_decode_does():
    x, grid = MIXTURE.sample(50, 1.0, 0.02, seed=1), df.grid.edm(64)
    latent = encode(MIXTURE, x, grid=grid)
    down = df.sample(MIXTURE, 50, start=latent, grid=grid, method=df.dpmpp_multistep(4, df.dpmpp_3s), close=False,
                     dtype=torch.float64).samples
    assert (down - x).abs().max() < 1e-3
    assert (decode(MIXTURE, latent, grid=grid) - x).abs().max() < 1e-6


def test_a_sample_goes_its_way_under_its_own_label_and_in_any_batch():
    x, label = MIXTURE.sample(6, 1.0, 0.02, seed=1), torch.arange(6) % 3
    whole = encode(MIXTURE, x, label=label)
    for batch in (1, 4):
        torch.testing.assert_close(encode(MIXTURE, x, label=label, batch=batch), whole, rtol=1e-12, atol=1e-12)
    for c in range(3):
        torch.testing.assert_close(encode(MIXTURE, x[c::3], label=c), whole[c::3], rtol=1e-12, atol=1e-12)
    assert (encode(MIXTURE, x) - whole).abs().max() > 1


def test_the_way_between_two_pictures_is_an_arc():
    data, a, b = df.exact.Gaussian(1.0, 0.5, shape=(2, 2)), torch.zeros(2, 2), torch.zeros(2, 2)
    a[0, 0], b[0, 0], b[1, 1] = 3.0, 1.0, 2.0
    found = interpolate(data, a.double(), b.double(), 5, process=df.VP())
    # of Gaussian data z is the same at all levels: an arc about the centre, from (2, -1, -1, -1) to (0, -1, -1, 1)
    level = df.VP().level(1e-3)
    u, v = (p.double().flatten() - level.alpha for p in (a, b))
    angle = math.acos(float(u @ v / (u.norm() * v.norm())))
    for w, picture in zip(np.linspace(0, 1, 5), found):
        expected = (math.sin((1 - w) * angle) * u + math.sin(w * angle) * v) / math.sin(angle) + level.alpha
        torch.testing.assert_close(picture.flatten(), expected, rtol=0, atol=1e-9)


def test_the_ends_are_the_pictures_themselves_each_under_its_label():
    a, b = MIXTURE.sample(2, 1.0, 0.02, seed=3)
    for label in (None, 1, (0, 2), [2, 0]):
        found = interpolate(MIXTURE, a, b, 4, label=label)
        assert found.shape == (4, 2)
        assert (found[0] - a).abs().max() < 1e-4 and (found[-1] - b).abs().max() < 1e-4
    under = interpolate(MIXTURE, a, b, 5, label=(0, 2))
    for c, part in ((0, slice(0, 3)), (2, slice(3, 5))):  # the middle one under a's
        latent = encode(MIXTURE, under[part], label=c)
        assert (decode(MIXTURE, latent, label=c) - under[part]).abs().max() < 1e-4
    ends = (encode(MIXTURE, torch.stack((a, b)), label=[0, 2]) - MIXTURE.center) / 40
    half = torch.nn.functional.cosine_similarity(*ends, dim=0).acos() / 2
    middle = (encode(MIXTURE, under[2:3], label=0)[0] - MIXTURE.center) / 40
    torch.testing.assert_close(middle, ends.sum(0) / (2 * half.cos()), rtol=0, atol=1e-4)


def test_between_a_picture_and_itself_there_is_nothing_else():
    a = MIXTURE.sample(1, 1.0, 0.02, seed=3)[0]
    assert (interpolate(MIXTURE, a, a, 3) - a).abs().max() < 1e-4


def test_opposite_pictures_have_no_way_between():
    data, a = df.exact.Gaussian(0.0, 1.0, shape=(2,)), torch.tensor([1.0, 2.0])
    with pytest.raises(ValueError, match="opposite"):
        interpolate(data, a, -a, 3)


def broken(x, alpha, sigma, condition=None):
    return x / 0.0


@pytest.mark.parametrize(("change", "error", "words"), [
    ({"x": torch.zeros(2, 3)}, ValueError, "shape"),
    ({"x": torch.zeros(2, 2, dtype=torch.long)}, TypeError, "floating-point .* is of torch.int64"),
    ({"x": torch.zeros(0, 2)}, ValueError, r"shape \(0, 2\): it is empty"),
    ({"label": 5}, ValueError, "0 to 2"),
    ({"label": [0, 1, 2]}, ValueError, "one for each"),
    ({"method": df.heun}, TypeError, "sk.heun"),
    ({"method": sk.heun}, ValueError, "give grid="),
    ({"process": "VP"}, TypeError, "df.VP"),
    ({"batch": 0}, ValueError, "batch"),
    ({"denoiser": broken, "grid": df.grid.edm(3)}, (FloatingPointError, ValueError), "finite"),
])
def test_what_does_not_fit_is_refused_by_name(change, error, words):
    asked = {"denoiser": MIXTURE, "x": torch.ones(2, 2), **change}
    with pytest.raises(error, match=words):
        encode(asked.pop("denoiser"), asked.pop("x"), **asked)


def test_two_pictures_are_asked_for():
    a, b = torch.zeros(2), torch.ones(2)
    for change in ({"b": torch.zeros(3)}, {"n": 1}, {"label": (0, None)}, {"label": (0, 1, 2)}):
        with pytest.raises(ValueError, match=r"pictures|label"):
            interpolate(MIXTURE, **{"a": a, "b": b, "n": 3, **change})


def test_an_array_is_taken_as_a_tensor():
    x, grid = torch.tensor([[0.5, -1.0], [0.0, 2.0]], dtype=torch.float64), df.grid.edm(4)
    for way in (encode, decode):
        assert torch.equal(way(MIXTURE, x.numpy()[::-1], grid=grid), way(MIXTURE, x.flip(0), grid=grid))
