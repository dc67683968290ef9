"""From plain functions to machine code: what is kept on disk, when it is used again, what it is made of."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core import event
from numba.core.lowering import Lower

import sdekit as sk
from sdekit import numba_compiler, numba_engine, work
from sdekit.numba_compiler import compiled


class Compilations(event.Listener):
    def __init__(self):
        self.count = 0

    def on_start(self, event):
        self.count += 1

    def on_end(self, event):
        pass


def compilations(function, *args):
    """function's value, and how many functions Numba compiled for it."""
    listener = Compilations()
    with event.install_listener("numba:compile", listener):
        return function(*args), listener.count


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty place for compiled functions."""
    monkeypatch.setenv("SDEKIT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files(folder):
    return sorted(folder.glob("*")) if folder.exists() else []


def double(x):
    return 2.0 * x


def triple(x):
    return 3.0 * x


def adder(constant, helper=double):
    def add(x):
        return helper(x) + constant

    return add


def test_a_function_of_the_same_text_is_loaded(folder):
    first, compiled_now = compilations(compiled(adder(1.0)), 5.0)
    assert first == 11.0 and compiled_now > 0
    (file,) = files(folder)
    assert file.suffix == ".kernel" and (folder.stat().st_mode & 0o077) == 0
    for again in (adder(1.0), adder(1.0, double)):
        assert compilations(compiled(again), 5.0) == (11.0, 0)
    assert files(folder) == [file]


@pytest.mark.parametrize("other, value", [(adder(4.0), 14.0), (adder(1.0, triple), 16.0), (adder(1), 11.0),
                                          (adder(1.0, lambda x: -x), -4.0), (lambda x: double(x) + 1.0, 11.0)],
                         ids=["a constant", "a helper", "another type", "a function without a name", "other code"])
def test_another_function_has_another_file(folder, other, value):
    compiled(adder(1.0))(5.0)
    result, compiled_now = compilations(compiled(other), 5.0)
    assert result == value and compiled_now > 0 and len(files(folder)) == 2


def test_another_type_of_argument_has_another_file(folder):
    function = compiled(adder(1.0))
    assert function(5.0) == 11.0 and function(np.float32(5.0)) == 11.0 and len(files(folder)) == 2
    assert compilations(compiled(adder(1.0)), np.float32(5.0)) == (11.0, 0)


def test_an_array_in_the_closure_is_part_of_the_text(folder):
    def table(values):
        return lambda x: values[1] * x

    assert compiled(table(np.array([1.0, 2.0])))(5.0) == 10.0
    assert compiled(table(np.array([1.0, 3.0])))(5.0) == 15.0
    held = len(files(folder))
    assert compilations(compiled(table(np.array([1.0, 3.0]))), 5.0)[0] == 15.0 and len(files(folder)) == held


def test_a_broken_file_is_replaced(folder):
    compiled(adder(1.0))(5.0)
    (file,) = files(folder)
    whole = file.read_bytes()
    for broken in (b"", b"no pickle", whole[:len(whole) // 2]):
        file.write_bytes(broken)
        result, compiled_now = compilations(compiled(adder(1.0)), 5.0)
        assert result == 11.0 and compiled_now > 0
        assert files(folder) == [file] and len(file.read_bytes()) > 100
        assert compilations(compiled(adder(1.0)), 5.0) == (11.0, 0)


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SDEKIT_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert compiled(adder(1.0))(5.0) == 11.0
    assert files(tmp_path) == [tmp_path / "file"]


def test_an_empty_name_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("SDEKIT_CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert compiled(adder(1.0))(5.0) == 11.0 and files(tmp_path) == []
    monkeypatch.delenv("SDEKIT_CACHE_DIR")
    assert compiled(adder(1.0))(5.0) == 11.0 and len(files(tmp_path / "sdekit")) == 1


def test_what_closes_over_an_unknown_object_stays_in_its_process(folder):
    from numba import types
    from numba.typed import List
    unknown = List.empty_list(types.float64)
    assert compiled(lambda x: 2.0 * x)(5.0) == 10.0 and len(files(folder)) == 1
    step = numba_compiler.fingerprint(numba_compiler.captured(lambda x: unknown[0] * x))
    assert step is None


def test_old_files_make_room(folder, monkeypatch):
    monkeypatch.setattr(numba_compiler, "KEPT", 2)
    for n in range(4):
        compiled(adder(float(n)))(5.0)
        newest = max(files(folder), key=lambda f: f.stat().st_mtime_ns)
        os.utime(newest, (n, n))
    assert len(files(folder)) == 2
    assert compilations(compiled(adder(3.0)), 5.0) == (13.0, 0)


SIMULATION = """
import sys
from numba.core import event
from tests.sdekit.test_numba_compiler import Compilations
import sdekit as sk
listener = Compilations()
with event.install_listener("numba:compile", listener):
    paths = sk.simulate(sk.BrownianMotion(sigma=1.5), 0.0, steps=3, paths=3, seed=1, backend="numba")
print(listener.count, paths.x.tobytes().hex())
"""


def test_a_second_process_loads_what_the_first_one_compiled(folder):
    def process():
        done = subprocess.run([sys.executable, "-c", SIMULATION], capture_output=True, text=True, check=True,
                              cwd=Path(__file__).parents[2])
        count, numbers = done.stdout.split()
        return int(count), numbers

    (one, x), held = process(), [(f, f.stat().st_mtime_ns) for f in files(folder)]
    (two, y) = process()
    assert one > 0 and two == 0 and x == y
    assert held and held == [(f, f.stat().st_mtime_ns) for f in files(folder)]


# --- the machine code -----------------------------------------------------------------------------------------------


def _features():
    from llvmlite import binding
    return binding.get_host_cpu_features()


@pytest.fixture(scope="module")
def kernels():
    """The kernel of Brownian motion by Euler-Maruyama as it is, and without what makes it fast: code and values."""
    monkeypatch, out = pytest.MonkeyPatch(), []
    monkeypatch.setenv("SDEKIT_CACHE_DIR", "")
    sde = sk.BrownianMotion(sigma=1.5)
    plain = sk.simulate(sde, 0.0, steps=5, paths=300, seed=1, backend="numpy").source.work
    for fast in (True, False):
        if not fast:
            for lowering in vars(numba_compiler).values():
                if isinstance(lowering, type) and issubclass(lowering, Lower) and lowering is not Lower:
                    monkeypatch.setattr(lowering, "post_lower", Lower.post_lower)
        made = []

        def make(*args, made=made):
            made.append(numba_engine.kernel(*args[:-1]))
            return made[-1]

        monkeypatch.setattr(work, "_kernel", make)
        sink = work.Whole(6, 1, 300)
        work.replace(plain, backend="numba").onto(sink, lambda steps: None)
        out.append(("\n".join(made[0].inspect_asm().values()), sink.x))
    monkeypatch.undo()
    return out


def test_the_machine_code_is_in_wide_vectors(kernels):
    (code, _), (plain, _) = kernels
    if not _features().get("avx512f"):
        pytest.skip("this processor has no 512-bit registers")
    assert code.count("zmm") > 1000 and code.count("zmm") > 2 * plain.count("zmm")


def test_wide_vectors_and_interleaving_change_no_bit(kernels):
    (_, fast), (_, plain) = kernels
    assert (fast.view(np.int64) == plain.view(np.int64)).all() and fast[1:].all()
