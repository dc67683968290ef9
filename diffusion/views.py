"""Views of a denoiser: what networks predict, each worked out from D = E[x_0 | x] and back.

With x = alpha x_0 + sigma eps, a view is a relation between its value, x, D and the data's centre m,

    k value = a x + b D + c m,

whose coefficients depend on alpha and sigma alone and are finite where one of them is 0:

    | view   | value                                        | k           | a               | b                 | c |
    | ------ | -------------------------------------------- | ----------- | --------------- | ----------------- | - |
    | eps    | (x - alpha D) / sigma                        | sigma       | 1               | -alpha            |   |
    | x0     | D                                            | 1           | 0               | 1                 |   |
    | v      | alpha eps - sigma D                          | sigma       | alpha           | -alpha^2 - sigma^2|   |
    | score  | (alpha D - x) / sigma^2                      | sigma^2     | -1              | alpha             |   |
    | flow   | alpha' D + sigma' eps                        | sigma       | sigma'          | a' sigma - s'alpha|   |
    | F      | sigma (D - m) / (s r) - alpha s eps / r      | s sigma / r | -alpha s^2 / r^2| 1                 | * |

(r^2 = alpha^2 s^2 + sigma^2, * = -sigma^2 / r^2). So at sigma = 0, where k = 0, no view but x0 is told by D, but every
one tells D; and at alpha = 0, where b = 0 for eps and score, these two no longer tell D, but x0, v, F and the flow do.
A conversion's error is machine epsilon times max(alpha/sigma, sigma/alpha), times `ROUNDING`, times the size of the
terms that make up the value.

`denoiser` makes a denoiser of anyone's network that predicts one of them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from diffusion.denoiser import check_labels, column
from diffusion.guidance import Derived
from diffusion.process import Discrete, Level, Process

ROUNDING = 4


@dataclass(frozen=True, eq=False)
class View:
    """k value = a x + b D + c m: a name, (alpha, sigma) -> (k, a, b, c), and m.

    A view is called with a denoiser: view(denoiser, x, alpha, sigma, condition). From one view to another the way
    leads over D: v.of(eps.x0(value, x, alpha, sigma), x, alpha, sigma).
    """

    name: str
    coefficients: Callable = field(repr=False)
    center: Tensor | float = field(default=0.0, repr=False)

    def __call__(self, denoiser: Callable[..., Tensor], x: Tensor, alpha, sigma, condition: Any = None) -> Tensor:
        """The view of D(x, alpha, sigma, condition); shapes as `diffusion.Denoiser`.

        Raises ZeroDivisionError where sigma = 0.

        >>> from diffusion.exact import Gaussian
        >>> eps(Gaussian(0.0, 1.0), torch.tensor([[3.0]]), alpha=0.6, sigma=0.8)
        tensor([[2.4000]])
        """
        return self.of(denoiser(x, alpha, sigma, condition), x, alpha, sigma)

    def of(self, D: Tensor, x: Tensor, alpha, sigma) -> Tensor:
        """The value (a x + b D + c m) / k; D and x (batch, ...), alpha and sigma numbers or (batch,).

        Raises ZeroDivisionError where k = 0: at sigma = 0 x holds no noise, and D says nothing of it.
        """
        k, a, b, c, m = self._terms(x, alpha, sigma)
        if not (k > 0).all():
            least = float(torch.as_tensor(sigma).min())
            raise ZeroDivisionError(f"{self.name} exists only where sigma > 0, got sigma = {least:g}; end the grid of "
                                    "times at a positive sigma, or ask for x0")
        return (a * x + b * D + c * m) / k

    def x0(self, value: Tensor, x: Tensor, alpha, sigma) -> Tensor:
        """D = (k value - a x - c m) / b.

        Raises ZeroDivisionError where b = 0: at alpha = 0 x holds no data, and eps and the score say nothing of it.

        >>> v.x0(torch.tensor([[-0.5]]), x=torch.tensor([[7.0]]), alpha=0.0, sigma=1.0)
        tensor([[0.5000]])
        """
        k, a, b, c, m = self._terms(x, alpha, sigma)
        if not (b != 0).all():
            raise ZeroDivisionError(f"{self.name} tells the data only where alpha > 0, got alpha = 0; start the grid "
                                    "of times below it, or use a network that predicts x0, v or F")
        return (k * value - a * x - c * m) / b

    def _terms(self, x: Tensor, alpha, sigma) -> tuple[Tensor, ...]:
        """k, a, b, c, so shaped that they multiply x, and m."""
        terms = *self.coefficients(column(alpha, x), column(sigma, x)), self.center
        return tuple(torch.as_tensor(term, dtype=x.dtype, device=x.device) for term in terms)


# Functions with names, so that a denoiser made of a view can be sent to another process
def _eps(alpha, sigma):
    return sigma, 1, -alpha, 0


def _x0(alpha, sigma):
    return 1, 0, 1, 0


def _v(alpha, sigma):
    return sigma, alpha, -(alpha**2 + sigma**2), 0


def _score(alpha, sigma):
    return sigma**2, -1, alpha, 0


def _flow(process: Process, alpha: Tensor, sigma: Tensor):
    slopes = [process.slopes(level.time) for level in moments(process, alpha, sigma)]
    if not all(math.isfinite(slope) for pair in slopes for slope in pair):
        raise ZeroDivisionError(f"the velocity of {process!r} is infinite where alpha' or sigma' is, at an end of its "
                                "times; keep the grid away from that end, or ask for x0, v or F")
    fall, rise = (column(slope, alpha) for slope in zip(*slopes))
    return sigma, rise, fall * sigma - rise * alpha, 0


def _edm(spread: float, alpha: Tensor, sigma: Tensor):
    square = alpha**2 * spread**2 + sigma**2
    return spread * sigma / square.sqrt(), -alpha * spread**2 / square, 1, -(sigma**2) / square


#: The noise in x, eps = (x - alpha D) / sigma (Ho et al. 2020, eq. 15).
eps = View("eps", _eps)

#: D itself.
x0 = View("x0", _x0)

#: alpha eps - sigma D (Salimans & Ho 2022, section 4 and appendix D), for any alpha and sigma.
v = View("v", _v)

#: grad log p(x) = (alpha D - x) / sigma^2 = -eps / sigma (Tweedie; Efron 2011, eq. 1.4).
score = View("score", _score)


def flow(process: Process) -> View:
    """The velocity alpha'(t) D + sigma'(t) eps of the process's probability flow, at its t of the same noise level.

    For `RectifiedFlow` that is eps - D (Liu et al. 2023; Lipman et al. 2023). It depends on the noise level alone: x
    may be given on any process's scale.

    Raises ValueError for a noise level that the process does not have, ZeroDivisionError where the velocity is
    infinite: at the data, if sigma starts as a square root does (VP, VE, Cosine).

    >>> from diffusion.process import RectifiedFlow
    >>> D, x = torch.tensor([[0.5]]), torch.tensor([[1.5]])   # eps = (1.5 - 0.5 * 0.5) / 0.5 = 2.5
    >>> flow(RectifiedFlow()).of(D, x, alpha=0.5, sigma=0.5)
    tensor([[2.]])
    """
    return View(f"flow({process!r})", partial(_flow, process))


def edm(center: Tensor | float = 0.0, spread: float = 1.0) -> View:
    """F of D = m + (alpha s^2 / r^2)(x - alpha m) + (s sigma / r) F, r^2 = alpha^2 s^2 + sigma^2.

    What the network within `Preconditioned` predicts (Karras et al. 2022, table 1, with m = 0 and alpha = 1): 0 for
    data N(m, s^2).

    center  m, a number or a tensor of the data's shape
    spread  s
    """
    if not 0 < spread < math.inf:
        raise ValueError(f"the spread of the data is a positive number, got {spread!r}")

    return View("F", partial(_edm, spread), center)


def moments(process: Process, alpha, sigma) -> list[Level]:
    """The process's moments of noise level sigma/alpha: one, or one for each sample.

    alpha, sigma    numbers or tensors of any shape, read in order; infinite levels (alpha = 0) are allowed

    Raises ValueError for a level that the process does not have; one above its last by no more than the rounding of
    the tensors is its last.

    >>> from diffusion.process import VP
    >>> [level.time for level in moments(VP(), torch.tensor([1.0, 1.0]), torch.tensor([0.0, 0.0]))]
    [0.0, 0.0]
    """
    given = [torch.as_tensor(value, dtype=None if isinstance(value, Tensor) else torch.float64).flatten()
             for value in (alpha, sigma)]
    slack = max(8 * torch.finfo(value.dtype).eps for value in given if value.is_floating_point())
    top = process.level(process.times[1]).noise

    def moment(alpha: float, sigma: float) -> Level:
        if not (alpha >= 0 and sigma >= 0 and alpha + sigma > 0):
            raise ValueError(f"alpha and sigma are at least 0, and not both 0; got {alpha:g} and {sigma:g}")
        noise = sigma / alpha if alpha else math.inf
        return process.at(top if top < noise <= top * (1 + slack) else noise)

    return [moment(*pair) for pair in zip(*(value.tolist() for value in torch.broadcast_tensors(*given)))]


def timestep(level: Level) -> int:
    """The nearest step of a discrete walk, counted from 0: what networks of `Discrete` processes mostly take as time.

    Steps t = 1, ..., T of Ho et al. 2020 are numbers 0, ..., T - 1 in most code; to be given as `denoiser`'s `time`.

    >>> timestep(Level(1000.0, 0.0, 1.0))
    999
    """
    return max(round(level.time), 1) - 1


def brief(denoiser: Any) -> str:
    """What a message calls it: a module, and what holds one, by type alone, since its repr is all of its layers.

    >>> brief(torch.nn.Linear(2, 2))
    'a Linear'
    """
    if isinstance(denoiser, Derived):
        return f"{denoiser.name} of {brief(denoiser.base)}"
    if isinstance(denoiser, Predictor):
        return f"the denoiser of {brief(denoiser.net)}, which predicts {denoiser.view.name}"
    layers = isinstance(denoiser, torch.nn.Module) or "\n" in repr(denoiser)  # of a module's method, too
    return f"a {type(denoiser).__name__}" if layers else repr(denoiser)


def _leads(value: Tensor, node: Any) -> bool:
    """Whether autograd's way back from the value passes the node."""
    ahead, seen = [value.grad_fn], set()
    while ahead:
        at = ahead.pop()
        if at is node:
            return True
        if at is not None and at not in seen:
            seen.add(at)
            ahead += [following for following, _ in at.next_functions]
    return False


