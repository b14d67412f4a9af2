"""Checkpoints: everything that a training needs to go on to the bit, switched in one instant.

In the output directory of a training::

    last/    config.json, model.safetensors, preprocessor_config.json   the model, for anybody to read
             optimiser.safetensors, training_state.json                 what else it takes to go on
             clips.jsonl                                                the digests of the clips, if it is on a folder
    best/    config.json, model.safetensors, preprocessor_config.json   the model that did best on the validation clips
    averaged/  likewise: the average of the weights, where one is kept (and ``best`` is then of it)
    .next-checkpoint/                                                   while a checkpoint is made, and after a kill

(A model that began with a video processor has ``video_preprocessor_config.json`` in place of the other.)

These are plain directories and files, so that every system has them. A checkpoint is first written into
``.next-checkpoint``, whole and brought to the disk; its state is written last, and from that instant on the checkpoint
counts. Then each file is moved to its place, over the file of the checkpoint before, and the state is moved last. A
kill before that instant leaves what is of no account, and ``last`` and ``best`` as they were; a kill after it leaves
some files to be moved, by whoever opens the training next (`settle`). Moves that were made already need not be made
again, so that may be killed too, as often as one likes. A program that reads the model meanwhile finds each time a
whole one, for of the model's files only the weights change.

The state holds the SHA-256 of every file, and its own; so a file that was changed or damaged is found before anything
is built on it.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy

from minivivit.backend import to_numpy
from minivivit.errors import InputError
from minivivit.files.atomic import naming_errors, write_text
from minivivit.files.json_file import dumps_json, parse_json_object, read_json
from minivivit.files.safetensors_file import read_safetensors, write_safetensors
from minivivit.files.tensor_data import listed, quoted, reason_of
from minivivit.models.classification import VivitForVideoClassification
from minivivit.training.data.digests import file_digest
from minivivit.training.optimisers.adamw import AdamW
from minivivit.training.optimisers.sgd import SGD
from minivivit.video.clip_processor import ClipProcessor

LAST, BEST, AVERAGED, NEXT = "last", "best", "averaged", ".next-checkpoint"
DIRECTORIES = (BEST, AVERAGED, LAST)  # in the order in which they are moved to their places
STATE_FILE, OPTIMISER_FILE, CLIPS_FILE = "training_state.json", "optimiser.safetensors", "clips.jsonl"
MODEL_FILES = ("config.json", "model.safetensors", "preprocessor_config.json")
FORMAT = 2  # of training_state.json
UNSEALED = "0" * 64  # in the digest's place while it is computed
SEAL = re.compile('"digest": "[0-9a-f]{64}"')  # no text within JSON can look like this: its quotes have backslashes
ADVICE = "put back a copy of it, or begin a new training in another --output"


def write_checkpoint(
    output: Path,
    model: VivitForVideoClassification,
    processor: ClipProcessor,
    optimiser: AdamW | SGD,
    state: Mapping[str, Any],
    *,
    is_best: bool,
    earlier: Mapping[str, str],
    clips: Mapping[str, str] | None = None,
    averaged: VivitForVideoClassification | None = None,
) -> dict[str, str]:
    """Write the checkpoint of this moment: ``last``, and ``best`` too if `is_best`, and ``averaged`` if there is one.

    Parameters
    ----------
    output : Path
        The directory of the training.
    state : mapping
        Ready for JSON: the rest of what `read_state` will return.
    earlier : mapping
        What the checkpoint before returned.
    clips : mapping, optional
        The digests of the clips, by name; they stay from one checkpoint to the next.
    averaged : VivitForVideoClassification, optional
        The model with the average of the weights, which is then the one that may be best.

    Returns
    -------
    dict
        The digest of each file in these directories, by ``last/NAME`` and so on.
    """
    new = output / NEXT
    settle(output)
    try:
        with naming_errors(new):
            models = {LAST: model, BEST: (averaged or model) if is_best else None, AVERAGED: averaged}
            for name, own in models.items():
                if own is not None:
                    (new / name).mkdir(parents=True)
                    own.save_pretrained(new / name)
                    processor.save_pretrained(new / name)
            tensors, counters = _split_optimiser_state(optimiser)
            write_safetensors(new / LAST / OPTIMISER_FILE, tensors)
            if clips is not None:
                _write_clips(new / LAST / CLIPS_FILE, clips)
            files = {path.relative_to(new).as_posix(): file_digest(path) for path in sorted(new.glob("*/*"))}
            files = {**earlier, **files}
            for directory in (*new.iterdir(), new):
                _sync_directory(directory)
            content = {"format": FORMAT, "optimiser": counters, "files": files, **state}
            _write_state(new / STATE_FILE, content)  # now it counts
            _sync_directory(new)
    except BaseException:  # a full disk, Ctrl-C: give the room back
        if not (new / STATE_FILE).exists():
            shutil.rmtree(new, ignore_errors=True)
        raise
    settle(output)
    return files


def settle(output: Path) -> None:
    """Finish what a kill left unfinished: move a checkpoint that counts to its place, remove one that does not.

    Raises
    ------
    InputError
        When something else has its name.
    """
    new = output / NEXT
    if not os.path.lexists(new):
        return
    if not _is_directory(new):
        raise InputError(f"{new} is where checkpoints are made, but it is no directory; move it away")
    if (new / STATE_FILE).exists():
        read_state(new)  # damage would be moved over what is whole
        with naming_errors(output):
            for name in DIRECTORIES:
                for path in sorted((new / name).glob("*")):
                    (output / name).mkdir(exist_ok=True)
                    os.replace(path, output / name / path.name)
            for name in DIRECTORIES:
                _sync_directory(output / name)
            os.replace(new / STATE_FILE, output / LAST / STATE_FILE)
            _sync_directory(output / LAST)
    with naming_errors(output):
        shutil.rmtree(new)
        _sync_directory(output)


def remove_temporaries(directory: Path, *names: str) -> None:
    """Remove what a kill has left of files of these names that were being written (`minivivit.files.atomic`)."""
    for name in names:
        for path in directory.glob(f".{name}.*"):
            if re.fullmatch(r"\.[0-9a-f]{8}\.part", path.name.removeprefix(f".{name}")) and path.is_file():
                with naming_errors(path):
                    path.unlink()


def holds_training(output: Path) -> bool:
    """Whether there is a checkpoint in this directory, be it whole or damaged."""
    return any(os.path.lexists(output / name / STATE_FILE) for name in (NEXT, LAST))


def check_unused(output: Path, others: tuple[str, ...]) -> None:
    """Refuse a directory that holds anything under a name that a training writes to, so that nothing is overwritten.

    Parameters
    ----------
    output : Path
    others : tuple of str
        Names of the training's files beside the checkpoints.

    Raises
    ------
    InputError
        Which names what is there.
    """
    found = [name for name in (LAST, BEST, *others) if os.path.lexists(output / name)]
    if os.path.lexists(output / NEXT) and (holds_training(output) or not _is_directory(output / NEXT)):
        found.append(NEXT)
    if found:
        whole = f"but no {LAST}/{STATE_FILE}" if not holds_training(output) else f"and {LAST}/{STATE_FILE}"
        raise InputError(
            f"{output} already holds {listed(found)}, {whole}; a new training would write there: choose another "
            "--output, or move that away"
        )


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The training state of a checkpoint, as it was given to `write_checkpoint`, with ``optimiser`` and ``files``.

    Raises
    ------
    InputError
        When it is missing, damaged, or of another format.
    """
    path = checkpoint / STATE_FILE
    try:
        state = read_json(path)
    except InputError as error:
        raise InputError(f"{error}; {ADVICE}") from None
    if state.get("format") != FORMAT:
        raise InputError(f"{path} has format {quoted(state.get('format'))}; expected {FORMAT}: {ADVICE}")
    if state.get("digest") != _digest_of_state(path.read_bytes().decode()):
        raise InputError(f"{path} is not as the training wrote it: it was changed, or is damaged; {ADVICE}")
    return state


