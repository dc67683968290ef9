"""Forward noising: x_t = alpha(t) x_0 + sigma(t) eps, an SDE dx = f(t) x dt + g(t) dW with

    f = alpha' / alpha,     g^2 = (sigma^2)' - 2 f sigma^2.

A process is an `sdekit.SDE`: it simulates, reverses and flows like any other, one number or one element of a picture
at a time. Where two processes have the same noise level sigma/alpha they differ by a factor alone:

    x_t / alpha(t) = x_0 + (sigma/alpha) eps.

    | process        | alpha                          | sigma                                        | t            |
    | -------------- | ------------------------------ | -------------------------------------------- | ------------ |
    | EDM            | 1                              | t                                            | 0 to 80      |
    | VE             | 1                              | s_min sqrt((s_max / s_min)^{2t} - 1)         | 0 to 1       |
    | VP             | exp(-B/2), B = int beta        | sqrt(1 - alpha^2)                            | 0 to 1       |
    | SubVP          | exp(-B/2)                      | 1 - exp(-B)                                  | 0 to 1       |
    | Cosine         | cos(a + b) / cos(b)            | sqrt(1 - alpha^2)                            | 0 to 1       |
    | RectifiedFlow  | 1 - t                          | t                                            | 0 to 1       |
    | Discrete       | sqrt(prod_{k<=t} (1 - beta_k)) | sqrt(1 - alpha^2)                            | 0, 1, ..., T |

At t = 1 the cosine process, the flow, and a walk whose last beta is 1 have alpha = 0: f and g are infinite there, and
the noise level is; what is written in alpha, sigma and their slopes stays finite.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import sdekit as sk
from sdekit.sde import call


@dataclass(frozen=True)
class Level:
    """A moment of a process: x = alpha x_0 + sigma eps; `time` is the process's own."""

    time: float
    alpha: float
    sigma: float

    @property
    def noise(self) -> float:
        """sigma / alpha, infinite where alpha = 0."""
        return self.sigma / self.alpha if self.alpha else math.inf

    @property
    def log(self) -> float:
        """lambda = ln(alpha / sigma), half the logarithm of the signal to noise ratio."""
        return -math.log(self.noise) if self.noise else math.inf


class Process(sk.SDE, ABC):
    """x_t = alpha(t) x_0 + sigma(t) eps for t in `times`, from data at its lower end; `span` is what is sampled over.

    What a process of your own has to give: the SDE's drift f(t) x and diffusion g(t), and the methods below.
    """

    times: tuple[float, float] = (0.0, 1.0)
    span: tuple[float, float] = (1e-3, 1.0)

    @abstractmethod
    def alpha(self, t: float) -> float:
        """What is left of x_0."""

    @abstractmethod
    def sigma(self, t: float) -> float:
        """The standard deviation within x_t, given x_0."""

    @abstractmethod
    def slopes(self, t: float) -> tuple[float, float]:
        """alpha'(t) and sigma'(t)."""

    @abstractmethod
    def time(self, noise: float) -> float:
        """The t with sigma(t) / alpha(t) = noise."""

    def level(self, t: float) -> Level:
        """alpha and sigma at t. Raises ValueError for a time that the process does not have.

        >>> VP().level(0.0)
        Level(time=0.0, alpha=1.0, sigma=0.0)
        """
        low, high = self.times
        if not low <= t <= high:
            raise ValueError(f"{self!r} runs from t = {low:g} to {high:g}, and has no time {t!r}")
        return Level(float(t), self.alpha(t), self.sigma(t))

    def at(self, noise: float) -> Level:
        """The moment at which sigma / alpha = noise; with `convert` the bridge from one process to any other.

        >>> RectifiedFlow().at(1.0)
        Level(time=0.5, alpha=0.5, sigma=0.5)
        """
        top = self.level(self.times[1]).noise
        if not 0 <= noise <= top * (1 + 1e-12):
            raise ValueError(f"the noise level sigma/alpha of {self!r} goes from 0 to {top:g}, and never is {noise!r}")
        return self.level(min(max(self.time(min(noise, top)), self.times[0]), self.times[1]))

    def coefficients(self, t: float) -> tuple[float, float]:
        """f and g^2 of the forward SDE, infinite where alpha = 0."""
        if not self.alpha(t):
            return -math.inf, math.inf
        return float(call(self, "drift", 1.0, t)), float(call(self, "diffusion", 0.0, t)) ** 2

    def __eq__(self, other) -> bool:
        """Processes of one kind with the same parameters are the same."""
        return isinstance(other, Process) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple:
        return type(self), tuple(sorted(self.parameters.items())), getattr(self, "betas", np.empty(0)).tobytes()


