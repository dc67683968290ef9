"""Methods by their names, for the command line and for files."""

import ast
import re

from sdekit import langevin, methods, milstein, ode, runge_kutta, stiff, stratonovich
from sdekit.methods import Method
from sdekit.ode import ODEMethod

MODULES = methods, milstein, runge_kutta, stratonovich, stiff, langevin, ode
MADE = {"theta": stiff.theta, "srock_with": stiff.srock_with}
METHODS: dict[str, Method | ODEMethod] = {
    name: value for module in MODULES for name, value in vars(module).items()
    if isinstance(value, Method | ODEMethod) and value.name == name}


def named(name: str) -> Method | ODEMethod | None:
    """The library's method of this name, or that made by "theta(0.5)"; None if there is none.

    >>> named("sri"), named("theta(1.0)"), named("theta(1.0, iterations=8)"), named("mine")
    (sri, theta(1.0), theta(1.0, iterations=8), None)
    """
    call = re.fullmatch(r"(\w+)\((.*)\)", name)
    if call is None or call[1] not in MADE:
        return METHODS.get(name)
    try:
        tree = ast.parse(name, mode="eval").body
        assert isinstance(tree, ast.Call)
        return MADE[call[1]](*map(ast.literal_eval, tree.args),
                             **{str(k.arg): ast.literal_eval(k.value) for k in tree.keywords})
    except (SyntaxError, TypeError, ValueError):
        return None