def _own_time(level: Level) -> float:
    return level.time


@dataclass(frozen=True, eq=False)
class Predictor:
    """D(x, alpha, sigma, condition) by a network that predicts a view of it along a process. See `denoiser`."""

    net: Callable[..., Tensor]
    view: View
    process: Process
    shape: tuple[int, ...] | None = None
    center: Tensor | float = 0.0
    spread: float = 1.0
    classes: int | None = None
    time: Callable[[Level], float] = _own_time

    def __call__(self, x: Tensor, alpha, sigma, condition: Any = None) -> Tensor:
        levels = moments(self.process, alpha, sigma)
        if len(levels) not in (1, len(x)):
            raise ValueError(f"alpha and sigma are numbers, or one for each of the {len(x)} samples; got {len(levels)}")
        own_alpha, own_sigma = (torch.tensor(values, dtype=torch.float64, device=x.device)
                                for values in zip(*((level.alpha, level.sigma) for level in levels)))
        y = x * column(torch.hypot(own_alpha, own_sigma), x) / torch.hypot(column(alpha, x), column(sigma, x))
        value = self._predict(y, [self.time(level) for level in levels], condition)
        return self.view.x0(value.to(x), y, own_alpha, own_sigma)

    def _predict(self, y: Tensor, times: Sequence[float], condition) -> Tensor:
        """What the network says, in its own number type."""
        dtype = next((p.dtype for p in getattr(self.net, "parameters", list)() if p.is_floating_point()), y.dtype)
        whole = all(isinstance(time, int) for time in times)
        real = torch.promote_types(dtype, torch.float32)  # half precision cannot tell one step in 1000 from the next
        t = torch.tensor(times, dtype=torch.long if whole else real, device=y.device).expand(len(y))
        given = y.to(dtype)
        node = given.grad_fn  # kept: a network may change its input in place
        value = self.net(given, t, *self._labels(condition, y))
        if not isinstance(value, Tensor) or value.shape != y.shape:
            got = f"one of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise ValueError(f"the network should return a tensor of its input's shape {tuple(y.shape)}, but returned "
                             f"{got}; hand over a function that picks {self.view.name} out of it"
                             + self._picking(value, y))
        # x itself stays in D by the view, so that a derivative without the network's part would pass for the whole
        if node is not None and torch.is_grad_enabled() and not _leads(value, node):
            raise TypeError(f"{brief(self.net)} is not differentiable by autograd, and the derivative of its denoiser "
                            "was asked for: it computes under torch.no_grad(), or detaches, or outside of torch")
        return value

    def _picking(self, value: Any, y: Tensor) -> str:
        """An example of how, where what came back suggests one."""
        call = "x, t" if self.classes is None else "x, t, label"
        if isinstance(value, (tuple, list)):
            return f", such as lambda {call}: net({call})[0]"
        wider = isinstance(value, Tensor) and y.ndim > 1 and value.ndim == y.ndim and value.shape[1] > y.shape[1]
        if wider and value[:, :y.shape[1]].shape == y.shape:  # such as the variance beside eps
            return f", such as lambda {call}: net({call})[:, :{y.shape[1]}]"
        return ""

    def _labels(self, condition, y: Tensor) -> tuple[Tensor, ...]:
        """The network's third argument, if it takes one."""
        if self.classes is not None:
            return (check_labels(condition, len(y), self.classes, y.device),)
        if condition is not None:
            raise TypeError(f"the condition {condition!r} was given, but this network takes no labels; leave it out, "
                            "or make the denoiser with classes= the number of them")
        return ()


