"""One body, three executions: the same plain function with its np.* and math.* bound to a backend's own.

A user's function calls np.exp on numbers under Numba, on arrays under NumPy, on tensors under Torch. `rebind` makes a
copy of the function in which the modules `numpy` and `math` are the backend's, and does the same for every plain
function that it calls. The original is never changed.
"""

import hashlib
import math
import types
from collections.abc import Callable

import numpy as np


class PythonOnly:
    """A function that Numba is not to compile, called in a branch that `isinstance(x, tuple)` closes to it."""

    def __init__(self, function: Callable):
        self.function = function

    def __call__(self, *args):
        return self.function(*args)


class BySize:
    """A function that is written out for the sizes of the tuples among its arguments.

    make(size of each argument) -> a plain function of the arguments; the size of a number, an array or a tensor is
    None, that of a tuple the tuple of its entries' sizes. Each is made once. What `make` itself uses is to be plain
    functions, numbers, texts and tuples of these: they are what the made functions are known by on disk.

    Numba reads the sizes from the types, so that loops over components cost nothing and entries may differ in type.

    >>> total = BySize(lambda x: eval(f"lambda x: {' + '.join(f'x[{i}]' for i in range(len(x)))}"))
    >>> total((1, 2, 3)), total((0.5, 0.25))
    (6, 0.75)
    """

    def __init__(self, make: Callable[..., Callable]):
        self.make, self._made = make, {}

    def of(self, *sizes) -> Callable:
        """The plain function for arguments of these sizes."""
        if sizes not in self._made:
            self._made[sizes] = self.make(*sizes)
        return self._made[sizes]

    def __call__(self, *args):
        return self.of(*map(size, args))(*args)


def size(x) -> tuple | None:
    """None for anything but a tuple; for a tuple its entries' sizes.

    >>> size(1.0), size((1.0, 2.0)), size(((1.0, 2.0), (3.0, 4.0)))
    (None, (None, None), ((None, None), (None, None)))
    """
    return tuple(map(size, x)) if isinstance(x, tuple) else None


def rebind(function: Callable, replace: Callable[[object], object], finish: Callable = lambda f: f,
           done: dict | None = None) -> Callable:
    """A copy of `function` whose globals and closure are passed through `replace`; `finish` is applied to each copy.

    Functions written in Python are copied in turn, once each, if anything in them changes; the rest stays as it is.

    >>> def area(r): return math.pi * r**2
    >>> rebind(area, lambda value: types.SimpleNamespace(pi=3) if value is math else value)(2)
    12
    """
    if not isinstance(function, types.FunctionType):
        return function  # a callable object keeps what it closes over
    done = {} if done is None else done
    if function in done:
        return done[function]
    done[function] = function  # a recursive call keeps the original

    def new(value):
        other = replace(value)
        if other is not value:
            return other
        if isinstance(value, types.FunctionType):
            return rebind(value, replace, finish, done)
        if isinstance(value, PythonOnly):
            inner = rebind(value.function, replace)
            return value if inner is value.function else PythonOnly(inner)
        if isinstance(value, BySize):
            if value not in done:
                done[value] = BySize(lambda *sizes: rebind(value.of(*sizes), replace, finish, done))
            return done[value]
        if isinstance(value, types.ModuleType):
            return with_functions(value)
        return value

    def new_cell(cell: types.CellType) -> types.CellType:
        """The same cell where its content stays: a variable that is shared and assigned to stays shared."""
        other = new(cell.cell_contents)
        return cell if other is cell.cell_contents else types.CellType(other)

    def with_functions(module: types.ModuleType):
        """The module, or a stand-in for it if the code calls plain functions of it."""
        used = {k: v for k, v in vars(module).items() if k in names and isinstance(v, types.FunctionType)}
        other = {k: new(v) for k, v in used.items()} if module not in (np, math) else used
        if all(other[k] is v for k, v in used.items()):
            return module
        stand_in = types.ModuleType(module.__name__)
        vars(stand_in).update(vars(module) | other)
        return stand_in

    names = _names(function.__code__)
    changed = {k: new(v) for k, v in function.__globals__.items() if k in names}
    changed = {k: v for k, v in changed.items() if v is not function.__globals__[k]}
    cells = tuple(map(new_cell, function.__closure__ or ()))
    if changed or cells != (function.__closure__ or ()):
        copy = types.FunctionType(function.__code__, function.__globals__ | changed, function.__name__,
                                  function.__defaults__, cells)
        copy.__kwdefaults__ = function.__kwdefaults__
    else:
        copy = function
    done[function] = finish(copy)
    return done[function]


