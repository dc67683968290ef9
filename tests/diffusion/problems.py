"""What samplers are proven on: every sampler, every process, a plane's mixture; and runs of them without `df.sample`.

On Gaussian data every sampler of fixed steps is affine in its start and in the noise that it draws,

    x_end = A x_start + b + sum_k c_k z_k,

so that mean and variance follow without Monte Carlo: `affine` reads A, b, c off a few runs on noise known by its name.
"""

import numpy as np
import torch

import diffusion as df
import sdekit as sk
from diffusion.grid import Grid
from diffusion.problems import mixture
from diffusion.sampling import STEPS, Noise
from tests.conftest import rounding

WALK = df.Discrete(df.linear_betas())
ZERO_TERMINAL = df.Discrete(df.zero_terminal(df.linear_betas(100, 1e-3, 0.2)))
PROCESSES = [df.EDM(), df.VE(), df.VP(), df.SubVP(), df.Cosine(), df.RectifiedFlow(), WALK]
STEPWISE = [df.euler, df.ddim(), df.heun, df.dpmpp_2s, df.dpmpp_3s, df.dpmpp_2m, df.dpmpp_3m, df.dpmpp_multistep(1),
            df.dpmpp_multistep(2), df.dpmpp_multistep(3, df.dpmpp_2s), df.dpmpp_multistep(4, df.dpmpp_3s), df.deis(1),
            df.deis(2), df.deis(3, df.dpmpp_2s), df.deis(4, df.dpmpp_3s), df.unipc(1), df.unipc(2), df.unipc(3),
            df.unipc(3, df.dpmpp_3s)]
FLOW = [*STEPWISE, df.flow_ode(sk.euler), df.flow_ode(sk.heun), df.flow_ode(sk.rk4)]
NOISY = [df.ancestral, df.ddim(0.5), df.ddpm, df.sde_dpmpp_1, df.sde_dpmpp_2m]
SDES = [df.reverse_sde(sk.euler_maruyama), df.reverse_sde(sk.euler_maruyama, lam=0.5), df.reverse_sde(sk.sra)]
MIXED = [df.churned(), df.predictor_corrector(), df.predictor_corrector(df.heun, 2)]
EVERY = [*FLOW, *NOISY, *SDES, *MIXED]
MIXTURE = mixture()


def states(method, data, grid, x, seed=11, noise=None):
    """The states at all levels, (levels, n, ...); the noise is that of samples 0, 1, ... of the seed, or `noise`."""
    def denoise(x, level, row=None):
        return data(x, level.alpha, level.sigma)

    noise = noise or Noise(tuple(x.shape), seed, 0, "cpu", grid, False)
    with torch.no_grad():
        return torch.stack([x, *method.solve(denoise, x, grid, noise)])


def thinned(grid, k):
    """Every k-th level of a grid: of most families the member of so many fewer steps."""
    return Grid(grid.name, grid.levels[::k], grid.process)


class Shared:
    """One Brownian motion in u = alpha^2/sigma^2, its increments drawn between the levels of a fine grid: any thinned
    grid adds them up."""

    def __init__(self, fine, shape, seed=7):
        self.clock = np.array([(level.alpha / level.sigma) ** 2 for level in fine])
        size = int(np.prod(shape[1:]))
        z = sk.normals(seed, 0, shape[0], len(fine), size).transpose(1, 0, 2).reshape(-1, *shape)
        self.path = np.concatenate([np.zeros((1, *shape)), (np.diff(self.clock) ** 0.5 * z.T).T.cumsum(0)])

    def __call__(self, n, t, s, kind=0):
        a, b = (int(np.abs(self.clock - (level.alpha / level.sigma) ** 2).argmin()) for level in (t, s))
        return torch.from_numpy((self.path[b] - self.path[a]) / (self.clock[b] - self.clock[a]) ** 0.5)


def affine(method, data, grid, seed=11):
    """(A, b, c): x_end = A x_start + b + c . z over all normals z of the steps, for data of one element."""
    steps, kinds = len(grid), 0 if not method.stochastic else 1 if method in NOISY + SDES[:2] else 3
    rows = steps * kinds + 12
    z = [sk.normals(seed, STEPS, rows, steps, slot=kind)[..., 0] for kind in range(kinds)]
    start = sk.normals(seed, 5, rows)[:, 0]
    end = states(method, data, grid, torch.from_numpy(np.ascontiguousarray(start)), seed)[-1][:, 0].numpy()
    design = np.concatenate([start, np.ones((rows, 1)), *z], axis=1)
    found, *_ = np.linalg.lstsq(design, end, rcond=None)
    # every row obeys the same numbers; a step from noise l down to m rounds what is of size l, and divides it by m
    fall = grid.levels[bool(not grid.levels[0].alpha)].noise / grid.levels[-1].noise
    assert np.abs(design @ found - end).max() <= rounding(10 * rows, end, design) * fall
    return found[0], found[1], found[2:]


def law(data, level):
    """Mean and variance of Gaussian data noised to this level."""
    return np.array([level.alpha * data.mean, level.alpha**2 * data.std**2 + level.sigma**2])


def carried(method, data, grid):
    """Mean and variance at the last level, from the exact ones at the first."""
    A, b, c = affine(method, data, grid)
    mean, variance = law(data, grid.levels[0])
    return np.array([A * mean + b, A**2 * variance + c @ c])


def orders(errors):
    """Slopes between neighbours of a list of errors, the steps doubled from each to the next."""
    return np.diff(-np.log2(np.asarray(errors, float)), axis=0)
