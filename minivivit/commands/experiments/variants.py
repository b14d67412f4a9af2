"""``minivivit variants``: the paper's variants trained side by side, as its Tables 1 and 2."""

import argparse
import json
import math
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

from minivivit.backend import num_threads
from minivivit.commands.common.arguments import integer, positive
from minivivit.commands.common.notes import print_notes
from minivivit.commands.common.text_table import markdown_table, printable, text_table
from minivivit.commands.experiments.place import check_free
from minivivit.errors import InputError
from minivivit.files.atomic import write_text
from minivivit.files.json_file import read_json, write_json
from minivivit.files.tensor_data import quoted
from minivivit.files.weights import SINGLE_FILE
from minivivit.progress import progress_bar, say
from minivivit.training.checkpoints import remove_temporaries
from minivivit.training.data.digests import check_unchanged
from minivivit.training.experiments.own_process import can_start_processes, run_in_own_process
from minivivit.training.experiments.variants import (
    ENCODINGS,
    IMAGE_MODEL,
    MODELS,
    VARIANTS,
    Job,
    train_variant,
    variant_config,
    variant_settings,
    variant_steps,
)
from minivivit.training.lock import locked
from minivivit.training.setting_checks import choice, number, whole
from minivivit.training.settings import TrainingSettings, check_setting, read_settings_file

JSON_FILE, MARKDOWN_FILE = "variants.json", "variants.md"
FORMAT = "minivivit variants 1"
WIDTH = 115  # of the lines under the tables: as wide as those

DESCRIPTION = f"""\
Train the paper's four models, its average-pool baseline and its input encodings on the built-in motion data, all with
the same settings, clips and size, each in a process of its own, and compare them as the paper's Tables 1 and 2 do.

DIR gets {MARKDOWN_FILE} and {JSON_FILE}, and a directory for each trained model with its log. What is interrupted goes
on with the next variant when the same command is given again."""

EXAMPLES = """\
examples:
  minivivit variants                                   20 to 25 minutes on two quiet cores
  minivivit variants --output longer --steps 4000      two hours and more
  minivivit variants --json | jq .table_2"""

# What a row must have as numbers to be shown; the image model, which sees no clips, has no value for some.
OF_CLIPS = ("accuracy_shuffled", "paper")
NUMBERS = (
    *("steps", "accuracy", "parameters", "multiply_accumulates", "seconds_per_step", "peak_memory_bytes"),
    *OF_CLIPS,
)
LARGEST_NUMBER = 1e18

HEADER = (
    "variant",
    "accuracy",
    "shuffled",
    "parameters",
    "multiply-accumulates",
    "seconds a step",
    "peak memory",
    "paper",
)


def add_variants_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments to `parser`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    add = parser.add_argument
    add("--output", metavar="DIR", default="variants", help="where tables and models go (default: variants)")
    add("--config", metavar="FILE", help="JSON file with settings, as for minivivit train; options win over it")
    add("--steps", type=positive, metavar="N", help="updates of each variant (default: 650)")
    add("--seed", type=integer, metavar="N", help="of first values and clips (default: 0)")
    add("--clips", type=positive, default=2000, metavar="N", help="fresh ones to measure with (default: 2000)")
    add("--json", action="store_true", help="print one JSON object instead of tables")


def run_variants(arguments: argparse.Namespace) -> int:
    """Train what is not trained yet, and print the tables: 0, or 130 when Ctrl-C came first."""
    given = {} if arguments.config is None else read_settings_file(arguments.config)
    if arguments.seed is not None:
        check_setting("seed", arguments.seed, "--seed")
    options = {"steps": arguments.steps, "seed": arguments.seed}
    settings = variant_settings({**given, **{name: value for name, value in options.items() if value is not None}})
    output = Path(arguments.output)
    with locked(output) as notes:
        print_notes(notes)
        return _run(arguments, settings, output)


