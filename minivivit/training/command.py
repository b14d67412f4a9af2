"""The commands ``minivivit train`` and ``minivivit evaluate``."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy

from minivivit.bundled import bundled_model_directory
from minivivit.config import ATTENTION_TYPES
from minivivit.errors import InputError
from minivivit.models.classification import VivitForVideoClassification
from minivivit.training.checkpointing import LAST, has_checkpoint, read_state
from minivivit.training.evaluation import Measurement, measure
from minivivit.training.folder_data import FolderData, find_clips
from minivivit.training.loop import train
from minivivit.training.motion import motion_clips, shuffle_frames
from minivivit.training.motion_data import EVALUATION, check_motion_labels, motion_clip_size, stream
from minivivit.training.pixels import new_processor
from minivivit.training.setting_checks import whole
from minivivit.training.settings import MOTION, OPTIMISERS, SCHEDULES, make_settings, read_settings_file
from minivivit.training.training import Training, begin_training, resume_training, settings_of
from minivivit.video.image_processor import VivitImageProcessor, find_settings

BATCH = 64  # clips that evaluation takes at once
DEFAULT_STRIDE = 2  # as `minivivit classify`


# --------------------------------------------------------------------------------------------------------------------
# minivivit train
# --------------------------------------------------------------------------------------------------------------------

# Options that are a setting of the same name, with dashes for underscores: name -> (type or choices, help).
SETTING_OPTIONS: dict[str, tuple[Any, str]] = {
    "epochs": (int, "how often every clip is seen"),
    "steps": (int, "or: how many updates are made"),
    "batch_size": (int, "clips in an update"),
    "accumulate": (int, "compute a batch in this many pieces, to save memory"),
    "parallel": (int, "compute this many pieces side by side on the CPU; pays for small models"),
    "optimiser": (OPTIMISERS, "what makes the updates"),
    "learning_rate": (float, "the largest learning rate"),
    "weight_decay": (float, "decoupled weight decay (adamw), or L2 (sgd)"),
    "warm_up": (int, "updates during which the learning rate rises"),
    "schedule": (tuple(SCHEDULES), "what the learning rate does afterwards"),
    "label_smoothing": (float, "part of each label that goes to all classes alike"),
    "mixup_alpha": (float, "mix pairs of clips; 0 for no mixing"),
    "frame_sample_rate": (int, "show every n-th frame of a file"),
    "validation_fraction": (float, "part of a folder's clips that is kept for validation"),
    "seed": (int, "of everything random"),
    "dtype": (("float32", "float64"), "what to compute in"),
    "backend": (("numpy", "cupy", "auto"), "where to compute"),
}
# Options that are a field of the model's config: name -> (field, type or choices, help).
MODEL_OPTIONS: dict[str, tuple[str, Any, str]] = {
    "attention_type": ("attention_type", ATTENTION_TYPES, "which of the paper's models 1 to 4"),
    "dropout": ("hidden_dropout_prob", float, "dropout while training"),
    "stochastic_depth": ("stochastic_droplayer_rate", float, "chance of dropping a branch of the last layer"),
}


TRAIN_DESCRIPTION = """\
Train a model on clips, or fine-tune one (--model).

DATA is a folder with one sub-folder of clips for each class, of any kind that  minivivit classify  reads; or the word
motion: clips made on the fly, on which, told nothing else, this command trains the model that ships with minivivit.

