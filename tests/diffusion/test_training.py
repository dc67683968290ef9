"""Training: it learns, it can be stopped at any step and resumed to the same bits, and it says no early."""

import dataclasses
import math
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import diffusion as df
from diffusion import checkpoint, training
from diffusion.losses import LOSSES
from tests.conftest import EPS, K
from tests.diffusion.conftest import TINY

SHORT = df.Options(batch=16, warm_up=3)
FILE = "checkpoint.safetensors"


def train(data, **options):
    return df.train(data, **{"network": TINY, "options": SHORT, **options})


@pytest.fixture(scope="module")
def learned(digits, tmp_path_factory):
    """80 steps on digits: the losses and the denoiser."""
    out = tmp_path_factory.mktemp("learned")
    network = df.UNetConfig(widths=(16, 32), embedding=32)
    options = df.Options(batch=32, warm_up=10, learning_rate=5e-3)
    losses = [record.loss for record in df.train(digits, steps=80, out=out, network=network, options=options)]
    return np.array(losses), df.load(out)


def test_the_loss_falls(learned):
    """The mean of the last 30 steps below that of the first 10, by far more than their standard errors."""
    losses, _ = learned
    first, last = losses[:10], losses[-30:]
    stderr = (first.var(ddof=1) / 10 + last.var(ddof=1) / 30) ** 0.5
    assert last.mean() + 2 * K * stderr < first.mean()


def test_the_loss_begins_at_that_of_the_gaussian(tiny):
    """F = 0: the target's mean square at the level sigma is (sigma^2 + s^2 rest)/r^2 on data whose mean squared
    distance from their mean is s^2 rest; over all of the data rest is 1, and so is the loss. On 16 of 120 pictures with
    a drawn noise it varies with their distances."""
    x = tiny.tensor()
    distance = (x - x.mean(0)).square().mean((1, 2, 3)).numpy()
    first = [next(train(tiny, steps=9, seed=seed)).loss for seed in range(8)]
    stderr = ((distance.std() / distance.mean()) ** 2 + 2 / 64) ** 0.5 / (8 * 16) ** 0.5
    assert abs(np.mean(first) - 1) <= K * stderr


def test_the_averaged_denoiser_is_better_than_the_gaussian_where_data_differ_from_one(learned, digits):
    """The error |D - x_0|^2 on fresh noise, at levels where a digit is neither plain nor lost; paired, so with one
    standard error."""
    _, model = learned
    x0 = digits.tensor()[:100]
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(9))
    gaussian = df.exact.Gaussian(model.center, model.spread)
    for sigma in (0.5, 1.5):
        x, label = x0 + sigma * noise, torch.from_numpy(digits.labels[:100])
        errors = [((D - x0) ** 2).mean((1, 2, 3)) for D in (model(x, 1.0, sigma, label), gaussian(x, 1.0, sigma))]
        gain = (errors[1] - errors[0]).numpy()
        assert gain.mean() > K * gain.std() / 10, sigma


def test_every_step_is_recorded(tiny):
    records = list(train(tiny, steps=4))
    assert [record.step for record in records] == [1, 2, 3, 4]
    assert all(record.steps == 4 and record.loss > 0 and record.rate > 0 for record in records)
    assert np.all(np.diff([record.seconds for record in records]) > 0)


def test_it_is_the_same_run_for_the_same_seed(tiny):
    one, same, other = ([r.loss for r in train(tiny, steps=3, seed=seed)] for seed in (0, 0, 1))
    assert one == same and set(one).isdisjoint(other)


def test_every_step_of_every_seed_draws_its_own_pictures_and_noise(tiny, monkeypatch):
    """A generator of torch keeps 32 bits of its seed: the seed must be among them, and the step."""
    drawn = []

    def loss(model, x0, label, random):
        drawn.append((x0, torch.randn(4, generator=random)))
        return 0.0 * sum(p.sum() for p in model.parameters())

    monkeypatch.setitem(LOSSES, "edm", lambda: loss)
    for seed in (0, 1, 2**16, 2**31):
        list(train(tiny, steps=10, seed=seed))  # 7 steps an epoch
    for which in (0, 1):
        assert len({entry[which].numpy().tobytes() for entry in drawn}) == 40
    again = list(drawn)
    drawn.clear()
    list(train(tiny, steps=10, seed=2**16))
    assert all(torch.equal(a, b) for one, other in zip(drawn, again[20:30]) for a, b in zip(one, other))


