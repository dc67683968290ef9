"""Training: it learns, it can be stopped at any step and resumed to the same bits, and it says no early."""

import dataclasses
import errno
import math
import signal
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import diffusion as df
from diffusion import checkpoint, training
from diffusion.journal import read_lines
from diffusion.losses import LOSSES, Terms
from diffusion.records import recorded
from diffusion.state import new
from tests.conftest import EPS, K
from tests.diffusion.conftest import SMALL, TINY

SHORT = df.Options(batch=16, warm_up=3)
FILE = "checkpoint.safetensors"
STEPS = 44  # of the runs that are stopped: two lines of the journal, one of them of the last step, seven epochs


def train(data, **options):
    return df.train(data, **{"network": TINY if len(data.shape) == 3 else SMALL, "options": SHORT, **options})


TOLD: dict[str, Callable] = {}  # by name, so that a checkpoint can keep which


@recorded
@dataclass(frozen=True)
class Told:
    """A loss that a test tells: TOLD[name]."""

    name: str

    def __call__(self, model, x0, label, random):
        return TOLD[self.name](model, x0, label, random)


@pytest.fixture
def told():
    """Options with a loss of the test's own."""
    def options(loss, **others):
        TOLD["loss"] = loss
        return dataclasses.replace(SHORT, loss=Told("loss"), **others)

    yield options
    TOLD.clear()


def nothing(model, x0):
    """A loss of nought with a gradient."""
    return Terms(0.0 * sum(p.sum() for p in model.parameters()).expand(len(x0)))


# It learns


@pytest.fixture(scope="module")
def learned(digits, tmp_path_factory):
    """80 steps on digits: the losses and the denoiser."""
    out = tmp_path_factory.mktemp("learned")
    network = df.UNetConfig(widths=(16, 32), components=0, embedding=32)
    options = df.Options(batch=32, warm_up=10, learning_rate=5e-3)
    records = list(df.train(digits, steps=80, out=out, network=network, options=options))
    return np.array([record.loss for record in records]), df.load(out), records[-1]


def test_the_loss_falls(learned):
    """The mean of the last 30 steps below that of the first 10, by far more than their standard errors."""
    losses = learned[0]
    first, last = losses[:10], losses[-30:]
    stderr = (first.var(ddof=1) / 10 + last.var(ddof=1) / 30) ** 0.5
    assert last.mean() + 2 * K * stderr < first.mean()


@pytest.mark.parametrize("data", ["tiny", "points"])
def test_the_loss_begins_at_that_of_the_gaussian(data, request):
    """F = 0: the target's mean square at the level sigma is (sigma^2 + s^2 rest)/r^2 on data whose mean squared
    distance from their mean is s^2 rest; over all of the data rest is 1, and so is the loss. On 16 samples with a drawn
    noise it varies with their distances."""
    data = request.getfixturevalue(data)
    x = data.tensor().flatten(1)
    distance = (x - x.mean(0)).square().mean(1).numpy()
    first = [next(train(data, steps=9, seed=seed)).loss for seed in range(8)]
    stderr = ((distance.std() / distance.mean()) ** 2 + 2 / x.shape[1]) ** 0.5 / (8 * 16) ** 0.5
    assert abs(np.mean(first) - 1) <= K * stderr


def test_the_averaged_denoiser_is_better_than_the_gaussian_where_data_differ_from_one(learned, digits):
    """The error |D - x_0|^2 on fresh noise, at levels where a digit is neither plain nor lost; paired, so with one
    standard error."""
    model = learned[1]
    x0 = digits.tensor()[:100]
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(9))
    gaussian = df.exact.Gaussian(model.center, model.spread)
    for sigma in (0.5, 1.5):
        x, label = x0 + sigma * noise, torch.from_numpy(digits.labels[:100])
        errors = [((D - x0) ** 2).mean((1, 2, 3)) for D in (model(x, 1.0, sigma, label), gaussian(x, 1.0, sigma))]
        gain = (errors[1] - errors[0]).numpy()
        assert gain.mean() > K * gain.std() / 10, sigma


def test_a_perceptron_learns_points(points):
    """The error of its average on the levels between the two clouds' distance and their width is below the Gaussian's
    with a full covariance, which knows no clouds: averaged over steps, as `Record.levels` has it."""
    options = df.Options(batch=64, warm_up=10, learning_rate=5e-3)
    *_, last = df.train(points, steps=200, network=df.MLPConfig((2,), 2, 32, 1), options=options)
    shares = [row.share for row in last.levels.rows() if 0.3 < row.level < 1.0]
    assert len(shares) >= 1 and max(shares) < 0.9


def test_every_step_is_recorded(tiny):
    records = list(train(tiny, steps=4))
    assert [record.step for record in records] == [1, 2, 3, 4]
    assert all(record.steps == 4 and record.loss > 0 and record.rate > 0 for record in records)
    assert np.all(np.diff([record.seconds for record in records]) > 0)
    assert [r.learning_rate for r in records] == [SHORT.rate(k, k / 4) for k in range(4)]
    assert all(record.model is records[0].model for record in records) and not records[0].model.training
    assert records[0].levels.rows()


