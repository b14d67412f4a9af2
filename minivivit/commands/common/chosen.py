"""The model and the clip that a command is given, each the bundled one where it is left out."""

import argparse
from pathlib import Path
from typing import NamedTuple

from minivivit.bundled import bundled_clip, bundled_model_directory
from minivivit.config import VivitConfig
from minivivit.models.top_classes import check_classifies
from minivivit.video.clip_processor import ClipProcessor
from minivivit.video.default_processor import load_processor


class Chosen(NamedTuple):
    """Where the model and the clip are, what prepares clips for that model, and what the user should know of it."""

    directory: Path
    clip: Path
    config: VivitConfig
    processor: ClipProcessor
    notes: list[str]


def read_chosen(arguments: argparse.Namespace) -> Chosen:
    """What ``arguments.model`` and ``arguments.clip`` name; neither the weights nor the clip are read yet.

    Raises
    ------
    InputError
        When the configs cannot be used, or the model is no classifier.
    """
    directory = Path(arguments.model) if arguments.model is not None else bundled_model_directory()
    clip = Path(arguments.clip) if arguments.clip is not None else bundled_clip()
    config = VivitConfig.from_pretrained(directory)
    check_classifies(directory, config)
    processor, notes = load_processor(directory, config)
    if arguments.model is None and arguments.clip is not None:
        notes.append("the bundled model knows only the motions of one shape; pass --model DIR for another model")
    return Chosen(directory, clip, config, processor, notes)
