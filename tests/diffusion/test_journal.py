"""metrics.jsonl: a line every 20 steps, none lost, none twice, none cut."""

import json
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffusion import journal
from diffusion.journal import EVERY, NAME, Journal, read_lines
from diffusion.levels import Levels
from diffusion.training import Record


def record(step, loss=1.0, steps=1000, levels=None):
    return Record(step, steps, loss, 12.34, 0.5 * step, 1e-3, levels=levels)


def filled(folder, last, first=0, losses=None, flush=()):
    """A journal to which the steps after `first` up to `last` were told, flushed after some and at the end."""
    found = Journal(folder, first, [] if losses is None else losses)
    for step in range(first + 1, last + 1):
        found.add(record(step, loss=float(step)))
        if step in flush:
            found.flush()
    found.flush()
    return found


def test_a_line_has_the_mean_of_the_losses_since_the_line_before(tmp_path):
    filled(tmp_path, 2 * EVERY + 3)
    lines = read_lines(tmp_path)
    assert [line["step"] for line in lines] == [EVERY, 2 * EVERY]
    assert [line["loss"] for line in lines] == [(EVERY + 1) / 2, EVERY + (EVERY + 1) / 2]
    assert lines[0] == {"step": EVERY, "steps": 1000, "loss": 10.5, "learning_rate": 1e-3, "rate": 12.3,
                        "seconds": 10.0}


def test_the_last_step_has_a_line_of_its_own(tmp_path):
    found = Journal(tmp_path, 0, [])
    for step in (1, 2, 3):
        found.add(record(step, loss=step, steps=3))
    found.flush()
    assert [(line["step"], line["loss"]) for line in read_lines(tmp_path)] == [(3, 2.0)]


def test_levels_are_written_to_four_digits(tmp_path):
    levels = Levels(torch.ones(3).double(), 3)
    levels.add(torch.tensor([2.0]), torch.tensor([0.123456]))
    found = Journal(tmp_path, 0, [])
    found.add(record(EVERY, levels=levels))
    found.flush()
    assert read_lines(tmp_path)[0]["levels"] == [[2.0, 0.1235, 0.8]]


@given(stop=st.integers(1, 99), lost=st.integers(0, 60), flush=st.sets(st.integers(1, 99)))
def test_a_journal_that_is_taken_up_again_is_the_one_that_went_on(tmp_path_factory, stop, lost, flush):
    """The checkpoint is of step `stop`; the journal had gone `lost` steps further when the run was killed."""
    whole, parts = (tmp_path_factory.mktemp(name) for name in ("whole", "parts"))
    filled(whole, 100)
    losses: list[float] = []
    first = Journal(parts, 0, losses)
    for step in range(1, min(stop + lost, 100) + 1):
        first.add(record(step, loss=float(step)))
        if step in flush:
            first.flush()
        if step == stop:
            first.flush()  # as before every checkpoint, which keeps the losses
            kept = list(losses)
    filled(parts, 100, stop, kept, flush)
    assert (parts / NAME).read_text() == (whole / NAME).read_text()


def test_a_new_run_takes_no_lines_of_an_old_one(tmp_path):
    filled(tmp_path, 3 * EVERY)
    filled(tmp_path, EVERY)
    assert [line["step"] for line in read_lines(tmp_path)] == [EVERY]


def test_a_run_killed_while_the_journal_is_taken_up_loses_no_line(tmp_path, monkeypatch):
    """What is kept is written beside it first."""
    filled(tmp_path, 3 * EVERY)
    before = (tmp_path / NAME).read_text()

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        Journal(tmp_path, 2 * EVERY, [])
    assert (tmp_path / NAME).read_text() == before


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_line_that_was_cut_off_is_left_out_and_overwritten(tmp_path, lost):
    """Of three: the end of the line alone, ten characters, a line and ten characters."""
    filled(tmp_path, 3 * EVERY)
    whole = (tmp_path / NAME).read_text()
    cut = [1, 10, len(whole.splitlines()[-1]) + 11][lost]
    (tmp_path / NAME).write_text(whole[:-cut])
    assert [line["step"] for line in read_lines(tmp_path)] == [EVERY * k for k in range(1, 4 - lost)]
    filled(tmp_path, 3 * EVERY, (3 - lost) * EVERY)
    assert (tmp_path / NAME).read_text() == whole


def test_a_write_that_was_broken_off_is_done_again_and_leaves_no_line_twice(tmp_path):
    found = filled(tmp_path, EVERY)
    found.add(record(2 * EVERY))
    with (tmp_path / NAME).open("a") as file:  # half of what the next flush is about to write
        file.write(found.lines[0][:15])
    found.flush()
    found.flush()
    assert [line["step"] for line in read_lines(tmp_path)] == [EVERY, 2 * EVERY]
    assert len((tmp_path / NAME).read_text().splitlines()) == 2


def test_lines_that_could_not_be_written_are_written_later(tmp_path, monkeypatch):
    found = filled(tmp_path, EVERY)
    found.add(record(2 * EVERY))
    monkeypatch.setattr(type(found.path), "open", full)
    with pytest.raises(OSError, match="No space left"):
        found.flush()
    monkeypatch.undo()
    found.flush()
    assert [line["step"] for line in read_lines(tmp_path)] == [EVERY, 2 * EVERY]


def full(*args, **named):
    raise OSError(28, "No space left on device")


def test_a_file_that_someone_took_away_is_begun_anew(tmp_path):
    found = filled(tmp_path, EVERY)
    (tmp_path / NAME).unlink()
    found.add(record(2 * EVERY))
    found.flush()
    assert [line["step"] for line in read_lines(tmp_path)] == [2 * EVERY]


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    losses: list[float] = []
    filled(None, 2 * EVERY, losses=losses)
    assert losses == [] and list(tmp_path.iterdir()) == []


def test_lines_are_read_by_file_or_folder_and_of_nothing_there_are_none(tmp_path):
    assert read_lines(tmp_path) == [] == read_lines(tmp_path / "nowhere")
    filled(tmp_path, EVERY)
    assert read_lines(tmp_path) == read_lines(str(tmp_path / NAME))
    assert all(json.loads(text) for text in (tmp_path / NAME).read_text().splitlines())
    assert journal.NAME == "metrics.jsonl"
