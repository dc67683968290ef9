"""SDEs with known answers, as data, to measure methods against: a solution on the path of W, moments, their source.

    solution(t, W)   X(t) with X(0) = x0 where the path is at W = W(t): (paths,), or (paths, noises) for several;
                     (paths,) for a number, a tuple of them for a system
    moments          by name (phi, t -> E phi(X(t))); phi takes X as the drift gets it

    name                     dX, in the sense of Ito unless it says o dW                          noise
    linear                   a X dt + b X dW                                                      one
    linear_stratonovich      a X dt + b X o dW                                                    one
    growth_stratonovich      the same, its parameters those of the weak tests                     one
    tanh                     -1/4 X (1 - X^2) dt + 1/2 (1 - X^2) dW                               one
    wave                     -p^2 sin X cos^3 X dt + p cos^2 X dW                                 one
    sinh                     X/2 dt + sqrt(1 + X^2) dW                                            one
    arsinh_stratonovich      sqrt(X^2 + 1) (dt + o dW): the same process as arsinh                one
    arsinh                   (X/2 + sqrt(X^2 + 1)) dt + sqrt(X^2 + 1) dW                          one
    tan                      b^2 X (1 + X^2) dt + b (1 + X^2) dW                                  one, it explodes
    cube_root                (X^(1/3)/3 + 6 X^(2/3)) dt + X^(2/3) dW                              one, rough at 0
    additive                 (b/sqrt(1 + t) - X/(2 (1 + t))) dt + a b/sqrt(1 + t) dW              additive
    sine                     sin X dt + dW                                                        additive
    benes                    tanh X dt + dW                                                       additive
    two_noises               a X dt + b1 X dW1 + b2 X dW2                                         commutative
    commutative              (A + 1.01) X dt + .87 X (dW1 + ... + dW4), A = [[-2, 1], [1, -2]]    commutative
    non_commutative          dW1, X1 dW2                                                          general
    non_commutative_linear   B1 X dW1 + B2 X dW2, B1 = [[0, 1], [0, 0]], B2 = [[0, 0], [1, 0]]    general
    non_commutative_stratonovich   the same, o dW                                                 general
    mixing                   A X dt + B1 X dW1 + B2 X dW2, no two of the matrices commute         general
    mixing_stratonovich      the same, o dW                                                       general
    oscillator               V dt, (-k X - gamma V) dt + (2 gamma kT)^(1/2) dW                    additive
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sdekit.processes.langevin import UnderdampedLangevin
from sdekit.sde import SDE, Stratonovich


@dataclass(frozen=True, eq=False)
class Problem:
    """An SDE with its start and what is known of X; `kind` of the noise as in `sdekit.kinds`.

    linear   whether drift and diffusion are affine in X and free of t
    """

    name: str
    sde: SDE
    x0: Any
    kind: str
    source: str
    solution: Callable | None = None
    moments: Mapping[str, tuple[Callable, Callable]] = field(default_factory=dict)
    noises: int = 1
    linear: bool = False

    @property
    def calculus(self) -> str:
        return self.sde.calculus

    def __repr__(self) -> str:
        return self.name


KP = "Kloeden & Platen 1992, section 4.4"
SCIML = "SciML's SDEProblemLibrary"


def _same(x):
    return x


def _square(x):
    return x * x


def _first(x):
    return x[0]


def _linear_drift(x, t, a):
    return a * x


def _linear_noise(x, t, b):
    return b * x


def _tanh_drift(x, t):
    return -0.25 * x * (1.0 - x * x)


def _tanh_noise(x, t):
    return 0.5 * (1.0 - x * x)


def _tanh_solution(t, W, x0=0.5):
    grown = (1.0 + x0) * np.exp(W)
    return (grown + x0 - 1.0) / (grown + 1.0 - x0)


def _wave_drift(x, t, p):
    return -(p**2) * np.sin(x) * np.cos(x) ** 3


def _wave_noise(x, t, p):
    return p * np.cos(x) ** 2


def _sinh_drift(x, t):
    return 0.5 * x


def _sinh_noise(x, t):
    return np.sqrt(1.0 + x * x)


def _arsinh_drift(x, t):
    return 0.5 * x + np.sqrt(x * x + 1.0)


def _arsinh_cubic(x):
    """z^3 - 6 z^2 + 8 z at z = arsinh x."""
    z = np.arcsinh(x)
    return z * (z - 2.0) * (z - 4.0)


def _tan_drift(x, t, b):
    return b**2 * x * (1.0 + x * x)


def _tan_noise(x, t, b):
    return b * (1.0 + x * x)


def _cube_root_drift(x, t):
    return np.cbrt(x) / 3.0 + 6.0 * np.cbrt(x) ** 2


def _cube_root_noise(x, t):
    return np.cbrt(x) ** 2


def _additive_drift(x, t, b):
    return b / np.sqrt(1.0 + t) - x / (2.0 * (1.0 + t))


def _additive_noise(x, t, a, b):
    return a * b / np.sqrt(1.0 + t)


def _sine_drift(x, t):
    return np.sin(x)


def _benes_drift(x, t):
    return np.tanh(x)


def _one(x, t):
    return 1.0


def _two_noises(x, t, b1, b2):
    return b1 * x, b2 * x


def _commutative_drift(x, t):
    u, v = x
    return -2.0 * u + v + 1.01 * u, u - 2.0 * v + 1.01 * v


def _commutative_noise(x, t, b):
    u, v = x
    return (b * u, b * u, b * u, b * u), (b * v, b * v, b * v, b * v)


def _commutative_solution(t, W, b=0.87):
    """(1, 1) is an eigenvector of A, of eigenvalue -1."""
    x = np.exp((-1.0 + 1.01 - 2.0 * b**2) * t + b * W.sum(axis=-1))
    return x, x


def _still(x, t):
    return 0.0 * x[0], 0.0 * x[1]


def _area_noise(x, t):
    return (1.0, 0.0), (0.0, x[0])


def _swap_noise(x, t):
    u, v = x
    return (v, 0.0), (0.0, u)


def _mixing_drift(x, t):
    u, v = x
    return -0.5 * u + 0.6 * v, 0.3 * u - 0.4 * v


def _mixing_noise(x, t):
    u, v = x
    return (0.4 * u + 0.2 * v, 0.5 * v), (-0.3 * v, 0.2 * u + 0.3 * v)


def _spring(q, k):
    return -k * q


def _geometric(x0: float, mu: float, sigma: float) -> dict[str, tuple[Callable, Callable]]:
    """Of dX = mu X dt + sigma X dW, Ito."""
    return {"E X": (_same, lambda t: x0 * np.exp(mu * t)),
            "E X^2": (_square, lambda t: x0**2 * np.exp((2 * mu + sigma**2) * t))}


linear = Problem(
    "linear", SDE(_linear_drift, _linear_noise, a=1.01, b=0.87), 0.5, "scalar", f"{KP}; {SCIML}, prob_sde_linear",
    lambda t, W: 0.5 * np.exp((1.01 - 0.87**2 / 2) * t + 0.87 * W), _geometric(0.5, 1.01, 0.87), linear=True)
linear_stratonovich = Problem(
    "linear_stratonovich", Stratonovich(_linear_drift, _linear_noise, a=1.01, b=0.87), 0.5, "scalar",
    f"{KP}; {SCIML}, prob_sde_linear_stratonovich", lambda t, W: 0.5 * np.exp(1.01 * t + 0.87 * W),
    _geometric(0.5, 1.01 + 0.87**2 / 2, 0.87), linear=True)
growth_stratonovich = Problem(
    "growth_stratonovich", Stratonovich(_linear_drift, _linear_noise, a=1.5, b=0.1), 0.1, "scalar",
    "Tocino & Ardanuy 2002, section 5", lambda t, W: 0.1 * np.exp(1.5 * t + 0.1 * W),
    _geometric(0.1, 1.5 + 0.1**2 / 2, 0.1), linear=True)
tanh = Problem("tanh", SDE(_tanh_drift, _tanh_noise), 0.5, "scalar", KP, _tanh_solution)
wave = Problem(
    "wave", SDE(_wave_drift, _wave_noise, p=0.1), 1.0, "scalar", f"{KP}; {SCIML}, prob_sde_wave",
    lambda t, W: np.arctan(0.1 * W + np.tan(1.0)))
sinh = Problem(
    "sinh", SDE(_sinh_drift, _sinh_noise), 0.5, "scalar", KP, lambda t, W: np.sinh(W + np.arcsinh(0.5)),
    {"E X": (_same, lambda t: 0.5 * np.exp(t / 2)),
     "E X^2": (_square, lambda t: ((1 + 2 * 0.5**2) * np.exp(2 * t) - 1) / 2)})
arsinh = Problem(
    "arsinh", SDE(_arsinh_drift, _sinh_noise), 0.0, "scalar", f"{KP}; Roessler 2009, SIAM J. Numer. Anal. 47",
    lambda t, W: np.sinh(t + W), {"E p(arsinh X)": (_arsinh_cubic, lambda t: t**3 - 3 * t**2 + 2 * t)})
arsinh_stratonovich = Problem(
    "arsinh_stratonovich", Stratonovich(_sinh_noise, _sinh_noise), 0.0, "scalar", arsinh.source, arsinh.solution,
    arsinh.moments)
tan = Problem(
    "tan", SDE(_tan_drift, _tan_noise, b=0.3), 0.2, "scalar", KP, lambda t, W: np.tan(0.3 * W + np.arctan(0.2)))
cube_root = Problem(
    "cube_root", SDE(_cube_root_drift, _cube_root_noise), 1.0, "scalar", KP, lambda t, W: (2 * t + 1 + W / 3) ** 3,
    {"E X": (_same, lambda t: (2 * t + 1) ** 3 + (2 * t + 1) * t / 3)})
additive = Problem(
    "additive", SDE(_additive_drift, _additive_noise, a=0.1, b=0.05), 1.0, "additive", f"{SCIML}, prob_sde_additive",
    lambda t, W: (1.0 + 0.05 * (t + 0.1 * W)) / np.sqrt(1.0 + t),
    {"E X": (_same, lambda t: (1 + 0.05 * t) / np.sqrt(1 + t)),
     "E X^2": (_square, lambda t: ((1 + 0.05 * t) ** 2 + 0.005**2 * t) / (1 + t))})
sine = Problem("sine", SDE(_sine_drift, _one), 1.0, "additive", "Roessler 2010, SIAM J. Numer. Anal. 48")
benes = Problem(
    "benes", SDE(_benes_drift, _one), 0.5, "additive",
    "Benes 1981, Stochastics 5: the density of X(t) is cosh x / cosh x0 exp(-t/2) that of W(t) + x0 at x",
    moments={"E X": (_same, lambda t: 0.5 + np.tanh(0.5) * t),
             "E X^2": (_square, lambda t: t + 0.5**2 + 2 * 0.5 * np.tanh(0.5) * t + t**2)})
two_noises = Problem(
    "two_noises", SDE(_linear_drift, _two_noises, a=-0.02, b1=1.0, b2=2.0), 1.0, "commutative", KP,
    lambda t, W: np.exp((-0.02 - 2.5) * t + W[..., 0] + 2.0 * W[..., 1]), _geometric(1.0, -0.02, 5**0.5), noises=2,
    linear=True)
commutative = Problem(
    "commutative", SDE(_commutative_drift, _commutative_noise, b=0.87), (1.0, 1.0), "commutative", "Roessler 2010",
    _commutative_solution, {"E X[0]": (_first, lambda t: np.exp(0.01 * t))}, noises=4, linear=True)
non_commutative = Problem(
    "non_commutative", SDE(_still, _area_noise), (0.0, 0.0), "general", "Kloeden & Platen 1992, section 10.3",
    moments={"Var X[1]": (lambda x: x[1] ** 2, lambda t: t**2 / 2)}, noises=2, linear=True)
non_commutative_linear = Problem(
    "non_commutative_linear", SDE(_still, _swap_noise), (1.0, 1.0), "general",
    "Kloeden & Platen 1992, section 10.3; B1 B2 is not B2 B1",
    moments={"E X[0]": (_first, lambda t: 1.0), "E |X|^2": (lambda x: x[0] ** 2 + x[1] ** 2, lambda t: 2 * np.exp(t))},
    noises=2, linear=True)
non_commutative_stratonovich = Problem(
    "non_commutative_stratonovich", Stratonovich(_still, _swap_noise), (1.0, 1.0), "general",
    "Kloeden & Platen 1992, section 10.3; B1 B2 is not B2 B1", noises=2, linear=True)
mixing = Problem(
    "mixing", SDE(_mixing_drift, _mixing_noise), (1.0, -0.5), "general", "moments by Arnold 1974, section 8.5",
    noises=2, linear=True)
mixing_stratonovich = Problem(
    "mixing_stratonovich", Stratonovich(_mixing_drift, _mixing_noise), (1.0, -0.5), "general",
    "moments by Arnold 1974, section 8.5, after the change to Ito", noises=2, linear=True)
oscillator = Problem(
    "oscillator", UnderdampedLangevin(_spring, gamma=0.5, temperature=0.5, k=1.0), (1.0, 0.0), "additive",
    "Uhlenbeck & Ornstein 1930, section 4", linear=True)

PROBLEMS = (linear, linear_stratonovich, growth_stratonovich, tanh, wave, sinh, arsinh, arsinh_stratonovich, tan,
            cube_root, additive, sine, benes, two_noises, commutative, non_commutative, non_commutative_linear,
            non_commutative_stratonovich, mixing, mixing_stratonovich, oscillator)