def convert(x, source: Level, target: Level):
    """x of one process at `source`, as another has it at `target` of the same noise level: x alpha'/alpha.

    At alpha = 0 in both, x sigma'/sigma. Raises ValueError where the noise levels differ.

    >>> convert(2.0, EDM().at(1.0), RectifiedFlow().at(1.0))
    1.0
    """
    if source.noise != target.noise and not math.isclose(source.noise, target.noise, rel_tol=1e-9):
        raise ValueError(f"only levels of equal noise differ by a factor alone, but sigma/alpha is {source.noise:g} "
                         f"here and {target.noise:g} there; find the target by process.at({source.noise:g})")
    return x * (math.hypot(target.alpha, target.sigma) / math.hypot(source.alpha, source.sigma))


def real(name: str, value) -> float:
    """`value` as a float, or a clear error."""
    try:
        if isinstance(value, bool | str | bytes):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} must be a number, got {value!r} ({type(value).__name__})") from None


def levels(interval: Sequence[float]) -> tuple[float, float]:
    """An interval of noise levels sigma/alpha, or a clear error."""
    try:
        low, high = interval
    except (TypeError, ValueError):
        low = high = math.nan
    if not 0 <= real("low", low) < real("high", high):
        raise ValueError(f"the interval of noise levels must be (low, high) with 0 <= low < high, got {interval!r}")
    return low, high


def _still(x, t):
    return 0.0 * x


def _edm_diffusion(x, t):
    return (2.0 * t) ** 0.5


class EDM(Process):
    """Variance exploding with sigma = t: dx = sqrt(2 t) dW, alpha = 1 (Karras et al. 2022, table 1)."""

    times = (0.0, 80.0)
    span = (0.02, 40.0)

    def __init__(self):
        super().__init__(_still, _edm_diffusion)

    def alpha(self, t: float) -> float:
        """1."""
        return 1.0

    def sigma(self, t: float) -> float:
        """t."""
        return float(t)

    def slopes(self, t: float) -> tuple[float, float]:
        """0 and 1."""
        return 0.0, 1.0

    def time(self, noise: float) -> float:
        """The noise level itself."""
        return noise


def _ve_diffusion(x, t, sigma_min, sigma_max):
    ratio = sigma_max / sigma_min
    return sigma_min * (2.0 * np.log(ratio)) ** 0.5 * ratio**t


class VE(Process):
    """Variance exploding: sigma^2 = sigma_min^2 ((sigma_max / sigma_min)^{2t} - 1), alpha = 1, on [0, 1].

    dx = sigma_min (sigma_max/sigma_min)^t sqrt(2 ln(sigma_max/sigma_min)) dW (Song et al. 2021, appendix B), with the
    -1 that lets it start at the data.

    >>> VE(0.01, 50.0).sigma(0.0)
    0.0
    """

    def __init__(self, sigma_min: float = 0.01, sigma_max: float = 50.0):
        super().__init__(_still, _ve_diffusion, sigma_min=sigma_min, sigma_max=sigma_max)
        if not 0 < sigma_min < sigma_max:
            raise ValueError(f"VE needs 0 < sigma_min < sigma_max, got {sigma_min} and {sigma_max}")

    @property
    def _scale(self) -> tuple[float, float]:
        low, high = self.parameters["sigma_min"], self.parameters["sigma_max"]
        return low, math.log(high / low)

    def alpha(self, t: float) -> float:
        """1."""
        return 1.0

    def sigma(self, t: float) -> float:
        """sigma_min sqrt(r^{2t} - 1), r = sigma_max / sigma_min."""
        low, rate = self._scale
        return low * math.sqrt(math.expm1(2 * rate * t))

    def slopes(self, t: float) -> tuple[float, float]:
        """0 and sigma' = sigma_min^2 r^{2t} ln r / sigma, infinite at 0."""
        low, rate = self._scale
        return 0.0, low**2 * rate * math.exp(2 * rate * t) / self.sigma(t) if t > 0 else math.inf

    def time(self, noise: float) -> float:
        """ln(1 + (sigma / sigma_min)^2) / (2 ln r)."""
        low, rate = self._scale
        return math.log1p((noise / low) ** 2) / (2 * rate)


