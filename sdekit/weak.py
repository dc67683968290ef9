"""Weak errors of methods, worked out and not drawn.

For one component u(x, t) = E[phi(X_h(T)) | X_h(t) = x] goes backwards,

    u(x, t) = E u(step(x, t, h, dw), t + h),

a quintic spline in arsinh x; for systems whose step is affine in x, Y = (1, X) has E YY' multiplied by E[M (x) M]. The
mean over the draws is a Gauss-Hermite sum for each of dW and H; A = H x W + b with b = +-sqrt(h^2/12), whose first two
moments are those of the area's law.
"""

from itertools import product

import numpy as np

from sdekit.array_engine import NUMPY
from sdekit.components import coefficients
from sdekit.convergence import columns
from sdekit.kinds import noise_kind
from sdekit.maths import rebind
from sdekit.methods import Method
from sdekit.problems import Problem
from sdekit.sde import SDE, structure


def composed(sde: SDE, x0):
    """The equation in the engines' form, and the values of its parameters."""
    shape = structure(sde, x0, 0.0)
    kind = noise_kind(sde, x0, 0.0, 1.0, shape)
    c = coefficients(sde.drift, sde.diffusion, None, tuple(sde.parameters), shape, kind, getattr(sde, "langevin", None))
    return c, tuple(sde.parameters.values())


def quadrature(method: Method, noises: int, h: float, sizes=(12, 4)) -> tuple[tuple, np.ndarray]:
    """(draws, weights): the draws of a step of length h as arrays (nodes,), each node with its weight."""
    blocks = columns(method, noises)
    hermite = np.polynomial.hermite_e.hermegauss
    rules = [hermite(n) for n in sizes[:min(blocks, 2)] for _ in range(noises)]
    nodes = np.array(list(product(*(z for z, _ in rules)))).T
    weights = np.array(list(product(*(w for _, w in rules)))).prod(axis=1)
    scales = np.repeat([h**0.5, (h / 12) ** 0.5][:min(blocks, 2)], noises)
    draws = list(nodes * scales[:, None])
    if blocks > 2:
        pairs = [(j, k) for j in range(noises) for k in range(j + 1, noises)]
        signs = np.array(list(product((-1.0, 1.0), repeat=len(pairs))))
        weights = np.tile(weights, len(signs)) / len(signs)
        draws = [np.tile(d, len(signs)) for d in draws]
        W, H = draws[:noises], draws[noises:]
        b = np.repeat(signs, nodes.shape[1], axis=0).T * (h / 12**0.5)
        draws += [H[j] * W[k] - W[j] * H[k] + b[i] for i, (j, k) in enumerate(pairs)]
    return tuple(draws), weights / weights.sum()


def expectations(method: Method, problem: Problem, steps: int, t: float) -> dict[str, float]:
    """E phi(X_h(t)) for one component and one noise, each phi of the problem's moments."""
    from scipy.interpolate import make_interp_spline
    c, p = composed(problem.sde, problem.x0)
    step = rebind(method.make(c), NUMPY)
    z, h = np.linspace(-10.0, 10.0, 601), t / steps
    x = np.sinh(z)
    draws, weights = quadrature(method, 1, h)
    count, draws = len(weights), tuple(np.tile(d, len(x)) for d in draws)
    state, u = (np.repeat(x, count),), np.stack([phi(x) for phi, _ in problem.moments.values()], axis=1)
    with np.errstate(all="ignore"):
        for n in reversed(range(steps)):
            after = np.broadcast_to(step(state, n * h, h, draws, p)[0], state[0].shape)
            after = np.clip(np.arcsinh(after), z[0], z[-1]).reshape(len(x), count)
            u = np.einsum("ijk,j->ik", make_interp_spline(z, u, k=5)(after), weights)
    return dict(zip(problem.moments, make_interp_spline(z, u, k=5)(np.arcsinh(problem.x0)).tolist()))


def moments(method: Method, problem: Problem, steps: int, t: float) -> float | None:
    """|E YY' - E Y_h Y_h'|, Y = (1, X(t)), for a linear system; None where the step is not affine in x."""
    c, p = composed(problem.sde, problem.x0)
    step, dim, h = rebind(method.make(c), NUMPY), c.shape.dim, t / steps
    draws, weights = quadrature(method, c.shape.noises, h, (6, 4))
    at = lambda x: np.array([np.broadcast_to(v, weights.shape) for v in step(tuple(x), 0.0, h, draws, p)])
    size = dim * (1 + method.memory)
    origin = at(np.zeros(size))
    M = np.zeros((size + 1, size + 1, len(weights)))
    M[0, 0], M[1:, 0] = 1.0, origin
    for i in range(size):
        M[1:, i + 1] = at(np.eye(size)[i]) - origin
    x = np.linspace(0.5, -1.3, size)
    if np.abs(np.einsum("ijk,j->ik", M, [1.0, *x])[1:] - at(x)).max() > 1e-6 * max(1.0, np.abs(at(x)).max()):
        return None
    pairs = np.einsum("ijk,lmk,k->iljm", M, M, weights).reshape(2 * [(size + 1) ** 2])
    y = np.array([1.0, *[*np.atleast_1d(problem.x0)] * (1 + method.memory)])
    ours = (np.linalg.matrix_power(pairs, steps) @ np.kron(y, y)).reshape(size + 1, size + 1)[:dim + 1, :dim + 1]
    return float(np.linalg.norm(ours - second_moments(problem, t)))


def second_moments(problem: Problem, t: float) -> np.ndarray:
    """E YY', Y = (1, X(t)): d/dt E Y (x) Y = (A (x) I + I (x) A + sum_j B_j (x) B_j) E Y (x) Y."""
    from scipy.linalg import expm
    c, p = composed(problem.sde, problem.x0)
    dim, m = c.shape.dim, c.shape.noises
    columns_of, g = c.columns(), c.g
    assert g is not None
    at = lambda x: np.array([c.f(x, 0.0, p), *columns_of(g(x, 0.0, p))])  # (1 + noises, dim)
    matrices = np.zeros((1 + m, dim + 1, dim + 1))
    matrices[:, 1:, 0] = at((0.0,) * dim)
    for i in range(dim):
        matrices[:, 1:, i + 1] = at(tuple(np.eye(dim)[i])) - matrices[:, 1:, 0]
    A, B = matrices[0], matrices[1:]
    if problem.calculus == "stratonovich":
        A = A + 0.5 * sum(b @ b for b in B)
    one = np.eye(dim + 1)
    rate = np.kron(A, one) + np.kron(one, A) + sum(np.kron(b, b) for b in B)
    y = np.array([1.0, *np.atleast_1d(problem.x0)])
    return (expm(t * rate) @ np.kron(y, y)).reshape(dim + 1, dim + 1)
