"""np.* and math.* for compiled functions of numbers: vector code in place of calls of the C library.

A loop that calls libm's exp or sin for each number stays scalar. In a user's function that is to be compiled,
`replace` exchanges the modules numpy and math, and functions taken from them, for stand-ins: on whole numbers, bools
and float64 these are the functions of elementary.py, branch-free; on arrays, complex numbers and float32 Numba's own.
`Powers` does the same for the operator: x ** y is a product for a small whole y that is written out, a product with a
root for y = 0.5, 1.5 or 2.5, and elementary.pow for any other.
"""

import builtins
import math
import operator
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import ir as code
from numba.core.cgutils import get_or_insert_function
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.errors import ConstantInferenceError
from numba.core.untyped_passes import InlineInlinables
from numba.extending import intrinsic, overload

from sdekit import elementary, noise
from sdekit.maths import BySize, rebind

LARGEST_PRODUCT = 8  # x ** 8 is three squarings
# Rounding counts here: without this False, Numba would pass the caller's `contract` on.
_INLINED: Any = {"nogil": True, "error_model": "numpy", "forceinline": True, "fastmath": False}


# The machine instructions of elementary.py


def _bitcast(source, target, llvm_type):
    @intrinsic
    def cast(context, x):
        def generate(context, builder, signature, arguments):
            return builder.bitcast(arguments[0], llvm_type)

        return target(source), generate

    return cast


@intrinsic
def _product(context, x, y):
    """Without the flag `nsw` of Numba's own, by which a product that wraps has no defined value."""
    def generate(context, builder, signature, arguments):
        return builder.mul(*arguments)

    return types.int64(types.int64, types.int64), generate


@intrinsic
def _fma(context, a, b, c):
    def generate(context, builder, signature, arguments):
        return builder.fma(*arguments)

    return types.float64(*[types.float64] * 3), generate


@intrinsic
def _rint(context, x):
    def generate(context, builder, signature, arguments):
        return builder.call(builder.module.declare_intrinsic("llvm.rint", [ir.DoubleType()]), arguments)

    return types.float64(types.float64), generate


@intrinsic
def _selected(context, condition, a, b):
    def generate(context, builder, signature, arguments):
        return builder.select(*arguments)

    common = context.unify_types(a, b)
    return common(types.boolean, common, common), generate


_select: Any = _selected


def _if_far(name: str):
    """(x, y) -> y, or the C library's function of this name where |x| > 2^45; loops with it become vector code too.

    LLVM makes vector code of a loop with a call only if the callee names a vector variant. Ours names one that no
    machine is wide enough for, 64 lanes under a mask; so the call stays, lane by lane, behind a test of its lane. A
    version of LLVM that does not do so leaves the loop scalar: slower, and as right.
    """
    number, lanes = ir.DoubleType(), 64
    vector, mask = ir.VectorType(number, lanes), ir.VectorType(ir.IntType(1), lanes)

    def far(module: ir.Module) -> ir.Function:
        called = f"sdekit_{name}"
        if called in module.globals:
            return module.globals[called]
        wide = ir.Function(module, ir.FunctionType(vector, [vector, mask]), f"{called}_wide")
        kept: Any = ir.GlobalVariable(module, ir.ArrayType(wide.type, 1), "llvm.compiler.used")
        kept.initializer = ir.Constant(kept.value_type, [wide])
        kept.linkage, kept.section = "appending", "llvm.metadata"
        function = ir.Function(module, ir.FunctionType(number, [number]), called)
        function.linkage = "weak_odr"
        for attribute in ("noinline", "nounwind", "readnone", "willreturn", "cold",
                          f'"vector-function-abi-variant"="_ZGV_LLVM_M{lanes}v_{called}({wide.name})"'):
            set.add(function.attributes, attribute)
        builder = ir.IRBuilder(function.append_basic_block())
        library = get_or_insert_function(module, function.function_type, name)
        builder.ret(builder.call(library, function.args))
        return function

    @intrinsic
    def if_far(context, x, y):
        def generate(context, builder, signature, arguments):
            x, y = arguments
            before = builder.block
            size = builder.call(builder.module.declare_intrinsic("llvm.fabs", [number]), [x])
            with builder.if_then(builder.fcmp_ordered(">", size, ir.Constant(number, elementary.FAR)), likely=False):
                result, inside = builder.call(far(builder.module), [x]), builder.block
            joined = builder.phi(number)
            joined.add_incoming(y, before)
            joined.add_incoming(result, inside)
            return joined

        return types.float64(types.float64, types.float64), generate

    return if_far


INSTRUCTIONS = {noise.bits: _bitcast(types.float64, types.int64, ir.IntType(64)),
                noise.from_bits: _bitcast(types.int64, types.float64, ir.DoubleType()), noise.product: _product,
                elementary.fma: _fma, elementary.rint: _rint, elementary.select: _select,
                elementary.sin_if_far: _if_far("sin"), elementary.cos_if_far: _if_far("cos"),
                elementary.tan_if_far: _if_far("tan")}
_done: dict = {}