def _run(arguments: argparse.Namespace, settings: TrainingSettings, output: Path) -> int:
    rows = _rows_so_far(output / JSON_FILE, settings, arguments.clips)
    remove_temporaries(output, JSON_FILE, MARKDOWN_FILE)
    _write_json(output, settings, arguments.clips, rows)
    try:
        _train(output, settings, arguments.clips, rows, quiet=arguments.json)
    except KeyboardInterrupt:
        print(
            f"minivivit: interrupted; {len(rows)} of {len(VARIANTS)} variants are in {printable(output / JSON_FILE)}: "
            "the same command goes on",
            file=sys.stderr,
        )
        return 130
    write_text(output / MARKDOWN_FILE, _markdown(settings, arguments.clips, rows))
    if arguments.json:
        print(json.dumps(_result(settings, arguments.clips, rows), allow_nan=False))
        return 0
    for title, variants in _tables():
        print(f"\n{title}\n{text_table(HEADER, [_cells(rows[variant.name]) for variant in variants])}")
    notes = [textwrap.fill(note, WIDTH, break_on_hyphens=False) for note in _notes(settings, arguments.clips, rows)]
    print("\n" + "\n".join(notes))
    markdown, tables = printable(output / MARKDOWN_FILE), printable(output / JSON_FILE)
    print(f"\nwritten to {markdown} and {tables}")
    return 0


def _train(output: Path, settings: TrainingSettings, clips: int, rows: dict[str, dict[str, Any]], quiet: bool) -> None:
    """Train the variants that `rows` lacks, and put them there and into the file, one after the other."""
    missing = [variant for variant in VARIANTS if variant.name not in rows]
    with progress_bar(sum(variant_steps(variant, settings) for variant in missing), "variants") as bar:
        for variant in missing:
            bar.set_description(variant.name)
            if variant.start != "scratch":
                weights = output / IMAGE_MODEL.name / SINGLE_FILE
                check_unchanged(weights, rows[IMAGE_MODEL.name]["weights_sha256"], "the comparison")
            job = Job(variant, settings, output, clips)
            if can_start_processes():
                row = run_in_own_process(train_variant, job, lambda figures: bar.update(), variant.name)
            else:  # whose memory is that of all variants, and says nothing of one
                row = {**train_variant(job, lambda figures: bar.update()), "peak_memory_bytes": None}
            rows[variant.name] = row
            _write_json(output, settings, clips, rows)
            if not quiet:
                say(bar, f"{len(rows)}/{len(VARIANTS)} {variant.name}: accuracy {row['accuracy']:.4f}")


# --------------------------------------------------------------------------------------------------------------------
# The file
# --------------------------------------------------------------------------------------------------------------------


