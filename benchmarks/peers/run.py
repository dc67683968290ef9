"""The same works by other libraries, each written in the quickest way that its documentation offers.

`.venv-peers/bin/python benchmarks/peers/run.py` prints one line of JSON for each: million path-steps per second, the
median, least and most of 5 runs after one that compiles and is not counted. With --serve it first prints its works and
versions, then runs the one whose number is each line of its input and answers with the seconds: benchmarks/table.py
asks, turn about with ours.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import diffrax
import jax
import jax.numpy as jnp
import lineax
import sdepy
import torch
import torchsde
from loops import HESTON_STEPS, STEPS

jax.config.update("jax_enable_x64", True)

REPEATS = 5
PACKAGES = ("numpy", "sdepy", "torch", "torchsde", "jax", "diffrax")


@dataclass(frozen=True)
class Work:
    """One library's way of a task: run(paths) computes the state at t = 1, whose first component is (paths,)."""

    task: str
    label: str
    run: Callable[[int], object]
    steps: int = STEPS
    share: float = 1.0  # of the paths, for the slow ones: rates are compared

    def seconds(self, paths: int) -> float:
        start = time.perf_counter()
        self.run(int(paths * self.share))
        return time.perf_counter() - start

    def amount(self, paths: int) -> float:
        """Million path-steps."""
        return int(paths * self.share) * self.steps / 1e6


def with_sdepy(paths: int):
    """sdepy's integrator, which keeps the times of its timeline alone."""
    process = sdepy.integrate(lambda t, x, mu=0.05, sigma=0.2: {"dt": mu * x, "dw": sigma * x})
    return process(x0=100.0, paths=paths, steps=STEPS)((0.0, 1.0))[-1]


def with_torch(dtype) -> Callable:
    """Torch's tensors, one operation at a time."""
    def run(paths: int):
        x, h = torch.full((paths,), 100.0, dtype=dtype), 1 / STEPS
        for _ in range(STEPS):
            x += 0.05 * x * h + 0.2 * x * h**0.5 * torch.randn(paths, dtype=dtype)
        return x
    return run


class GBM(torch.nn.Module):
    """Geometric Brownian motion as torchsde wants it."""

    noise_type, sde_type = "diagonal", "ito"

    def f(self, t, y):
        return 0.05 * y

    def g(self, t, y):
        return 0.2 * y


def with_torchsde(paths: int):
    """torchsde's Euler, with its default Brownian interval."""
    with torch.no_grad():
        return torchsde.sdeint(GBM(), torch.full((paths, 1), 100.0, dtype=torch.float64), torch.tensor([0.0, 1.0]),
                               method="euler", dt=1 / STEPS)[-1]


def with_jax(start: tuple[float, ...], step: Callable, steps: int, dtype) -> Callable:
    """One compiled lax.scan; step(x, h, z) takes a tuple of components and as many rows of normals."""
    @jax.jit(static_argnums=1)
    def solve(key, paths):
        def body(x, key):
            return step(x, 1 / steps, jax.random.normal(key, (len(start), paths), dtype)), None
        x = tuple(jnp.full(paths, c, dtype) for c in start)
        return jax.lax.scan(body, x, jax.random.split(key, steps))[0]
    return lambda paths: jax.block_until_ready(solve(jax.random.key(0), paths))


def gbm_step(x, h, z):
    (s,) = x
    return (s + 0.05 * s * h + 0.2 * s * h**0.5 * z[0],)


def wave_step(x, h, z, p=0.1):
    (x,) = x
    c = jnp.cos(x)
    return (x - p**2 * jnp.sin(x) * c * c * c * h + p * c * c * h**0.5 * z[0],)


def heston_step(x, h, z, rho=-0.7):
    (s, v), dw = x, h**0.5 * z[0]
    u = jnp.maximum(v, 0.0)
    vol = jnp.sqrt(u)
    noise = rho * dw + (1 - rho**2) ** 0.5 * h**0.5 * z[1]
    return s + 0.05 * s * h + vol * s * dw, v + 2.0 * (0.04 - u) * h + 0.3 * vol * noise