def test_the_caller_s_random_numbers_are_left_alone(tiny):
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    list(train(tiny, steps=1))
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_loss_trains_in_every_precision(tiny, loss, precision):
    options = dataclasses.replace(SHORT, loss=loss, precision=precision)
    losses = [record.loss for record in train(tiny, steps=2, options=options)]
    exact = [record.loss for record in train(tiny, steps=2, options=dataclasses.replace(SHORT, loss=loss))]
    np.testing.assert_allclose(losses, exact, rtol=0.05)  # bfloat16 has 8 bits, a relative error of 2^-9 a number


# Stop and resume


def test_a_resumed_run_is_the_run_that_was_never_stopped(tiny, tmp_path):
    """Every number, bit for bit: losses, weights, their average, Adam's moments. Both runs are planned for 6 steps."""
    whole = list(train(tiny, steps=6, out=tmp_path / "whole"))
    first = train(tiny, steps=6, out=tmp_path / "parts")
    begun = list(islice(first, 3))
    first.close()
    rest = list(df.train(tiny, steps=6, out=tmp_path / "parts", resume=True))
    assert [r.loss for r in begun + rest] == [r.loss for r in whole]
    assert [r.step for r in rest] == [4, 5, 6]
    (one, exact), (other, resumed) = (checkpoint.read(tmp_path / name) for name in ("whole", "parts"))
    assert exact.keys() == resumed.keys()
    for name in exact:
        assert torch.equal(exact[name], resumed[name]), name
    histories = [{k: v for k, v in header.training.items() if k != "seconds"} for header in (one, other)]
    assert histories[0] == histories[1] and one.network == other.network and one.spread == other.spread


def test_a_resumed_run_keeps_its_plan_seed_and_options(tiny, tmp_path):
    options = dataclasses.replace(SHORT, batch=8, drop_label=0.5)
    run = train(tiny, steps=5, out=tmp_path, seed=4, options=options)
    list(islice(run, 2))
    run.close()
    records = list(df.train(tiny, out=tmp_path, resume=True))
    assert [record.step for record in records] == [3, 4, 5]
    history = checkpoint.read(tmp_path)[0].training
    assert history["seed"] == 4 and history["steps"] == history["step"] == 5 and history["images"] == 40
    assert df.Options(**history["options"]) == options


def test_a_finished_run_has_nothing_left_to_do_and_can_be_lengthened(tiny, tmp_path):
    list(train(tiny, steps=2, out=tmp_path))
    assert list(df.train(tiny, out=tmp_path, resume=True)) == []
    assert [record.step for record in df.train(tiny, steps=4, out=tmp_path, resume=True)] == [3, 4]


def test_a_run_that_is_broken_off_leaves_its_checkpoint(tiny, tmp_path):
    for record in train(tiny, steps=10, out=tmp_path):
        if record.step == 2:
            break
    assert checkpoint.read(tmp_path)[0].training["step"] == 2
    assert df.load(tmp_path)(torch.zeros(1, 1, 8, 8), 1.0, 1.0).isfinite().all()


def test_ctrl_c_leaves_the_checkpoint_of_the_last_whole_step(tiny, tmp_path):
    run = train(tiny, steps=10, out=tmp_path)
    list(islice(run, 3))
    with pytest.raises(KeyboardInterrupt):
        run.throw(KeyboardInterrupt)
    assert checkpoint.read(tmp_path)[0].training["step"] == 3


def test_it_saves_as_often_as_was_asked(tiny, tmp_path):
    run = train(tiny, steps=10, out=tmp_path, save_every=0.0)
    for k in range(1, 4):
        next(run)
        assert k == 1 or checkpoint.read(tmp_path)[0].training["step"] == k - 1  # saved when the caller comes back
    run.close()