def test_the_levels_hold_what_the_loss_told(points, told):
    seen = []

    def loss(model, x0, label, random):
        seen.append(df.losses.edm()(model, x0, label, random))
        return seen[-1]

    *_, last = train(points, steps=2, options=told(loss))
    assert last.levels.weight[:, 0].sum() == pytest.approx(16 * (1 + 0.98))
    for k, which in ((1, "error"), (3, "level")):
        values = [getattr(terms, which).double() for terms in seen]
        sums = [float((v.log() if which == "level" else v).sum()) for v in values]
        assert last.levels.weight[:, k].sum() == pytest.approx(0.98 * sums[0] + sums[1])


def test_it_is_the_same_run_for_the_same_seed(tiny):
    one, same, other = ([r.loss for r in train(tiny, steps=3, seed=seed)] for seed in (0, 0, 1))
    assert one == same and set(one).isdisjoint(other)


def test_every_step_of_every_seed_draws_its_own_samples_and_noise(points, told):
    """A generator of torch keeps 32 bits of its seed: the seed must be among them, and the step."""
    drawn = []

    def loss(model, x0, label, random):
        drawn.append((x0, torch.randn(4, generator=random)))
        return nothing(model, x0)

    options = told(loss)
    for seed in (0, 1, 2**16, 2**31):
        list(train(points, steps=10, seed=seed, options=options))  # 5 steps an epoch
    for which in (0, 1):
        assert len({entry[which].numpy().tobytes() for entry in drawn}) == 40
    again = list(drawn)
    drawn.clear()
    list(train(points, steps=10, seed=2**16, options=options))
    assert all(torch.equal(a, b) for one, other in zip(drawn, again[20:30]) for a, b in zip(one, other))


def test_what_is_the_caller_s_is_left_alone(tiny):
    """Random numbers, cuDNN's switches, Ctrl-C's handler: while the run rests, and after it."""
    def now():
        cudnn, handler = torch.backends.cudnn, signal.getsignal(signal.SIGINT)
        return torch.random.get_rng_state().tolist(), cudnn.deterministic, cudnn.benchmark, handler

    torch.manual_seed(7)
    state = now()
    for _ in train(tiny, steps=2, network=dataclasses.replace(TINY, components=2, rank=3)):
        assert now() == state
    assert now() == state


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_loss_trains_in_every_precision(tiny, loss, precision):
    options = dataclasses.replace(SHORT, loss=LOSSES[loss](), precision=precision)
    losses = [record.loss for record in train(tiny, steps=2, options=options)]
    exact = [record.loss for record in train(tiny, steps=2, options=dataclasses.replace(options, precision="float32"))]
    np.testing.assert_allclose(losses, exact, rtol=0.05)  # bfloat16 has 8 bits, a relative error of 2^-9 a number


def test_dequantised_samples_are_uniform_in_their_cells(tiny, told):
    seen = []

    def loss(model, x0, label, random):
        seen.append(x0)
        return nothing(model, x0)

    list(train(tiny, steps=3, options=told(loss, dequantise=True)))
    off = (torch.cat(seen).double() + 1) * 127.5
    u = off - off.round()
    assert u.abs().max() <= 0.5 and abs(u.mean()) <= K * (1 / 12 / u.numel()) ** 0.5
    assert abs(u.square().mean() - 1 / 12) <= K * (1 / 180 / u.numel()) ** 0.5  # Var u^2 = 1/80 - 1/144
    assert len({x.numpy().tobytes() for x in seen}) == 3


# Stop and resume


def kept(folder):
    """All that a run leaves but the seconds that it took: tensors, history, lines."""
    header, tensors = checkpoint.read(folder)
    history = {k: v for k, v in header.training.items() if k != "seconds"}
    lines = [{k: v for k, v in line.items() if k not in ("rate", "seconds")} for line in read_lines(folder)]
    return dataclasses.replace(header, training=history), tensors, lines


def assert_same(one, other):
    """Bit for bit: weights, average, Adam's moments and steps, levels, journal."""
    (header, tensors, lines), (header2, tensors2, lines2) = kept(one), kept(other)
    assert header == header2 and lines == lines2 and tensors.keys() == tensors2.keys()
    assert {name.split(".")[0] for name in tensors} == {"model", "net", "adam"}
    for name in tensors:
        assert torch.equal(tensors[name], tensors2[name]), name


@pytest.fixture(scope="module")
def uninterrupted(points, tmp_path_factory):
    """A folder, and the losses of its run."""
    out = tmp_path_factory.mktemp("whole")
    return out, [record.loss for record in train(points, steps=STEPS, out=out)]


def close(run):
    run.close()


