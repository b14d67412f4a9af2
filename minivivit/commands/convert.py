"""``minivivit convert``: scenic's checkpoints in the Hugging Face layout, and the other way."""

import argparse
import sys
from pathlib import Path

from minivivit.checkpoints.convert import (
    CHECKPOINT,
    CONFIG,
    SCENIC_PRESETS,
    checkpoint_file,
    hugging_face_to_scenic,
    is_scenic,
    scenic_to_hugging_face,
)
from minivivit.checkpoints.target import check_target
from minivivit.commands.common.notes import held_log, print_notes
from minivivit.commands.common.text_table import printable
from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.models.classification import VivitForVideoClassification
from minivivit.progress import Bar, is_terminal
from minivivit.video.default_processor import load_processor

DESCRIPTION = f"""\
Convert a checkpoint of google-research/scenic into a directory in the Hugging Face layout, or such a directory into a
checkpoint of scenic's. Which way is seen from SOURCE.

A scenic checkpoint does not say what model it is. That is told by --preset; or else by a {CONFIG} beside it, which we
write there; or else by the names and shapes of its arrays, where it is one of the published models.

Nor does it hold an image processor: the settings of a model's are written beside {CHECKPOINT}, and read there again."""

EXAMPLES = f"""\
presets: {", ".join(SCENIC_PRESETS)}

examples:
  minivivit convert {CHECKPOINT} DIR --preset vivit-b-16x2-kinetics400   scenic to Hugging Face
  minivivit convert DIR OTHER_DIR                                  Hugging Face to scenic, OTHER_DIR/{CHECKPOINT}"""


def add_convert_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments to `parser`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("source", metavar="SOURCE", help="a scenic checkpoint, or a model's directory")
    parser.add_argument("directory", metavar="DIR", help="where to write: a new or an empty directory")
    parser.add_argument("--preset", metavar="NAME", help="what model a scenic checkpoint is, see below")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace files of the same names in DIR, if it has some"
    )


def run_convert(arguments: argparse.Namespace) -> int:
    """Convert what `arguments` name, and say what was written."""
    source, directory = Path(arguments.source), Path(arguments.directory)
    from_scenic = is_scenic(source)
    if directory.exists() and source.is_dir() and directory.resolve() == source.resolve():
        raise InputError(f"SOURCE and DIR are the same directory, {source}: choose another one to write into")
    if arguments.preset is not None and not from_scenic:
        raise InputError(f"--preset says what model a scenic checkpoint is; {source} has a {CONFIG} that says so")
    check_target(directory, arguments.overwrite)
    config = None if arguments.preset is None else VivitConfig.from_preset(arguments.preset)
    with held_log() as notes:
        model = _convert(source, directory, config, from_scenic, arguments.overwrite)
    if from_scenic:
        notes += _notes_on_scenic(source, directory, arguments.preset, model.config)
    print_notes(notes)
    written = "config.json and model.safetensors" if from_scenic else f"{CHECKPOINT} and {CONFIG}"
    print(f"{printable(directory)}: {written}, {model.config.attention_type}, {model.num_parameters():,} parameters")
    return 0


def _convert(
    source: Path, directory: Path, config: VivitConfig | None, from_scenic: bool, overwrite: bool
) -> VivitForVideoClassification:
    with Bar(
        desc="reading" if from_scenic else "writing",
        unit="B",
        unit_scale=True,
        total=_size(source) if from_scenic else None,
        delay=1,
        leave=False,
        file=sys.stderr,
        disable=not is_terminal(sys.stderr),
    ) as bar:
        if from_scenic:
            return scenic_to_hugging_face(source, directory, config, bar.update, overwrite)
        return hugging_face_to_scenic(source, directory, bar.update, overwrite)


def _notes_on_scenic(source: Path, directory: Path, preset: str | None, config: VivitConfig) -> list[str]:
    """What the checkpoint did not say, and the user may not expect."""
    _, notes = load_processor(directory, config)
    if preset is not None and (checkpoint_file(source).parent / CONFIG).is_file():
        notes.append(
            f"the {CONFIG} beside the checkpoint was not read, nor the names of classes in it: --preset goes first"
        )
    return notes


def _size(source: Path) -> int:
    """Bytes of the checkpoint that will be read."""
    return checkpoint_file(source).stat().st_size