def test_without_a_folder_nothing_is_written(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    list(train(tiny, steps=1))
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


def test_the_network_is_by_default_that_of_the_data(tmp_path):
    data = df.Images(np.zeros((4, 3, 12, 12), np.uint8) + np.arange(4, dtype=np.uint8)[:, None, None, None] * 60,
                     np.arange(4) % 2, ("x", "y"), "plain")
    run = df.train(data, steps=2, options=SHORT, out=tmp_path)
    next(run)
    run.close()
    network = checkpoint.read(tmp_path)[0].network
    assert (network.size, network.channels, network.classes) == (12, 3, 2)


def test_minutes_become_a_number_of_steps(tiny):
    """0.01 minutes: the plan is made once a tenth of them is over, and kept."""
    records = list(train(tiny, minutes=0.01))
    plans = [record.steps for record in records]
    known = [plan for plan in plans if plan is not None]
    assert len(set(known)) == 1 and plans == [None] * (len(plans) - len(known)) + known
    assert records[-1].step == known[0]
    at = len(plans) - len(known)
    assert records[at].seconds > 0.06 and (at == 0 or records[at - 1].seconds <= 0.06)
    assert known[0] == max(at + 1, round((at + 1) * 0.6 / records[at].seconds))


# When it goes wrong


def broken(value):
    return lambda: lambda model, x0, label, random: value * sum(p.sum() for p in model.parameters())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run(tiny, tmp_path, monkeypatch, value):
    run = train(tiny, steps=9, out=tmp_path, save_every=0.0)
    list(islice(run, 2))
    monkeypatch.setitem(LOSSES, "edm", broken(value))
    with pytest.raises(FloatingPointError, match=r"the loss is -?(nan|inf) at step 3; the last checkpoint is kept"):
        next(run)
    header, tensors = checkpoint.read(tmp_path)
    assert header.training["step"] == 2 and all(t.isfinite().all() for t in tensors.values())


def test_weights_that_diverged_do_not_replace_the_last_checkpoint(tiny, tmp_path):
    """The step before the loss is found to be not finite has already spoilt the weights."""
    list(train(tiny, steps=2, out=tmp_path))
    header, tensors = checkpoint.read(tmp_path)
    wild = {**header.training, "options": {**header.training["options"], "learning_rate": 1e30}}
    checkpoint.save(tmp_path / FILE, dataclasses.replace(header, training=wild), tensors)
    kept = (tmp_path / FILE).read_bytes()
    with pytest.raises(FloatingPointError, match="the last checkpoint is kept"):
        list(df.train(tiny, steps=9, out=tmp_path, resume=True))
    assert (tmp_path / FILE).read_bytes() == kept


@pytest.mark.parametrize("given, message", [
    ({}, "give minutes or steps, one of them; got minutes=None, steps=None"),
    ({"minutes": 1.0, "steps": 2}, "give minutes or steps, one of them"),
    ({"steps": 0}, "minutes and steps must be positive, got minutes=None, steps=0"),
    ({"steps": -5}, "minutes and steps must be positive"), ({"minutes": -1.0}, "minutes and steps must be positive"),
    ({"steps": 5, "resume": True}, "resume=True needs out=, the folder that holds the checkpoint to go on from"),
])
def test_arguments_that_contradict_each_other_are_refused_at_once(tiny, given, message):
    with pytest.raises(ValueError, match=message):
        train(tiny, **given)


def test_nothing_can_be_resumed_where_nothing_is(tiny, tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        list(df.train(tiny, steps=5, out=tmp_path / "nowhere", resume=True))
    assert not (tmp_path / "nowhere").exists()


def test_other_pictures_than_the_checkpoint_s_are_refused(tiny, digits, tmp_path):
    list(train(tiny, steps=1, out=tmp_path))
    with pytest.raises(ValueError):
        list(df.train(digits, steps=2, out=tmp_path, resume=True))


@pytest.mark.parametrize("changed", [{"size": 12}, {"channels": 3}, {"classes": 2}])
def test_a_network_for_other_pictures_is_refused(tiny, changed):
    with pytest.raises(ValueError):
        list(train(tiny, steps=1, network=dataclasses.replace(TINY, **changed), seed=0))


def test_a_run_by_minutes_that_stopped_before_its_plan_needs_to_be_told_when_to_stop(tiny, tmp_path):
    run = train(tiny, minutes=20.0, out=tmp_path)
    next(run)
    run.close()
    assert checkpoint.read(tmp_path)[0].training["steps"] is None
    with pytest.raises(ValueError, match="minutes"):
        list(islice(df.train(tiny, out=tmp_path, resume=True), 2))


def test_a_file_with_the_average_alone_cannot_be_resumed(tiny, tmp_path):
    list(train(tiny, steps=1, out=tmp_path))
    header, tensors = checkpoint.read(tmp_path, prefix="model.")
    checkpoint.save(tmp_path / FILE, header, tensors)
    with pytest.raises(ValueError):
        list(df.train(tiny, steps=2, out=tmp_path, resume=True))


@pytest.mark.parametrize("options, message", [
    ({"batch": 0}, "batch must be positive"), ({"learning_rate": -1.0}, "learning_rate must be positive"),
    ({"warm_up": 0}, "warm_up must be positive"), ({"decay": 0.0}, "decay must be positive"),
    ({"clip": 0.0}, "clip must be positive"), ({"averaging": 0.0}, "averaging must be positive"),
    ({"learning_rate": math.nan}, "learning_rate must be positive"),
    ({"loss": "mse"}, "loss must be one of edm, ddpm; got 'mse'"),
    ({"precision": "float16"}, "precision must be one of float32, bfloat16; got 'float16'")])
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        df.Options(**options)


# Formulas


@given(st.integers(1, 300), st.floats(0.01, 1.0), st.integers(1, 2000))
def test_the_learning_rate_warms_up_stays_and_falls_to_nought(warm_up, decay, steps):
    options = df.Options(warm_up=warm_up, decay=decay)
    factor = np.array([training.schedule(k, k / steps, options) for k in range(steps)])
    k = np.arange(steps)
    up, down = (k + 1) / warm_up, (1 - k / steps) / decay
    np.testing.assert_allclose(factor, np.minimum(1, np.minimum(up, down)), rtol=8 * EPS)
    assert (factor > 0).all() and training.schedule(steps, 1.0, options) == 0
    assert training.schedule(steps + 5, 1.1, options) == 0


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
    epochs = [torch.cat([training._indices(n, batch, 3, epoch * per_epoch + k) for k in range(per_epoch)]).tolist()
              for epoch in range(6)]
    for seen in epochs:
        assert len(set(seen)) == len(seen) == min(n, per_epoch * batch) and set(seen) <= set(range(n))
    assert len(set(map(tuple, epochs))) == 6
    assert set().union(*epochs) == set(range(n))


def test_labels_are_dropped_at_the_stated_rate_and_else_kept(tiny, monkeypatch):
    seen = []

    def loss(model, x0, label, random):
        seen.append((x0, label))
        return 0.0 * sum(p.sum() for p in model.parameters())

    monkeypatch.setitem(LOSSES, "edm", lambda: loss)
    list(train(tiny, steps=40, options=df.Options(batch=60, drop_label=0.3)))
    label = torch.cat([label for _, label in seen])
    n, dropped = len(label), (label == 3).double().mean().item()
    assert abs(dropped - 0.3) <= K * (0.3 * 0.7 / n) ** 0.5
    known = {picture.numpy().tobytes(): k for picture, k in zip(tiny.tensor(), tiny.labels)}
    pairs = [(picture, k) for x0, labels in seen for picture, k in zip(x0, labels.tolist())]
    assert all(k in (3, known[picture.numpy().tobytes()]) for picture, k in pairs)


def test_a_batch_larger_than_the_data_is_all_of_it(tiny):
    assert next(train(tiny.subset(5), steps=1, options=SHORT)).loss > 0


def test_a_finished_run_is_not_overwritten(tiny, tmp_path):
    list(train(tiny, steps=1, out=tmp_path))
    kept = (tmp_path / FILE).read_bytes()
    with pytest.raises(FileExistsError, match="already holds a checkpoint; resume=True goes on from it"):
        train(tiny, steps=1, out=tmp_path)
    with pytest.raises(ValueError, match="a resumed run keeps the options and the network of its checkpoint"):
        df.train(tiny, steps=2, out=tmp_path, resume=True, options=df.Options(loss="ddpm"))
    assert (tmp_path / FILE).read_bytes() == kept