def _beta(t, beta_min, beta_max):
    return beta_min + (beta_max - beta_min) * t


def _vp_drift(x, t, beta_min, beta_max):
    return -0.5 * (beta_min + (beta_max - beta_min) * t) * x


def _vp_diffusion(x, t, beta_min, beta_max):
    return (beta_min + (beta_max - beta_min) * t) ** 0.5


def _subvp_diffusion(x, t, beta_min, beta_max):
    integral = beta_min * t + 0.5 * (beta_max - beta_min) * t**2
    return (-(beta_min + (beta_max - beta_min) * t) * np.expm1(-2.0 * integral)) ** 0.5


class _Linear(Process):
    """A process whose alpha = exp(-B/2), B the integral of beta(t) = beta_min + (beta_max - beta_min) t."""

    def _rates(self) -> tuple[float, float]:
        low, high = self.parameters["beta_min"], self.parameters["beta_max"]
        if not 0 < low <= high < math.inf:
            raise ValueError(f"{type(self).__name__} needs 0 < beta_min <= beta_max, got {low} and {high}")
        return low, high

    def _integral(self, t: float) -> float:
        low, high = self._rates()
        return low * t + 0.5 * (high - low) * t**2

    def _when(self, integral: float) -> float:
        """The t at which B = integral, without cancellation."""
        low, high = self._rates()
        return 2 * integral / (low + math.sqrt(low**2 + 2 * (high - low) * integral))

    def alpha(self, t: float) -> float:
        """exp(-B/2)."""
        return math.exp(-0.5 * self._integral(t))


class VP(_Linear):
    """Variance preserving: dx = -beta/2 x dt + sqrt(beta) dW, beta(t) = beta_min + (beta_max - beta_min) t on [0, 1].

    alpha^2 + sigma^2 = 1 (Song et al. 2021, eq. 11 and appendix B).

    >>> vp = VP()
    >>> round(vp.alpha(1.0), 5), round(vp.alpha(0.5) ** 2 + vp.sigma(0.5) ** 2, 12)
    (0.00657, 1.0)
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0):
        super().__init__(_vp_drift, _vp_diffusion, beta_min=beta_min, beta_max=beta_max)
        self._rates()

    def sigma(self, t: float) -> float:
        """sqrt(1 - alpha^2), without cancellation at small t."""
        return math.sqrt(-math.expm1(-self._integral(t)))

    def slopes(self, t: float) -> tuple[float, float]:
        """-beta alpha / 2, and beta alpha^2 / (2 sigma), infinite at 0."""
        beta, alpha = _beta(t, *self._rates()), self.alpha(t)
        return -0.5 * beta * alpha, 0.5 * beta * alpha**2 / self.sigma(t) if t > 0 else math.inf

    def time(self, noise: float) -> float:
        """Where B = ln(1 + noise^2)."""
        return self._when(math.log1p(noise**2))


class SubVP(_Linear):
    """The process of VP's drift whose variance stays below VP's: sigma = 1 - exp(-B).

    dx = -beta/2 x dt + sqrt(beta (1 - exp(-2B))) dW (Song et al. 2021, eq. 13 of its appendix B).

    >>> round(SubVP().sigma(0.1) / VP().sigma(0.1) ** 2, 12)
    1.0
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0):
        super().__init__(_vp_drift, _subvp_diffusion, beta_min=beta_min, beta_max=beta_max)
        self._rates()

    def sigma(self, t: float) -> float:
        """1 - exp(-B)."""
        return -math.expm1(-self._integral(t))

    def slopes(self, t: float) -> tuple[float, float]:
        """-beta alpha / 2, and beta alpha^2."""
        beta, alpha = _beta(t, *self._rates()), self.alpha(t)
        return -0.5 * beta * alpha, beta * alpha**2

    def time(self, noise: float) -> float:
        """Where 2 sinh(B/2) = noise."""
        return self._when(2 * math.asinh(noise / 2))


def _cosine_drift(x, t, offset):
    a = 0.5 * np.pi / (1.0 + offset)
    return -a * np.tan(a * (t + offset)) * x


def _cosine_diffusion(x, t, offset):
    a = 0.5 * np.pi / (1.0 + offset)
    return (2.0 * a * np.tan(a * (t + offset))) ** 0.5


