"""A training that is killed at any call to the file system, as often as one likes, ends with the same bits."""

import argparse
import errno
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from file_system_calls import Photograph, develop, photograph, watched
from tiny_training import TINY

from minivivit.cli import main
from minivivit.commands import train as command
from minivivit.training import loop

ALL = bool(os.environ.get("MINIVIVIT_ALL_KILLS"))
MODEL_FILES = ("config.json", "model.safetensors", "preprocessor_config.json")
END = {"", "/last", "/best", "/log.jsonl", *(f"/best/{name}" for name in MODEL_FILES)} | {
    f"/last/{name}" for name in (*MODEL_FILES, "optimiser.safetensors", "training_state.json")
}


class Known(Exception):
    """The training has been opened, and from here on has been seen before."""


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    """Of a training with a checkpoint a step, of which the first and the last are the best so far."""
    monkeypatch.setattr(loop, "draw_curves", lambda entries, path: None)  # matplotlib takes longer than the training
    settings = tmp_path / "settings.json"
    settings.write_text(
        json.dumps(
            {**TINY, "steps": 2, "warm_up": 0, "checkpoint_every": 1, "validate_every": 2, "validation_clips": 1}
        )
    )
    parser = argparse.ArgumentParser()
    command.add_train_arguments(parser)
    return parser.parse_args(["motion", "--output", str(tmp_path / "run"), "--config", str(settings), "--resume"])


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
    assert (
        len(opened) == 4
    )  # what was opened: the checkpoints after 0, 1 and 2 steps; the first without a log, and with
    assert len(ends) == 1
    assert {name for name, _ in ends.pop()} == END


def test_a_full_disk_costs_nothing_but_the_room(arguments, capsys, monkeypatch):
    """Wherever it fills up: one line that names a file of it, no checkpoint is lost, and with room it goes on."""
    output, calls, expected = Path(arguments.output), [], set()
    argv = ["train", "motion", "--output", arguments.output, "--config", arguments.config, "--resume"]
    with watched(lambda name, _: (calls.append(name), expected.add(photograph(output)))):
        assert main(argv) == 0
    end = photograph(output)
    takes_room = [index for index, name in enumerate(calls) if name in ("open", "write", "fsync", "mkdir")]
    for first in takes_room if ALL else takes_room[::7]:
        shutil.rmtree(output)
        fill_up(first, argv, output, capsys)
        shot = photograph(output)
        assert not [name for name, _ in shot if ".part" in name or ".training-lock" in name]
        assert (output / "last" / "training_state.json").exists() == ("/last/training_state.json" in dict(shot))
        assert main(argv) == 0, capsys.readouterr().err
        assert photograph(output) == end


def fill_up(first: int, argv: list[str], output: Path, capsys) -> None:
    """Run the command with a disk that is full from the given call on."""
    seen = iter(range(10**9))

    def fail(name, arguments):
        if next(seen) >= first and name in ("open", "write", "fsync", "mkdir"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *arguments[:1] * (name in ("open", "mkdir")))

    capsys.readouterr()
    with watched(fail):
        assert main(argv) == 2
    message = capsys.readouterr().err
    assert re.fullmatch(f"minivivit: error: .*No space left on device.*{re.escape(str(output))}.*\n", message), message
