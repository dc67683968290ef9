"""`check_process` passes what is a process, and finds each thing that can be wrong with one, by its own law."""

import math

import pytest

import diffusion as df
from diffusion.laws import LAWS, check_process
from sdekit.sde import call
from tests.diffusion.problems import PROCESSES, ZERO_TERMINAL

MORE = [ZERO_TERMINAL, df.Discrete(df.cosine_betas(50)), df.Discrete([0.3]), df.VE(0.1, 3.0), df.VP(0.5, 0.5),
        df.Cosine(0.0)]


@pytest.mark.parametrize("process", PROCESSES + MORE, ids=repr)
def test_every_process_keeps_them(process):
    found = check_process(process)
    assert found.ok, str(found)
    assert [law.name for law in found.laws] == list(LAWS) and "all laws kept" in str(found)


def wrong(base=df.VP, **methods):
    """A process of which these methods are wrong: function(right value, t)."""
    made = {name: lambda self, t, name=name, function=function: function(getattr(base, name)(self, t), t)
            for name, function in methods.items()}
    return type("Wrong", (base,), made)()


def other(drift=lambda f, x, t: f, diffusion=lambda g, x, t: g):
    """VP with another drift or diffusion: function(right value, x, t)."""
    vp = df.VP()

    class Other(df.VP):
        def __init__(self):
            df.Process.__init__(self, lambda x, t: drift(call(vp, "drift", x, t), x, t),
                                lambda x, t: diffusion(call(vp, "diffusion", x, t), x, t))
            self.__dict__["parameters"] = vp.parameters

    return Other()


@pytest.mark.parametrize("process, broken", [
    (wrong(slopes=lambda v, t: (1.001 * v[0], v[1])), {"slopes", "drift", "diffusion"}),
    (wrong(slopes=lambda v, t: (v[0], -v[1])), {"slopes", "diffusion"}),
    (wrong(slopes=lambda v, t: (v[0], v[1] * (1.001 if t > 0.99 else 1))), {"slopes"}),
    (wrong(time=lambda t, noise: t * 1.001), {"time"}),
    (wrong(time=lambda t, noise: t if noise < 100 else 1.0), {"time"}),
    (wrong(df.EDM, time=lambda t, noise: 80.0 - t), {"time"}),
    (wrong(df.EDM, alpha=lambda a, t: 1 + 0.01 * t), {"alpha", "slopes", "time"}),
    (wrong(df.EDM, sigma=lambda s, t: 80 - t), {"noise", "slopes", "time", "diffusion"}),
    (wrong(df.EDM, sigma=lambda s, t: min(s, 40.0)), {"noise", "slopes", "diffusion"}),
    (wrong(df.EDM, sigma=lambda s, t: -s), {"levels", "noise", "slopes", "time", "diffusion"}),
    (wrong(alpha=lambda a, t: math.nan), set(LAWS)),
    (wrong(df.EDM, alpha=lambda a, t: 0.0, sigma=lambda s, t: 0.0), set(LAWS) - {"alpha"}),
    (other(drift=lambda f, x, t: -f), {"drift"}),
    (other(drift=lambda f, x, t: f / 2), {"drift"}),
    (other(drift=lambda f, x, t: f * abs(x)), {"drift"}),
    (other(diffusion=lambda g, x, t: g / 2**0.5), {"diffusion"}),
    (other(diffusion=lambda g, x, t: g * (1 + x)), {"diffusion"}),
    (wrong(slopes=lambda v, t: 1 / 0), {"slopes", "drift", "diffusion"}),
], ids=lambda v: "-".join(sorted(v)) if isinstance(v, set) else repr(v))
def test_each_wrong_thing_is_found_by_its_law(process, broken):
    found = check_process(process)
    assert {law.name for law in found.failures} == broken, str(found)
    assert not found.ok and f"{len(broken)} laws broken" in str(found)


def test_it_tells_where_and_how_far_off():
    text = str(check_process(wrong(df.EDM, time=lambda t, noise: t / 2)))
    assert "sigma/alpha at time(0.007975) is 0.00398743; it should be between 0.00797407 and 0.00797566" in text


def test_what_is_no_process_is_refused():
    with pytest.raises(TypeError, match="check_process needs a Process"):
        check_process(df.VP)