def captured(function: Callable, done: set | None = None) -> tuple:
    """What `function`, and the plain functions it calls, take from outside: values and code that compiling freezes.

    >>> rate = 2.0
    >>> captured(lambda x: rate * x)[1:]
    ('2.0',)
    """
    done = set() if done is None else done
    if isinstance(function, PythonOnly):
        function = function.function
    if isinstance(function, BySize):
        function = function.make
    if not isinstance(function, types.FunctionType) or function in done:
        return ()
    done.add(function)
    names = _names(function.__code__)
    outside = [v for k, v in sorted(function.__globals__.items()) if k in names]
    modules = [v for v in outside if isinstance(v, types.ModuleType) and v not in (np, math)]
    outside += [v for module in modules for k, v in sorted(vars(module).items()) if k in names]
    outside += [cell.cell_contents for cell in function.__closure__ or ()] + list(function.__defaults__ or ())
    return function.__code__, *(part for value in outside for part in _parts(value, done))


def _parts(value, done: set) -> tuple:
    if isinstance(value, types.FunctionType | PythonOnly | BySize):
        return captured(value, done)
    if isinstance(value, tuple):
        return ("(", *(part for v in value for part in _parts(v, done)), ")")
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return (value.shape, str(value.dtype), value.tobytes()),
    if isinstance(value, int | float | complex | str | bool | None):
        return repr(value),
    if isinstance(value, np.ufunc | types.BuiltinFunctionType | types.ModuleType | type):
        return getattr(value, "__name__", ""),
    plain = getattr(value, "py_func", None)
    if isinstance(plain, types.FunctionType):  # compiled already
        return captured(plain, done)
    if str(getattr(value, "__module__", "")).startswith("sdekit."):
        return f"{value.__module__} {getattr(value, '__name__', type(value).__name__)}",
    return _Itself(value),


class _Itself:
    """A value that is known by its identity alone, and so in this process alone."""

    def __init__(self, value):
        self.value = value

    def __eq__(self, other) -> bool:
        return isinstance(other, _Itself) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def fingerprint(parts: tuple) -> str | None:
    """What `captured` found, as a text that is the same in another process; None where a part has no such text.

    >>> fingerprint(captured(lambda x: 2 * x)) == fingerprint(captured(lambda x: 2 * x))
    True
    """
    texts = []
    for part in parts:
        if isinstance(part, types.CodeType):
            part = _text(part)
        elif not isinstance(part, str | tuple):
            return None
        texts.append(repr(part))
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _text(code: types.CodeType) -> tuple:
    """A code object without the places where it was written."""
    constants = tuple(_text(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts)
    return (code.co_code, code.co_argcount, code.co_kwonlyargcount, code.co_flags, code.co_varnames, code.co_names,
            code.co_freevars, code.co_cellvars, constants)


def _names(code: types.CodeType) -> set[str]:
    """Every global name that the code, or a function inside it, may read."""
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    return set(code.co_names).union(*(_names(c) for c in inner))


def namespace(module: object, name: str, **renamed: Callable) -> Callable[[object], object]:
    """What `rebind` needs to replace numpy and math, and functions taken from them, by those of `module`.

    `renamed` gives what `module` calls otherwise. A function that it lacks raises AttributeError when it is used.
    """
    class Bound:
        def __getattr__(self, attribute: str):
            found = renamed.get(attribute, getattr(module, attribute, None))
            if found is None:
                found = getattr(math, attribute, None)
            if found is None or (callable(found) and found is getattr(math, attribute, None)):
                raise AttributeError(f"np.{attribute} (or math.{attribute}) has no counterpart in {name}; write it "
                                     "with elementary functions, or choose another backend")
            return found

    bound = Bound()

    def replace(value):
        if value is np or value is math:
            return bound
        if isinstance(value, np.ufunc) or getattr(value, "__module__", None) == "math":
            return getattr(bound, value.__name__)
        return value

    return replace
