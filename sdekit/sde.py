"""An SDE, dX = drift(X, t) dt + diffusion(X, t) dW, as two plain functions and named parameters.

What the functions return says what the SDE is:

    state            drift          diffusion
    number           number         number: one noise | tuple of m: m noises
    d components     d-tuple        d-tuple: a noise for each | d tuples of m: a d x m matrix
    tensor           its shape      anything that broadcasts to its shape: a noise for each element

`structure` calls the functions once and reads the row of the table from what they return.
"""

import inspect
import math
import sys
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from functools import wraps
from numbers import Real
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

Kind = TypeVar("Kind", bound="Equation")


@dataclass(frozen=True, init=False, eq=False)
class Equation:
    """Plain functions, and their parameters by name: what ODE, SDE and MarkovProcess have in common."""

    parameters: Mapping[str, Any]
    domain = None  # (least, most) of each component, where its values are bounded: starts outside are refused
    counts = False  # whether within it they have to be whole numbers

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"parameters": dict(self.parameters)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state | {"parameters": MappingProxyType(state["parameters"])})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={_brief(v)}' for k, v in self.parameters.items())})"


@dataclass(frozen=True, init=False, eq=False, repr=False)
class ODE(Equation):
    """dx/dt = drift(x, t): a plain function and its parameters by name.

    >>> ODE(lambda x, t, k: -k * x, k=2.0)
    ODE(k=2.0)
    """

    drift: Callable

    def __init__(self, drift: Callable, /, **parameters: float):
        record(self, parameters, drift=drift)


def _brief(value) -> str:
    value = numbers(value)
    if np.ndim(value):
        return f"[{value[0]}, ..., {value[-1]}]" if len(value) > 2 else str(value.tolist())
    return repr(value)


@dataclass(frozen=True, init=False, eq=False, repr=False)
class SDE(ODE):
    """dX = drift(X, t) dt + diffusion(X, t) dW, in the sense of Ito.

    drift, diffusion   plain functions of (x, t, parameters by name); see this module's table for what they return.
                       A system's state arrives as its components: `s, v = x`. Write elementwise maths with np.*.
    parameters         by the names that the functions use: numbers, or arrays (paths,) with one for each path; or
                       torch tensors in their place, whose gradients are wanted

    Raises TypeError for a parameter that no function takes, or one that a function needs and nobody gave.

    >>> sde = SDE(lambda x, t, k: -k * x, lambda x, t, s: s, k=2.0, s=0.5)
    >>> sde
    SDE(k=2.0, s=0.5)
    >>> sde.drift(1.0, 0.0, k=2.0)
    -2.0
    """

    diffusion: Callable
    calculus = "ito"  # in whose sense the product with dW is meant; see `Stratonovich`
    # The law of a step, transition(x, t, h, z, parameters by name), where a process has one of its own.
    # transition_draws: "W", z is standard normal, one for each noise; "P", z is the step's place in the noise, from
    # which it draws by `sdekit.draws`. transition_exact: there is no error at any step size. transition_pathwise: with
    # z = dW/sqrt(h) it is the exact path. logarithmic: with it log X moves as a Brownian motion.
    transition = None
    transition_draws = "W"
    transition_exact = True
    transition_pathwise = False
    logarithmic = False

    def __init__(self, drift: Callable, diffusion: Callable, /, **parameters: float):
        record(self, parameters, drift=drift, diffusion=diffusion)


class Stratonovich(SDE):
    """dX = drift(X, t) dt + diffusion(X, t) o dW, in the sense of Stratonovich; all else as in `SDE`.

    The ordinary chain rule holds. The same process in Ito's sense has 1/2 sum_k (dg_k/dx) g_k more drift, which
    `to_ito` works out.

    >>> Stratonovich(lambda x, t, a: a * x, lambda x, t, b: b * x, a=0.5, b=0.2)
    Stratonovich(a=0.5, b=0.2)
    """

    calculus = "stratonovich"


