"""``minivivit gradcheck``: hold a model's gradients against central differences of its loss."""

import argparse
import json
from pathlib import Path

import numpy

from minivivit.backend import BACKENDS
from minivivit.bundled import bundled_clip, bundled_model_directory
from minivivit.commands.classify import interpolation_note
from minivivit.commands.common.arguments import integer, natural
from minivivit.commands.common.notes import held_log, print_notes
from minivivit.commands.common.text_table import printable, text_table
from minivivit.commands.trace import read_input
from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.models.classification import VivitForVideoClassification
from minivivit.models.encoders.embeddings import needs_interpolation
from minivivit.progress import progress_bar
from minivivit.verification.gradients.table import (
    PIXELS,
    TOLERANCE,
    GradientRow,
    choose_parameters,
    gradient_table,
    num_passes,
)

DESCRIPTION = """\
Hold the gradients of a model's loss, which the backward pass computes, against central differences, in float64.

Of each parameter, some entries are moved one by one, and then all of its entries at once in a random direction, where
an error in any of them shows. Left out, --parameter takes one parameter of each kind, from a layer that is drawn, and
the pixels. The relative error is that of the worst number of a row; right gradients have some 1e-9, and up to 1e-6
passes, while a wrong term shows as 1e-3 to 1.

Each number takes four forward passes. The bundled model is done in half a minute. A pass of ViViT-B/16x2 at full size
takes some 30 seconds of processor time, so a number takes a minute on two cores, and the backward pass as long again:
choose few parameters there, and --entries 0 for the direction alone."""

EXAMPLES = """\
examples:
  minivivit gradcheck
  minivivit gradcheck --model DIR --input clip.mp4 --parameter 'classifier.*' '*.layer.0.*.query.weight' --entries 5
  minivivit gradcheck --parameter '*' pixel_values --json | jq .passed

Exit codes: 0 all gradients agree; 1 one does not; 2 something that you can mend."""


def add_gradcheck_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments to `parser`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    add = parser.add_argument
    add("--model", metavar="DIR", help="directory of a model, as Hugging Face lays it out (default: the bundled model)")
    add("--input", metavar="FILE", help="a clip, or a file of pixel values (default: the bundled clip)")
    add("--parameter", nargs="+", metavar="PATTERN", help="check names that match one of these (*, ?, [...])")
    add("--entries", type=natural, default=2, metavar="N", help="how many entries of each to move alone (default: 2)")
    add("--seed", type=natural, default=0, metavar="S", help="of what is drawn (default: 0)")
    add(
        "--label",
        type=integer,
        nargs="+",
        metavar="N",
        help="index of the class, of each clip or of all (default: drawn)",
    )
    add("--backend", choices=BACKENDS, default="auto", help="NumPy on the CPU or CuPy on a GPU (default: auto)")
    add("--json", action="store_true", help="print one JSON object instead of a table")


def run_gradcheck(arguments: argparse.Namespace) -> int:
    """Check the gradients that `arguments` name, print them, and return 1 if one is wrong."""
    directory = Path(arguments.model) if arguments.model is not None else bundled_model_directory()
    config = VivitConfig.from_pretrained(directory)
    if config.num_labels == 0:
        raise InputError(f"{directory} holds a model without a classifier (num_labels is 0), and so without a loss")
    path = Path(arguments.input) if arguments.input is not None else bundled_clip()
    rng = numpy.random.default_rng(arguments.seed)
    pixel_values, notes = read_input(path, directory, config)
    with held_log() as messages:
        model = VivitForVideoClassification.from_pretrained(directory, dtype="float64", backend=arguments.backend)
    interpolate = needs_interpolation(pixel_values.shape, config)
    if interpolate:
        notes.append(interpolation_note(pixel_values.shape, config))
    labels = _labels(arguments.label, len(pixel_values), config, rng)
    parameters = model.state_dict()
    names = choose_parameters([*parameters, PIXELS], arguments.parameter, rng)
    sizes = [pixel_values.size if name == PIXELS else parameters[name].size for name in names]
    with progress_bar(num_passes(sizes, arguments.entries), "gradcheck", unit="pass") as bar:
        rows = gradient_table(
            model,
            pixel_values,
            labels,
            names,
            rng=rng,
            num_entries=arguments.entries,
            interpolate_pos_encoding=interpolate,
            on_pass=bar.update,
        )
    print_notes([*notes, *messages])
    _print_result(arguments, directory, labels, rows)
    return 0 if all(row.passed for row in rows) else 1


def _labels(numbers: list[int] | None, batch: int, config: VivitConfig, rng: numpy.random.Generator) -> numpy.ndarray:
    """What the loss is for: the classes asked for, or a draw that suits the config's loss."""
    sizes = config.class_splits or [config.num_labels]
    if numbers is not None:
        return numpy.array(numbers * (batch * len(sizes)) if len(numbers) == 1 else numbers)
    if config.problem_type == "multi_label_classification":
        return rng.integers(0, 2, (batch, config.num_labels)).astype("float64")
    if config.problem_type == "regression" or config.num_labels == 1:
        return rng.standard_normal((batch, config.num_labels))
    return rng.integers(0, sizes, (batch, len(sizes)))


def _print_result(
    arguments: argparse.Namespace, directory: Path, labels: numpy.ndarray, rows: list[GradientRow]
) -> None:
    wrong = [row for row in rows if not row.passed]
    if arguments.json:
        result = {"model": str(directory), "labels": labels.tolist(), "seed": arguments.seed, "tolerance": TOLERANCE}
        checked = [{**vars(row), "relative_error": _finite(row.relative_error)} for row in rows]
        checked = [{**row, "analytic": _finite(row["analytic"]), "numeric": _finite(row["numeric"])} for row in checked]
        print(json.dumps({**result, "passed": not wrong, "gradients": checked}, allow_nan=False))
        return
    header = ("gradient", "shape", "relative error", "verdict")
    cells = [
        (row.name, " x ".join(map(str, row.shape)), f"{row.relative_error:.1e}", "ok" if row.passed else "WRONG")
        for row in rows
    ]
    print(text_table(header, cells))
    for row in wrong:
        place = "in a random direction" if row.where is None else f"at {list(row.where)}"
        print(
            f"{printable(row.name)} {place}: the backward pass says {row.analytic:.12g}, central differences say "
            f"{row.numeric:.12g}"
        )
    print(f"{len(wrong)} of {len(rows)} are wrong" if wrong else f"all {len(rows)} agree within {TOLERANCE:g}")


def _finite(number: float) -> float | None:
    """JSON has neither NaN nor infinity."""
    return number if numpy.isfinite(number) else None
