"""The engines' form of an equation: tuples in, tuples out, the product of a matrix with the noise."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sdekit.components import coefficients
from sdekit.sde import Structure
from tests.conftest import rounding


def form(drift=None, diffusion=None, transition=None, names=(), **shape):
    return coefficients(drift or (lambda x, t: x), diffusion, transition, names, Structure(**shape))


@given(st.integers(1, 4), st.integers(1, 4))
def test_the_product_with_the_noise_is_that_of_matrices(dim, noises):
    G, dw = np.arange(1.0, dim * noises + 1).reshape(dim, noises) ** 0.5, np.arange(2.0, noises + 2)
    product = form(dim=dim, noises=noises, diagonal=False, scalar=False).dot(G.tolist(), dw.tolist())
    assert np.abs(product - G @ dw).max() <= rounding(noises, G @ dw)


@given(st.integers(1, 5), st.floats(-10, 10))
def test_sums_multiples_and_diagonal_noise_go_component_by_component(dim, h):
    c, x, y = form(dim=dim, noises=dim, diagonal=True, scalar=False), np.arange(1.0, dim + 1), np.full(dim, 3.0)
    assert c.add(tuple(x), tuple(y)) == tuple(x + y)
    assert c.scale(h, tuple(x)) == tuple(h * x)
    assert c.dot(tuple(x), tuple(y)) == tuple(x * y)


def test_functions_get_their_own_parameters_by_name():
    """Whatever their order among all the names; a number's state arrives bare, and goes back as a tuple of one."""
    c = form(lambda x, t, b, a: (x, t, a, b), lambda x, t, c: (x, t, c), lambda x, t, h, z, a: (x, t, h, z, a),
             names=("c", "a", "b"), dim=1, noises=1, diagonal=True, scalar=True)
    assert c.f((9.0,), 0.5, (1.0, 2.0, 3.0)) == ((9.0, 0.5, 2.0, 3.0),)
    assert c.g((9.0,), 0.5, (1.0, 2.0, 3.0)) == ((9.0, 0.5, 1.0),)
    assert c.exact((9.0,), 0.5, 0.25, (7.0,), (1.0, 2.0, 3.0)) == ((9.0, 0.5, 0.25, 7.0, 2.0),)


def test_a_systems_state_arrives_as_its_components():
    c = form(lambda x, t, k: (x, k), names=("k",), dim=2, noises=2, diagonal=True, scalar=False)
    assert c.f((1.0, 2.0), 0.0, (3.0,)) == ((1.0, 2.0), 3.0)
    assert c.g is None and c.exact is None
