"""Who may import whom, read from the source; and what `import sdekit` loads, tried in a process of its own."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import sdekit

ROOT = Path(__file__).parents[1]
MODULES = {str(file.relative_to(ROOT)): ast.parse(file.read_text())
           for package in ("sdekit", "diffusion") for file in sorted((ROOT / package).rglob("*.py"))}
CORE = {name: tree for name, tree in MODULES.items() if name.startswith("sdekit")}
each_module = pytest.mark.parametrize("name", MODULES)
each_core_module = pytest.mark.parametrize("name", CORE)


def imported(tree, everywhere=True):
    """The dotted names of what a module imports: anywhere in it, or as it is loaded (not inside functions)."""
    names, nodes = set(), [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        if everywhere or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            nodes += ast.iter_child_nodes(node)
    return names


@cache
def imports_of(name, everywhere):
    return imported(MODULES[name], everywhere)


def uses(name, package, everywhere=True):
    return any(n == package or n.startswith(package + ".") for n in imports_of(name, everywhere))


def of_command_line(name):
    return Path(name).parts[1] in ("cli.py", "cli", "__main__.py")


def test_imports_are_seen_at_every_depth():
    tree = ast.parse("import a.b\nfrom c import d\ndef f():\n    import e\nclass G:\n    import h\n    g = lambda: 1")
    assert imported(tree) == {"a.b", "c", "c.d", "e", "h"}
    assert imported(tree, everywhere=False) == {"a.b", "c", "c.d", "h"}
    assert len(CORE) > 15 and len(MODULES) > len(CORE) + 5


@each_core_module
def test_the_core_never_imports_diffusion(name):
    assert not uses(name, "diffusion")


@each_core_module
def test_torch_is_known_to_its_engine_alone(name):
    assert not uses(name, "torch") or name == "sdekit/torch_engine.py"


@each_module
def test_numba_is_known_to_its_own_modules_alone(name):
    allowed = {f"sdekit/{stem}.py" for stem in ("numba_compiler", "numba_engine", "numba_maths")}
    assert name in allowed or not (uses(name, "numba") or uses(name, "llvmlite"))


@each_module
def test_matplotlib_is_known_to_plots_and_command_lines_alone(name):
    assert not uses(name, "matplotlib") or Path(name).stem == "plot" or of_command_line(name)


@each_module
def test_typer_is_known_to_command_lines_alone(name):
    assert not uses(name, "typer") or of_command_line(name)


@pytest.mark.parametrize("name", ["sde", "noise", "maths", "components", "methods", "ode", "paths", "inputs",
                                  "brownian", "variates", "starts", "tracking", "moments", "bins", "summary", "interp",
                                  "elementary", "milstein", "tableaus", "runge_kutta", "stratonovich", "stiff",
                                  "langevin", "adaptive", "areas", "kinds", "fitting", "drawing", "calculus",
                                  "problems", "markov", "draws", "antithetic", "points", "gaussian/law",
                                  "gaussian/distances", "gaussian/mixture", "walks/line", "walks/chains",
                                  "walks/finite", "walks/moves", "walks/posterior", "walks/priors", "walks/slices",
                                  "walks/panels", "walks/weights", "density/finite_volumes"])
def test_what_an_sde_is_knows_no_engine(name):
    name = f"sdekit/{name}.py"
    for engine in ("array_engine", "numba_engine", "torch_engine", "work", "simulation"):
        assert not uses(name, f"sdekit.{engine}", everywhere=False)
    for library in ("numba", "llvmlite", "torch"):
        assert not uses(name, library, everywhere=False)


@each_core_module
def test_engines_that_take_long_to_load_are_loaded_where_they_are_needed(name):
    if Path(name).stem.startswith("numba_"):
        return
    for engine in ("numba_engine", "numba_compiler", "numba_maths", "numba_moments", "numba_noise", "numba_brownian",
                   "torch_engine"):
        assert not uses(name, f"sdekit.{engine}", everywhere=False)


@each_module
def test_nothing_that_is_loaded_imports_a_plot_or_a_command_line(name):
    if Path(name).stem == "__init__" or of_command_line(name):
        return
    for package in ("sdekit", "diffusion"):
        for end in ("plot", "cli"):
            assert not uses(name, f"{package}.{end}", everywhere=False)


HEAVY = ("torch", "numba", "llvmlite", "matplotlib", "scipy.stats", "typer", "diffusion", "pandas")


def test_import_sdekit_is_light():
    code = f"import sys, sdekit; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_simulation_with_numpy_stays_light():
    code = ("import sys, sdekit as sk; sk.simulate(sk.BrownianMotion(), 0.0, steps=3, seed=1); "
            f"print([m for m in {HEAVY} if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_exists_and_says_what_it_is():
    for name in sdekit.__all__:
        thing = getattr(sdekit, name)
        assert thing.__doc__ or not callable(thing), name
