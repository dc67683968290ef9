"""Results in files: all the values, and the way to get them again."""

import numpy as np
import pytest

import sdekit as sk
from tests.conftest import array
from tests.problems import bump, whirl

bm = sk.BrownianMotion(sigma=1.5)
gbm = sk.GeometricBrownianMotion(mu=np.linspace(-0.5, 0.5, 40), sigma=0.3)
TRACK = {"high": sk.maximum(), "low": sk.minimum(), "area": sk.integral(), "up": sk.first_passage(1.4),
         "flat": sk.maximum(bridge=False)}
swirl = sk.ODE(whirl.drift, a=0.6, k=1.5)


def same(a, b):
    a, b = np.ascontiguousarray(array(a)), np.ascontiguousarray(array(b))
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def run(sde, x0, **how):
    asked = {"t": 2.0, "steps": 5, "seed": 9, "stream": 2, "first": 30, "backend": "numpy"}
    if "noise" in how:
        del asked["seed"]
    return sk.simulate(sde, x0, **(asked | how))


# name: (the paths, the equation that load() needs)
CASES = {
    "a number": lambda: (run(bm, 0.5, paths=40), None),
    "another method": lambda: (run(bm, 0.5, paths=40, method=sk.euler_maruyama), None),
    "tracked": lambda: (run(bm, 0.5, paths=40, track=TRACK, save="final"), None),
    "a parameter for each path": lambda: (run(gbm, np.linspace(1.0, 2.0, 40)), None),
    "random starts": lambda: (run(bm, lambda u: 3.0 * u, paths=40), None),
    "float32": lambda: (run(bm, 0.5, paths=40, dtype="float32"), None),
    "an SDE of one's own": lambda: (run(bump, 0.3, paths=40), bump),
    "a system": lambda: (run(whirl, (0.3, np.linspace(0.0, 1.0, 40)), track=sk.minimum(1)), whirl),
    "its own grid": lambda: (run(bm, 0.5, paths=40, t=[0.0, 0.1, 0.5, 2.0], steps=None), None),
    "an ODE": lambda: (sk.integrate(swirl, (0.3, np.linspace(0.0, 1.0, 40)), steps=5, method=sk.heun), swirl),
}
STOPPED = sk.SDE(lambda x, t: x * x * x, lambda x, t: 1.0)
CASES["stopped"] = lambda: (run(STOPPED, 0.0, t=8.0, steps=8, paths=40, nonfinite="stop"), STOPPED)
GIVEN = {
    "a Brownian": lambda: (run(bm, 0.5, noise=sk.Brownian(5, 2.0, 4, paths=40, first=3), save=[0.1, 2.0]), None),
    "an array": lambda: (run(STOPPED, np.linspace(0.0, 0.1, 80).reshape(40, 2), t=0.5), STOPPED),
}
one_case = pytest.mark.parametrize("make", CASES.values(), ids=CASES)
each_case = pytest.mark.parametrize("make", (CASES | GIVEN).values(), ids=CASES | GIVEN)


@each_case
def test_what_was_saved_is_loaded_bit_for_bit(make, tmp_path):
    paths, sde = make()
    again = sk.load(paths.save(tmp_path / "paths"), sde)
    assert (tmp_path / "paths.npz").exists()
    assert same(again.t, paths.t) and same(again.x, paths.x)
    assert list(again.tracked) == list(paths.tracked)
    assert all(same(again.tracked[name], values) for name, values in paths.tracked.items())
    told = {k: v if isinstance(v, int) else str(v) for k, v in paths.info.items()}
    assert {k: v if isinstance(v, int) else str(v) for k, v in again.info.items()} == told
    assert again.info["method"] is paths.info["method"] and repr(again) == repr(paths)


@each_case
def test_a_loaded_path_is_replayed_bit_for_bit(make, tmp_path):
    paths, sde = make()
    again = sk.load(paths.save(tmp_path / "paths.npz"), sde)
    for k in (0, 39):
        one, two = paths.replay(k), again.replay(k)
        assert same(one.t, two.t) and same(one.x, two.x)
        assert all(same(two.tracked[name], values) for name, values in one.tracked.items())


@one_case
def test_loaded_paths_go_on_bit_for_bit(make, tmp_path):
    paths, sde = make()
    end = paths.t[-1] + 1.0
    one, two = paths.extend(end, 3), sk.load(paths.save(tmp_path / "paths.npz"), sde).extend(end, 3)
    assert same(one.t, two.t) and same(one.x, two.x)
    assert all(same(two.tracked[name], values) for name, values in one.tracked.items())
    assert one.info.get("stopped") == two.info.get("stopped")
    three = sk.load(one.save(tmp_path / "longer.npz"), sde)
    assert same(three.extend(end + 1.0, 2).x, two.extend(end + 1.0, 2).x)