def ctrl_c(run):
    with pytest.raises(KeyboardInterrupt):
        run.throw(KeyboardInterrupt)


def fail(run):
    with pytest.raises(ZeroDivisionError):
        run.throw(ZeroDivisionError)


@settings(max_examples=12)
@given(stops=st.lists(st.tuples(st.integers(1, STEPS - 1), st.sampled_from([close, ctrl_c, fail])), min_size=1,
                      max_size=3, unique_by=lambda stop: stop[0]))
def test_a_resumed_run_is_the_run_that_was_never_stopped(points, uninterrupted, tmp_path_factory, stops):
    """Stopped at any steps, in any way: every number of it, bit for bit, and every line."""
    out, losses, done = tmp_path_factory.mktemp("parts"), [], 0
    for step, way in sorted(stops, key=lambda stop: stop[0]):
        run = df.train(points, out=out, resume=True) if done else train(points, steps=STEPS, out=out)
        losses += [record.loss for record in islice(run, step - done)]
        done = step
        way(run)
        assert checkpoint.read(out)[0].training["step"] == step
    losses += [record.loss for record in df.train(points, out=out, resume=True)]
    assert losses == uninterrupted[1]
    assert_same(out, uninterrupted[0])


@pytest.mark.parametrize("network", [TINY, dataclasses.replace(TINY, components=2, rank=3)], ids=["plain", "guess"])
def test_a_u_net_is_resumed_to_the_same_bits(tiny, tmp_path, network):
    """Its convolutions' weights lie in memory in another order than in the file."""
    for name in ("whole", "parts"):
        run = train(tiny, steps=5, out=tmp_path / name, network=network)
        list(islice(run, 2 if name == "parts" else 5))
        run.close()
    list(df.train(tiny, out=tmp_path / "parts", resume=True))
    assert_same(tmp_path / "whole", tmp_path / "parts")


@pytest.fixture
def interruptible():
    """Ctrl-C is heard, also where the tests run in the background of a shell that has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("place", ["_gradient", "_update", "_average", "Record"])
def test_ctrl_c_within_a_step_leaves_a_whole_one(points, uninterrupted, tmp_path, monkeypatch, place):
    """The signal comes before, in or after one of the step's parts: from it the resumed run is the one without."""
    part, calls = getattr(training, place), []

    def pressed(*args):
        calls.append(0)
        if len(calls) == 7:
            signal.raise_signal(signal.SIGINT)
        found = part(*args)
        if len(calls) == 9:
            signal.raise_signal(signal.SIGINT)
        return found

    monkeypatch.setattr(training, place, pressed)
    for resume in (False, True):
        run = df.train(points, out=tmp_path, resume=True) if resume else train(points, steps=STEPS, out=tmp_path)
        with pytest.raises(KeyboardInterrupt):
            list(run)
    monkeypatch.undo()
    list(df.train(points, out=tmp_path, resume=True))
    assert_same(tmp_path, uninterrupted[0])


def test_it_runs_in_a_thread_too(points, uninterrupted, tmp_path):
    """Where Python has no handlers of signals."""
    thread = threading.Thread(target=lambda: list(train(points, steps=STEPS, out=tmp_path)))
    thread.start()
    thread.join()
    assert_same(tmp_path, uninterrupted[0])


def test_a_run_by_images_is_resumed_to_the_same_bits(points, uninterrupted, tmp_path):
    """44 steps of 16 are 689 to 704 images."""
    run = train(points, images=16 * STEPS - 15, out=tmp_path)
    list(islice(run, 21))
    run.close()
    list(df.train(points, out=tmp_path, resume=True))
    assert_same(tmp_path, uninterrupted[0])


class Clock:
    """A clock on which each look takes `tick` seconds."""

    def __init__(self, tick):
        self.tick, self.now = tick, 100.0

    def monotonic(self):
        self.now += self.tick
        return self.now


@pytest.mark.parametrize("stop", [5, 17, 30])
def test_minutes_that_became_steps_are_resumed_to_the_same_bits(points, tmp_path, monkeypatch, stop):
    """Once the plan is made the clock counts no more: the second part runs on one of another speed."""
    for name in ("whole", "parts"):
        monkeypatch.setattr(training, "time", Clock(0.25))
        run = train(points, minutes=0.3, out=tmp_path / name)
        records = list(islice(run, stop) if name == "parts" else run)
        run.close()
        assert records[stop - 1].steps == 40  # of 18 s: five steps, of two looks each but for the first, took 2.25
    monkeypatch.setattr(training, "time", Clock(3.0))
    rest = list(df.train(points, out=tmp_path / "parts", resume=True))
    assert rest[-1].step == 40 and rest[0].step == stop + 1
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_minutes_become_a_number_of_steps(points, monkeypatch):
    """0.3 minutes: the plan is made once a tenth of them is over; 20: once 30 seconds are."""
    for minutes, tick, known in ((0.3, 0.25, 1.8), (20.0, 2.0, 30.0)):
        monkeypatch.setattr(training, "time", Clock(tick))
        records = list(islice(train(points, minutes=minutes), 40))
        plans = [record.steps for record in records]
        at = next(k for k, plan in enumerate(plans) if plan is not None)
        assert records[at].seconds > known >= records[at - 1].seconds and len(set(plans[at:])) == 1
        assert plans[at] == round((at + 1) * 60 * minutes / records[at].seconds)


