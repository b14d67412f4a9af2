"""From scenic's files to the Hugging Face layout, and back."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minivivit.checkpoints.mismatch import mismatch
from minivivit.checkpoints.names import scenic_parameters
from minivivit.checkpoints.scenic import SCENIC_ARITHMETIC, load_scenic, read_scenic, save_scenic, scenic_leaves
from minivivit.checkpoints.target import check_target, conversion_target
from minivivit.config import PRESETS, VivitConfig
from minivivit.errors import InputError
from minivivit.files.atomic import write_text
from minivivit.files.msgpack_file import Progress
from minivivit.files.weights import WEIGHT_FILES, weight_files
from minivivit.model_directory import check_no_training, check_no_weights_file
from minivivit.models.classification import VivitForVideoClassification
from minivivit.video.clip_processor import IMAGE_PLACES, SETTINGS_FILES, VIDEO_PLACES, find_settings
from minivivit.video.image_processor import VivitImageProcessor
from minivivit.video.video_processor import VivitVideoProcessor

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
            check_no_training(path)
            if any(path.glob("*.safetensors")) or any(path.glob("*.bin")):
                weight_files(path)  # which says what is wrong with them
            names = ", ".join((*WEIGHT_FILES, CHECKPOINT))
            raise InputError(f"{path} holds no weights; expected one of {names}")
    elif not path.is_file():
        raise InputError(f"{path} does not exist; expected a scenic checkpoint or a model directory")
    check_no_weights_file(path)
    return True


def scenic_to_hugging_face(
    source: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    config: VivitConfig | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> VivitForVideoClassification:
    """Write a scenic checkpoint as ``config.json`` and ``model.safetensors``.

    The settings of an image processor that lie beside the checkpoint, where `hugging_face_to_scenic` writes them, are
    copied. Scenic itself keeps none.

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
    overwrite : bool
        Replace files of the same names in a directory that is not empty.

    Raises
    ------
    InputError
        As `load_scenic`; where no config is given or found; and where `directory` is not empty and `overwrite` false.
    """
    path = checkpoint_file(source)
    check_target(directory, overwrite)
    is_given = config is not None
    if config is None and (path.parent / CONFIG).is_file():
        config = VivitConfig.from_pretrained(path.parent)
    tree = read_scenic(path, progress)
    if config is not None:
        _check_fits(path, tree, config, "another preset" if is_given else f"the {CONFIG} of this checkpoint")
    try:
        model = load_scenic(tree, config or _published_config(path, tree), backend="numpy")
    except InputError as error:
        raise InputError(str(error).replace("the tree", str(path), 1)) from None
    with conversion_target(directory, overwrite) as target:
        _copy_processor(path.parent, target)
        model.save_pretrained(target)
    return model


def hugging_face_to_scenic(
    source: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    progress: Progress | None = None,
    overwrite: bool = False,
) -> VivitForVideoClassification:
    """Write a model as scenic does: the file "checkpoint", and beside it what scenic does not keep in it.

    That is the config.json, which holds the names of the classes too, and the settings of the image processor, where
    there are any: with them `scenic_to_hugging_face` makes the same model again.

    Parameters
    ----------
    source : path-like
        A directory with ``config.json`` and weights.
    directory : path-like
        Where to write; made if it is not there.
    progress : callable, optional
        Called with the number of bytes of each piece that was written.
    overwrite : bool
        Replace files of the same names in a directory that is not empty.

    Raises
    ------
    InputError
        As ``from_pretrained`` and `minivivit.checkpoints.scenic.save_scenic`; and where `directory` is not empty and
        `overwrite` false.
    """
    check_target(directory, overwrite)
    model = VivitForVideoClassification.from_pretrained(source, backend="numpy")
    with conversion_target(directory, overwrite) as target:
        _copy_processor(Path(source), target)
        save_scenic(model, target / CHECKPOINT, progress)
        model.config.save_pretrained(target)
    return model


def checkpoint_file(source: str | os.PathLike[str]) -> Path:
    """The file of a scenic checkpoint that is given as itself or as its directory."""
    return Path(source) / CHECKPOINT if Path(source).is_dir() else Path(source)


def _copy_processor(source: Path, target: Path) -> None:
    """Copy the settings of the processors, where there are any, once they are known to be some."""
    for places in (IMAGE_PLACES, VIDEO_PLACES):
        found = find_settings(source, places)
        if found is not None:
            (VivitVideoProcessor if found.for_video else VivitImageProcessor).from_found(found, {})
    for path in (source / name for name in SETTINGS_FILES):
        if path.is_file():
            write_text(target / path.name, path.read_text(encoding="utf-8"))


def _check_fits(path: Path, tree: Mapping[str, Any], config: VivitConfig, question: str) -> None:
    """Refuse a config of another model: with a few names of what does not fit, for nearly all of them may not."""
    wanted = {row.name: row.shape for row in scenic_parameters(config).values()}
    problems = mismatch(wanted, _shapes(tree), limit=3)
    if problems:
        raise InputError(f"{path} does not fit the config: {problems}; is it {question}?")


def _shapes(tree: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(leaf.shape) for name, leaf in scenic_leaves(tree)}


def _published_config(path: Path, tree: Mapping[str, Any]) -> VivitConfig:
    """The config of the published model that has exactly these names and shapes."""
    found = _shapes(tree)
    for name in SCENIC_PRESETS:
        config = VivitConfig.from_preset(name)
        if {row.name: row.shape for row in scenic_parameters(config).values()} == found:
            return config
    raise InputError(
        f"{path} is none of scenic's published models by its names and shapes; say with --preset what it should be, or "
        f"put a {CONFIG} beside it (presets: {', '.join(SCENIC_PRESETS)})"
    )