def test_what_torch_computed_is_computed_there_again(tmp_path):
    pytest.importorskip("torch")
    paths = run(bump, 0.3, paths=40, backend="torch")
    again = sk.load(paths.save(tmp_path / "paths.npz"), bump)
    assert same(again.x, paths.x) and same(again.replay(7).x, paths.replay(7).x)
    assert again.replay(7).info["backend"] == "torch"


def test_given_increments_are_not_kept(tmp_path):
    paths = sk.simulate(bm, 0.0, steps=4, noise=np.zeros((3, 4)))
    again = sk.load(paths.save(tmp_path / "paths.npz"))
    assert same(again.x, paths.x) and again.info["noise"] == "given"
    for verb in (lambda: again.replay(0), lambda: again.extend(2.0)):
        with pytest.raises(ValueError, match="needs the functions that made these paths, and a file holds none"):
            verb()


def test_a_file_holds_no_functions(tmp_path):
    """Without the equation there are the values; with it, everything."""
    file = run(bump, 0.3, paths=40).save(tmp_path / "paths.npz")
    bare = sk.load(file)
    assert bare.x.shape == (40, 6) and bare.info["equation"] == "SDE(a=0.7, s=0.4)"
    for verb, wanted in ((lambda: bare.replay(0), r"replay\(\)"), (lambda: bare.extend(3.0), r"extend\(\)")):
        with pytest.raises(ValueError, match=wanted + r" needs the functions.*sdekit\.load\(file, sde\)"):
            verb()
    assert same(sk.load(bare.save(tmp_path / "again.npz")).x, bare.x)


@pytest.mark.parametrize("sde", [sk.SDE(bump.drift, bump.diffusion, a=0.7, s=0.5), bm])
def test_an_equation_with_other_parameters_is_refused(sde, tmp_path):
    file = run(bump, 0.3, paths=4).save(tmp_path / "paths.npz")
    with pytest.raises(ValueError, match=r"is of an equation with the parameters \{'a': 0.7, 's': 0.4\}, this one is "):
        sk.load(file, sde)


def test_parameters_for_each_path_are_compared_too(tmp_path):
    file = run(gbm, 1.0).save(tmp_path / "paths.npz")
    other = sk.GeometricBrownianMotion(mu=np.linspace(-0.5, 0.6, 40), sigma=0.3)
    with pytest.raises(ValueError, match="the file is of an equation with the parameters"):
        sk.load(file, other)
    assert same(sk.load(file, gbm).replay(3).x, sk.load(file).replay(3).x)


def test_a_summary_comes_back_through_the_same_door(tmp_path):
    part = lambda first: sk.summarize(bm, 0.0, steps=4, paths=3000, seed=1, first=first, track=sk.maximum())
    one, two = part(0), part(3000)
    again = sk.load(one.save(tmp_path / "summary"))
    assert isinstance(again, sk.Summary) and same(again.quantiles, one.quantiles) and same(again.var, one.var)
    assert same((again + two).mean, (one + two).mean)
    assert same(again.tracked["maximum"].mean, one.tracked["maximum"].mean)


