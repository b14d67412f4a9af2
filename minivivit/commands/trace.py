"""``minivivit trace``: write every intermediate value of a pass into a directory."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy

from minivivit.backend import BACKENDS, DTYPES
from minivivit.bundled import bundled_model_directory
from minivivit.commands.classify import DEFAULT_STRIDE, check_clip_len, interpolation_note
from minivivit.commands.common.arguments import integer
from minivivit.commands.common.notes import held_log, print_notes
from minivivit.commands.common.text_table import printable
from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.files.tensor_data import listed, quoted
from minivivit.files.weights import tensor_index
from minivivit.models.classification import VivitForVideoClassification
from minivivit.models.encoders.embeddings import needs_interpolation
from minivivit.models.vivit import VivitModel
from minivivit.progress import LAYER, num_layers, progress_bar
from minivivit.verification.comparison.judgement import is_unbounded
from minivivit.verification.tensors.error import PRECISIONS
from minivivit.verification.tensors.source import open_source
from minivivit.verification.tracing.directory import INPUT, check_replaceable
from minivivit.verification.tracing.recording import Model, trace_model
from minivivit.verification.tracing.telling_weights import perturb
from minivivit.video.default_processor import load_processor
from minivivit.video.readers.npy import open_array
from minivivit.video.reading import read_central_frames
from minivivit.video.resize import MAX_VALUES

DESCRIPTION = """\
Write every intermediate value of one pass into a directory, by name, as it is made.

INPUT is a clip, prepared as  minivivit classify  prepares it; or pixel values as your port takes them: a .npy, .npz or
.safetensors file of floating-point numbers (batch, frames, channels, height, width), or one clip without the batch.
They are the tensor "pixel_values" of the file, or the only one in it.

DIR is to be made: one safetensors file a layer, and an index that lists the names in the order in which they were made
and says of what model, weights and input they are. A trace that is there is replaced. Which name is which module of
transformers or scenic, notebooks/trace_names.md says.

