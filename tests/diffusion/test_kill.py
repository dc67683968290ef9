"""A run that is killed at any moment is not lost, and becomes what it would have been; a full disk loses none either.

The runs are processes of their own, of which the tests end some by kill -9. Their checkpoints are written slowly, one
after every step, so that most kills come while one is being written.
"""

import json
import multiprocessing
import os
import resource
import signal
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import diffusion as df
from diffusion import checkpoint
from tests.diffusion.conftest import SMALL, clouds
from tests.diffusion.test_training import FILE, SHORT, assert_same

STEPS = 150
PROCESSES = multiprocessing.get_context("forkserver")  # a fork of this process would share its threads' locks
PROCESSES.set_forkserver_preload([__name__])


def slowly(pause):
    """`save_file` with a rest in the middle of the file."""
    def save_file(tensors, path, metadata):
        content = safetensors.torch.save(tensors, metadata)
        with Path(path).open("wb") as file:
            file.write(content[:len(content) // 2])
            file.flush()
            time.sleep(pause)
            file.write(content[len(content) // 2:])
    return save_file


def begun(out):
    """The run in `out`, or a new one."""
    torch.set_num_threads(1)
    if (out / FILE).exists():
        return df.train(clouds(), out=out, resume=True, save_every=0.0)
    return df.train(clouds(), out=out, steps=STEPS, network=SMALL, options=SHORT, save_every=0.0)


def run(out, pause):
    checkpoint.save_file = slowly(pause)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background processes may ignore
    try:
        list(begun(out))
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def started(function, *args):
    process = PROCESSES.Process(target=function, args=args)
    process.start()
    return process


def stamp(file):
    return (file.stat().st_mtime_ns, file.stat().st_ino) if file.exists() else None


def test_runs_killed_at_random_moments_become_the_run_that_was_not(tmp_path):
    """Ten times kill -9, three times Ctrl-C: there is always a checkpoint that can be read, of a step not before the
    last one's."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    first = started(run, whole, 0.0)
    random, reached, torn = np.random.default_rng(0), 0, 0
    for number in random.permutation([signal.SIGKILL] * 10 + [signal.SIGINT] * 3):
        before, process = stamp(parts / FILE), started(run, parts, 0.05)
        while stamp(parts / FILE) == before and process.is_alive():
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.15))
        os.kill(process.pid, number)
        process.join()
        assert process.exitcode == (-signal.SIGKILL if number == signal.SIGKILL else 130)
        step = checkpoint.read(parts)[0].training["step"]
        assert reached < step < STEPS
        reached, torn = step, torn + (parts / (FILE + ".part")).exists()
    assert torn >= 1  # else no kill came while the file was written
    last = started(run, parts, 0.0)
    for process in (first, last):
        process.join()
        assert process.exitcode == 0
    assert_same(whole, parts)
    assert not (parts / (FILE + ".part")).exists()


def filled(out, answer):
    """Five steps; then no file may be longer than half a checkpoint, as on a disk that is nearly full."""
    going, told = begun(out), {}
    for _ in range(5):
        next(going)
    half = (out / FILE).stat().st_size // 2
    resource.setrlimit(resource.RLIMIT_FSIZE, (half, half))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        next(going)
    told["warned"], told["step"] = [str(w.message) for w in caught], checkpoint.read(out)[0].training["step"]
    try:
        list(going)
    except OSError as error:
        told["error"] = str(error)
    answer.write_text(json.dumps(told))


@pytest.mark.filterwarnings("ignore:the checkpoint was not written")
def test_a_disk_that_fills_up_leaves_the_last_good_checkpoint(tmp_path):
    """A warning while the run goes on, an error at its end."""
    process = started(filled, tmp_path / "run", tmp_path / "answer")
    process.join()
    assert process.exitcode == 0
    told = json.loads((tmp_path / "answer").read_text())
    assert len(told["warned"]) == 1 and "the one before stays, and training goes on" in told["warned"][0]
    assert told["step"] == 4 == checkpoint.read(tmp_path / "run")[0].training["step"]
    assert f"{FILE} could not be written" in told["error"] and "File too large" in told["error"]
    assert [path.name for path in (tmp_path / "run").iterdir() if path.suffix == ".part"] == []
    last = started(run, tmp_path / "run", 0.0)  # with room again it goes on from there
    last.join()
    assert last.exitcode == 0 and checkpoint.read(tmp_path / "run")[0].training["step"] == STEPS