def _other_files(folder):
    np.save(folder / "array.npy", np.zeros(3))
    np.savez(folder / "other.npz", x=np.zeros(3))
    np.savez(folder / "pickled.npz", record=np.array([{"a": 1}], object))
    (folder / "text.npz").write_text("t,x\n0,1\n")
    (folder / "empty.npz").write_bytes(b"")
    whole = (folder / "other.npz").read_bytes()
    (folder / "cut.npz").write_bytes(whole[:len(whole) // 2])


@pytest.mark.parametrize("name", ["array.npy", "other.npz", "pickled.npz", "text.npz", "empty.npz", "cut.npz"])
def test_a_file_of_another_kind_is_named(name, tmp_path):
    _other_files(tmp_path)
    with pytest.raises(ValueError, match=f"{name} is no "):
        sk.load(tmp_path / name)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz"):
        sk.load(tmp_path / "nowhere.npz")


def test_a_place_that_cannot_be_written_is_an_error_and_a_new_folder_is_none(tmp_path):
    paths = run(bm, 0.0, paths=3)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        paths.save(tmp_path / "file" / "paths.npz")
    assert paths.save(str(tmp_path / "new" / "folder" / "a.b")) == tmp_path / "new" / "folder" / "a.b.npz"
    assert same(sk.load(str(tmp_path / "new" / "folder" / "a.b.npz")).x, paths.x)


@pytest.mark.parametrize("how", [{"method": sk.sri}, {"method": sk.theta(0.5)}, {"rtol": 1e-2}])
def test_a_file_knows_the_method_and_its_tolerances(how, tmp_path):
    paths = sk.simulate(sk.GeometricBrownianMotion(0.05, 0.2), 100.0, steps=4, paths=3, seed=1, **how)
    again = sk.load(paths.save(tmp_path / "a.npz"))
    assert again.info["method"] == paths.info["method"]
    assert (again.replay(1).x[0] == paths.x[1]).all()


def test_what_is_made_of_functions_has_to_be_given_again(tmp_path):
    spring = sk.UnderdampedLangevin(lambda q: -q, gamma=1.0, temperature=1.0)
    paths = sk.simulate(spring, (1.0, 0.0), steps=4, paths=3, seed=1, method=sk.baoab)
    file = paths.save(tmp_path / "a.npz")
    assert (sk.load(file).x == paths.x).all()
    assert (sk.load(file, spring).replay(1).x[0] == paths.x[1]).all()


def sloped(n):
    return 1.0 + 0.5 * n


FLIP = sk.walks.Chain([[0.9, 0.1], [0.5, 0.5]], ("dry", "wet"))
TWO = sk.CorrelatedGeometricBrownianMotion(0.05, [0.2, 0.3], [[1.0, 0.6], [0.6, 1.0]])
ALONE = [(FLIP, 0.0), (sk.walks.mutation_clock(), 2.0), (sk.walks.CoinWalk(0.3), 0.0), (sk.walks.LazyWalk(20.0), 0.0),
         (sk.walks.GaussianWalk(0.5, 0.9), 1.0), (sk.walks.GaussianWalk([0.5, 1.0, 2.0]), 1.0), (TWO, (100.0, 50.0))]


@pytest.mark.parametrize("process, x0", ALONE, ids=lambda case: type(case).__name__)
def test_a_process_of_this_package_is_found_by_itself(process, x0, tmp_path):
    paths = run(process, x0, t=None if hasattr(process, "unit") else 2.0, steps=5, paths=3)
    again = sk.load(paths.save(tmp_path / "a.npz"))
    assert type(again.info["equation"]) is type(process)
    assert same(again.replay(1).x, paths.replay(1).x) and same(again.extend(paths.t[-1] + 1.0, 1).x[:, :6], paths.x)
    assert same(sk.load(tmp_path / "a.npz", process).replay(1).x, paths.replay(1).x)


@pytest.mark.parametrize("one, other", [
    (FLIP, sk.walks.Chain([[0.9, 0.1], [0.4, 0.6]], ("dry", "wet"))),
    (FLIP, sk.walks.Chain(FLIP.P, ("wet", "dry"))),
    (FLIP, sk.walks.mutation_clock()),
    (FLIP, sk.walks.CoinWalk()),
    (sk.walks.GaussianWalk([1.0, 2.0, 3.0]), sk.walks.GaussianWalk([1.0, 2.0, 3.5])),
    (sk.walks.GaussianWalk(sloped), sk.walks.GaussianWalk(lambda n: 1.0 + 0.51 * n)),
    (sk.walks.GaussianWalk(sloped), sk.walks.GaussianWalk.marginal(sloped)),
    (sk.walks.GaussianWalk.marginal([0.0, 1.0, 2.0]), sk.walks.GaussianWalk([0.0, 1.0, 2.0])),
    (TWO, sk.CorrelatedGeometricBrownianMotion(0.05, [0.2, 0.3], [[1.0, 0.5], [0.5, 1.0]])),
])
def test_another_chain_or_schedule_is_refused(one, other, tmp_path):
    file = run(one, (1.0, 1.0) if one is TWO else 0.0, t=None if hasattr(one, "unit") else 2.0, paths=3).save(
        tmp_path / "a.npz")
    sk.load(file, one)
    with pytest.raises(ValueError, match=r"(?s)the file is of an equation with the parameters .*this one is"):
        sk.load(file, other)


@pytest.mark.parametrize("walk", [sk.walks.GaussianWalk(sloped), sk.walks.GaussianWalk.marginal(sloped)])
def test_a_schedule_that_is_a_function_has_to_be_given_again(walk, tmp_path):
    paths = run(walk, 0.0, t=None, paths=3)
    bare = sk.load(paths.save(tmp_path / "a.npz"))
    assert same(bare.x, paths.x)
    with pytest.raises(ValueError, match="give the equation"):
        bare.extend(7.0)
    again = sk.load(tmp_path / "a.npz", walk)
    assert same(again.extend(7.0).x, paths.extend(7.0).x)
    assert same(sk.load(again.extend(7.0).save(tmp_path / "b.npz"), walk).x, again.extend(7.0).x)


def test_a_process_of_another_class_is_refused(tmp_path):
    file = run(sk.GeometricBrownianMotion(0.1, 0.2), 1.0, paths=3).save(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"paths of a GeometricBrownianMotion .* this one is BrownianMotion"):
        sk.load(file, sk.BrownianMotion(0.1, 0.2))
    curve = sk.integrate(sk.BrownianMotion(0.1, 0.2), 1.0, steps=4)  # of the drift alone
    assert curve.info["equation"].parameters == {"mu": 0.1}
    whole = sk.SDE(lambda x, t, mu: mu, lambda x, t: 0.2, mu=0.1)
    assert same(sk.load(curve.save(tmp_path / "b.npz"), whole).x, curve.x)
