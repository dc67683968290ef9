"""The order conditions hold, and every coefficient is held by them."""

from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest

import sdekit as sk
from sdekit.tableaus import ADDITIVE, DIAGONAL, DRI1, Additive, conditions, leading_error
from tests.conftest import assert_near

TABLEAUS = {"additive": ADDITIVE, "diagonal": DIAGONAL, "dri1": DRI1}
each_tableau = pytest.mark.parametrize("name", TABLEAUS)
EXPLICIT = ("A0", "B0", "A1", "B1", "B2")  # square matrices of which the part below the diagonal is used


def changed(value, by):
    """`value`, a nest of tuples and records, with each of its numbers in turn more by `by`; with its place."""
    if isinstance(value, float):
        yield "", value + by
    elif isinstance(value, tuple):
        for n, part in enumerate(value):
            yield from ((f"[{n}]{place}", (*value[:n], new, *value[n + 1:])) for place, new in changed(part, by))
    elif is_dataclass(value):
        for field in fields(value):
            for place, new in changed(getattr(value, field.name), by):
                yield f".{field.name}{place}", replace(value, **{field.name: new})


def used(place):
    """Whether the coefficient at this place enters an explicit step."""
    name, *indices = place.removeprefix(".").replace("]", "").split("[")
    return name not in EXPLICIT or int(indices[0]) > int(indices[1])


@each_tableau
def test_the_order_conditions_hold(name):
    found = conditions(TABLEAUS[name])
    assert max(map(abs, found.values())) < 1e-14
    assert all(isinstance(residual, float) for residual in found.values())


@each_tableau
def test_no_coefficient_can_change_alone(name):
    """But `Diagonal.c`, of the terms of higher order alone."""
    count = 0
    for place, other in changed(TABLEAUS[name], 1e-3):
        if used(place) and place != ".c":
            assert max(map(abs, conditions(other).values())) > 1e-5, place
            count += 1
    assert count == {"additive": 11, "diagonal": 21, "dri1": 30}[name]


def test_only_tableaus_have_conditions():
    with pytest.raises(TypeError, match="no order conditions"):
        conditions((1.0,))


def test_sra1_and_shark_are_of_the_same_family():
    """Up to SRA1's nodes in time: it has f2 at t + 3/4 h, and g at t + h and t."""
    sra1 = Additive((1 / 3, 2 / 3), 3 / 4, (0.0, 3 / 4), (0.0, 3 / 2), (1 / 2, 1 / 2), (1.0, -1.0))
    shark = Additive((2 / 5, 3 / 5), 5 / 6, (0.0, 5 / 6), (1.0, 1.0), (1 / 2, 1 / 2), (1.0, -1.0))
    for tableau in (sra1, shark):
        assert {k for k, v in conditions(tableau).items() if abs(v) > 1e-14} == {"f_t"}
    assert abs(leading_error(sra1) - 1 / 30) < 1e-15
    assert abs(leading_error(shark) - 1 / 45) < 1e-15


def test_the_leading_error_is_that_of_the_integral_of_the_square():
    """E (1/h int W^2 ds - sum alpha_i (p_i W + q_i H)^2)^2 with h = 1, on paths of 256 steps."""
    paths, n = 20_000, 256
    dW = sk.Brownian(31, 1.0, n, paths).increments(n)[..., 0]
    ends = np.concatenate([np.zeros((paths, 1)), np.cumsum(dW, axis=1)], axis=1)
    middle = (ends[:, 1:] + ends[:, :-1]) / 2
    W, H = ends[:, -1], middle.mean(axis=1) - ends[:, -1] / 2
    square = (middle**2).mean(axis=1) + 1 / (4 * n)
    for tableau in (ADDITIVE, Additive((1 / 3, 2 / 3), 3 / 4, (0.0, 3 / 4), (0.0, 3 / 2), (1.0, 0.0), (-1.0, 1.0))):
        error = square - sum(a * (p * W + q * H) ** 2 for a, p, q in zip(tableau.alpha, tableau.p, tableau.q))
        assert_near(error.mean(), 0.0, error.std() / paths**0.5, bias=2 / n**2)
        assert_near((error**2).mean(), leading_error(tableau), (error**2).std() / paths**0.5, bias=2 / n**2)


def test_no_two_stages_have_a_smaller_leading_error():
    """With the stages' weights alpha, p = 1/2 +- u and q = 1 +- v there is one number free, v."""
    for alpha in (0.3, 0.5, 0.8):
        spread = np.array([-(((1 - alpha) / alpha) ** 0.5), (alpha / (1 - alpha)) ** 0.5])
        for v in np.linspace(0.0, 1.2, 25):
            u = (1 / 6 - v**2 / 12) ** 0.5
            for sign in (-1, 1):
                tableau = Additive((alpha, 1 - alpha), 1.0, tuple(0.5 + u * spread), tuple(1 + sign * v * spread),
                                   (1 / 2, 1 / 2), (1.0, -1.0))
                assert abs(conditions(tableau)["E f''gg"]) < 1e-14
                assert leading_error(tableau) >= leading_error(ADDITIVE) - 1e-15