def record(equation: Equation, parameters: Mapping[str, Any], after: int = 2, **functions: Callable) -> None:
    """Check functions and parameters, and make them the equation's; parameters come after `after` arguments."""
    for name, function in functions.items():
        if not callable(function):
            raise TypeError(f"{name} must be a function of (x, t, parameters by name), got {function!r}; "
                            f"for a constant write `lambda x, t: {function!r}`")
        object.__setattr__(equation, name, function)
    taken = {name for function in functions.values() for name in takes(function, after)}
    for name, function in functions.items():
        missing = [p for p in takes(function, after) if p not in parameters and p not in _defaults(function)]
        if missing:
            raise TypeError(f"{name} takes the parameter {missing[0]!r}, which was not given; add {missing[0]}=... ")
    for name in parameters:
        if name not in taken:
            raise TypeError(f"no function takes the parameter {name!r}; they take {sorted(taken) or 'none'}")
    checked = {k: _parameter(k, v) for k, v in parameters.items()}
    object.__setattr__(equation, "parameters", MappingProxyType(checked))


def _parameter(name: str, value):
    """A number, or an array (paths,) that holds one for each path; a tensor stays what it is."""
    if hasattr(value, "detach"):
        if not value.is_floating_point() or value.ndim > 1 or not value.numel():
            raise TypeError(f"the parameter {name} must be a tensor of one real number, or of one for each path; got "
                            f"{value.dtype} {tuple(value.shape)}")
        if not bool(value.isfinite().all()):
            raise ValueError(f"the parameter {name} must be finite, got {value}")
        return value
    array = np.asarray(value) if isinstance(value, np.ndarray | list | Real) and not isinstance(value, bool) else None
    if array is None or array.dtype.kind not in "iuf" or array.ndim > 1 or not array.size:
        raise TypeError(f"the parameter {name} must be a real number, or an array (paths,) of them; got {value!r} "
                        f"({type(value).__name__})")
    if not np.isfinite(array).all():
        raise ValueError(f"the parameter {name} must be finite, got {value}")
    if not array.ndim:
        return float(array)
    array = array.astype(float)
    array.setflags(write=False)
    return array


def numbers(value: Any, found: list | None = None) -> Any:
    """A torch tensor as a number or an array, and those in a tuple; all else as it is. `found` gets the tensors."""
    if isinstance(value, tuple):
        return tuple(numbers(v, found) for v in value)
    if not hasattr(value, "detach"):
        return value
    if found is not None:
        found.append(value)
    array = value.detach().cpu().double().numpy()
    return array if array.ndim else float(array)


def in_numbers(equation: Kind, found: list) -> Kind:
    """The equation with numbers in place of tensors, among its parameters and in what its functions return; `found`
    gets those that they return."""
    if "torch" not in sys.modules:
        return equation

    def plain(function: Callable) -> Callable:
        @wraps(function)
        def call(*args, **named):
            return numbers(function(*args, **named), found)

        return call

    other = copy(equation)
    vars(other).update({k: plain(vars(other)[k]) for k in ("drift", "diffusion") if k in vars(other)})
    vars(other)["parameters"] = MappingProxyType({k: numbers(v) for k, v in equation.parameters.items()})
    return other


def takes(function: Callable, after: int = 2) -> list[str]:
    """The names of the parameters after the first `after` ones, x and t."""
    try:
        signature = list(inspect.signature(function).parameters.values())
    except ValueError:
        raise TypeError(f"{_name(function)} does not tell its arguments; wrap it in a function of (x, t)") from None
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in signature):
        raise TypeError(f"{_name(function)} takes *args or **kwargs; name its parameters: (x, t, mu, sigma)")
    if [p.name for p in signature[:2]] in (["t", "x"], ["t", "y"]):
        raise TypeError(f"{_name(function)} takes (t, x); here x comes before t: (x, t, parameters by name)")
    if len(signature) < after:
        raise TypeError(f"{_name(function)} must take ({', '.join(('x', 't', 'h', 'place')[:after])}) and then its "
                        f"parameters, but takes ({', '.join(p.name for p in signature)})")
    return [p.name for p in signature[after:]]


def _defaults(function: Callable) -> dict[str, Any]:
    return {k: p.default for k, p in inspect.signature(function).parameters.items() if p.default is not p.empty}


def _name(function: Callable) -> str:
    return getattr(function, "__name__", repr(function))


@dataclass(frozen=True)
class Structure:
    """What an SDE is made of. `scalar`: the state is bare, a number or a tensor, not a tuple of components."""

    dim: int
    noises: int
    diagonal: bool
    scalar: bool


