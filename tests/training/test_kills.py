"""A training that is killed at any call to the file system, as often as one likes, ends with the same bits."""

import argparse
import errno
import itertools
import json
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from file_system_calls import Photograph, develop, photograph, watched
from tiny_training import TINY, TINY_MODEL

from minivivit.cli import main
from minivivit.commands import train as command
from minivivit.commands.experiments import ablate, ablation_figures, variants
from minivivit.training.checkpoints import read_state
from minivivit.training.experiments import ablation_runs, ablations
from minivivit.training.experiments import variants as experiment

ALL = bool(os.environ.get("MINIVIVIT_ALL_KILLS"))
TAKE_ROOM = ("open", "write", "fsync", "mkdir")
MODEL_FILES = ("config.json", "model.safetensors", "preprocessor_config.json")
END = {"", "/last", "/best", "/averaged", "/log.jsonl", "/curves.png"} | {
    f"/{directory}/{name}" for directory in ("best", "averaged") for name in MODEL_FILES
}
END |= {f"/last/{name}" for name in (*MODEL_FILES, "optimiser.safetensors", "training_state.json")}


class Known(Exception):
    """The training has been opened, and from here on has been seen before."""


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    """Of a training with a checkpoint a step, of which the first and the last are the best so far."""
    settings = tmp_path / "settings.json"
    settings.write_text(
        json.dumps(
            {
                **TINY,
                **{"steps": 2, "warm_up": 0, "checkpoint_every": 1, "validate_every": 2, "validation_clips": 1},
                **{"ema": 0.9, "layer_decay": 0.8},
            }
        )
    )
    parser = argparse.ArgumentParser()
    command.add_train_arguments(parser)
    return parser.parse_args(["motion", "--output", str(tmp_path / "run"), "--config", str(settings), "--resume"])


@pytest.mark.thorough
def test_after_a_kill_at_any_call_the_training_ends_with_the_same_bits(arguments, monkeypatch):
    """Every state of the disk between two calls is resumed from, and so is every state that occurs in doing so.

    What a training does once it has been opened depends on what it was opened from. So from each such state of the disk
    it goes on to its end only once, unless all kills are asked for.
    """
    output, opened, known = Path(arguments.output), set(), set()
    waiting: list[Photograph] = [()]  # nothing is there
    really_train = command.train

    def train_once(training):
        shot = photograph(output)
        if shot in opened and not ALL:
            raise Known
        opened.add(shot)
        return really_train(training)

    def look(name, call_arguments):
        shot = photograph(output)
        if shot not in known:
            known.add(shot)
            waiting.append(shot)
            assert len(known) < 1000, "what kills leave behind grows"

    monkeypatch.setattr(command, "train", train_once)
    ends = set()
    while waiting:
        develop(waiting.pop(), output)
        try:
            with watched(look):
                assert command.run_train(arguments) == 0
            ends.add(photograph(output))
        except Known:
            pass
    assert len(known) > 200
    # What was opened: the checkpoints after 0, 1 and 2 steps; the first without a log and with an empty one, the last
    # without curves and with.
    assert len(opened) == 5
    assert len(ends) == 1
    assert {name for name, _ in ends.pop()} == END


@pytest.mark.thorough
def test_a_full_disk_costs_nothing_but_the_room(arguments, capsys):
    """Wherever it fills up: one line that names a file of it, no checkpoint is lost, and with room it goes on."""
    output = Path(arguments.output)
    argv = ["train", "motion", "--output", arguments.output, "--config", arguments.config, "--resume"]
    calls: list[tuple[str, int]] = []
    with watched(lambda name, _: calls.append((name, last_step(output)))):
        assert main(argv) == 0
    end = photograph(output)
    takes_room = [index for index, (name, _) in enumerate(calls) if name in TAKE_ROOM]
    for first in takes_room if ALL else takes_room[::7]:
        shutil.rmtree(output)
        fill_up(first, argv, capsys)
        assert last_step(output) >= calls[first][1]
        assert not [name for name, _ in photograph(output) if ".part" in name or ".training-lock" in name]
        assert main(argv) == 0, capsys.readouterr().err
        assert photograph(output) == end