def test_a_step_longer_than_the_minutes_is_the_last(points, monkeypatch):
    monkeypatch.setattr(training, "time", Clock(60.0))
    assert [(record.step, record.steps) for record in train(points, minutes=0.1)] == [(1, 1)]


def test_a_resumed_run_keeps_its_plan_seed_and_options(points, tmp_path):
    options = dataclasses.replace(SHORT, batch=8, drop_label=0.5, loss=df.losses.v())
    run = train(points, steps=5, out=tmp_path, seed=4, options=options)
    list(islice(run, 2))
    run.close()
    with pytest.raises(ValueError, match="keeps the options, the network and the seed of its checkpoint; leave them"):
        df.train(points, out=tmp_path, resume=True, seed=9)
    records = list(df.train(points, out=tmp_path, resume=True))
    assert [record.step for record in records] == [3, 4, 5]
    history = checkpoint.read(tmp_path)[0].training
    assert history["seed"] == 4 and history["steps"] == history["step"] == 5 and history["images"] == 40
    assert history["options"] == options and history["n"] == 90


def test_a_finished_run_has_nothing_left_to_do_and_can_be_lengthened(points, tmp_path):
    list(train(points, steps=2, out=tmp_path))
    assert list(df.train(points, out=tmp_path, resume=True)) == []
    assert [record.step for record in df.train(points, steps=4, out=tmp_path, resume=True)] == [3, 4]
    with pytest.raises(ValueError, match="has 4 steps behind it, and 3 are asked for"):
        df.train(points, steps=3, out=tmp_path, resume=True)
    assert checkpoint.read(tmp_path)[0].training["steps"] == 4


def test_it_saves_as_often_as_was_asked(points, tmp_path):
    run = train(points, steps=10, out=tmp_path, save_every=0.0)
    for k in range(1, 4):
        next(run)
        assert k == 1 or checkpoint.read(tmp_path)[0].training["step"] == k - 1  # saved when the caller comes back
    run.close()


