"""``minivivit convert``: scenic's checkpoints in the Hugging Face layout, and the other way."""

import argparse
import sys
from pathlib import Path

from minivivit.checkpoints.convert import (
    CHECKPOINT,
    CONFIG,
    SCENIC_PRESETS,
    hugging_face_to_scenic,
    is_scenic,
    scenic_to_hugging_face,
)
from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.progress import Bar, is_terminal

DESCRIPTION = f"""\
Convert a checkpoint of google-research/scenic into a directory in the Hugging Face layout, or such a directory into a
checkpoint of scenic's. Which way is seen from SOURCE.

A scenic checkpoint does not say what model it is. That is told by --preset; or else by a {CONFIG} beside it, which we
write there; or else by the names and shapes of its arrays, where it is one of the published models."""

EXAMPLES = f"""\
presets: {", ".join(SCENIC_PRESETS)}

examples:
  minivivit convert {CHECKPOINT} DIR --preset vivit-b-16x2-kinetics400   scenic to Hugging Face
  minivivit convert DIR OTHER_DIR                                  Hugging Face to scenic, OTHER_DIR/{CHECKPOINT}"""


def add_convert_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments to `parser`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("source", metavar="SOURCE", help="a scenic checkpoint, or a model's directory")
    parser.add_argument("directory", metavar="DIR", help="where to write; made if it is not there")
    parser.add_argument("--preset", metavar="NAME", help="what model a scenic checkpoint is, see below")


def run_convert(arguments: argparse.Namespace) -> int:
    """Convert what `arguments` name, and say what was written."""
    source, directory = Path(arguments.source), Path(arguments.directory)
    from_scenic = is_scenic(source)
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is a file; expected a directory to write into")
    if directory.exists() and source.is_dir() and directory.resolve() == source.resolve():
        raise InputError(f"SOURCE and DIR are the same directory, {source}: choose another one to write into")
    if arguments.preset is not None and not from_scenic:
        raise InputError(f"--preset says what model a scenic checkpoint is; {source} has a {CONFIG} that says so")
    config = None if arguments.preset is None else VivitConfig.from_preset(arguments.preset)
    description = "reading" if from_scenic else "writing"
    with Bar(
        desc=description,
        unit="B",
        unit_scale=True,
        total=_size(source) if from_scenic else None,
        delay=1,
        leave=False,
        file=sys.stderr,
        disable=not is_terminal(sys.stderr),
    ) as bar:
        if from_scenic:
            model = scenic_to_hugging_face(source, directory, config, progress=bar.update)
        else:
            model = hugging_face_to_scenic(source, directory, progress=bar.update)
    written = "config.json and model.safetensors" if from_scenic else f"{CHECKPOINT} and {CONFIG}"
    print(f"{directory}: {written}, {model.config.attention_type}, {model.num_parameters():,} parameters")
    return 0


def _size(source: Path) -> int:
    """Bytes of the checkpoint that will be read."""
    return (source / CHECKPOINT if source.is_dir() else source).stat().st_size