Everything is written but attention scores and probabilities, which are large (1.9 GB a layer for ViViT-B/16x2 in
float64): they are made and written where a pattern of --only matches their names. The input is written always."""

EXAMPLES = """\
examples:
  minivivit trace clip.mp4 ours --model vivit-b-16x2-kinetics400
  minivivit trace pixel_values.npy ours --model DIR --gradients --label 7
  minivivit trace pixel_values.npy ours --model FRESH --perturb
  minivivit trace clip.mp4 ours --only '*.layer.0.*' '*.layer.11.*.probs' classifier"""


def add_trace_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments to `parser`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    add = parser.add_argument
    add("input", metavar="INPUT", help="a clip, or a file of pixel values")
    add("directory", metavar="DIR", help="the directory to write")
    add("--model", metavar="DIR", help="directory of a model, as Hugging Face lays it out (default: the bundled model)")
    add("--dtype", choices=DTYPES, default="float64", help="what to compute in (default: float64)")
    add("--backend", choices=BACKENDS, default="auto", help="NumPy on the CPU or CuPy on a GPU (default: auto)")
    add("--only", nargs="+", metavar="PATTERN", help="write names that match one of these (*, ?, [...]), and no others")
    add("--gradients", action="store_true", help="run backward too, and write the gradients; needs --label")
    add(
        "--label",
        type=integer,
        nargs="+",
        metavar="N",
        help="index of the class, of each clip or of all, for the loss",
    )
    add(
        "--perturb",
        type=int,
        nargs="?",
        const=0,
        metavar="SEED",
        help="add random numbers to every weight first, the same for the same seed (default: 0), so that none is 0 or "
        "1 and hides a mistake; the model is written into DIR too, for the port to load",
    )
    add(
        "--budget",
        nargs="*",
        choices=PRECISIONS,
        metavar="PRECISION",
        help=f"measure how much the rounding of these precisions ({', '.join(PRECISIONS)}) changes each tensor, for "
        "minivivit compare to go by (default: float32; without a name: none)",
    )


def run_trace(arguments: argparse.Namespace) -> None:
    """Trace the model and the input that `arguments` name, and say what was written."""
    _check_places(arguments)
    if arguments.gradients and arguments.label is None:
        raise InputError("--gradients starts from the loss, which needs the class: pass --label N")
    model_directory = Path(arguments.model) if arguments.model is not None else bundled_model_directory()
    config = VivitConfig.from_pretrained(model_directory)
    budgets = arguments.budget
    if budgets is None:
        budgets = ["float32"] if arguments.dtype == "float64" else []
    steps = 2 + num_layers(config) * (2 if arguments.gradients else 1) + (1 if budgets else 0)
    with progress_bar(steps, "trace") as bar:
        pixel_values, notes = read_input(Path(arguments.input), model_directory, config)
        bar.update()
        with held_log() as messages:
            model = _load(model_directory, config, arguments.dtype, arguments.backend)
        if arguments.perturb is not None:
            model.load_state_dict(perturb(model.state_dict(), arguments.perturb))
        bar.update()
        interpolate = needs_interpolation(pixel_values.shape, config)
        if interpolate:
            notes.append(interpolation_note(pixel_values.shape, config))
        with numpy.errstate(all="ignore"):  # an overflow shows in the trace
            metadata = trace_model(
                model,
                pixel_values,
                arguments.directory,
                labels=_labels(arguments.label, len(pixel_values), config),
                gradients=arguments.gradients,
                only=arguments.only,
                budgets=budgets,
                interpolate_pos_encoding=interpolate,
                model_directory=model_directory,
                perturbed=arguments.perturb,
                on_record=_listener(bar),
            )
    if metadata["hiding_weights"]:
        notes.append(
            f"{', '.join(metadata['hiding_weights'])}, as in a model that was never trained: a port that lacks them "
            "computes the same; with --perturb none is"
        )
    print_notes([*notes, *messages, *unbounded_notes(metadata["rounding_budgets"])])
    _print_summary(arguments, metadata)


def _check_places(arguments: argparse.Namespace) -> None:
    """Refuse, before anything is computed, a place that is taken, by the model too, and a seed that is none."""
    directory = Path(arguments.directory)
    if arguments.model is not None and directory.exists() and directory.samefile(arguments.model):
        raise InputError(f"{directory} is the model; choose another directory for the trace")
    check_replaceable(directory)
    if arguments.perturb is not None and arguments.perturb < 0:
        raise InputError(f"--perturb {arguments.perturb} is no seed; expected a whole number of at least 0")


def read_input(path: Path, model_directory: Path, config: VivitConfig) -> tuple[numpy.ndarray, list[str]]:
    """Pixel values (batch, frames, channels, height, width) from a file of them or from a clip, and notes for the user.

    Raises
    ------
    InputError
        When the file is missing or broken, holds integers, tensors of other shapes, or none that must be the one.
    """
    if path.suffix in (".npz", ".safetensors") and not path.is_dir():
        return _read_tensor(path, config), []
    if path.suffix == ".npy" and path.is_file():
        array = open_array(path)
        if array.dtype.kind == "f":
            _check_shape(path, array.shape, config)
            return numpy.array(array, order="C").reshape(-1, *array.shape[-4:]), []
        if array.dtype != numpy.uint8:
            raise InputError(
                f"{path} holds {array.dtype} of shape {array.shape}; expected pixel values in float32 or float64, or a "
                "clip in uint8 of shape (frames, height, width, 3)"
            )
    processor, notes = load_processor(model_directory, config)
    check_clip_len(config.num_frames, processor, config)
    frames = read_central_frames(path, config.num_frames, DEFAULT_STRIDE)
    return processor.pixel_values(frames), notes


def _read_tensor(path: Path, config: VivitConfig) -> numpy.ndarray:
    """The tensor "pixel_values" of a file, or the only one that there is."""
    source = open_source(path)
    names = [*source.shapes, *source.left_out]
    if INPUT not in names and len(names) != 1:
        raise InputError(f"{path} holds {listed(names, 3) or 'nothing'}; expected pixel values under {INPUT!r}")
    name = INPUT if INPUT in names else names[0]
    if name in source.left_out:
        raise InputError(f"{path} holds {quoted(name)} in {source.left_out[name]}; expected floating-point numbers")
    _check_shape(path, source.shapes[name], config)
    return source.read(name).reshape(-1, *source.shapes[name][-4:])


def _check_shape(path: Path, shape: tuple[int, ...], config: VivitConfig) -> None:
    """Refuse what are no pixel values, or more than memory can be meant to hold, before any is taken."""
    if len(shape) not in (4, 5) or 0 in shape or shape[-3] != config.num_channels:
        raise InputError(
            f"{path} holds an array of shape {shape}; expected (batch, frames, channels, height, width), or one clip "
            f"without the batch, with {config.num_channels} channels"
        )
    if numpy.prod(shape, dtype=float) > MAX_VALUES:
        raise InputError(f"{path} holds an array of shape {shape}; {MAX_VALUES:,} values are the most")


def _load(directory: Path, config: VivitConfig, dtype: str, backend: str) -> Model:
    """The classifier in `directory`; or, where the weights have no head, the bare model."""
    names = [name.removeprefix("vivit.") for name in tensor_index(directory)]
    if config.num_labels == 0 or any(name.startswith("classifier.") for name in names):
        return VivitForVideoClassification.from_pretrained(directory, dtype=dtype, backend=backend)
    pooler = any(name.startswith("pooler.") for name in names)
    return VivitModel.from_pretrained(directory, dtype=dtype, backend=backend, add_pooling_layer=pooler)


def _labels(numbers: list[int] | None, batch: int, config: VivitConfig) -> numpy.ndarray | None:
    """Class indices, (batch,) or (batch, heads): clip by clip, or one number that stands for all."""
    if numbers is None:
        return None
    heads = len(config.class_splits or [0])
    labels = numpy.array(numbers * (batch * heads) if len(numbers) == 1 else numbers)
    return labels.reshape(batch, heads) if heads > 1 and len(labels) == batch * heads else labels


def _listener(bar: Any) -> Callable[[str], Any] | None:
    """Moves the bar by one step at each layer, forward and backward, and when the rounding is known."""

    def listen(name: str) -> None:
        if LAYER.fullmatch(name.removeprefix("gradient.")) or name == "rounding_budgets":
            bar.update()

    return None if bar.disable else listen


def unbounded_notes(budgets: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """What to say of precisions that overflow: their budgets bound nothing.

    Parameters
    ----------
    budgets : dict
        Precision -> name -> budget, in the order of execution.
    """
    notes = []
    for precision, of in budgets.items():
        names = [name for name, budget in of.items() if is_unbounded(budget)]
        if names:
            notes.append(
                f"{precision} overflows first at {names[0]}: the rounding budgets of {len(names)} of {len(of)} tensors "
                "are unbounded, so that of a port's only those that are NaN or infinite are judged there; scale what "
                "overflows before the product, or compute it in bfloat16 or float32"
            )
    return notes


def _print_summary(arguments: argparse.Namespace, metadata: dict[str, Any]) -> None:
    shapes = open_source(arguments.directory).shapes
    size = metadata["total_size"]
    readable = f"{size / 1e9:,.2f} GB" if size >= 1e8 else f"{size / 1e6:,.2f} MB"
    directory = printable(arguments.directory)
    print(f"{printable(Path(arguments.input).name)}: {len(shapes):,} tensors in {metadata['dtype']}, {readable}")
    print(f"written to {directory}: from {next(iter(shapes))} to {next(reversed(shapes))}")
    if metadata["rounding_budgets"]:
        print(f"rounding measured in {', '.join(metadata['rounding_budgets'])}")
    if arguments.perturb is not None:
        print(f"the model with perturbed weights is in {directory} too: config.json and model.safetensors")
    print(f"compare a port's with it:  minivivit compare {directory} THEIRS")
