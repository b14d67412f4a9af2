"""From scenic's files to the Hugging Face layout, and back."""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from minivivit.checkpoints.names import scenic_parameters
from minivivit.checkpoints.scenic import SCENIC_ARITHMETIC, load_scenic, read_scenic, save_scenic, scenic_leaves
from minivivit.config import PRESETS, VivitConfig
from minivivit.errors import InputError
from minivivit.files.atomic import atomic_directory
from minivivit.files.msgpack_file import Progress
from minivivit.files.weights import WEIGHT_FILES
from minivivit.models.classification import VivitForVideoClassification

# The name of scenic's files in a directory of theirs, and of ours.
CHECKPOINT, CONFIG = "checkpoint", "config.json"
SCENIC_PRESETS = [name for name in PRESETS if PRESETS[name].items() >= SCENIC_ARITHMETIC.items()]


def is_scenic(source: str | os.PathLike[str]) -> bool:
    """Whether `source` is a scenic file, or a directory that holds one and no weights in the Hugging Face layout.

    Raises
    ------
    InputError
        When it is neither that nor a model directory in the Hugging Face layout.
    """
    path = Path(source)
    if path.is_dir():
        if any((path / name).is_file() for name in WEIGHT_FILES):
            return False
        if not (path / CHECKPOINT).is_file():
            names = ", ".join((*WEIGHT_FILES, CHECKPOINT))
            raise InputError(f"{path} holds no weights; expected one of {names}")
    elif not path.is_file():
        raise InputError(f"{path} does not exist; expected a scenic checkpoint or a model directory")
    return True


def scenic_to_hugging_face(
    source: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    config: VivitConfig | None = None,
    progress: Progress | None = None,
) -> VivitForVideoClassification:
    """Write a scenic checkpoint as ``config.json`` and ``model.safetensors``.

    Parameters
    ----------
    source : path-like
        A train state file, or a directory with one that is called "checkpoint".
    directory : path-like
        Where to write; made if it is not there.
    config : VivitConfig, optional
        Left out, it is the config.json beside the checkpoint; or else the one published model of scenic's whose names
        and shapes these are.
    progress : callable, optional
        Called with the number of bytes of each piece that was read.

    Raises
    ------
    InputError
        As `load_scenic`; and where no config is given or found.
    """
    path = Path(source) / CHECKPOINT if Path(source).is_dir() else Path(source)
    if config is None and (path.parent / CONFIG).is_file():
        config = VivitConfig.from_pretrained(path.parent)
    tree = read_scenic(path, progress)
    try:
        model = load_scenic(tree, config or _published_config(path, tree), backend="numpy")
    except InputError as error:
        raise InputError(str(error).replace("the tree", str(path), 1)) from None
    with _whole(directory) as place:
        model.save_pretrained(place)
    return model


def hugging_face_to_scenic(
    source: str | os.PathLike[str], directory: str | os.PathLike[str], progress: Progress | None = None
) -> VivitForVideoClassification:
    """Write a model as scenic does: the file "checkpoint", and a config.json beside it, with which it is read again.

    Parameters
    ----------
    source : path-like
        A directory with ``config.json`` and weights.
    directory : path-like
        Where to write; made if it is not there.
    progress : callable, optional
        Called with the number of bytes of each piece that was written.

    Raises
    ------
    InputError
        As ``from_pretrained`` and `minivivit.checkpoints.scenic.save_scenic`.
    """
    model = VivitForVideoClassification.from_pretrained(source, backend="numpy")
    with _whole(directory) as place:
        save_scenic(model, place / CHECKPOINT, progress)
        model.config.save_pretrained(place)
    return model


def _whole(directory: str | os.PathLike[str]) -> AbstractContextManager[Path]:
    """Where to write for `directory`: a new or an empty one gets all files or none; in another one each is replaced."""
    place = Path(directory)
    return nullcontext(place) if place.is_dir() and any(place.iterdir()) else atomic_directory(place)


def _published_config(path: Path, tree: Mapping[str, Any]) -> VivitConfig:
    """The config of the published model that has exactly these names and shapes."""
    found = {name: tuple(leaf.shape) for name, leaf in scenic_leaves(tree)}
    for name in SCENIC_PRESETS:
        config = VivitConfig.from_preset(name)
        if {row.name: row.shape for row in scenic_parameters(config).values()} == found:
            return config
    raise InputError(
        f"{path} is none of scenic's published models by its names and shapes; say with --preset what it should be, or "
        f"put a {CONFIG} beside it (presets: {', '.join(SCENIC_PRESETS)})"
    )
