"""Markov chains on finitely many states: P(X_{n+1} = j | X_n = i) = P_ij.

    law of X_n                 row x_0 of P^n
    between                    P(X_n = j | x_0, x_m) = (P^n)_{x_0, j} (P^{m-n})_{j, x_m} / (P^m)_{x_0, x_m}
    stationary                 pi = pi P
    random walk on a graph     P_ij = A_ij / sum_j A_ij

Powers are taken by squaring, with rows kept at sum 1, so that rounding does not grow with n.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from sdekit import draws
from sdekit.components import written
from sdekit.markov import MarkovProcess
from sdekit.maths import PythonOnly
from sdekit.walks.finite import Finite
from sdekit.walks.moves import moves, ordered


class Chain(MarkovProcess):
    """A Markov chain: P(X_{n+1} = j | X_n = i) = P_ij.

    P       transition probabilities (k, k), rows of sum 1
    states  their k names; by default 0 to k - 1

    Paths hold the states' numbers 0 to k - 1, as does a start: `chain.number("A")`, and back `chain.names(paths.x)`.
    Methods below take a state by its name, or, as x0, an array of probabilities (k,). Raises ValueError for a P that
    is none.

    >>> weather = Chain([[0.9, 0.1], [0.5, 0.5]], states=("dry", "wet"))
    >>> weather.law("wet", 2).p, weather.stationary().p.round(6)
    (array([0.7, 0.3]), array([0.833333, 0.166667]))
    """

    unit = 1.0
    counts = True
    P: np.ndarray
    states: tuple

    def __init__(self, P, states: Sequence | None = None):
        P = _stochastic(P)
        if states is not None and not np.iterable(states):
            raise TypeError(f"states must be a sequence of {len(P)} names, such as ('dry', 'wet'); got "
                            f"{states!r}")
        names = tuple(range(len(P)) if states is None else states)
        if len(names) != len(P) or len(set(names)) != len(P):
            raise ValueError(f"P has {len(P)} states, so states must hold as many different names, got {names}")
        vars(self).update(P=P, states=names, domain=((0.0, len(P) - 1.0),))
        super().__init__(_lookup(P))

    def __getstate__(self):
        return {"P": self.P, "states": self.states}

    def __setstate__(self, state) -> None:
        Chain.__init__(self, state["P"], state["states"])

    def __repr__(self) -> str:
        return f"Chain({len(self.P)} states)"

    @classmethod
    def graph(cls, adjacency, states: Sequence | None = None) -> "Chain":
        """A random walk on a graph: P_ij = A_ij / sum_j A_ij, to a neighbour with its edge's weight.

        adjacency   A, (k, k), of weights >= 0. Raises ValueError for a vertex without a neighbour.

        >>> path = [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
        >>> Chain.graph(path).stationary().p               # proportional to the number of neighbours
        array([0.25, 0.5 , 0.25])
        """
        A = _square("adjacency", adjacency)
        lonely = np.flatnonzero(A.sum(axis=1) == 0)
        if len(lonely):
            raise ValueError(f"vertex {lonely[0]} has no neighbour to walk to; give it one, or itself: "
                             f"A[{lonely[0]}, {lonely[0]}] = 1")
        return cls(A / A.sum(axis=1, keepdims=True), states)

    def number(self, state) -> int:
        """The number of a state."""
        if state not in self.states:
            raise ValueError(f"{state!r} is none of the states {self.states}")
        return self.states.index(state)

    def names(self, x) -> np.ndarray:
        """The names of states given by number, of the shape of x. Raises ValueError for what is no state's number."""
        x = np.asarray(x, float)
        bad = ~((x >= 0) & (x < len(self.P)) & (x == np.floor(x)))
        if bad.any():
            raise ValueError(f"the states are numbered from 0 to {len(self.P) - 1}, got {x[bad].flat[0]:g}")
        return np.array(self.states)[x.astype(int)]

    def law(self, x0, n: int) -> Finite:
        """P(X_n = j | X_0 = x0) = (P^n)_{x0, j}, on the numbers of the states."""
        return Finite(np.arange(len(self.P)), self._rows(x0, n))

    def _rows(self, x0, n: int) -> np.ndarray:
        """x0's probabilities times P^n."""
        k = len(self.P)
        p = Finite(np.arange(k), np.asarray(x0)).p if isinstance(x0, list | np.ndarray) else np.eye(k)[self.number(x0)]
        n, power = moves("n", n), self.P
        while n:
            p = p @ power if n & 1 else p
            n >>= 1
            power = power @ power if n else power
            power = power / power.sum(axis=1, keepdims=True)  # else rounding grows with n
        return p / p.sum()

    def mean(self, x0, n: int) -> float:
        """E X_n, of the states' numbers."""
        return self.law(x0, n).mean

    def variance(self, x0, n: int) -> float:
        """Var X_n, of the states' numbers."""
        return self.law(x0, n).variance

    def covariance(self, x0, m: int, n: int) -> float:
        """Cov(X_m, X_n) = sum_ij p_i(m) (i - E X_m) (P^{n-m})_ij (j - E X_n), for m <= n, of the states' numbers."""
        m, n = sorted((moves("m", m), moves("n", n)))
        first, last, i = self.law(x0, m), self.law(x0, n), np.arange(len(self.P))
        ahead = np.array([self._rows(state, n - m) for state in self.states])
        return float((first.p * (i - first.mean)) @ ahead @ (i - last.mean))

    def between(self, x0, n: int, m: int, x_m) -> Finite:
        """X_n given X_0 = x0 and X_m = x_m: P(X_n = j) = (P^n)_{x0, j} (P^{m-n})_{j, x_m} / (P^m)_{x0, x_m}.

        Raises ValueError for an end that is not reached.
        """
        n, m = ordered(n, m)
        end = self.number(x_m)
        joint = self._rows(x0, n) * np.array([self._rows(state, m - n)[end] for state in self.states])
        if not joint.sum() > 0:
            raise ValueError(f"{x_m!r} is not reached from {x0!r} in {m} moves")
        return Finite(np.arange(len(self.P)), joint / joint.sum())

    def stationary(self) -> Finite:
        """The law pi = pi P, by elimination without subtractions (Grassmann, Taksar & Heyman 1985).

        Raises ValueError where there are several: where the chain can be caught in one set of states or in another.
        """
        from scipy.sparse.csgraph import connected_components

        count, label = connected_components(self.P > 0, connection="strong")
        closed = [c for c in range(count) if not self.P[np.ix_(label == c, label != c)].any()]
        if len(closed) > 1:
            caught = [tuple(self.states[i] for i in np.flatnonzero(label == c)) for c in closed]
            raise ValueError(f"the chain has {len(closed)} sets of states that it never leaves, {caught[0]} and "
                             f"{caught[1]}{' ...' * (len(closed) > 2)}, and a stationary law on each; make a chain of "
                             "one of them, or ask for law(x0, n) with a large n")
        at = np.flatnonzero(label == closed[0])
        Q = self.P[np.ix_(at, at)].copy()
        for k in range(len(at) - 1, 0, -1):
            Q[:k, k] /= Q[k, :k].sum()
            Q[:k, :k] += np.outer(Q[:k, k], Q[k, :k])
        pi = np.ones(len(at))
        for k in range(1, len(at)):
            pi[k] = pi[:k] @ Q[:k, k]
        p = np.zeros(len(self.P))
        p[at] = pi / pi.sum()
        return Finite(np.arange(len(p)), p)


def mutation_clock() -> Chain:
    """A letter of DNA, which each mutation turns into one of the three others, all alike (Jukes & Cantor 1969).

        P(X_n = X_0) = 1/4 + 3/4 (-1/3)^n

    >>> mutation_clock().law("A", 2).p.round(4)
    array([0.3333, 0.2222, 0.2222, 0.2222])
    """
    return Chain((1.0 - np.eye(4)) / 3.0, states="ACGT")


def _lookup(P: np.ndarray) -> Callable:
    """The transition: j = how many of the row's cumulative sums are <= U, by a search without loop or branch."""
    k, depth = len(P), (len(P) - 1).bit_length()
    sums = np.cumsum(P, axis=1)
    for i, row in enumerate(P):
        sums[i, np.flatnonzero(row)[-1]:] = np.inf  # rounding may leave a sum below 1: no U ends in a state of P = 0
    knots = np.hstack([sums, np.full((k, 2**depth - k), np.inf)]).ravel()
    search = "; ".join(f"j = j + {2**b} * (knots[i + j + {2**b - 1}] <= u)" for b in reversed(range(depth)))
    # a number that is no state is answered by NaN, which the engines report with its path and step
    table = written("x, u", f"good = (x >= 0.0) & (x < {k}.0) & (np.floor(x) == x); "
                            f"i = {2**depth} * np.int64(np.where(good, x, 0.0)); j = 0; {search or 'pass'}; "
                            "return np.where(good, 1.0 * j, np.nan)", knots=knots, np=np)

    def tensors(x, u):
        good = (x >= 0) & (x < k) & (x.floor() == x)
        rows = x.new_tensor(knots.reshape(k, -1))[(x * good).long()]
        return (rows <= u[..., None]).sum(-1).to(x.dtype).masked_fill(~good, math.nan)

    kinds = (np.ndarray, np.number)
    on_other = PythonOnly(lambda x, u: table(x, u) if isinstance(x, kinds) else tensors(x, u))

    def transition(x, t, h, place):
        u = draws.uniform(place, 0)
        if isinstance(x, (float, int)):
            return table(x, u)
        return on_other(x, u)

    return transition


def _stochastic(P) -> np.ndarray:
    P = _square("P", P)
    off = P.sum(axis=1) - 1.0
    worst = int(np.abs(off).argmax())
    if abs(off[worst]) > 1e-9:
        raise ValueError(f"the rows of P must sum to 1, but row {worst} sums to {1.0 + off[worst]:.12g}, off by "
                         f"{off[worst]:.3g}; for weights use Chain.graph")
    P = P / P.sum(axis=1, keepdims=True)
    P.setflags(write=False)
    return P


def _square(name: str, given) -> np.ndarray:
    P = np.array(given, float)
    if P.ndim != 2 or P.shape[0] != P.shape[1] or not len(P):
        raise ValueError(f"{name} must be a matrix (k, k), got shape {P.shape}")
    bad = np.argwhere(~((P >= 0) & np.isfinite(P)))
    if len(bad):
        i, j = bad[0]
        raise ValueError(f"{name} must hold finite numbers >= 0, but {name}[{i}, {j}] = {P[i, j]:g}")
    return P
