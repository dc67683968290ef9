"""Snapshots of a training: the samples of their moments, from the same noises, and a training that does not notice."""

import pytest
import torch

import diffusion as df
from diffusion.data import Points

OPTIONS = df.Options(batch=16, warm_up=3)
NETWORK = df.MLPConfig((1, 8, 8), classes=3, width=16, blocks=1)


def training(data, **options):
    return df.train(data, **{"steps": 45, "network": NETWORK, "options": OPTIONS, "seed": 4, **options})


@pytest.mark.parametrize("first, steps, taken", [
    (10, 45, [10, 20, 40, 45]), (10, 40, [10, 20, 40]), (1, 5, [1, 2, 4, 5]), (100, 7, [7])])
def test_they_are_taken_at_doubled_steps_and_at_the_end(first, steps, taken, tiny):
    shots = df.Snapshots(2, first=first, steps=2)
    assert [record.step for record in shots.taken(training(tiny, steps=steps))] == list(range(1, steps + 1))
    assert [shot.step for shot in shots.kept] == taken
    seconds = [shot.seconds for shot in shots.kept]
    assert seconds == sorted(seconds) and seconds[0] > 0


def test_they_are_what_the_average_of_the_moment_draws_from_the_same_noises(tiny):
    """Of every step's model: that of step 20 is drawn again, while it is the model, and by the run that stops there."""
    how = {"steps": 3, "method": df.dpmpp_2m}
    shots, drawn = df.Snapshots(4, first=10, seed=7, **how), {}
    for record in shots.taken(training(tiny)):
        if record.step in (10, 20):
            drawn[record.step] = df.sample(record.model, 4, label=[0, 1, 2, 0], seed=7, **how).samples
    for shot in shots.kept[:2]:
        assert torch.equal(shot.samples, drawn[shot.step])
    assert not torch.equal(shots.kept[0].samples, shots.kept[1].samples)


@pytest.mark.parametrize("label", [2, [2, 2, 2]])
def test_a_class_can_be_asked_for(label, tiny):
    shots = df.Snapshots(3, first=5, label=label, seed=1, steps=2)
    for record in shots.taken(training(tiny, steps=5)):
        last = record
    assert torch.equal(shots.kept[0].samples, df.sample(last.model, 3, label=2, seed=1, steps=2).samples)


def test_the_training_does_not_notice(tiny, tmp_path):
    """Losses, weights and the caller's random numbers are those without snapshots."""
    torch.manual_seed(5)
    plain = list(training(tiny, out=tmp_path / "plain"))
    after = torch.rand(1)
    torch.manual_seed(5)
    watched = list(df.Snapshots(2, first=1, steps=2).taken(training(tiny, out=tmp_path / "watched")))
    assert torch.equal(torch.rand(1), after)
    assert [(r.step, r.loss, r.learning_rate) for r in plain] == [(r.step, r.loss, r.learning_rate) for r in watched]
    one, other = (df.load(tmp_path / name).state_dict() for name in ("plain", "watched"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_points_and_data_without_labels_have_snapshots_too():
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0)).numpy()
    data = Points(x, torch.zeros(60).long().numpy(), ("all",), "cloud")
    shots = df.Snapshots(5, first=4, steps=2)
    list(shots.taken(df.train(data, steps=4, options=OPTIONS, network=df.MLPConfig((2,), width=8, blocks=1))))
    assert shots.kept[0].samples.shape == (5, 2)


@pytest.mark.parametrize("options", [{"n": 0}, {"first": 0}])
def test_none_at_all_is_refused(options):
    with pytest.raises(ValueError, match="at least 1"):
        df.Snapshots(**options)