class Cosine(Process):
    """alpha = cos(a + b) / cos(b), a = (pi/2) t / (1 + s), b = (pi/2) s / (1 + s), and alpha^2 + sigma^2 = 1.

    Nichol & Dhariwal 2021, eq. 17, in continuous time: the noise level is infinite at t = 1.

    offset   s, of the paper 0.008

    >>> cosine = Cosine()
    >>> cosine.alpha(0.0), cosine.alpha(1.0), cosine.sigma(1.0)
    (1.0, 0.0, 1.0)
    """

    def __init__(self, offset: float = 0.008):
        super().__init__(_cosine_drift, _cosine_diffusion, offset=offset)
        if not 0 <= offset < math.inf:
            raise ValueError(f"the cosine's offset is a number of at least 0, got {offset!r}")

    def _angles(self, t: float) -> tuple[float, float]:
        s = self.parameters["offset"]
        return 0.5 * math.pi * t / (1 + s), 0.5 * math.pi * s / (1 + s)

    def alpha(self, t: float) -> float:
        """cos(a + b) / cos(b); sin of what is missing to a right angle, which is 0 at t = 1."""
        a, b = self._angles(1.0 - t)
        return math.sin(a) / math.cos(b)

    def sigma(self, t: float) -> float:
        """sqrt(sin(a) sin(a + 2b)) / cos(b)."""
        a, b = self._angles(t)
        return math.sqrt(math.sin(a) * math.sin(a + 2 * b)) / math.cos(b)

    def slopes(self, t: float) -> tuple[float, float]:
        """alpha' = -sin(a + b) a' / cos(b), sigma' = -alpha alpha' / sigma."""
        a, b = self._angles(t)
        slope = -math.sin(a + b) / math.cos(b) * self._angles(1.0)[0]
        if t == 0:
            return slope, math.inf if b else self._angles(1.0)[0]
        return slope, -self.alpha(t) * slope / self.sigma(t)

    def time(self, noise: float) -> float:
        """Where alpha = 1 / sqrt(1 + noise^2)."""
        rate, b = self._angles(1.0)
        if noise > 1:
            return 1.0 - math.asin(math.cos(b) / math.hypot(1.0, noise)) / rate if noise < math.inf else 1.0
        lost = (math.cos(b) * noise) ** 2 / (1 + noise**2)  # sin(a) sin(a + 2b)
        return math.asin(lost / math.sin(math.asin(math.sqrt(math.sin(b) ** 2 + lost)) + b)) / rate if noise else 0.0


def _flow_drift(x, t):
    return -x / (1.0 - t)


def _flow_diffusion(x, t):
    return (2.0 * t / (1.0 - t)) ** 0.5


class RectifiedFlow(Process):
    """A straight line from data to noise: x_t = (1 - t) x_0 + t eps (Liu et al. 2023; Lipman et al. 2023).

    As an SDE dx = -x/(1 - t) dt + sqrt(2t/(1 - t)) dW.

    >>> RectifiedFlow().slopes(0.3)
    (-1.0, 1.0)
    """

    def __init__(self):
        super().__init__(_flow_drift, _flow_diffusion)

    def alpha(self, t: float) -> float:
        """1 - t."""
        return 1.0 - t

    def sigma(self, t: float) -> float:
        """t."""
        return float(t)

    def slopes(self, t: float) -> tuple[float, float]:
        """-1 and 1."""
        return -1.0, 1.0

    def time(self, noise: float) -> float:
        """noise / (1 + noise)."""
        return 1.0 / (1.0 + 1.0 / noise) if noise else 0.0


