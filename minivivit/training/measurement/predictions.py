"""Answers in a CSV file that grows block by block: what a kill leaves of it is gone on with, shards of it are merged.

Each row holds what it takes to make every figure anew::

    run,index,clips,clip,label,prediction,prediction_name,rank,joint_rank,loss,top,damage
    5e0c...,0,19404,P01/P01_11 [0 : 113],2 0,2 0,plate + take,1 1,1,0.1053,2 0:0.9013;3 0:0.05;...,

`run` says of which measurement it is: the same weights, clips, labels and views. `index` is the clip's place among all
`clips`. With several heads, labels, predictions and ranks have one number a head. Nothing else is needed to go on: rows
are in order, so the last whole block says where.
"""

import csv
import hashlib
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.files.atomic import atomic_path, naming_errors
from minivivit.files.tensor_data import check_is_file, listed, quoted
from minivivit.training.lock import lock_file
from minivivit.training.measurement.answers import TOP, Answer

COLUMNS = (
    *("run", "index", "clips", "clip", "label", "prediction", "prediction_name", "rank", "joint_rank", "loss", "top"),
    "damage",
)
HEADER = (",".join(COLUMNS) + "\n").encode()
LARGEST_FILE = 1 << 33
Row = tuple[str, int, Answer, str]  # run, number of clips, answer, and the name of the class that was guessed


class Predictions:
    """An open file of answers, of which some may be there already (`opened_predictions`).

    Attributes
    ----------
    answers : list of Answer
        Those of the whole blocks that the file held when it was opened.
    """

    def __init__(self, file: BinaryIO, run: str, total: int, config: VivitConfig, answers: list[Answer]):
        self.answers = answers
        self._file, self._run, self._total, self._config = file, run, total, config

    def append(self, answers: Sequence[Answer]) -> None:
        """Write the answers of a block."""
        self._file.write(_rows(answers, self._run, self._total, self._config))
        self._file.flush()


def run_name(content: dict[str, Any]) -> str:
    """A name for a measurement: 16 hexadecimal digits of the SHA-256 of what decides it."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def opened_predictions(
    path: Path, run: str, total: int, config: VivitConfig, first: int, last: int, block: int
) -> Iterator[Predictions]:
    """The file of predictions of clips `first` up to but without `last`, made if it is not there.

    What a kill has left of a block is cut off.

    Raises
    ------
    InputError
        When the file holds something else, predictions of another measurement or of other clips, or another process
        writes to it.
    """
    if os.path.lexists(path) and not path.is_file():
        raise InputError(f"{path} is no file; expected the name of one for the predictions")
    with naming_errors(path), open(path, "ab+") as file:
        if not lock_file(file.fileno()):
            raise InputError(f"{path} is being written by another evaluation; wait for its end, or choose another name")
        file.seek(0)
        length, answers = _whole_blocks(file, path, run, total, first, last, block)
        file.truncate(length)
        if length == 0:
            file.write(HEADER)
            file.flush()
        yield Predictions(file, run, total, config, answers)
        os.fsync(file.fileno())


def _whole_blocks(
    file: BinaryIO, path: Path, run: str, total: int, first: int, last: int, block: int
) -> tuple[int, list[Answer]]:
    """How many bytes of a file to keep, and the answers in them."""
    head = file.readline(len(HEADER) + 1)
    if head != HEADER:
        if HEADER.startswith(head) and not file.read(1):
            return 0, []
        raise InputError(f"{path} holds something else than predictions; choose another name, nothing is overwritten")
    length, whole, kept = len(HEADER), len(HEADER), 0
    answers: list[Answer] = []
    for line in file:
        entry = _parsed(line)
        if entry is None:
            break
        found, clips, answer, _ = entry
        if found != run or clips != total:
            raise InputError(
                f"{path} holds predictions of another measurement (other weights, clips, labels or views); choose "
                "another name"
            )
        if answer.index != first + len(answers) or answer.index >= last:
            if not answers:
                raise InputError(f"{path} begins with clip {answer.index}, not with {first}: is it of another --shard?")
            break
        answers.append(answer)
        length += len(line)
        if len(answers) % block == 0 or answer.index == last - 1:
            whole, kept = length, len(answers)
    return whole, answers[:kept]


def merge_predictions(paths: Sequence[Path], config: VivitConfig) -> tuple[str, list[Answer]]:
    """The answers in the files of all shards of a measurement, in order, and the measurement's name.

    Raises
    ------
    InputError
        When the files are of several measurements, hold a clip twice or not at all, are damaged, or have other classes
        than a model with this config.
    """
    answers: dict[int, Answer] = {}
    runs: dict[tuple[str, int], Path] = {}
    for path in paths:
        for run, clips, answer, name in _read_rows(path):
            runs.setdefault((run, clips), path)
            if len(runs) > 1:
                raise InputError(
                    f"{listed(map(str, runs.values()))} are predictions of different measurements (other weights, "
                    "clips, labels or views); expected shards of one"
                )
            _check_classes(path, answer, name, config)
            if answer.index in answers:
                raise InputError(f"{path} holds clip {answer.index}, {quoted(answer.name)}, which was there already")
            answers[answer.index] = answer
    if not runs:
        raise InputError(f"{listed(map(str, paths))} hold no predictions; expected those of all shards")
    (run, clips), _ = next(iter(runs.items()))
    missing = next((index for index in range(len(answers)) if index not in answers), len(answers))
    if missing < clips:
        raise InputError(
            f"{clips - len(answers):,} of {clips:,} clips are in none of the files, the first is number {missing}; "
            "evaluate the shards that lack, or go on with those that were interrupted"
        )
    return run, [answers[index] for index in range(clips)]


def _check_classes(path: Path, answer: Answer, name: str, config: VivitConfig) -> None:
    """Refuse an answer that a model with this config cannot have given, or under another `name` for its class."""
    sizes = config.class_splits or [config.num_labels]
    given = (
        [answer.labels] if answer.damage else [answer.labels, answer.guesses, *(numbers for numbers, _ in answer.top)]
    )
    for numbers in given:
        within = all(0 <= number < size for number, size in zip(numbers, sizes, strict=False))
        if len(numbers) != len(sizes) or not within:
            raise _other_model(path, f"the classes {quoted(list(numbers))} of {quoted(answer.name)}", config)
    if answer.damage:
        return
    if len(answer.top) != min(TOP, math.prod(sizes)):  # of so few classes a row names all
        raise _other_model(path, f"{len(answer.top)} classes for {quoted(answer.name)}", config)
    own = _one_line(_name_of(answer.guesses, config))
    if name != own:
        raise InputError(
            f"{path} calls the class {_numbers(answer.guesses)} {quoted(name)}, but the model calls it {quoted(own)}: "
            "the predictions are of another model; give the model that made them (--model)"
        )


def _other_model(path: Path, found: str, config: VivitConfig) -> InputError:
    """The error of predictions whose numbers are not those of the model's classes."""
    sizes = config.class_splits or [config.num_labels]
    return InputError(
        f"{path} holds {found}, but the model has {' and '.join(map(str, sizes))} classes: the predictions are of "
        "another model; give the model that made them (--model)"
    )