def _compiled(function: Callable) -> Callable:
    def new(value):
        if isinstance(value, FunctionType):
            return INSTRUCTIONS.get(value) or rebind(value, new, njit(**_INLINED), _done)
        return value

    return rebind(function, new, njit(**_INLINED), _done)


# The stand-ins


def _is_number(*values) -> bool:
    return all(isinstance(v, types.Integer | types.Boolean) or v == types.float64 for v in values)


def _unary(function: Callable, own: Callable) -> Callable:
    """A stand-in for `own`, NumPy's: `function` on numbers."""
    compiled = _compiled(function)

    def stand_in(x):
        return own(x)

    @overload(stand_in, jit_options=_INLINED)
    def choose(x):
        return (lambda x: compiled(np.float64(x))) if _is_number(x) else (lambda x: own(x))

    return stand_in


def power(x, y):
    """x ** y."""
    return np.power(x, y)


def float_power(x, y):
    """x ** y, a float also for two whole numbers."""
    return np.float_power(x, y)


_pow = _compiled(elementary.pow)


@overload(power, jit_options=_INLINED, prefer_literal=True)
def _power(x, y):
    return _float_power(x, y) if types.float64 in (x, y) else lambda x, y: x**y


@overload(float_power, jit_options=_INLINED, prefer_literal=True)
def _float_power(x, y):
    if not _is_number(x, y):
        return lambda x, y: x**y
    if isinstance(y, types.IntegerLiteral) and abs(y.literal_value) <= LARGEST_PRODUCT:
        n = abs(y.literal_value)
        return (lambda x, y: np.float64(x) ** n) if y.literal_value >= 0 else (lambda x, y: 1.0 / np.float64(x) ** n)
    return lambda x, y: _pow(np.float64(x), np.float64(y))


def where(condition, a, b):
    return np.where(condition, a, b)


@overload(where, jit_options=_INLINED)
def _where(condition, a, b):
    if _is_number(condition, a, b):
        return lambda condition, a, b: _select(condition != 0, a, b)
    return lambda condition, a, b: np.where(condition, a, b)


def _comparing(own: Callable, first: Callable) -> Callable:
    """A stand-in for `own`: x where first(x, y), else y."""
    first = njit(**_INLINED)(first)

    def stand_in(x, y):
        return own(x, y)

    @overload(stand_in, jit_options=_INLINED)
    def choose(x, y):
        if _is_number(x, y):
            return lambda x, y: _select(first(x, y), x, y)
        return lambda x, y: own(x, y)

    return stand_in


minimum = _comparing(np.minimum, lambda x, y: (x <= y) | (x != x))
maximum = _comparing(np.maximum, lambda x, y: (x >= y) | (x != x))
fmin = _comparing(np.fmin, lambda x, y: (x <= y) | (y != y))
fmax = _comparing(np.fmax, lambda x, y: (x >= y) | (y != y))


def clip(a, a_min=None, a_max=None):
    return np.clip(a, a_min, a_max)


@overload(clip, jit_options=_INLINED)
def _clip(a, a_min=None, a_max=None):
    no_min, no_max = (v is None or isinstance(v, types.NoneType | types.Omitted) for v in (a_min, a_max))
    if not _is_number(a, *[v for v, no in ((a_min, no_min), (a_max, no_max)) if not no]):
        return lambda a, a_min=None, a_max=None: np.clip(a, a_min, a_max)
    if no_min and no_max:
        return lambda a, a_min=None, a_max=None: a
    if no_min:
        return lambda a, a_min=None, a_max=None: minimum(a, a_max)
    if no_max:
        return lambda a, a_min=None, a_max=None: maximum(a, a_min)
    return lambda a, a_min=None, a_max=None: minimum(maximum(a, a_min), a_max)


def _deciding(own: Callable):
    """A stand-in for np.all or np.any: of one truth value, that one."""
    def stand_in(x):
        return own(x)

    @overload(stand_in, jit_options=_INLINED)
    def choose(x):
        return (lambda x: x) if isinstance(x, types.Boolean) else (lambda x: own(x))

    return stand_in


def sign(x):
    return np.sign(x)


@overload(sign, jit_options=_INLINED)
def _sign(x):
    if x == types.float64:
        return lambda x: _select(x > 0.0, 1.0, _select(x < 0.0, -1.0, _select(x == 0.0, 0.0, x)))
    return lambda x: np.sign(x)


def absolute(x):
    return np.absolute(x)


_magnitude = _compiled(elementary.magnitude)


@overload(absolute, jit_options=_INLINED)
def _absolute(x):
    return (lambda x: _magnitude(x)) if x == types.float64 else (lambda x: abs(x))


def root_power(x, n):
    """x ** (n + 1/2) for n >= 0, with sqrt's special values: NaN for minus infinity."""
    return np.sqrt(x) * x**n


@overload(root_power, jit_options=_INLINED, prefer_literal=True)
def _root_power(x, n):
    n = n.literal_value
    return (lambda x, n: np.sqrt(x)) if n == 0 else (lambda x, n: np.sqrt(x) * x**n)


