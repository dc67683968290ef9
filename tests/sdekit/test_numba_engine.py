"""The compiled execution: tiles and threads, interruption, and what Numba cannot take."""

import threading
import time

import numpy as np
import pytest

import sdekit as sk
from sdekit import numba_engine, work
from sdekit.numba_engine import CHUNK, LANES, run_numba
from sdekit.run import NonFinite, Run, Whole
from tests.conftest import rounding


def asked(paths, steps=4, threads=3):
    return Run(grid=np.linspace(0.0, 1.0, steps + 1), save=np.array([steps]), offset=np.zeros(1), x0=(np.zeros(1),),
               p=(), paths=paths, first=10, key=(1, 2), noises=1, draws="W", level=0, waits=0, given=None,
               aside=None, threads=threads, finite=1, kept=1)


class Recorder:
    """Stands for a compiled kernel: notes which paths it was given."""

    def __init__(self, fault=()):
        self.paths, self.lock, self.fault, self.flag = [], threading.Lock(), fault, None

    def __call__(self, begin, end, place, path0, begun, k0, k1, level, x0, p, q, t, h, scale, save, offset, W, V, out,
                 fault, flag, done):
        assert begin % LANES == 0 and place == begin and len(fault) == end - begin
        with self.lock:
            self.paths += range(begin, end)
            self.flag = flag
        for path in self.fault:
            if begin <= path < end:
                fault[path - begin] = np.nan
        done[0] += (end - begin) * len(h)
        time.sleep(0.002)


@pytest.mark.parametrize("paths", [1, LANES - 1, LANES, LANES + 1, 50 * LANES + 7])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("chunk", [1, 3 * 4 * LANES, CHUNK])
def test_every_tile_is_done_once_and_every_path_is_counted(paths, threads, chunk, monkeypatch):
    monkeypatch.setattr(numba_engine, "CHUNK", chunk)
    kernel, ticks = Recorder(), []
    run_numba(kernel, asked(paths, threads=threads), Whole(1, 1, paths), ticks.append)
    assert sorted(kernel.paths) == list(range(paths))
    assert sum(ticks) == 4 * paths and min(ticks) >= 0


def test_an_interruption_stops_the_threads_and_is_raised(monkeypatch):
    monkeypatch.setattr(numba_engine, "CHUNK", 1)
    kernel, threads, paths = Recorder(), threading.active_count(), 500 * LANES

    def interrupt(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_numba(kernel, asked(paths), Whole(1, 1, paths), interrupt)
    assert kernel.flag[0] == 1 and len(kernel.paths) < 250 * LANES
    assert threading.active_count() == threads


rate = 1.0


def test_a_variable_outside_that_changes_is_seen(monkeypatch):
    """Compiling freezes what the functions read from outside; the next run has to see the new value."""
    for value in (1.0, 3.0):
        monkeypatch.setattr(f"{__name__}.rate", value)
        assert sk.simulate(outside, 2.0, steps=1, backend="numba").final[0] == 2.0 + 2.0 * value


def test_a_helper_that_is_redefined_is_seen(monkeypatch):
    for factor in (1.0, 3.0):
        monkeypatch.setattr(f"{__name__}.helper", {1.0: lambda x: x, 3.0: lambda x: 3.0 * x}[factor])
        assert sk.simulate(helped, 2.0, steps=1, backend="numba").final[0] == 2.0 + 2.0 * factor


helper = None
helped = sk.SDE(lambda x, t: helper(x), lambda x, t: 0.0)
outside = sk.SDE(lambda x, t: rate * x, lambda x, t: 0.0)


def test_ctrl_c_reaches_the_caller_of_simulate(monkeypatch):
    class Bar(work.tqdm):
        def update(self, n=1):
            raise KeyboardInterrupt

    monkeypatch.setattr(work, "tqdm", Bar)
    monkeypatch.setattr(numba_engine, "CHUNK", 1)
    with pytest.raises(KeyboardInterrupt):
        sk.simulate(sk.BrownianMotion(), 0.0, steps=3, paths=10 * LANES, backend="numba", save="final")


def test_the_lowest_path_at_fault_is_reported():
    with pytest.raises(NonFinite) as caught:
        run_numba(Recorder(fault=[700, 300, 301]), asked(1000), Whole(1, 1, 1000), lambda steps: None)
    assert caught.value.path == 300


def test_what_numba_cannot_compile_is_named_with_a_way_out():
    step = sk.SDE(lambda x, t: np.heaviside(x, 0.5), lambda x, t: 1.0)
    with pytest.raises(TypeError, match=r"Numba cannot compile the SDE's functions(.|\n)*heaviside(.|\n)*"
                                        r"Use backend='numpy', or write them in numbers, tuples, np\.\* and math\.\*"):
        sk.simulate(step, 1.0, steps=2, backend="numba")
    assert sk.simulate(step, 1.0, steps=2, seed=1).info["backend"] == "numpy"


def test_an_error_raised_in_a_compiled_function_reaches_the_caller():
    def drift(x, t):
        if t > 0.4:
            raise ValueError("too late")
        return -x

    with pytest.raises(ValueError, match="too late"):
        sk.simulate(sk.SDE(drift, lambda x, t: 1.0), 1.0, steps=4, backend="numba")


def test_whole_numbers_among_the_values_are_taken_as_numbers():
    """An int beside a float in a tuple, an int for a constant: what one writes without thinking."""
    sde = sk.SDE(lambda x, t: (0, x[0]), lambda x, t: ((1, 0.0), (0, x[1])))
    one, two = (sk.simulate(sde, (1, 2), steps=4, paths=3, seed=1, backend=b).x for b in ("numba", "numpy"))
    assert one.shape == (3, 5, 2) and np.abs(one - two).max() <= rounding(4, two)


def test_new_parameters_do_not_compile_again():
    one, two = (sk.BrownianMotion(mu, sigma=2.0) for mu in (1.0, 3.0))
    x = sk.simulate(one, 0.0, steps=2, seed=1, backend="numba").final[0]
    before = work._kernel.cache_info().misses
    y = sk.simulate(two, 0.0, steps=2, seed=1, backend="numba").final[0]
    assert work._kernel.cache_info().misses == before
    assert abs(y - x - 2.0) <= rounding(2, x, y)