def write_predictions(path: Path, run: str, answers: Sequence[Answer], config: VivitConfig) -> None:
    """Write a whole file of answers, as an evaluation in one piece would have.

    Raises
    ------
    InputError
        When something is there already.
    """
    if os.path.lexists(path):
        raise InputError(f"{path} is there already; choose another name, nothing is overwritten")
    with atomic_path(path) as temporary:
        temporary.write_bytes(HEADER + _rows(answers, run, len(answers), config))


def _read_rows(path: Path) -> Iterable[Row]:
    check_is_file(path, "predictions")
    with open(path, "rb") as file:
        if file.readline(len(HEADER) + 1) != HEADER:
            raise InputError(
                f"{path} holds no predictions; expected a file that  minivivit evaluate --predictions  wrote"
            )
        for number, line in enumerate(file, start=2):
            entry = _parsed(line)
            if entry is None:
                raise InputError(
                    f"{path}, line {number}: is no whole row; go on with that evaluation before its shards are merged"
                )
            yield entry


def _rows(answers: Iterable[Answer], run: str, total: int, config: VivitConfig) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for answer in answers:
        guess, probabilities = _numbers(answer.guesses), ";".join(f"{_numbers(i)}:{p:.6g}" for i, p in answer.top)
        figures = [_numbers(answer.ranks), answer.joint_rank, repr(answer.loss), probabilities]
        row = [run, answer.index, total, _one_line(answer.name), _numbers(answer.labels), guess]
        row += [_one_line(_name_of(answer.guesses, config)), *figures, _one_line(answer.damage)]
        writer.writerow(row if not answer.damage else [*row[:5], "", "", "", "", "", "", row[-1]])
    return text.getvalue().encode()


def _parsed(line: bytes) -> Row | None:
    """What a row says; None where it is no whole one."""
    if not line.endswith(b"\n") or len(line) > 1 << 20:
        return None
    try:
        text = line.decode().removesuffix("\n")
        if not text.isprintable():  # nothing that was written is: a power cut may leave zeros
            return None
        cells = next(csv.reader([text], strict=True))
        run, index, clips, name, labels, guesses, called, ranks, joint, loss, top, damage = cells
        right = tuple(map(int, labels.split()))
        if damage:
            return run, int(clips), Answer(int(index), name, right, damage=damage), ""
        pairs = (entry.rsplit(":", 1) for entry in top.split(";"))
        best = tuple((tuple(map(int, indices.split())), float(probability)) for indices, probability in pairs)
        guess, rank = tuple(map(int, guesses.split())), tuple(map(int, ranks.split()))
        answer = Answer(int(index), name, right, guess, rank, int(joint), float(loss), best)
    except (ValueError, StopIteration, csv.Error):
        return None
    whole = len(right) == len(answer.guesses) == len(answer.ranks) > 0 and answer.index >= 0
    return (run, int(clips), answer, called) if whole else None


def _numbers(values: Iterable[int]) -> str:
    return " ".join(map(str, values))


def _name_of(guesses: Sequence[int], config: VivitConfig) -> str:
    starts = [0]
    for size in config.class_splits or []:
        starts.append(starts[-1] + size)
    return " + ".join(config.id2label[start + guess] for start, guess in zip(starts, guesses, strict=False))


def _one_line(text: str) -> str:
    """`text` with control characters, line ends and what is no text spelled out."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