_SHARED = {name: _unary(getattr(elementary, name), getattr(np, name)) for name in (
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "sinh", "cosh", "tanh")}
_NUMPY = _SHARED | {"arctan": _unary(elementary.arctan, np.arctan), "power": power, "pow": power,
                    "float_power": float_power, "where": where, "minimum": minimum, "maximum": maximum, "fmin": fmin,
                    "fmax": fmax, "clip": clip, "sign": sign, "absolute": absolute, "abs": absolute, "fabs": absolute,
                    "all": _deciding(np.all), "any": _deciding(np.any)}
_NUMPY["atan"] = _NUMPY["arctan"]
_MATH = _SHARED | {"atan": _NUMPY["arctan"], "pow": float_power, "fabs": absolute}


def _stand_in(module: ModuleType, functions: dict) -> ModuleType:
    copy = ModuleType(module.__name__)
    vars(copy).update(vars(module) | {name: f for name, f in functions.items() if hasattr(module, name)})
    return copy


_MODULES = {module: _stand_in(module, functions) for module, functions in ((np, _NUMPY), (math, _MATH))}
_FUNCTIONS = {getattr(module, name): f for module, functions in ((np, _NUMPY), (math, _MATH))
              for name, f in functions.items() if hasattr(module, name)}


def replace(value):
    """The stand-in for the module numpy or math or for a function of theirs; anything else unchanged."""
    if isinstance(value, ModuleType):
        return _MODULES.get(value, value)
    if isinstance(value, np.ufunc) or (callable(value) and getattr(value, "__module__", None) in ("numpy", "math")):
        return _FUNCTIONS.get(value, value)
    return value


def bound(function: Callable) -> Callable:
    """A copy of `function` with its np.* and math.* replaced."""
    return rebind(function, replace)


# Functions by the sizes of their arguments


def sized(function: BySize, compile: Callable, options: Any) -> Callable:
    """`function` for compiled code: compile(the plain function for the sizes) is called."""
    def stand_in(*args):
        return function(*args)

    @overload(stand_in, jit_options=options)
    def choose(*args):
        made = compile(function.of(*map(_size, args)))
        return lambda *args: made(*args)

    return stand_in


def _size(x: Any) -> tuple | None:
    """As `maths.size`, of a type."""
    return tuple(_size(x[i]) for i in range(len(x))) if isinstance(x, types.Tuple | types.UniTuple) else None


# The operator


@register_pass(mutates_CFG=False, analysis_only=False)
class _PowerPass(FunctionPass):
    """Before types are known, each x ** y becomes a call of `power`, or of what a constant y allows."""

    _name = "sdekit_powers"

    def __init__(self):
        super().__init__()

    def run_pass(self, state) -> bool:
        changed = False
        for block in state.func_ir.blocks.values():
            body = []
            for statement in block.body:
                new = self._rewritten(state.func_ir, statement) if isinstance(statement, code.Assign) else None
                changed |= new is not None
                body += [statement] if new is None else new
            block.body = body
        return changed

    def _rewritten(self, func_ir, statement) -> list | None:
        expression, place, scope = statement.value, statement.loc, statement.target.scope

        def value(name: str, content) -> code.Var:
            variable = scope.redefine(f"$sdekit_{name}", place)
            given = content if isinstance(content, code.Expr) else code.Global(name, content, place)
            added.append(code.Assign(given, variable, place))
            func_ir._definitions[variable.name] = [given]
            return variable

        added: list = []
        if isinstance(expression, code.Global) and expression.value is builtins.pow:
            statement.value = code.Global("power", power, place)
            func_ir._definitions[statement.target.name] = [statement.value]
            return [statement]
        if not (isinstance(expression, code.Expr) and expression.op in ("binop", "inplace_binop")
                and expression.fn in (operator.pow, operator.ipow)):
            return None
        try:
            y = func_ir.infer_constant(expression.rhs)
        except ConstantInferenceError:
            y = None
        function, arguments = power, [expression.lhs, expression.rhs]
        if isinstance(y, float) and y in (0.5, 1.5, 2.5):
            function, arguments[1] = root_power, value("exponent", int(y))
        elif isinstance(y, float) and abs(y) <= LARGEST_PRODUCT and y == int(y):
            function, arguments[1] = float_power, value("exponent", int(y))
        call = code.Expr.call(value(function.__name__, function), arguments, (), place)
        statement.value = call
        func_ir._definitions[statement.target.name] = [call]
        return [*added, statement]


def with_powers(pipeline):
    """A Numba pipeline that treats x ** y as said above; it is to be finalized."""
    at = next(i for i, (step, _) in enumerate(pipeline.passes) if step is InlineInlinables)
    pipeline.passes.insert(at, (_PowerPass, "x ** y"))
    return pipeline


class Powers(CompilerBase):
    """Numba's own pipeline, and x ** y in it."""

    def define_pipelines(self):
        pipeline = with_powers(DefaultPassBuilder.define_nopython_pipeline(self.state))
        pipeline.finalize()
        return [pipeline]
