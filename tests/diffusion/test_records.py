"""Records in JSON: what is written is what is read, and nothing runs but kinds that are known."""

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffusion as df
from diffusion.losses import Denoising, LogNormal, LogUniform, MinSNR, Times, V
from diffusion.records import KINDS, reading, recorded, written
from tests.diffusion.conftest import SMALL, TINY


@recorded
@dataclass(frozen=True)
class Nested:
    """Anything in a record."""

    inner: Any
    label: str = "a"


PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(PLAIN, lambda part: st.lists(part).map(tuple) | part.map(Nested), max_leaves=8)


def through_json(value):
    return reading(json.loads(json.dumps(written(value))))


@given(VALUES)
def test_what_is_written_is_what_is_read(value):
    assert through_json(value) == value


@pytest.mark.parametrize("record", [
    df.VP(0.2, 12.0), df.VE(), df.EDM(), df.Cosine(), df.RectifiedFlow(), df.SubVP(), df.Discrete(df.linear_betas(20)),
    TINY, SMALL, df.Options(), df.Options(loss=df.losses.ddpm(), batch=3, precision="bfloat16"),
    *(loss() for loss in df.losses.LOSSES.values()), Denoising(LogUniform(0.1, 3.0), MinSNR(2.0)),
    Denoising(Times(df.Discrete([0.1, 0.2])), V())], ids=lambda record: repr(record)[:60])
def test_every_record_of_the_package_comes_back(record):
    found = through_json(record)
    assert found == record and type(found) is type(record)


def test_the_numbers_of_a_process_come_back_to_the_last_bit():
    betas = df.linear_betas(1000) / 3
    process = through_json(Denoising(Times(df.Discrete(betas)), V())).levels.process
    assert (process.betas == betas).all() and process == df.Discrete(betas)


def test_a_record_in_json_is_its_kind_and_its_fields():
    assert written(LogNormal(0.5, 2.0)) == {"kind": "LogNormal", "mean": 0.5, "deviation": 2.0}
    assert written(Nested((1, LogNormal()))) == {
        "kind": "Nested", "label": "a", "inner": [1, {"kind": "LogNormal", "mean": 0.3, "deviation": 1.4}]}


def test_arrays_and_numbers_of_numpy_are_written_as_python_s():
    values = {"a": np.arange(3.0).reshape(1, 3), "b": np.float32(0.5), "c": np.int64(7), "d": [np.bool_(True)]}
    assert json.loads(json.dumps(written(values))) == {"a": [[0.0, 1.0, 2.0]], "b": 0.5, "c": 7, "d": [True]}


class Other:
    def __repr__(self):
        return "Other()"


@dataclass(frozen=True)
class Unknown:
    x: int = 1


@pytest.mark.parametrize("value, name", [(Other(), "Other"), (Unknown(), "Unknown"), (math.sin, "builtin"),
                                         (lambda: 1, "function"), (Nested({"deep": (1, Unknown())}), "Unknown"),
                                         ({1, 2}, "set"), (b"x", "bytes"), (1j, "complex")])
def test_what_is_not_recorded_cannot_be_written(value, name):
    with pytest.raises(TypeError, match=rf"cannot be kept in a checkpoint: its class {name}.* is not recorded"):
        written(value)


def test_a_class_of_a_recorded_name_is_not_that_class():
    """Nor is one of its subclasses: reading would give back another."""
    @dataclass(frozen=True)
    class LogNormal:
        mean: float = 0.0

    @dataclass(frozen=True)
    class Wider(df.losses.LogNormal):
        more: float = 0.0

    for value in (LogNormal(), Wider()):
        with pytest.raises(TypeError, match="is not recorded"):
            written(value)
    with pytest.raises(ValueError, match="there is a recorded class 'LogNormal' already"):
        recorded(LogNormal)
    assert KINDS["LogNormal"] is df.losses.LogNormal


def test_the_same_class_may_be_defined_again():
    """As in a notebook's cell that is run twice: the later one counts."""
    def define():
        @recorded
        @dataclass(frozen=True)
        class Twice:
            x: int = 0
        return Twice

    try:
        define()
        second = define()
        assert type(through_json(second(3))) is second
    finally:
        KINDS.pop("Twice")


@pytest.mark.parametrize("value, message", [
    ({"kind": "Nowhere"}, "'Nowhere' is none of the recorded classes .*; import the module that defines it first"),
    ({"kind": "builtins.exec", "x": "1"}, "is none of the recorded classes"),
    ({"kind": None}, "None is none of the recorded classes"),
    ([{"a": {"kind": "os.system"}}], "is none of the recorded classes"),
    ({"kind": "LogNormal", "median": 1.0}, "LogNormal does not take"),
    ({"kind": "Nested"}, "Nested does not take"),
    ({"kind": "Times"}, "Times does not take"),
    ({"kind": "LogUniform", "low": 2.0, "high": 1.0}, "noise levels run from low to high"),
    ({"kind": "MLPConfig", "width": "wide"}, "width must be a positive whole number")])
def test_what_is_no_record_of_ours_is_refused(value, message):
    with pytest.raises(ValueError, match=message):
        reading(value)


def test_a_record_that_is_no_dataclass_is_refused():
    @recorded
    class Bare:
        pass

    try:
        with pytest.raises(TypeError, match="Bare is recorded, but it is no dataclass"):
            written(Bare())
    finally:
        KINDS.pop("Bare")
