"""Checkpoints: everything that a training needs to go on to the bit, switched in one instant.

In the output directory of a training::

    step-00000500/            config.json, model.safetensors, preprocessor_config.json   the model
                              optimiser.safetensors, training_state.json                 what else it takes to go on
    step-00000400/            likewise
    last -> step-00000500     symbolic links
    best -> step-00000400

A checkpoint is written into a directory whose name ends in ``.part``, brought to the disk, and renamed; then the link
``last`` is replaced by a new one, which is one atomic operation; and only then are the directories removed that no link
names. So whenever the process is killed, ``last`` and ``best`` are complete checkpoints.
"""

import os
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy

from minivivit.backend import to_numpy
from minivivit.errors import InputError
from minivivit.files.json_file import read_json, write_json
from minivivit.files.safetensors_file import read_safetensors, write_safetensors
from minivivit.files.tensor_data import quoted, reason_of
from minivivit.models.classification import VivitForVideoClassification
from minivivit.training.optimisers.adamw import AdamW
from minivivit.training.optimisers.sgd import SGD
from minivivit.training.setting_checks import whole
from minivivit.video.image_processor import VivitImageProcessor

LAST, BEST = "last", "best"
STATE_FILE, OPTIMISER_FILE = "training_state.json", "optimiser.safetensors"
STEP_NAME = re.compile(r"step-\d{8,}")
FORMAT = 1  # of training_state.json


def write_checkpoint(
    output: Path,
    step: int,
    links: tuple[str, ...],
    model: VivitForVideoClassification,
    processor: VivitImageProcessor,
    optimiser: AdamW | SGD,
    state: Mapping[str, Any],
) -> None:
    """Write the checkpoint of a step, and make `links` (``"last"``, ``"best"``) point to it.

    Parameters
    ----------
    output : Path
        The directory of the training.
    step : int
        How many updates have been made.
    state : mapping
        Ready for JSON: the rest of what `read_state` will return.
    """
    directory = output / f"step-{step:08d}"
    new = output / f".{directory.name}.{secrets.token_hex(4)}.part"
    new.mkdir()
    model.save_pretrained(new)
    processor.save_pretrained(new)
    tensors, counters = _split_optimiser_state(optimiser)
    write_safetensors(new / OPTIMISER_FILE, tensors)
    write_json(new / STATE_FILE, {"format": FORMAT, "step": step, "optimiser": counters, **state})
    _sync_directory(new)
    if directory.exists():  # the same step again, after a kill or a resume that trained nothing: the same bits
        shutil.rmtree(new)
    else:
        os.rename(new, directory)
    for link in links:
        _replace_link(output / link, directory.name)
    _sync_directory(output)
    remove_unlinked(output)


def has_checkpoint(output: Path) -> bool:
    """Whether a training has left a checkpoint in this directory."""
    return (output / LAST / STATE_FILE).is_file()


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The training state of a checkpoint, as it was given to `write_checkpoint`, with ``step`` and ``optimiser``.

    Raises
    ------
    InputError
        When it is missing or of another format.
    """
    state = read_json(checkpoint / STATE_FILE)
    if state.get("format") != FORMAT:
        raise InputError(f"{checkpoint / STATE_FILE} has format {quoted(state.get('format'))}; expected {FORMAT}")
    for name, kind in (("step", int), ("optimiser", dict), ("generator", dict), ("log_length", int)):
        if not isinstance(state.get(name), kind):
            raise InputError(f"{checkpoint / STATE_FILE} has no {name}; is it the state of a training?")
        if kind is int:
            whole(0)(f"{name} in {checkpoint / STATE_FILE}", state[name])
    return state


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


def remove_unlinked(output: Path) -> None:
    """Remove the checkpoints that neither ``last`` nor ``best`` names, and what a kill left unfinished."""
    kept = {os.readlink(output / link) for link in (LAST, BEST) if (output / link).is_symlink()}
    for path in output.iterdir():
        unfinished = path.name.startswith((".step-", ".last.", ".best.")) and path.name.endswith(".part")
        is_checkpoint = STEP_NAME.fullmatch(path.name) and (path / STATE_FILE).is_file()
        if unfinished and not path.is_dir():
            path.unlink()
        elif unfinished:
            shutil.rmtree(path)
        elif (
            is_checkpoint and path.name not in kept
        ):  # renamed first, so that a kill does not leave half a checkpoint under a whole one's name
            part = output / f".{path.name}.{secrets.token_hex(4)}.part"
            os.rename(path, part)
            shutil.rmtree(part)


def _split_optimiser_state(optimiser: AdamW | SGD) -> tuple[dict[str, numpy.ndarray], dict[str, int]]:
    """Its arrays, for the file of tensors, and its counters, for the JSON."""
    state = {name: to_numpy(array) for name, array in optimiser.state_dict().items()}
    counters = {name: int(array) for name, array in state.items() if array.dtype.kind == "i"}
    return {name: array for name, array in state.items() if name not in counters}, counters


def _replace_link(link: Path, target: str) -> None:
    """Make `link` a symbolic link to `target` beside it, whatever it was before, in one instant."""
    temporary = link.with_name(f".{link.name}.{secrets.token_hex(4)}.part")
    os.symlink(target, temporary, target_is_directory=True)
    os.replace(temporary, link)


def _sync_directory(directory: Path) -> None:
    """Bring the names in a directory to the disk, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