The output directory holds the checkpoints last and best in the Hugging Face layout, log.jsonl, and curves.png where
matplotlib is installed. Ctrl-C saves and stops, with exit code 130. With --resume the training goes on as if it had
never stopped, to the bit. Everything that has no option has a name in the JSON file of --config:
model (the fields of VivitConfig), augmentation (scenic's names), and those of minivivit.training.settings."""

TRAIN_EXAMPLES = """\
examples:
  minivivit train motion --output motion_model
  minivivit train clips/ --output my_model --config my_settings.json
  minivivit train clips/ --output tuned --model vivit-b-16x2-kinetics400 --freeze 'vivit.embeddings.*' --epochs 10
  minivivit train clips/ --output tuned --resume"""


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``minivivit train``."""
    parser.description, parser.epilog = TRAIN_DESCRIPTION, TRAIN_EXAMPLES
    parser.add_argument("data", metavar="DATA", help="a folder with a sub-folder of clips for each class; or: motion")
    parser.add_argument("--config", metavar="FILE", help="JSON file with settings; options win over it")
    parser.add_argument("--output", metavar="DIR", required=True, help="where checkpoints and log go")
    parser.add_argument("--resume", action="store_true", help="go on with the training in --output, if there is one")
    parser.add_argument("--model", metavar="DIR", help="start from this model, with a new head")
    parser.add_argument("--freeze", metavar="PATTERN", action="append", help="do not train parameters of these names")
    for name, (kind, text) in SETTING_OPTIONS.items():
        _add_option(parser, name, kind, text)
    for name, (_, kind, text) in MODEL_OPTIONS.items():
        _add_option(parser, name, kind, text)


def _add_option(parser: argparse.ArgumentParser, name: str, kind: Any, text: str) -> None:
    option = "--stride" if name == "frame_sample_rate" else f"--{name.replace('_', '-')}"
    if isinstance(kind, tuple):
        parser.add_argument(option, dest=name, choices=kind, help=text)
    else:
        parser.add_argument(option, dest=name, type=kind, metavar="N" if kind is int else "X", help=text)


def run_train(args: argparse.Namespace) -> int:
    """Run ``minivivit train``: 0 when the training reached its end, 130 when Ctrl-C stopped it."""
    output = Path(args.output)
    given = _given_settings(args)
    if has_checkpoint(output):
        if not args.resume:
            raise InputError(f"{output} already holds a training; go on with it (--resume), or choose another --output")
        _check_same_settings(given, args.model, output)
        training = resume_training(args.data, output)
    else:
        settings = make_settings(args.data, given, fine_tuning=args.model is not None)
        training = begin_training(args.data, settings, output, args.model)
    _announce(training)
    if not train(training):
        print(f"interrupted after step {training.step}; saved in {output / LAST}: go on with --resume")
        return 130
    print(f"finished; the last model is in {output / 'last'}, the best one in {output / 'best'}")
    return 0


def _given_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The settings of the file, and over them those of the command line."""
    given = {} if args.config is None else read_settings_file(args.config)
    values = {name: getattr(args, name) for name in SETTING_OPTIONS if getattr(args, name) is not None}
    for name, other in (("epochs", "steps"), ("steps", "epochs")):
        if name in values and other not in values:
            given.pop(other, None)
    if args.freeze is not None:
        values["freeze"] = args.freeze
    fields = {field: getattr(args, name) for name, (field, _, _) in MODEL_OPTIONS.items()}
    fields = {field: value for field, value in fields.items() if value is not None}
    if fields:
        model = given.get("model", {})
        values["model"] = {**model, **fields} if isinstance(model, dict) else model
    return {**given, **values}


def _check_same_settings(given: dict[str, Any], initial_model: str | None, output: Path) -> None:
    """A training goes on as it began: what is given must be what it began with."""
    state = read_state(output / LAST)
    began_with = settings_of(state, output / LAST).to_dict()
    began_with["initial_model"] = state["origin"].get("initial_model")
    if initial_model is not None:
        given = {**given, "initial_model": initial_model}
    for name, value in given.items():
        began = began_with.get(name)
        if isinstance(value, dict) and isinstance(began, dict):
            began = {key: began.get(key) for key in value}
        if value != began:
            raise InputError(
                f"{name} is {value!r}, but the training in {output} began with {began!r}; a training goes on as it "
                "began: leave the option out, or begin another in a new --output"
            )


def _announce(training: Training) -> None:
    model = training.model
    print(f"data: {training.data.describe()}")
    print(f"model: {model.config.attention_type}, {model.num_parameters():,} parameters")
    print(f"steps: {training.total_steps:,}, beginning at {training.step:,}; output: {training.output}", flush=True)


# --------------------------------------------------------------------------------------------------------------------
# minivivit evaluate
# --------------------------------------------------------------------------------------------------------------------


EVALUATE_DESCRIPTION = """\
Measure the accuracy of a model: the fraction of clips whose class it names right.

The clips are freshly made motion clips, which no training has seen (their seeds are apart from those of training), or
those of a folder with one sub-folder for each class."""

EVALUATE_EXAMPLES = """\
examples:
  minivivit evaluate
  minivivit evaluate --shuffle-frames --json
  minivivit evaluate --model my_model/best --data held_out_clips/"""


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``minivivit evaluate``."""
    parser.description, parser.epilog = EVALUATE_DESCRIPTION, EVALUATE_EXAMPLES
    parser.epilog = (
        "examples:\n"
        "  minivivit evaluate\n"
        "  minivivit evaluate --shuffle-frames --clips 500\n"
        "  minivivit evaluate --model mine/best --data CLIPS --json"
    )
    parser.add_argument("--model", metavar="DIR", help="the model; left out: the one that comes with the package")
    parser.add_argument("--data", metavar="DIR", help="a folder of clips; left out: freshly generated motion clips")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the generated clips and of the shuffling")
    parser.add_argument("--clips", type=int, default=2000, metavar="N", help="how many to generate (default: 2000)")
    parser.add_argument(
        "--stride", type=int, default=DEFAULT_STRIDE, metavar="S", help="show every S-th frame of a file (default: 2)"
    )
    parser.add_argument("--shuffle-frames", action="store_true", help="show each clip's frames in random order")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--backend", choices=("numpy", "cupy", "auto"), default="auto", help="where to compute")


def run_evaluate(args: argparse.Namespace) -> int:
    """Run ``minivivit evaluate``."""
    for name, minimum in (("seed", 0), ("clips", 1), ("stride", 1)):
        whole(minimum)(name, getattr(args, name))
    directory = bundled_model_directory() if args.model is None else args.model
    model = VivitForVideoClassification.from_pretrained(directory, backend=args.backend)
    has_processor = find_settings(directory) is not None
    processor = VivitImageProcessor.from_pretrained(directory) if has_processor else new_processor(model.config)
    rng = stream(args.seed, EVALUATION)
    if args.data is None:
        batches = _motion_batches(model, args.clips, rng)
    else:
        batches = _folder_batches(model, args.data, args.stride)
    if args.shuffle_frames:
        batches = (([shuffle_frames(rng, clip[None])[0] for clip in clips], labels) for clips, labels in batches)
    measured = measure(model, processor, batches)
    _print_measurement(args, model, measured)
    return 0


def _motion_batches(model: VivitForVideoClassification, count: int, rng: numpy.random.Generator) -> Any:
    check_motion_labels(model.config)
    num_frames, size = motion_clip_size(model.config)
    for first in range(0, count, BATCH):
        clips, labels = motion_clips(rng, min(BATCH, count - first), num_frames, size)
        yield list(clips), labels


def _folder_batches(model: VivitForVideoClassification, folder: str, frame_sample_rate: int) -> Any:
    """All clips of a folder; its sub-folders must have names of the model's classes."""
    clips = find_clips(folder)
    label_of = {label: index for index, label in model.config.id2label.items()}
    unknown = [name for name in clips if name not in label_of]
    if unknown:
        raise InputError(
            f"{folder} has a sub-folder {unknown[0]!r}, but the model has no such class; its classes are "
            f"{', '.join(list(label_of)[:5])}{', ...' if len(label_of) > 5 else ''}"
        )
    entries = [(path, label_of[name]) for name, paths in clips.items() for path in paths]
    data = FolderData(clips, model.config, seed=0, batch_size=BATCH, frame_sample_rate=frame_sample_rate)
    return data.central_batches(entries, batch_size=8)


def _print_measurement(args: argparse.Namespace, model: VivitForVideoClassification, measured: Measurement) -> None:
    labels = list(model.config.id2label.values())
    classes = dict(zip(labels, measured.class_accuracies(), strict=True))
    if args.json:
        result = {
            "accuracy": measured.accuracy,
            "loss": measured.loss,
            "clips": measured.count,
            "correct": measured.correct,
            "data": args.data or MOTION,
            "seed": args.seed,
            "shuffle_frames": args.shuffle_frames,
            "classes": classes,
        }
        print(json.dumps(result, indent=2))
        return
    shuffled = ", frames shuffled" if args.shuffle_frames else ""
    print(f"accuracy {measured.accuracy:.4f}  ({measured.correct} of {measured.count} clips{shuffled})")
    width = max(map(len, labels))
    for name, accuracy in classes.items():
        if accuracy is not None:
            print(f"  {name:<{width}}  {accuracy:.4f}")
