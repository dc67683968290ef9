"""Every method against one list of laws (`sdekit.laws`). Where a law does not apply, the method's claims say so."""

import pytest

import sdekit as sk
from sdekit.laws import LAWS, change_of_variable

METHODS = [sk.euler_maruyama, sk.milstein, sk.sra, sk.sri, sk.strong_general, sk.dri1, sk.tamed_euler, sk.theta(0.5),
           sk.theta(1.0), sk.srock, sk.euler_heun, sk.heun_stratonovich, sk.midpoint, sk.milstein_stratonovich,
           sk.reversible_heun, sk.baoab]
ABSENT = {  # what does not apply, and to whom
    "without diffusion": {"reversible_heun"},  # two steps make one
    "without drift": {"baoab"},
    "weak order": set(),
    "strong order": set(),
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_every_method_keeps_every_law(method, law):
    check = LAWS[law]
    if law == "change of variable" and method is sk.tamed_euler:  # it looks at the size of the drift
        found = change_of_variable(method, "shifts")
    else:
        found = check(method)
    assert found.passed is not False, f"{method}, {law}: {found.text}"
    assert (found.passed is None) == (method.name in ABSENT.get(law, set())), f"{method}, {law}: {found}: {found.text}"
