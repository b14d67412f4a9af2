"""A training that is interrupted in any way and resumed ends with the same bits as one that never was."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from in_part import one_in
from tiny_training import TINY, run_tiny_training, same_training, tiny_training, write_clips

import minivivit.training.loop as loop
from minivivit import InputError
from minivivit.errors import MissingExtraError
from minivivit.training.checkpoints import generator_from_state, holds_training, read_state
from minivivit.training.log import Log, read_log
from minivivit.training.loop import make_step, train
from minivivit.training.run import resume_training

AUGMENTATION = {
    "crop_size": 16,
    "min_resize": 18,
    "do_random_flip": True,
    "do_jitter_scale": True,
    "scale_min_factor": 0.95,
    "do_rand_augment": True,
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimiser": "sgd", "accumulate": 2, "parallel": 2, "dtype": "float64"},
        {"mixup_alpha": 0.3, "label_smoothing": 0.1, "weight_decay": 0.1, "freeze": ["vivit.embeddings.*"]},
        {"ema": 0.9, "layer_decay": 0.8},
    ],
    ids=["adamw", "sgd", "mixup", "average"],
)
@pytest.mark.parametrize("stop_after", one_in(2, [6, 1]))
def test_a_resumed_training_ends_with_the_same_bits(tmp_path, changes, stop_after, monkeypatch):
    whole = run_tiny_training(tmp_path / "whole", **changes)

    training = tiny_training(tmp_path / "parts", **changes)
    interrupt_after(training, stop_after, monkeypatch)
    resumed = resume_training("motion", tmp_path / "parts")
    assert resumed.step == stop_after
    assert train(resumed)

    same_training(tmp_path / "whole", tmp_path / "parts")
    assert resumed.rng.bit_generator.state == whole.rng.bit_generator.state


def test_a_resumed_training_on_a_folder_keeps_its_place_in_the_epoch(tmp_path, monkeypatch):
    folder = str(write_clips(tmp_path / "clips"))
    changes = {"epochs": 3, "augmentation": AUGMENTATION, "validate_every": None}
    run_tiny_training(tmp_path / "whole", folder, **changes)
    training = tiny_training(tmp_path / "parts", folder, **changes)
    assert training.data.steps_per_epoch == 3
    interrupt_after(training, 4, monkeypatch)
    state = read_state(tmp_path / "parts" / "last")
    assert (state["epoch"], state["position"]) == (1, 1)
    train(resume_training(folder, tmp_path / "parts"))
    same_training(tmp_path / "whole", tmp_path / "parts")


def interrupt_after(training, steps, monkeypatch):
    """Train, with a Ctrl-C in the midst of the given step."""

    def step_with_interrupt(training):
        if training.step + 1 == steps:
            os.kill(os.getpid(), 2)
        return make_step(training)

    with monkeypatch.context() as context:
        context.setattr(loop, "make_step", step_with_interrupt)
        assert not train(training)
    assert training.step == steps


@pytest.mark.thorough
def test_a_training_killed_20_times_ends_with_the_same_bits(tmp_path):
    steps = 80
    run_tiny_training(tmp_path / "whole", steps=steps, checkpoint_every=1, parallel=2)
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "MPLCONFIGDIR": str(tmp_path)}
    command = [sys.executable, Path(__file__).with_name("kill_chain.py"), tmp_path / "killed", "20", str(steps)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    killed_at = list(map(int, result.stdout.splitlines()[-1].split()))
    assert len(killed_at) == 20
    assert len(set(killed_at)) > 10
    same_training(tmp_path / "whole", tmp_path / "killed")


def test_resuming_on_other_data_is_refused(tmp_path):
    folder = write_clips(tmp_path / "clips")
    tiny_training(tmp_path / "run", str(folder), epochs=1)
    (folder / "left" / "clip0.npy").unlink()
    with pytest.raises(InputError, match="has changed since"):
        resume_training(str(folder), tmp_path / "run")
    with pytest.raises(InputError, match="motion is not the data"):
        resume_training("motion", tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "content"), [("notes.rtf", b"left: moves to the left\n" * 9), ("clip1.npy", b"\x93NUMPY"), ("a.gif", b"")]
)
def test_a_broken_folder_is_found_before_anything_is_written(tmp_path, name, content):
    folder = write_clips(tmp_path / "clips")
    path = folder / "left" / name
    before = path.read_bytes() if path.exists() else None
    path.write_bytes(content)
    with pytest.raises((InputError, MissingExtraError), match=name):
        tiny_training(tmp_path / "run", str(folder), epochs=1)
    assert not (tmp_path / "run").exists()
    path.unlink() if before is None else path.write_bytes(before)
    assert train(tiny_training(tmp_path / "run", str(folder), epochs=1))  # the mended folder


@pytest.mark.parametrize("name", ["step", "generator", "log_length", "optimiser", "settings", "format"])
def test_a_damaged_state_is_refused_in_one_line(tmp_path, name):
    tiny_training(tmp_path / "run")
    path = tmp_path / "run" / "last" / "training_state.json"
    state = json.loads(path.read_text())
    state[name] = "nonsense"
    path.write_text(json.dumps(state))
    with pytest.raises(InputError) as error:
        resume_training("motion", tmp_path / "run")
    assert "\n" not in str(error.value)


def test_the_generator_goes_on_from_its_state():
    rng = numpy.random.default_rng(5)
    rng.random(7)
    rng.integers(10, dtype=numpy.uint32)  # leaves half a word behind, which is part of the state
    state = json.loads(json.dumps(rng.bit_generator.state))
    assert generator_from_state(state).random(3).tolist() == rng.random(3).tolist()
    with pytest.raises(InputError, match="generator"):
        generator_from_state({"bit_generator": "MT19937"})


def test_the_log_goes_on_where_the_checkpoint_was(tmp_path):
    path = tmp_path / "log.jsonl"
    log = Log(path)
    log.write(step=1)
    length, digest = log.sync()
    log.write(step=2)
    with open(path, "ab") as file:
        file.write(b'{"step": 3, "lo')  # a kill in the midst of a line
    assert [entry["step"] for entry in read_log(path)] == [1, 2]
    log = Log(path, length, digest)
    assert log.sync() == (length, digest)
    log.write(step=22)
    assert [entry["step"] for entry in read_log(path)] == [1, 22]
    with pytest.raises(InputError, match="put back the log"):
        Log(path, 10_000)


def test_without_a_checkpoint_there_is_nothing_to_resume(tmp_path):
    assert not holds_training(tmp_path)
    tiny_training(tmp_path, **{**TINY, "seed": 1})
    assert holds_training(tmp_path)