def last_step(output: Path) -> int:
    """The step of the last checkpoint that counts, -1 for none."""
    for place in (".next-checkpoint", "last"):
        if (output / place / "training_state.json").exists():
            return read_state(output / place)["step"]
    return -1


def fill_up(first: int, argv: list[str], capsys) -> None:
    """Run the command with a disk that is full from the given call on."""
    seen = itertools.count()

    def fail(name, arguments):
        if next(seen) >= first and name in TAKE_ROOM:
            path = arguments[:1] if name in ("open", "mkdir") else ()  # the others know no name
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *path)

    capsys.readouterr()
    with watched(fail):
        assert main(argv) == 2
    line = capsys.readouterr().err
    assert re.fullmatch(
        rf"minivivit: error: {re.escape(argv[3])}.* cannot be written \(No space left on device\); .*\n", line
    ), line


def check_all_kills(argv, output, capsys):
    """After a kill at any call of the command (by default, at some), it ends with the same files."""
    known: dict[Photograph, None] = {}
    with watched(lambda name, arguments: known.setdefault(photograph(output))):
        assert main(argv) == 0
    end = photograph(output)
    assert not [name for name, _ in end if ".part" in name or ".training-lock" in name]
    for shot in [*known][:: 1 if ALL else 3]:
        develop(shot, output)
        assert main(argv) == 0, capsys.readouterr().err
        assert photograph(output) == end


def test_a_comparison_of_variants_that_is_killed_goes_on(tmp_path, monkeypatch, capsys):
    """With two of them, in this process: the same tables and models."""
    output, settings = tmp_path / "out", tmp_path / "settings.json"
    model = {name: value for name, value in TINY_MODEL.items() if "drop" not in name}
    settings.write_text(json.dumps({"batch_size": 2, "warm_up": 0, "model": {**model, "num_hidden_layers": 1}}))
    encoding = experiment.ENCODINGS[0]
    for name, value in (("VARIANTS", (experiment.IMAGE_MODEL, encoding)), ("MODELS", ()), ("ENCODINGS", (encoding,))):
        monkeypatch.setattr(variants, name, value)
    monkeypatch.setattr(variants, "_notes", lambda *arguments: ["notes"])
    monkeypatch.setattr(variants, "can_start_processes", lambda: False)
    monkeypatch.setattr(experiment, "time", SimpleNamespace(perf_counter=lambda: 0.0))
    argv = ["variants", "--output", str(output), "--config", str(settings), "--steps", "1", "--clips", "1"]
    check_all_kills(argv, output, capsys)


def test_ablations_that_are_killed_go_on(tmp_path, monkeypatch, capsys):
    """With a training from scratch and one from an image model, in this process: the same figures."""
    output = tmp_path / "out"
    trials = [ablations.Trial("Model 2", 8), ablations.Trial("Model 2", 8, "central_frame")]
    for module in (ablate, ablation_figures):
        monkeypatch.setattr(module, "all_trials", lambda: trials)
    monkeypatch.setattr(ablate, "ablation_page", lambda *arguments: "a page")
    monkeypatch.setattr(ablate, "draw_ablations", lambda *arguments: False)
    monkeypatch.setattr(ablate, "can_start_processes", lambda: False)
    monkeypatch.setattr(ablation_runs, "IMAGE_STEPS", 1)
    monkeypatch.setattr(ablation_runs, "time", SimpleNamespace(perf_counter=lambda: 0.0))
    monkeypatch.setattr(ablations, "SETTINGS", {**ablations.SETTINGS, "batch_size": 2})
    monkeypatch.setattr(ablations, "MODEL", {**ablations.MODEL, "hidden_size": 8, "num_hidden_layers": 1})
    argv = ["ablate", "--output", str(output), "--steps", "1", "--clips", "1", "--seeds", "1"]
    check_all_kills(argv, output, capsys)