def denoiser(net: Callable[..., Tensor], predicts: View | str, process: Process, *,
             shape: Sequence[int] | None = None, center: Tensor | float = 0.0, spread: float = 1.0,
             classes: int | None = None, time: Callable[[Level], float] = _own_time) -> Predictor:
    """A denoiser made of anyone's network: D from its prediction at the process's moment of the same noise level.

    x = alpha x_0 + sigma eps is brought to the process's scale, x (alpha_t^2 + sigma_t^2)^(1/2) / (alpha^2 +
    sigma^2)^(1/2), with sigma_t / alpha_t = sigma / alpha; there the network is asked, in the type of its parameters.

    net         net(x, t), or net(x, t, label) if it has classes: x (batch, ...), t (batch,); returns x's shape
    predicts    a view, or its name: "eps", "x0", "v", "score", "flow" (of `process`), "F" (of `center` and `spread`)
    process     what the network was trained on
    shape       of one sample; by default that of `center`, if it has one
    center      m, the data's mean, a number or a tensor of the data's shape; sampling starts from
    spread      N(alpha m, alpha^2 s^2 + sigma^2)
    classes     how many labels it takes, the label `classes` (and no label) standing for none
    time        level -> what the network takes for t, by default the process's time. `timestep` for steps counted from
                0, of `Discrete` alone; whole numbers are handed over as such (torch.long). A time that is rounded makes
                the network speak of the level nearby, with an error of that distance.

    At alpha = 0, which Cosine, RectifiedFlow and walks of zero terminal betas reach, "eps" and "score" cannot be used.

    Raises, when called, ValueError for a noise level that the process does not have or a network that returns another
    shape, TypeError for labels where it has no classes or a derivative in x that the network has not, ZeroDivisionError
    as `View.x0`.

    >>> from diffusion.process import RectifiedFlow
    >>> flow_of_points_at_3 = lambda x, t: (x - 3.0) / t[:, None]         # (x - (1 - t) 3) / t - 3
    >>> denoiser(flow_of_points_at_3, "flow", RectifiedFlow())(torch.tensor([[7.0]]), alpha=1.0, sigma=2.0)
    tensor([[3.]])
    """
    if not isinstance(process, Process):
        raise TypeError(f"process is a Process with its parameters, such as VP() or RectifiedFlow(); got {process!r}")
    if time is timestep and not isinstance(process, Discrete):
        raise ValueError(f"timestep belongs to Discrete(betas), whose times are steps; those of {process!r} go from "
                         f"{process.times[0]:g} to {process.times[1]:g}: leave time out where the network takes them, "
                         "or give time=lambda level: ... for what it takes, such as 999 * level.time")
    views = {view.name: view for view in (eps, x0, v, score, edm(center, spread))} | {"flow": flow(process)}
    if not isinstance(predicts, View) and predicts not in views:
        raise ValueError(f"predicts is a View or one of {', '.join(views)}; got {predicts!r}")
    view = predicts if isinstance(predicts, View) else views[predicts]
    shape = tuple(shape) if shape is not None else None
    if isinstance(center, Tensor) and center.ndim:
        if shape not in (None, tuple(center.shape)):
            raise ValueError(f"the centre of the data has shape {tuple(center.shape)}, and a sample {shape}; give a "
                             "number, or a tensor of a sample's shape")
        shape = tuple(center.shape)
    if classes is not None and not (isinstance(classes, int) and classes >= 1):
        raise ValueError(f"classes is a whole number of at least 1, or None; got {classes!r}")
    return Predictor(net, view, process, shape, center, float(spread), classes, time)