def check_files(output: Path, state: Mapping[str, Any]) -> None:
    """Hold every file of ``last``, ``best`` and ``averaged`` against its digest in the state.

    Raises
    ------
    InputError
        Which names the first file that is missing, changed or damaged.
    """
    for name, digest in state["files"].items():
        path = output / name
        if not path.is_file():
            raise InputError(f"{path} is missing, without which the training cannot go on; {ADVICE}")
        if file_digest(path) != digest:
            raise InputError(f"{path} is not as the training wrote it: it was changed, or is damaged; {ADVICE}")


def load_optimiser(checkpoint: Path, optimiser: AdamW | SGD, counters: Mapping[str, Any]) -> None:
    """Copy the state of a checkpoint into an optimiser of the same parameters.

    Raises
    ------
    InputError
        When it is the state of another optimiser or of other parameters.
    """
    state = read_safetensors(checkpoint / OPTIMISER_FILE)
    for name, count in counters.items():
        state[name] = numpy.array(count, dtype=numpy.int64)
    optimiser.load_state_dict(state)


def generator_from_state(state: Mapping[str, Any]) -> numpy.random.Generator:
    """A generator that goes on where the one went whose ``bit_generator.state`` this is.

    Raises
    ------
    InputError
        When it is not the state of a PCG64 generator.
    """
    rng = numpy.random.default_rng(0)
    try:
        rng.bit_generator.state = dict(state)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise InputError(f"the state of the generator cannot be restored ({reason_of(error)})") from None
    return rng


def read_clips(checkpoint: Path) -> dict[str, str]:
    """The digests of the clips that a training is on, by name."""
    path = checkpoint / CLIPS_FILE
    entries = [parse_json_object(line, str(path)) for line in path.read_bytes().splitlines()]
    return {entry["clip"]: entry["sha256"] for entry in entries}


def _write_clips(path: Path, clips: Mapping[str, str]) -> None:
    lines = (json.dumps({"clip": name, "sha256": digest}) for name, digest in clips.items())  # ASCII, whatever the name
    write_text(path, "".join(f"{line}\n" for line in lines))


def _digest_of_state(text: str) -> str:
    """Of its text with zeros in the digest's place."""
    return hashlib.sha256(SEAL.sub(f'"digest": "{UNSEALED}"', text, count=1).encode()).hexdigest()


def _write_state(path: Path, state: Mapping[str, Any]) -> None:
    text = dumps_json({**state, "digest": UNSEALED})
    write_text(path, text.replace(UNSEALED, _digest_of_state(text), 1))


def _is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _split_optimiser_state(optimiser: AdamW | SGD) -> tuple[dict[str, numpy.ndarray], dict[str, int]]:
    """Its arrays, for the file of tensors, and its counters, for the JSON."""
    state = {name: to_numpy(array) for name, array in optimiser.state_dict().items()}
    counters = {name: int(array) for name, array in state.items() if array.dtype.kind == "i"}
    return {name: array for name, array in state.items() if name not in counters}, counters


def _sync_directory(directory: Path) -> None:
    """Bring the names in a directory to the disk, where the system can."""
    if hasattr(os, "O_DIRECTORY") and directory.is_dir():
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with naming_errors(directory):
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
