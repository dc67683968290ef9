"""How a network is trained: what is refused, and the learning rate's way up and down."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffusion as df
from tests.conftest import EPS

POSITIVE = ("batch", "learning_rate", "warm_up", "decay", "clip", "averaging")


@pytest.mark.parametrize("name", POSITIVE)
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_what_is_not_positive_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be positive, got {value}"):
        df.Options(**{name: value})


@pytest.mark.parametrize("name", (*POSITIVE, "drop_label"))
@pytest.mark.parametrize("value", ["3", None, True, [1], 1j])
def test_what_is_no_number_is_refused(name, value):
    with pytest.raises(TypeError, match=f"{name} must be a number, got "):
        df.Options(**{name: value})


@pytest.mark.parametrize("options, error, message", [
    ({"batch": 1.5}, TypeError, "batch is a whole number of samples, got 1.5"),
    ({"batch": 64.0}, TypeError, "batch is a whole number of samples, got 64.0"),
    ({"loss": "edm"}, TypeError, r"loss is a function of \(model, x0, label, random\), such as .*; got 'edm'"),
    ({"loss": None}, TypeError, "loss is a function of"),
    ({"precision": "float64"}, ValueError, "precision must be one of float32, bfloat16, float16; got 'float64'"),
    ({"precision": 32}, ValueError, "precision must be one of"),
    ({"drop_label": -0.1}, ValueError, "drop_label is a probability, got -0.1"),
    ({"drop_label": 1.1}, ValueError, "drop_label is a probability, got 1.1"),
    ({"drop_label": math.nan}, ValueError, "drop_label is a probability, got nan"),
    ({"dequantise": "yes"}, TypeError, "dequantise is True or False, got 'yes'")])
def test_options_out_of_range_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        df.Options(**options)


def test_the_ends_of_what_is_allowed_and_numpy_s_numbers_are_taken():
    assert df.Options(drop_label=0, warm_up=1, decay=1, averaging=1, batch=1) == df.Options(
        drop_label=np.float64(0.0), warm_up=np.int64(1), decay=np.float32(1.0), averaging=1.0, batch=np.int32(1))
    assert df.Options(drop_label=1.0).drop_label == 1


@given(st.integers(1, 300), st.floats(0.01, 1.0), st.integers(1, 2000))
def test_the_learning_rate_warms_up_stays_and_falls_to_nought(warm_up, decay, steps):
    options = df.Options(warm_up=warm_up, decay=decay, learning_rate=3e-3)
    rate = np.array([options.rate(k, k / steps) for k in range(steps)])
    k = np.arange(steps)
    up, down = np.maximum((k + 1) / warm_up, 10 * k / steps), (1 - k / steps) / decay
    np.testing.assert_allclose(rate, 3e-3 * np.minimum(1, np.minimum(up, down)), rtol=8 * EPS)
    assert (rate > 0).all() and options.rate(steps, 1.0) == 0 == options.rate(steps + 5, 1.1)


@pytest.mark.parametrize("name", ["decay", "averaging"])
def test_a_share_above_one_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} is a share of the run, at most 1; got 5"):
        df.Options(**{name: 5})