def _result(settings: TrainingSettings, clips: int, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    tables = {
        "table_1": [rows[variant.name] for variant in ENCODINGS if variant.name in rows],
        "table_2": [rows[variant.name] for variant in MODELS if variant.name in rows],
        "image_model": rows.get(IMAGE_MODEL.name),
    }
    return {"format": FORMAT, "settings": settings.to_dict(), "clips": clips, "threads": num_threads(), **tables}


def _write_json(output: Path, settings: TrainingSettings, clips: int, rows: dict[str, dict[str, Any]]) -> None:
    write_json(output / JSON_FILE, _result(settings, clips, rows))


def _rows_so_far(path: Path, settings: TrainingSettings, clips: int) -> dict[str, dict[str, Any]]:
    """The rows of an earlier run of the same command, by name.

    Raises
    ------
    InputError
        When the file is damaged or was written by a command with other settings; when there is none, but something
        else under a name that a comparison would write to.
    """
    if not os.path.lexists(path):
        names = [MARKDOWN_FILE, *(variant.name for variant in VARIANTS)]
        check_free(path, names, "a new comparison")
        return {}
    found = read_json(path)
    own = json.loads(json.dumps(_result(settings, clips, {})))
    for name in ("format", "settings", "clips", "threads"):
        if found.get(name) != own[name]:
            raise InputError(
                f"{path} is of a comparison with other {name}; give the same again to go on with it, or choose another "
                "--output"
            )
    try:
        image = found["image_model"]
        rows = {row["name"]: row for row in [*found["table_2"], *([] if image is None else [image]), *found["table_1"]]}
        for row in rows.values():
            _check_row(row)
        if json.loads(json.dumps(_result(settings, clips, rows))) != found:
            raise InputError("its rows are not where they belong")
        return rows
    except (KeyError, TypeError, InputError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"{path} does not hold the tables of a comparison ({reason}): put back a copy of it, or begin anew in "
            "another --output"
        ) from None


def _check_row(row: dict[str, Any]) -> None:
    """Refuse what cannot be the row of a variant."""
    choice(*(variant.name for variant in VARIANTS))("name", row["name"])
    image = row["name"] == IMAGE_MODEL.name
    number(0, 1)("accuracy", row["accuracy"])
    number(0, 1, optional=image)("accuracy_shuffled", row["accuracy_shuffled"])
    number(0, 100, optional=image)("paper", row["paper"])
    number(0)("seconds_per_step", row["seconds_per_step"])
    for name in ("steps", "parameters", "multiply_accumulates"):
        whole(1)(name, row[name])
    whole(-(2**62), optional=True)("peak_memory_bytes", row["peak_memory_bytes"])
    if not isinstance(row["weights_sha256"], str):
        raise InputError(f"weights_sha256 is {quoted(row['weights_sha256'])}; expected text")


# --------------------------------------------------------------------------------------------------------------------
# The tables
# --------------------------------------------------------------------------------------------------------------------


def _tables() -> tuple[tuple[str, tuple], ...]:
    return (
        ("Table 1: input encodings of Model 1, started from an image model", ENCODINGS),
        ("Table 2: models, from scratch", MODELS),
    )


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    memory = row["peak_memory_bytes"]
    return (
        row["name"].replace("_", " "),
        f"{100 * row['accuracy']:.1f} %",
        f"{100 * row['accuracy_shuffled']:.1f} %",
        f"{row['parameters']:,}",
        f"{row['multiply_accumulates'] / 1e6:.1f} M",
        f"{row['seconds_per_step']:.3f}",
        "unknown" if memory is None else f"{memory / 2**20:.0f} MiB",
        f"{row['paper']:.1f} %",
    )


def _markdown(settings: TrainingSettings, clips: int, rows: dict[str, dict[str, Any]]) -> str:
    lines = ["# The paper's variants side by side"]
    for title, variants in _tables():
        lines += ["", f"## {title}", "", *markdown_table(HEADER, [_cells(rows[variant.name]) for variant in variants])]
    lines += ["", "## How", "", *(f"- {note}" for note in _notes(settings, clips, rows))]
    return "\n".join(lines) + "\n"


def _notes(settings: TrainingSettings, clips: int, rows: dict[str, dict[str, Any]]) -> list[str]:
    """What one must know to read the tables."""
    config, image = variant_config(MODELS[0], settings), rows[IMAGE_MODEL.name]
    height, width = config.frame_size
    return [
        f"Every variant: {settings.steps} updates of {settings.batch_size} motion clips, the same in the same order "
        f"(seed {settings.seed}); {settings.optimiser}, learning rate {settings.learning_rate:g}, {settings.dtype}.",
        f"Size: hidden size {config.hidden_size}, layers {config.num_hidden_layers} (and {config.num_temporal_layers} "
        f"temporal ones in Model 2), heads {config.num_attention_heads}, MLP {config.intermediate_size}; clips of "
        f"{config.num_frames} frames of {height} x {width}, tubelets of {' x '.join(map(str, config.tubelet_size))}, "
        f"or {config.grid_size[0]} sampled frames. Models 1 and 2 classify by a CLS token, 3 and 4 by the mean token.",
        f"Accuracy: on {clips:,} fresh clips; chance is 12.5 %. Shuffled: with their frames in random order, which "
        f"leaves 50 % at best. One training each; the count alone has a standard error of up to "
        f"{50 / math.sqrt(clips):.1f} points.",
        "Multiply-accumulates: one clip, forward. Seconds a step: the median; a step draws its clips, goes forward and "
        f"backward, and updates, on {num_threads()} threads. Peak memory: resident, of the training's own process, "
        "less its peak before the model was made. The tubelets of Table 1 and spatio temporal in Table 2 are one "
        "architecture: how far apart their seconds are says how far other work on the machine moved them. Counts do "
        "not move.",
        f"The image model (Model 1 on single frames) learned for {image['steps']} updates in which half of the frame "
        f"the glyph is, across and down, and whether it is large: {100 * image['accuracy']:.1f} % of fresh frames; "
        "chance is 12.5 %. Tubelets random: all but the tubelet embedding is the image model's. Spatio temporal, in "
        "Table 2, is the same model without any.",
        "Paper: top-1 accuracy of ViViT-B on Kinetics 400, all started from an image model.",
    ]