def with_diffrax(brownian: Callable) -> Callable:
    """diffrax's Euler on all paths as one state with diagonal noise, which is quicker here than vmap over paths."""
    @jax.jit(static_argnums=1)
    def solve(key, paths):
        noise = diffrax.ControlTerm(lambda t, y, args: lineax.DiagonalLinearOperator(0.2 * y), brownian(paths, key))
        terms = diffrax.MultiTerm(diffrax.ODETerm(lambda t, y, args: 0.05 * y), noise)
        return diffrax.diffeqsolve(terms, diffrax.Euler(), 0.0, 1.0, 1 / STEPS, jnp.full(paths, 100.0),
                                   adjoint=diffrax.DirectAdjoint(), max_steps=STEPS + 1).ys[0]
    return lambda paths: jax.block_until_ready(solve(jax.random.key(0), paths))


def unsafe(paths, key):
    return diffrax.UnsafeBrownianPath((paths,), key)


def tree(paths, key):  # its tolerance below a step, as diffrax demands for a solution that is right
    return diffrax.VirtualBrownianTree(0.0, 1.0, tol=0.5 / STEPS, shape=(paths,), key=key)


WORKS = [
    Work("gbm", "sdepy", with_sdepy),
    Work("gbm", "Torch eager, float64", with_torch(torch.float64)),
    Work("gbm", "Torch eager, float32", with_torch(torch.float32)),
    Work("gbm", "JAX lax.scan, float64", with_jax((100.0,), gbm_step, STEPS, jnp.float64)),
    Work("gbm", "JAX lax.scan, float32", with_jax((100.0,), gbm_step, STEPS, jnp.float32)),
    Work("gbm", "diffrax Euler, UnsafeBrownianPath", with_diffrax(unsafe), share=0.2),
    Work("gbm", "diffrax Euler, VirtualBrownianTree", with_diffrax(tree), share=0.005),
    Work("gbm", "torchsde Euler", with_torchsde, share=0.2),
    Work("wave", "JAX lax.scan, float64", with_jax((1.0,), wave_step, STEPS, jnp.float64)),
    Work("wave", "JAX lax.scan, float32", with_jax((1.0,), wave_step, STEPS, jnp.float32)),
    Work("heston", "JAX lax.scan, float64", with_jax((100.0, 0.04), heston_step, HESTON_STEPS, jnp.float64),
         HESTON_STEPS),
    Work("heston", "JAX lax.scan, float32", with_jax((100.0, 0.04), heston_step, HESTON_STEPS, jnp.float32),
         HESTON_STEPS),
]


def say(**what) -> None:
    """One line of JSON, at once."""
    print(json.dumps(what), flush=True)


def report(paths: int) -> None:
    """Every work's rate and, to see that all did the same, the mean of its final values."""
    for work in WORKS:
        final = work.run(int(paths * work.share))
        mean = float((final[0] if isinstance(final, tuple) else final).mean())
        rates = [work.amount(paths) / work.seconds(paths) for _ in range(REPEATS)]
        say(task=work.task, label=work.label, paths=int(paths * work.share), mean=round(mean, 3),
            median=statistics.median(rates), min=min(rates), max=max(rates))


def serve(paths: int) -> None:
    """Say what there is; then run the work whose number comes in, and answer with its seconds, until the end."""
    say(works=[[work.task, work.label, int(paths * work.share), work.amount(paths)] for work in WORKS],
        versions={name: version(name) for name in PACKAGES})
    for line in sys.stdin:
        say(seconds=WORKS[int(line)].seconds(paths))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--paths", type=int, default=100_000)
    parser.add_argument("--serve", action="store_true", help="answer benchmarks/table.py")
    asked = parser.parse_args()
    (serve if asked.serve else report)(asked.paths)