def structure(equation: ODE, x0, t0: float) -> Structure:
    """Call the functions once at the start and read from what they return what the SDE is.

    x0 is one state, a number or a tuple of numbers. Raises TypeError or ValueError for what does not fit.
    """
    scalar = not isinstance(x0, tuple)
    drift = _call(equation, "drift", x0, t0)
    dim = 1 if scalar else len(x0)
    components = (drift,) if scalar else drift
    _check_tuple("drift", components, dim, scalar)
    _check_numbers("drift", components, x0, t0)
    if not isinstance(equation, SDE):
        return Structure(dim, 0, True, scalar)
    diffusion = _call(equation, "diffusion", x0, t0)
    if scalar:
        rows, diagonal = (diffusion,), not isinstance(diffusion, tuple)
    else:
        rows = diffusion
        _check_tuple("diffusion", rows, dim, scalar)
        diagonal = not any(isinstance(row, tuple) for row in rows)
    if diagonal:
        _check_numbers("diffusion", rows, x0, t0)
        return Structure(dim, dim, True, scalar)
    if not all(isinstance(row, tuple) for row in rows) or len({len(row) for row in rows}) != 1 or not rows[0]:
        raise ValueError(f"diffusion must return either {dim} numbers (a noise for each component) or {dim} tuples of "
                         f"equal length (rows: components, columns: noises), got {rows!r}")
    for row in rows:
        _check_numbers("diffusion", row, x0, t0)
    return Structure(dim, len(rows[0]), False, scalar)


def noise_free(equation: ODE) -> ODE:
    """The ODE of the drift alone."""
    return ODE(equation.drift, **{k: v for k, v in equation.parameters.items() if k in takes(equation.drift)})


def call(equation: ODE, which: str, x, t):
    """equation.drift(x, t, its parameters by name), or .diffusion; with the first path's parameters."""
    function = getattr(equation, which)
    values = {k: equation.parameters[k] for k in takes(function) if k in equation.parameters}
    return function(x, t, **{k: v[0] if np.ndim(v) else v for k, v in values.items()})


def _call(equation: ODE, which: str, x, t):
    try:
        value, again = call(equation, which, x, t), call(equation, which, x, t)
    except (TypeError, ValueError, IndexError) as error:
        words = str(error)
        if not isinstance(x, tuple) and any(w in words for w in ("unpack", "not subscriptable", "invalid index")):
            raise TypeError(f"{which} takes several components, but x0 holds one number a path: {words}. A system's x0 "
                            "is a tuple, one entry for each component: x0=(100.0, 0.04)") from error
        if isinstance(x, tuple) and any(w in words for w in ("sequence", "'tuple'", "unpack", "tuple index")):
            raise TypeError(f"{which} cannot take the {len(x)} components of x0: {words}. It gets them as a tuple and "
                            "has to take them apart, s, v = x; for a state of one number give a number") from error
        _note(error, which, x, t)
        raise
    except Exception as error:
        _note(error, which, x, t)
        raise
    if repr(value) != repr(again):
        raise ValueError(f"{which} must be a function of its arguments alone, but gave {value!r} and then {again!r} "
                         f"for the same x={x!r}, t={t!r}; the noise is made from the seed, not in the functions")
    return value


def _note(error: Exception, which: str, x, t) -> None:
    error.add_note(f"raised by {which}(x={x!r}, t={t!r}), called at the start to see what it returns")


def _check_tuple(name: str, value, dim: int, scalar: bool) -> None:
    if scalar:
        return
    if not isinstance(value, tuple) or len(value) != dim:
        got = f"a tuple of {len(value)}" if isinstance(value, tuple) else f"{type(value).__name__} {value!r}"
        raise ValueError(f"x0 has {dim} components, so {name} must return a tuple of {dim}, got {got}")


def _check_numbers(name: str, values: tuple, x, t) -> None:
    for value in values:
        if not isinstance(value, Real) and not (isinstance(value, np.ndarray) and value.ndim == 0):
            raise TypeError(f"{name} must return numbers (tuples of them for a system), got {type(value).__name__} "
                            f"{value!r}")
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value} at the start, x={x!r}, t={t!r}; it must be finite there")
