"""How plain Python becomes vector instructions: Numba, with wide vectors, two of them in flight, and a cache on disk.

`compiled` takes a function and every plain function it calls. What makes the machine code fast is asked for here and
nowhere else: 512-bit vectors, two vectors a turn of a loop (the noise is a long chain of operations, and one alone
leaves the processor waiting: 1.3 to 1.8 times the speed), no check for division by zero, fused multiply-adds.
"""

import hashlib
import os
import pickle
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import llvmlite
import numba
from llvmlite import ir
from numba import njit
from numba.core.compiler import CompilerBase, CompileResult, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.lowering import Lower
from numba.core.typed_passes import NativeLowering

from sdekit import noise
from sdekit.maths import BySize, PythonOnly, captured, fingerprint, rebind
from sdekit.numba_maths import INSTRUCTIONS, sized, with_powers
from sdekit.numba_maths import replace as stand_in

# Division by zero gives infinity as in NumPy, and `contract` allows fused multiply-adds: both are needed for vector
# code. The other fast-math flags are not set: infinities and NaN of the user's functions stay visible.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
KEPT = 2000  # compiled kernels on disk, the oldest go first


def compiled(function: Callable, contract: bool = True) -> Callable:
    """`function` compiled, with every plain function that it calls compiled into it, or loaded from disk.

    Without `contract` there are no fused multiply-adds, and the numbers are those of NumPy bit for bit.

    Written-out tuple arithmetic and the noise are inlined by Numba, which is quick for them; the user's functions by
    LLVM, since Numba's own inlining takes minutes on functions nested a few deep.
    """
    inner: dict = {}
    common = OPTIONS if contract else {k: v for k, v in OPTIONS.items() if k != "fastmath"}
    by_llvm: dict[str, Any] = common | {"forceinline": True}

    def finish(copy: Callable) -> Callable:
        if copy.__globals__.get("__name__", noise.__name__) == noise.__name__:  # written functions have no name
            return njit(**common, inline="always")(copy)
        return separate(copy)

    def separate(copy: Callable) -> Callable:
        return njit(**by_llvm, pipeline_class=_Pipeline)(copy)

    def replace(value):
        if isinstance(value, FunctionType):
            return INSTRUCTIONS.get(value) or rebind(value, replace, finish, inner)
        if isinstance(value, BySize):
            if value not in inner:
                inner[value] = sized(value, lambda made: rebind(made, replace, separate, inner), by_llvm)
            return inner[value]
        return _nothing if isinstance(value, PythonOnly) else stand_in(value)

    dispatcher = rebind(function, replace, njit(pipeline_class=_Pipeline, **common))
    name = fingerprint(captured(function))
    if name is not None and _folder() is not None:
        dispatcher._cache = _OnDisk(f"{name} {contract}")
    return dispatcher


@njit
def _nothing(*args):
    """Stands for a function that is not compiled: whoever uses its value gets a typing error."""


class _Wide(Lower):
    """Asks LLVM for 512-bit vectors, which it avoids by default where they exist, and for two vectors a turn of a loop.

    llvmlite keeps a list of the attributes that it knows and this one is not on it, hence the set's own `add`.
    """

    def post_lower(self):
        super().post_lower()
        set.add(self.function.attributes, '"prefer-vector-width"="512"')
        place = {block: n for n, block in enumerate(self.function.blocks)}
        for block, n in place.items():
            branch = block.terminator
            targets = [op for op in branch.operands if isinstance(op, ir.Block)] if branch else []
            if any(place.get(target, n + 1) <= n for target in targets):  # a way back: the end of a loop
                count = self.module.add_metadata(["llvm.loop.interleave.count", ir.Constant(ir.IntType(32), 2)])
                loop = self.module.add_metadata([f"loop {self.fndesc.unique_name} {n}", count])
                loop.operands = (loop, count)  # LLVM's name of a loop is a node that holds itself
                branch.set_metadata("llvm.loop", loop)


@register_pass(mutates_CFG=True, analysis_only=False)
class _WideLowering(NativeLowering):
    _name = "sdekit_wide_lowering"

    @property
    def lowering_class(self):
        return _Wide


class _Pipeline(CompilerBase):
    """Numba's own pipeline, its lowering replaced, and x ** y made a call that is compiled to vector code."""

    def define_pipelines(self):
        pipeline = DefaultPassBuilder.define_nopython_pipeline(self.state)
        pipeline.passes = [(_WideLowering if step is NativeLowering else step, text)
                           for step, text in pipeline.passes]
        with_powers(pipeline)
        pipeline.finalize()
        return [pipeline]


class _OnDisk:
    """The cache of a Numba dispatcher, by what the function is made of instead of by where it is written.

    Numba's own cache does not serve functions that are composed at run time. A file that can't be read or written
    costs a compilation, never a result.
    """

    def __init__(self, name: str):
        self.name = name

    @property
    def cache_path(self) -> str:
        return str(_folder())

    def _file(self, signature, codegen) -> Path:
        text = repr((self.name, signature, codegen.magic_tuple(), _engine()))
        folder = _folder()
        assert folder is not None
        return folder / f"{hashlib.sha256(text.encode()).hexdigest()}.kernel"

    def load_overload(self, signature, context):
        try:
            context.refresh()
            return CompileResult._rebuild(context, *pickle.loads(self._file(signature, context.codegen()).read_bytes()))
        except Exception:
            return None

    def save_overload(self, signature, result) -> None:
        if result.lifted or result.library.has_dynamic_globals:
            return
        try:
            file = self._file(signature, result.codegen)
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, draft = tempfile.mkstemp(dir=file.parent)
            with os.fdopen(handle, "wb") as out:
                pickle.dump(result._reduce(), out)
            os.replace(draft, file)
            kept = sorted(file.parent.glob("*.kernel"), key=lambda f: f.stat().st_mtime, reverse=True)
            for old in kept[KEPT:]:
                old.unlink()
        except Exception:
            return

    def flush(self) -> None:
        """Nothing is held back."""


def _folder() -> Path | None:
    """Where compiled functions are kept: SDEKIT_CACHE_DIR (empty: nowhere), by default the user's cache."""
    given = os.environ.get("SDEKIT_CACHE_DIR")
    if given is not None:
        return Path(given) if given else None
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sdekit"


@cache
def _engine() -> str:
    """What else the machine code depends on: the versions of the compilers, and the package's own source."""
    source = b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py")))
    return f"{numba.__version__} {llvmlite.__version__} {hashlib.sha256(source).hexdigest()}"