def test_without_a_folder_nothing_is_written(points, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    list(train(points, steps=1))
    assert list(tmp_path.iterdir()) == []


def test_the_checkpoint_tells_what_it_was_trained_on(tiny, tmp_path):
    list(train(tiny, steps=2, out=tmp_path, seed=3))
    header = checkpoint.read(tmp_path)[0]
    assert header.network == TINY
    assert header.data == {"name": "blobs", "shape": [1, 8, 8], "range": [-1, 1], "classes": ["a", "b", "c"]}
    assert {k: header.training[k] for k in ("step", "steps", "images", "seed")} == {
        "step": 2, "steps": 2, "images": 32, "seed": 3}
    x = tiny.tensor()
    assert header.spread == pytest.approx((x - x.mean(0)).square().mean().sqrt().item())
    torch.testing.assert_close(df.load(tmp_path).center, x.mean(0))


@pytest.mark.parametrize("shape", [(3, 12, 12), (2,), (4, 3)])
def test_the_network_is_by_default_that_of_the_data(tmp_path, shape):
    x, labels = np.random.default_rng(0).normal(size=(4, *shape)), np.arange(4) % 2
    if len(shape) == 3:
        data = df.Images((x * 20 + 99).astype(np.uint8), labels, ("x", "y"), "noise")
    else:
        data = df.data.Points(x.astype(np.float32), labels, ("x", "y"), "noise")
    run = df.train(data, steps=2, options=SHORT, out=tmp_path)
    next(run)
    run.close()
    network, model = checkpoint.read(tmp_path)[0].network, df.load(tmp_path)
    assert model.shape == shape and model.classes == network.classes == 2
    assert isinstance(network, df.UNetConfig if len(shape) == 3 else df.MLPConfig)


# When it goes wrong


def breaking(at, how):
    """A loss that is EDM's but for the step `at`, where it is `how` of it."""
    calls = []

    def loss(model, x0, label, random):
        calls.append(0)
        terms = df.losses.edm()(model, x0, label, random)
        return terms._replace(value=how(terms.value)) if len(calls) == at else terms

    return loss


def steep(value):
    """The same number, of an infinite gradient."""
    return value + (value - value.detach()) * 1e30 * 1e30


BROKEN = {"nan": (lambda v: v * math.nan, r"the loss is nan at step 3; what was learned before is kept"),
          "inf": (lambda v: v + math.inf, r"the loss is inf at step 3; what was learned before is kept"),
          "steep": (steep, r"the gradient's norm is (inf|nan) at step 3, of a loss of [\d.]+; what was learned")}


@pytest.mark.parametrize("how, message", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("save_every", [0.0, 60.0], ids=["saved before", "not yet saved"])
def test_what_is_not_finite_stops_the_run_and_the_step_before_is_kept(points, tmp_path, told, how, message, save_every):
    """To the bit: where no checkpoint had been written yet, one is."""
    list(train(points, steps=2, out=tmp_path / "two", options=told(df.losses.edm())))
    with pytest.raises(FloatingPointError, match=message):
        list(train(points, steps=9, out=tmp_path / "run", options=told(breaking(3, how)), save_every=save_every))
    (header, tensors), (_, exact) = checkpoint.read(tmp_path / "run"), checkpoint.read(tmp_path / "two")
    assert header.training["step"] == 2
    moved = [name for name in exact if not torch.equal(tensors[name], exact[name])]
    assert all(name.startswith(("net.", "adam.", "model.")) for name in moved)
    if save_every:  # the rate of the last step of two is another than that of the second of nine: so compare one step
        assert tensors.keys() == exact.keys() and all(t.isfinite().all() for t in tensors.values())
    run = df.train(points, out=tmp_path / "run", resume=True)  # the loss breaks at its third call alone: it goes on
    assert [record.step for record in run] == list(range(3, 10))


def test_nothing_is_kept_of_a_run_that_never_took_a_step(points, tmp_path, told):
    """So that it can be begun anew."""
    def wrong(model, x0, label, random):
        raise TypeError("not this way")

    for loss, error in ((wrong, TypeError), (breaking(1, lambda v: v * math.nan), FloatingPointError)):
        with pytest.raises(error):
            list(train(points, steps=9, out=tmp_path, options=told(loss)))
        assert not (tmp_path / FILE).exists()
    assert len(list(train(points, steps=2, out=tmp_path))) == 2


@pytest.mark.parametrize("rate", [1e30, 1e38])
def test_weights_that_diverged_do_not_replace_the_last_checkpoint(points, tmp_path, rate):
    """The step before the loss is found to be not finite has already spoilt the weights, finite or not."""
    list(train(points, steps=2, out=tmp_path))
    header, tensors = checkpoint.read(tmp_path)
    wild = {**header.training, "options": dataclasses.replace(SHORT, learning_rate=rate, decay=1e-9)}
    checkpoint.save(tmp_path / FILE, dataclasses.replace(header, training=wild), tensors)
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(FloatingPointError, match="what was learned before is kept"):
        list(df.train(points, steps=9, out=tmp_path, resume=True))
    assert (tmp_path / FILE).read_bytes() == before


def full(*args, **named):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_a_warning_while_there_is_time_to_make_room(points, tmp_path, monkeypatch, uninterrupted):
    run = train(points, steps=STEPS, out=tmp_path, save_every=0.0)
    list(islice(run, 5))
    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.warns(UserWarning, match="the checkpoint was not written .*No space left.*the one before stays, and"):
        next(run)
    assert checkpoint.read(tmp_path)[0].training["step"] == 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        list(islice(run, 10))
    assert checkpoint.read(tmp_path)[0].training["step"] == 4
    monkeypatch.undo()
    list(run)
    assert_same(tmp_path, uninterrupted[0])


def test_a_checkpoint_that_cannot_be_written_is_tried_again_after_as_long_as_was_asked(points, tmp_path, monkeypatch):
    """Not at every step, as it takes its time; at first after 2 s and twice that."""
    tried = []
    monkeypatch.setattr(training, "time", Clock(0.25))
    monkeypatch.setattr(checkpoint, "save_file", lambda *args, **named: [tried.append(0), full()])
    run = train(points, steps=41, out=tmp_path, save_every=4.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        list(islice(run, 40))  # half a second each, and one look at the clock for each attempt
    assert len(tried) == 5
    with pytest.raises(OSError):
        run.close()


def test_a_disk_that_is_full_at_the_end_is_an_error(points, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match=r"checkpoint.safetensors could not be written \(.*No space left"):
        list(train(points, steps=3, out=tmp_path))
    with pytest.raises(OSError, match="could not be written"):
        run = train(points, steps=3, out=tmp_path)
        next(run)
        run.close()


def test_weights_are_kept_though_the_journal_cannot_be(points, tmp_path, monkeypatch):
    monkeypatch.setattr(training.Journal, "flush", full)
    with pytest.raises(OSError, match="No space left"):
        list(train(points, steps=3, out=tmp_path))
    assert checkpoint.read(tmp_path)[0].training["step"] == 3


def test_the_journal_is_ahead_of_the_checkpoint(points, tmp_path, monkeypatch):
    """A run that is killed between the two has each line of its checkpoint's steps."""
    def killed(*args, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        list(train(points, steps=20, out=tmp_path))
    assert [line["step"] for line in read_lines(tmp_path)] == [20]


def test_a_folder_that_cannot_be_written_is_told_before_any_work(points, tmp_path, told):
    (tmp_path / "file").write_text("")
    calls = []
    for out in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(NotADirectoryError, match=r"out is a folder, got .*file.*, and .*/file is a file; choose"):
            list(train(points, steps=2, out=out, options=told(lambda *asked: calls.append(0))))
    assert calls == []


def test_points_have_no_grey_levels(points):
    with pytest.raises(ValueError, match="noise below a grey level of pictures, and two clouds has samples of shape"):
        train(points, steps=1, options=dataclasses.replace(SHORT, dequantise=True))


@pytest.mark.parametrize("given, message", [
    ({"data": "moons"}, r"data are `Images`, `Points` or alike, .* got 'moons'"),
    ({"data": None}, "data are `Images`.* got None"), ({"network": "cpu"}, "network is a configuration, .* got 'cpu'"),
    ({"options": 3}, r"options are df.Options\(...\), got 3")])
def test_what_is_of_another_kind_is_refused(points, given, message):
    with pytest.raises(TypeError, match=message):
        df.train(**{"data": points, "steps": 1, **given})


@pytest.mark.parametrize("device", ["gpu7", "cuda:99", 5])
def test_a_device_that_is_not_there_is_refused(points, device):
    with pytest.raises(ValueError, match=rf"the device '?{device}'? cannot be used here \(.*\); \"cpu\" always can"):
        train(points, steps=1, device=device)


@pytest.mark.parametrize("given, message", [
    ({}, "give minutes, steps or images, one of them; got none of them"),
    ({"minutes": 1.0, "steps": 2}, r"one of them; got {'minutes': 1.0, 'steps': 2}"),
    ({"steps": 1, "images": 2}, "one of them; got"), ({"steps": 0}, "steps must be positive, got 0"),
    ({"steps": -5}, "steps must be positive, got -5"), ({"minutes": -1.0}, "minutes must be positive, got -1.0"),
    ({"minutes": math.nan}, "minutes must be positive, got nan"), ({"steps": math.inf}, "steps must be positive"),
    ({"steps": 2.5}, "steps must be a whole number, got 2.5"), ({"images": 0.5}, "images must be a whole number"),
    ({"steps": 5, "save_every": -1.0}, "save_every must be seconds, 0 or more, got -1.0"),
    ({"steps": 5, "save_every": math.nan}, "save_every must be seconds"),
    ({"steps": 5, "seed": -1}, "seed must be at least 0"), ({"steps": 5, "seed": 2**32}, "seed must be at least 0"),
    ({"steps": 5, "options": df.Options(precision="float16")}, "float16 needs a GPU"),
    ({"steps": 5, "resume": True}, "resume=True needs out=, the folder that holds the checkpoint to go on from"),
])
def test_arguments_that_contradict_each_other_are_refused_at_once(points, given, message):
    with pytest.raises(ValueError, match=message):
        train(points, **given)


@pytest.mark.parametrize("name", ["minutes", "steps", "images", "save_every"])
@pytest.mark.parametrize("value", ["5", True, [5], 5j])
def test_what_is_no_number_is_refused(points, name, value):
    with pytest.raises(TypeError, match=f"{name} must be a number, got"):
        train(points, **({name: value} if name != "save_every" else {"steps": 1, name: value}))


@pytest.mark.parametrize("length", [{"steps": np.int64(2)}, {"steps": 2.0}, {"images": np.float32(20)}])
def test_numbers_of_any_type_are_taken(points, tmp_path, length):
    assert [(r.step, r.steps) for r in train(points, out=tmp_path, **length)] == [(1, 2), (2, 2)]
    assert checkpoint.read(tmp_path)[0].training["steps"] == 2


@pytest.mark.parametrize("what", ["options", "network"])
def test_what_is_not_recorded_is_refused_before_any_work_where_it_is_to_be_kept(points, tmp_path, what):
    """Without a folder any loss will do."""
    def loss(model, x0, label, random):
        return nothing(model, x0)

    class Network:
        def build(self, center, spread):
            return SMALL.build(center, spread)

        def check(self, shape, classes, name):
            pass

    named = {"options": dataclasses.replace(SHORT, loss=loss)} if what == "options" else {"network": Network()}
    with pytest.raises(TypeError, match=r"its class (function|Network) is not recorded; make it a frozen dataclass"):
        train(points, steps=1, out=tmp_path / "run", **named)
    assert not (tmp_path / "run").exists()
    assert len(list(train(points, steps=1, **named))) == 1


def test_a_checkpoint_whose_loss_is_not_known_here_is_refused_by_its_name(points, tmp_path, told, monkeypatch):
    run = train(points, steps=3, out=tmp_path, options=told(df.losses.edm()))
    next(run)
    run.close()
    monkeypatch.delitem(checkpoint.reading.__globals__["KINDS"], "Told")
    with pytest.raises(ValueError, match=r"'Told' is none of the recorded classes .* import the module"):
        df.train(points, out=tmp_path, resume=True)


def test_nothing_can_be_resumed_where_nothing_is(points, tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        df.train(points, steps=5, out=tmp_path / "nowhere", resume=True)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("change, message", [
    (lambda d: d.subset(80), "was trained on 90 samples of two clouds, and two clouds has 80"),
    (lambda d: df.data.Points(np.c_[d.x, d.x], d.labels, d.classes, "wide"), r"wide has \[4\] and"),
    (lambda d: df.data.Points(d.x, d.labels, ("left", "up"), "named"), r"named has \[2\] and \['left', 'up'\]"),
    (lambda d: df.data.Points(d.x, d.labels, ("left", "right", "up"), "more"), "go on with the same data|Go on with"),
    (lambda d: df.data.Points(1.01 * d.x, d.labels, d.classes, d.name), "on other samples called two clouds than"),
    (lambda d: df.data.Points(d.x, 1 - d.labels, d.classes, d.name), "on other samples called two clouds than")])
def test_other_data_than_the_checkpoint_s_are_refused(points, tmp_path, change, message):
    list(train(points, steps=1, out=tmp_path))
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(ValueError, match=message):
        df.train(change(points), steps=2, out=tmp_path, resume=True)
    assert (tmp_path / FILE).read_bytes() == before


@pytest.mark.parametrize("changed", [{"size": 12}, {"channels": 3}, {"classes": 2}])
def test_a_network_for_other_pictures_is_refused(tiny, points, changed):
    with pytest.raises(ValueError, match=r"the network is for .*, but blobs has"):
        train(tiny, steps=1, network=dataclasses.replace(TINY, **changed))
    with pytest.raises(ValueError, match="a U-Net takes square pictures"):
        train(points, steps=1, network=TINY)


def test_data_from_which_nothing_can_be_learned_are_refused(points):
    with pytest.raises(ValueError, match="two clouds holds no samples"):
        train(points.subset(0), steps=1)
    with pytest.raises(ValueError, match="all samples of two clouds are the same"):
        train(points.subset(1), steps=1)


def test_a_run_by_minutes_that_stopped_before_its_plan_needs_to_be_told_when_to_stop(points, tmp_path):
    run = train(points, minutes=20.0, out=tmp_path)
    next(run)
    run.close()
    assert checkpoint.read(tmp_path)[0].training["steps"] is None
    with pytest.raises(ValueError, match="before its number of steps was known; say minutes=, steps= or images= again"):
        df.train(points, out=tmp_path, resume=True)
    assert [record.step for record in df.train(points, steps=3, out=tmp_path, resume=True)] == [2, 3]


def test_what_an_earlier_version_did_not_keep_is_said(points, tmp_path):
    list(train(points, steps=1, out=tmp_path))
    header, tensors = checkpoint.read(tmp_path)
    told = {k: v for k, v in header.training.items() if k not in ("digest", "levels")}
    checkpoint.save(tmp_path / FILE, dataclasses.replace(header, training=told), tensors)
    with pytest.raises(ValueError, match="is of an earlier version, which did not keep digest, levels; it can be"):
        df.train(points, steps=3, out=tmp_path, resume=True)


def test_a_file_with_the_average_alone_cannot_be_resumed(points, tmp_path):
    list(train(points, steps=1, out=tmp_path))
    header, tensors = checkpoint.read(tmp_path, prefix="model.")
    checkpoint.save(tmp_path / FILE, header, tensors)
    with pytest.raises(ValueError, match="holds only averaged weights, not the state of a training"):
        df.train(points, steps=2, out=tmp_path, resume=True)


def test_a_finished_run_is_not_overwritten(points, tmp_path):
    list(train(points, steps=1, out=tmp_path))
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(FileExistsError, match="already holds a checkpoint; resume=True goes on from it"):
        train(points, steps=1, out=tmp_path)
    with pytest.raises(ValueError, match="a resumed run keeps the options, the network and the seed of its"):
        df.train(points, steps=2, out=tmp_path, resume=True, options=df.Options(loss=df.losses.ddpm()))
    assert (tmp_path / FILE).read_bytes() == before


# Formulas


def test_the_schedule_reaches_the_optimiser(tiny, monkeypatch):
    """Adam's first step moves every weight by the learning rate: in a warm-up of 10 steps, by a tenth of it."""
    moved = []

    def moves(average, model, step, width):  # the average still is what the model was before
        pairs = zip(average.parameters(), model.parameters())
        moved.append(max((p - a).abs().max().item() for a, p in pairs))

    monkeypatch.setattr(training, "_average", moves)
    for warm_up in (1, 10):
        next(train(tiny, steps=100, options=dataclasses.replace(SHORT, warm_up=warm_up)))
    assert moved == pytest.approx([2e-3, 2e-4], rel=1e-3)


def test_float16_that_is_finite_at_no_scale_ends_the_run(points, monkeypatch):
    state = new(points, SMALL, SHORT, 0, "cpu")
    scale = iter([2.0**-13, 2.0**-15])
    monkeypatch.setattr(state, "scaler", SimpleNamespace(step=lambda adam: None, update=lambda: None,
                                                         is_enabled=lambda: True, get_scale=lambda: next(scale)))
    terms = Terms(torch.zeros(1), None, None)
    training._update(state, 1e-3, terms)
    with pytest.raises(FloatingPointError, match="not finite at step 2, however the loss is scaled; what was learned"):
        training._update(state, 1e-3, terms)


@pytest.mark.parametrize("width", [0.05, 0.1, 0.5])
def test_the_average_weighs_steps_by_a_power_of_their_number(width):
    """After n steps step t has the weight (t^p - (t-1)^p)/n^p, p = 1/width: it goes as t^(p-1)."""
    n, p = 40, 1 / width
    model, average = (torch.nn.Linear(1, 1, bias=False).double().requires_grad_(False) for _ in range(2))
    weights = np.zeros(n)
    for t in range(1, n + 1):  # the model is 1 at step t alone: what is left of it in the average is its weight
        average.weight.zero_()
        for k in range(1, n + 1):
            model.weight.fill_(float(k == t))
            training._average(average, model, k, width)
        weights[t - 1] = average.weight.item()
    t = np.arange(1, n + 1)
    np.testing.assert_allclose(weights, (t**p - (t - 1) ** p) / float(n) ** p, rtol=1e-10, atol=n * EPS)
    assert weights.sum() == pytest.approx(1)


def test_the_first_average_is_the_model_itself():
    model, average = (torch.nn.Linear(2, 2) for _ in range(2))
    training._average(average, model, 1, 0.05)
    assert torch.equal(average.weight, model.weight)


def test_what_is_loaded_is_the_average_and_not_the_network(tiny, tmp_path):
    list(train(tiny, steps=5, out=tmp_path))
    tensors = checkpoint.read(tmp_path)[1]
    for name, value in df.load(tmp_path).state_dict().items():
        assert torch.equal(value, tensors[f"model.{name}"])
    assert not torch.equal(tensors["model.net.stem.weight"], tensors["net.net.stem.weight"])


@pytest.mark.parametrize("n, batch", [(10, 3), (12, 4), (7, 7), (5, 8)])
def test_every_epoch_sees_every_picture_but_the_remainder_once(n, batch):
    per_epoch = max(1, n // batch)
    state = new(df.data.moons(n), SMALL, df.Options(batch=batch), 3, "cpu")

    def drawn(step):
        state.step = step
        return state.indices()

    epochs = [torch.cat([drawn(epoch * per_epoch + k) for k in range(per_epoch)]).tolist() for epoch in range(6)]
    for seen in epochs:
        assert len(set(seen)) == len(seen) == min(n, per_epoch * batch) and set(seen) <= set(range(n))
    assert len(set(map(tuple, epochs))) == 6
    assert set().union(*epochs) == set(range(n))


def test_labels_are_dropped_at_the_stated_rate_and_else_kept(tiny, told):
    seen = []

    def loss(model, x0, label, random):
        seen.append((x0, label))
        return nothing(model, x0)

    list(train(tiny, steps=40, options=told(loss, batch=60, drop_label=0.3)))
    label = torch.cat([label for _, label in seen])
    n, dropped = len(label), (label == 3).double().mean().item()
    assert abs(dropped - 0.3) <= K * (0.3 * 0.7 / n) ** 0.5
    known = {picture.numpy().tobytes(): k for picture, k in zip(tiny.tensor(), tiny.labels)}
    pairs = [(picture, k) for x0, labels in seen for picture, k in zip(x0, labels.tolist())]
    assert all(k in (3, known[picture.numpy().tobytes()]) for picture, k in pairs)


def test_the_gradient_is_clipped(points, told, monkeypatch):
    """Its norm is at most `clip`, its direction kept."""
    seen = []
    monkeypatch.setattr(training, "_update", lambda state, rate, terms: [
        seen.append(torch.cat([p.grad.flatten() for p in state.model.parameters()])), setattr(state, "step", 1)])
    for clip in (1e6, 1e-3):
        list(train(points, steps=1, options=dataclasses.replace(SHORT, clip=clip)))
    free, clipped = seen
    assert free.norm() > 1e-2 and float(clipped.norm()) == pytest.approx(1e-3, rel=1e-3)
    torch.testing.assert_close(clipped / clipped.norm(), free / free.norm(), rtol=1e-4, atol=1e-6)


def test_a_batch_larger_than_the_data_is_all_of_it(points, tmp_path):
    """And is counted as what it is."""
    few = points.subset(5)
    records = list(train(few, images=12, out=tmp_path))
    assert [record.step for record in records] == [1, 2, 3]
    assert checkpoint.read(tmp_path)[0].training["images"] == 15
    assert records[0].rate == pytest.approx(5 / records[0].seconds)