class Discrete(Process):
    """The walk x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) eps, t = 1, ..., T (Ho et al. 2020, eq. 2).

    Between two whole times alpha^2 runs along a straight line, which makes an SDE of the walk, equal to it at 0, 1,
    ..., T. With beta_T = 1 nothing of the data is left at T.

    betas   beta_1, ..., beta_T: `linear_betas`, `cosine_betas`, or numpy.full(T, p); the last may be 1

    >>> Discrete([0.1, 0.2, 1.0]).level(3.0)
    Level(time=3.0, alpha=0.0, sigma=1.0)
    """

    def __init__(self, betas: Sequence[float] | np.ndarray):
        betas = np.array(betas, float)
        if betas.ndim != 1 or not len(betas) or not ((betas > 0) & (betas <= 1)).all() or (betas[:-1] == 1).any():
            raise ValueError("betas are a list of numbers between 0 and 1, of which the last alone may be 1; got "
                             f"{np.array2string(betas, threshold=6)}")
        self.betas, self.times, self.span = betas, (0.0, float(len(betas))), (1.0, float(len(betas)))
        with np.errstate(divide="ignore"):
            logs = np.append(0.0, np.cumsum(np.log1p(-betas)))
        self._left, self._lost = np.exp(logs), -np.expm1(logs)  # alpha^2 and sigma^2 at 0, 1, ..., T
        left, last = self._left.copy(), len(betas) - 1

        def rate(t):  # -(alpha^2)' / alpha^2
            k = min(int(t), last)
            fall = left[k] - left[k + 1]
            return fall / (left[k] - fall * (t - k))

        def drift(x, t):
            return -0.5 * rate(t) * x

        def diffusion(x, t):
            return rate(t) ** 0.5

        super().__init__(drift, diffusion)

    def _between(self, table: np.ndarray, t: float) -> float:
        k = min(int(t), len(self.betas) - 1)
        return float(table[k] + (table[k + 1] - table[k]) * (t - k))

    def alpha(self, t: float) -> float:
        """sqrt of the product of 1 - beta."""
        return math.sqrt(self._between(self._left, t))

    def sigma(self, t: float) -> float:
        """sqrt(1 - alpha^2), without cancellation at small betas."""
        return math.sqrt(self._between(self._lost, t))

    def slopes(self, t: float) -> tuple[float, float]:
        """Of the line that ends at t, or holds it."""
        k = max(math.ceil(t) - 1, 0)
        rise, (alpha, sigma) = float(self._lost[k + 1] - self._lost[k]), (self.alpha(t), self.sigma(t))
        return -0.5 * rise / alpha if alpha else -math.inf, 0.5 * rise / sigma if sigma else math.inf

    def time(self, noise: float) -> float:
        """Where sigma^2 = noise^2 / (1 + noise^2)."""
        times = np.arange(len(self._lost))
        if noise > 1:  # by alpha^2, of which little is left
            return float(np.interp(1.0 / (1.0 + noise**2), self._left[::-1], times[::-1]))
        return float(np.interp(noise**2 / (1.0 + noise**2), self._lost, times))

    def __reduce__(self):
        return type(self), (self.betas,)

    def __repr__(self) -> str:
        return f"Discrete({len(self.betas)} betas from {self.betas[0]:g} to {self.betas[-1]:g})"


def linear_betas(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> np.ndarray:
    """beta_1 ... beta_T of the discrete walk x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) eps (Ho et al. 2020, 4)."""
    if steps < 1 or not 0 < first <= last < 1:
        raise ValueError(f"betas need steps >= 1 and 0 < first <= last < 1, got steps={steps}, first={first}, "
                         f"last={last}")
    return np.linspace(first, last, steps)


def cosine_betas(steps: int = 1000, offset: float = 0.008, most: float = 0.999) -> np.ndarray:
    """1 - alpha_t^2 / alpha_{t-1}^2 of `Cosine` at t/T, at most `most` (Nichol & Dhariwal 2021, eq. 17).

    >>> cosine_betas(4).round(3)
    array([0.153, 0.417, 0.708, 0.999])
    """
    if steps < 1 or not 0 < most <= 1:
        raise ValueError(f"betas need steps >= 1 and 0 < most <= 1, got steps={steps}, most={most}")
    process = Cosine(offset)
    alphas = np.array([process.alpha(t) for t in np.linspace(0, 1, steps + 1)])
    return np.minimum(1 - (alphas[1:] / alphas[:-1]) ** 2, most)


def zero_terminal(betas: np.ndarray) -> np.ndarray:
    """The betas moved so that nothing of the data is left at T: beta_T = 1 (Lin et al. 2024, algorithm 1).

    alpha_t is shifted to end at 0 and scaled to keep its first value.

    >>> float(zero_terminal(linear_betas())[-1])
    1.0
    """
    alphas = np.sqrt(np.cumprod(1 - np.asarray(betas, float)))
    if len(alphas) < 2:
        raise ValueError("one step cannot end at pure noise and keep its first alpha; give at least two betas")
    alphas = (alphas - alphas[-1]) * (alphas[0] / (alphas[0] - alphas[-1]))
    return 1 - (alphas / np.append(1.0, alphas[:-1])) ** 2
