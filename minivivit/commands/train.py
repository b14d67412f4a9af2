"""``minivivit train``: train a model on clips, or fine-tune one."""

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from minivivit.backend import num_threads
from minivivit.commands.common.arguments import decimal, integer
from minivivit.commands.common.lists import LISTS, add_list_arguments
from minivivit.commands.common.notes import held_log, print_notes
from minivivit.commands.common.text_table import printable
from minivivit.config import ATTENTION_TYPES, PRESETS
from minivivit.errors import InputError
from minivivit.files.tensor_data import quoted
from minivivit.training.checkpoints import BEST, LAST, holds_training
from minivivit.training.lock import locked
from minivivit.training.loop import train
from minivivit.training.parallel.ranks import Ranks, check_same_arguments
from minivivit.training.parallel.started import find_ranks
from minivivit.training.recipes.recipe import RECIPES, read_recipe
from minivivit.training.run import Training, begin_training, resume_training, settings_of, settled_state
from minivivit.training.setting_checks import number
from minivivit.training.settings import (
    MOTION,
    OPTIMISERS,
    SCHEDULES,
    TrainingSettings,
    check_setting,
    make_settings,
    read_settings_file,
)

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
    "warm_up": (int, "updates during which the learning rate rises (default: a tenth, at most 200)"),
    "warm_up_epochs": (float, "or: epochs"),
    "schedule": (tuple(SCHEDULES), "what the learning rate does afterwards"),
    "layer_decay": (float, "the learning rate of each layer is so much of that of the next one, up to the head"),
    "ema": (float, "keep an average of the weights, of which so much stays at each update, such as 0.999"),
    "label_smoothing": (float, "part of each label that goes to all classes alike"),
    "mixup_alpha": (float, "mix pairs of clips; 0 for no mixing"),
    "frame_sample_rate": (int, "show every n-th frame of a file"),
    "validation_fraction": (float, "part of a folder's clips that is kept for validation"),
    "group_by": (str, "keep clips together whose names are alike up to the last TEXT: those of one recording"),
    "seed": (int, "of everything random"),
    "dtype": (("float32", "float64"), "what to compute in"),
    "backend": (("numpy", "cupy", "auto"), "where to compute"),
}
LENGTHS = ("steps", "epochs")  # the settings that --resume can make larger
EITHER = (("epochs", "steps"), ("warm_up", "warm_up_epochs"))  # of which one is given
# Options that are a field of the model's config: name -> (field, type or choices, help).
MODEL_OPTIONS: dict[str, tuple[str, Any, str]] = {
    "preset": ("preset", tuple(PRESETS), "train the model of this published config from scratch"),
    "attention_type": ("attention_type", ATTENTION_TYPES, "which of the paper's models 1 to 4"),
    "dropout": ("hidden_dropout_prob", float, "dropout while training"),
    "stochastic_depth": ("stochastic_droplayer_rate", float, "chance of dropping a branch of the last layer"),
}
PROBABILITIES = ("dropout", "stochastic_depth")


TRAIN_DESCRIPTION = f"""\
Train a model on clips, or fine-tune one (--model).

DATA is a folder with one sub-folder of clips for each class, of any kind that  minivivit classify  reads; a list of
clips (see below); or the word motion: clips made on the fly, on which, told nothing else, this command trains the model
that ships with minivivit.

Part of a folder's clips is kept to validate on (--validation-fraction), or all of them are trained on and the clips of
another folder, with the same classes, validated on (--validation). Where DATA holds train/ and val/ (or training/,
valid/, validation/) with the classes in them, these two are used; a test/ beside them is not looked at.

Clips that were cut from one recording share its room and its light: where some are trained on and others validated on,
the accuracy says too much. --group-by _ keeps kitchen_1.mp4 and kitchen_2.mp4 together, of whatever class they are.
(Parts of one file, in a list, stay together by themselves.)

{LISTS}

On a folder, told nothing else, it trains from scratch a small model of 8 frames of 64 x 64, which learns what a few
hundred clips can teach within minutes on a laptop. --preset chooses one of the published sizes, which want a GPU and
far more clips; fine-tuning a published model wants fewer. Every clip is looked at before the training begins, and all
that cannot be used are named, or left out and counted (--skip-damaged). Files that are no clips wherever they lie
(hidden ones, Thumbs.db, desktop.ini, __MACOSX, labels.csv and the like) are passed over.

The output directory holds the models last and best in the Hugging Face layout, log.jsonl, and curves.png where
matplotlib is installed; one that holds anything of these names already is refused. Ctrl-C saves and stops, with exit
code 130. With --resume the training goes on as if it had never stopped, to the bit, after a kill too; it is refused
when a file of it, or a clip, is not what it was, for which every clip is read once. With --resume and more --steps or
--epochs than it began with it becomes longer, and a learning rate that falls over the whole rises again. Everything
that has no option has a name in the JSON file of --config:
model (the fields of VivitConfig), augmentation (scenic's names), and those of minivivit.training.settings.

Started by  mpiexec -n N  (pip install 'minivivit[mpi]' mpich), N processes share every batch: each computes its part,
all make the same update, and the first one alone writes. The result is that of one process, to rounding; --resume goes
on with any number of processes. On GPUs the processes of a machine take its GPUs in turn; start as many as it has."""

TRAIN_EXAMPLES = """\
examples:
  minivivit train motion --output motion_model
  minivivit train clips/ --output my_model --config my_settings.json
  minivivit train clips/ --output tuned --model vivit-b-16x2-kinetics400 --freeze 'vivit.embeddings.*' --epochs 10
  minivivit train clips/ --output tuned --model vivit-b-16x2-kinetics400 --recipe fine-tune
  minivivit train clips/train --validation clips/val --output my_model
  minivivit train clips/ --output my_model --group-by _
  minivivit train train.csv --validation val.csv --root kinetics400/ --labels names.txt --output tuned
  minivivit train clips/ --output tuned --resume
  mpiexec -n 4 minivivit train clips/ --output my_model"""


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``minivivit train``."""
    parser.description, parser.epilog = TRAIN_DESCRIPTION, TRAIN_EXAMPLES
    parser.add_argument(
        "data", metavar="DATA", help="a folder with a sub-folder of clips for each class; a list of clips; or: motion"
    )
    parser.add_argument("--config", metavar="FILE", help="JSON file with settings; options win over it")
    parser.add_argument("--output", metavar="DIR", required=True, help="where checkpoints and log go")
    parser.add_argument("--resume", action="store_true", help="go on with the training in --output, if there is one")
    parser.add_argument(
        "--model", metavar="DIR", help="start from this model; its head is drawn anew, unless it has the same classes"
    )
    parser.add_argument(
        "--image-model", metavar="PATH", help="start from this image model (or another video model), as the paper does"
    )
    parser.add_argument("--recipe", choices=RECIPES, help="the settings of a published training; others win over them")
    parser.add_argument(
        "--validation", metavar="DIR", help="a folder of clips to validate on, or a list, with the same classes"
    )
    add_list_arguments(parser)
    parser.add_argument("--skip-damaged", action="store_true", help="leave out clips that cannot be used")
    parser.add_argument("--freeze", metavar="PATTERN", action="append", help="do not train parameters of these names")
    for name, (kind, text) in SETTING_OPTIONS.items():
        _add_option(parser, name, kind, f"{text}{_default_text(name)}")
    for name, (_, kind, text) in MODEL_OPTIONS.items():
        _add_option(parser, name, kind, text)


def _add_option(parser: argparse.ArgumentParser, name: str, kind: Any, text: str) -> None:
    option = _option(name)
    if isinstance(kind, tuple):
        parser.add_argument(option, dest=name, choices=kind, help=text)
    else:
        kinds: dict[Any, tuple[Any, str]] = {int: (integer, "N"), float: (decimal, "X"), str: (str, "TEXT")}
        read, metavar = kinds[kind]
        parser.add_argument(option, dest=name, type=read, metavar=metavar, help=text)


def _option(name: str) -> str:
    return "--stride" if name == "frame_sample_rate" else f"--{name.replace('_', '-')}"


def _default_text(name: str) -> str:
    """What the help says of a setting's default: that of a folder, and others where they differ."""
    folder = getattr(make_settings("", {}), name)
    tuned = getattr(make_settings("", {}, fine_tuning=True), name)
    motion = getattr(make_settings(MOTION, {}), name)
    known = [] if folder is None else [f"default: {folder}"]
    known += [] if tuned == folder else [f"with --model or --preset {tuned}"]
    known += [] if motion in (folder, None) else [f"motion: {motion}"]
    return f" ({'; '.join(known)})" if known else ""


def run_train(args: argparse.Namespace) -> int:
    """Run ``minivivit train``: 0 when the training reached its end, 130 when Ctrl-C stopped it."""
    return find_ranks().run(lambda ranks: _train(args, ranks))


def _train(args: argparse.Namespace, ranks: Ranks) -> int:
    """Train, alone or with other processes: the first one opens the training, and the others get a copy of it."""
    output = Path(args.output)
    check_same_arguments(ranks, args)
    with ExitStack() as stack:

        def look() -> tuple[dict[str, Any], list[str], TrainingSettings, dict[str, int]]:
            given = _checked_settings(args, output)
            notes = stack.enter_context(locked(output))
            return given, notes, *_settings(args, given, output)

        given, notes, settings, longer = ranks.from_first(look)
        ranks.take_device(settings.backend)
        training = ranks.from_first(lambda: _open_training(args, given, settings, longer, output, notes))
        training.ranks = ranks
        _announce(training)
        finished = train(training)
    if not finished:
        print(f"interrupted after step {training.step}; saved in {printable(output / LAST)}: go on with --resume")
        return 130
    last, best = printable(output / LAST), printable(output / BEST)
    print(f"finished; the last model is in {last}, the best one in {best}")
    return 0


def _checked_settings(args: argparse.Namespace, output: Path) -> dict[str, Any]:
    """The settings that were given, when nothing in the arguments contradicts anything else."""
    _check_options(args)
    given = _given_settings(args)
    if args.model is not None and args.image_model is not None:
        raise InputError("give a --model to start from, or an --image-model, but not both")
    if args.validation is not None and "validation_fraction" in given:
        raise InputError("give a folder to validate on, or a validation_fraction of the clips, but not both")
    for folder in (args.data, args.validation):
        _check_apart(folder, output)
    return given


def _check_options(args: argparse.Namespace) -> None:
    """Refuse values that cannot be meant while it is known that they are of options, whose names the user knows.

    Later they are settings and fields of a config, whose messages have the names that stand in the file of --config.
    """
    for name in SETTING_OPTIONS:
        if getattr(args, name) is not None:
            check_setting(name, getattr(args, name), _option(name))
    for name in PROBABILITIES:
        number(0, 1, below=True, optional=True)(_option(name), getattr(args, name))


def _settings(args: argparse.Namespace, given: dict[str, Any], output: Path) -> tuple[TrainingSettings, dict[str, int]]:
    """The settings of a new training, or those of the one in `output` and its new length.

    They are known before the training is opened, so that each process can take its GPU first.
    """
    if not holds_training(output):
        return make_settings(args.data, given, fine_tuning=args.model is not None), {}
    if not args.resume:
        raise InputError(f"{output} already holds a training; go on with it (--resume), or choose another --output")
    state = settled_state(output)
    settings = settings_of(state, output / LAST)
    began_with = {**settings.to_dict(), "initial_model": state["origin"].get("initial_model")}
    return settings, _check_same_settings(given, began_with, args.model, output)


def _check_apart(data: str | None, output: Path) -> None:
    """What is written within a folder of clips would be taken for a class, or for a clip."""
    if data is None or data == MOTION or not output.resolve().is_relative_to(Path(data).resolve()):
        return
    within = output.resolve().relative_to(Path(data).resolve())
    if not any(part.startswith(".") for part in within.parts):  # names with a dot are passed over
        raise InputError(f"{output} lies within {data}, the folder of clips; choose another --output")


def _open_training(
    args: argparse.Namespace,
    given: dict[str, Any],
    settings: TrainingSettings,
    longer: dict[str, int],
    output: Path,
    notes: list[str],
) -> Training:
    """The training in `output`, or a new one."""
    if holds_training(output):
        training = resume_training(args.data, output, args.validation, longer, args.root, args.labels)
        print_notes([*notes, *training.notes])
        return training
    with held_log() as logged:
        training = begin_training(
            args.data,
            settings,
            output,
            args.model,
            args.validation,
            args.skip_damaged,
            args.root,
            args.labels,
            args.image_model,
        )
    print_notes([*notes, *_recipe_notes(args), *_default_model_notes(args, given), *training.notes, *logged])
    return training


def _default_model_notes(args: argparse.Namespace, given: dict[str, Any]) -> list[str]:
    """Who says nothing about the model of a folder may expect ViViT-B."""
    if args.data == MOTION or args.model is not None or args.image_model is not None or given.get("model"):
        return []
    return [
        "a small model is trained from scratch: --preset, or model in the file of --config, chooses another, and "
        "--model DIR fine-tunes one"
    ]


def _recipe_notes(args: argparse.Namespace) -> list[str]:
    """Where the settings come from, and what else the recipe has."""
    if args.recipe is None:
        return []
    recipe = read_recipe(args.recipe)
    notes = [f"recipe {args.recipe}: {recipe.data}; from {recipe.source}", *recipe.remarks]
    if args.model is None and args.image_model is None:
        notes.append(f"this training starts from nothing, that of the recipe from {recipe.start}")
    return notes


def _given_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The settings of the recipe, over them those of the file, and over these those of the command line."""
    given = {} if args.config is None else read_settings_file(args.config)
    if args.recipe is not None:
        given = _over_recipe(read_recipe(args.recipe).settings, given)
    values = {name: getattr(args, name) for name in SETTING_OPTIONS if getattr(args, name) is not None}
    for name, other in (*EITHER, *(pair[::-1] for pair in EITHER)):
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


def _over_recipe(recipe: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What is given, and the recipe for the rest, also within `model` and `augmentation`."""
    for name, other in (*EITHER, *(pair[::-1] for pair in EITHER)):
        if name in given:
            recipe = {key: value for key, value in recipe.items() if key not in (name, other)}
    inner = {
        name: {**recipe.get(name, {}), **given[name]}
        for name in ("model", "augmentation")
        if isinstance(given.get(name), dict)
    }
    return {**recipe, **given, **inner}


def _check_same_settings(
    given: dict[str, Any], began_with: dict[str, Any], initial_model: str | None, output: Path
) -> dict[str, int]:
    """A training goes on as it began: what is given must be what it began with, or make it longer.

    Returns
    -------
    dict
        The number of steps or epochs, when it is larger than what the training began with.
    """
    if initial_model is not None:
        given = {**given, "initial_model": initial_model}
    longer = {}
    for name, value in given.items():
        began = began_with.get(name)
        if isinstance(value, dict) and isinstance(began, dict):
            began = {key: began.get(key) for key in value}
            value = {key: began[key] if entry == "model" else entry for key, entry in value.items()}  # made a size
        if value == began or (name == "warm_up" and value is None):  # the default, which was made a number
            continue
        if name in LENGTHS and isinstance(value, int) and isinstance(began, int) and value > began:
            longer[name] = value
            continue
        raise InputError(
            f"{quoted(name)[1:-1]} is {'null' if value is None else quoted(value)}, but the training in {output} began "
            f"with {_said(name, began)}; a training goes on as it began, or longer: leave the option out, or begin "
            "another in a new --output"
        )
    return longer


def _said(name: str, value: Any) -> str:
    """The value of a setting in words."""
    if value is not None:
        return quoted(value)
    return f"no number of {name}" if name in LENGTHS else f"no {quoted(name)[1:-1].replace('_', ' ')}"


def _announce(training: Training) -> None:
    config, ranks = training.model.config, training.ranks
    frames = f"{config.num_frames} frames of {' x '.join(map(str, config.frame_size))}"
    print(f"data: {printable(training.data.describe())}")
    print(f"model: {config.attention_type}, {training.model.num_parameters():,} parameters, {frames}")
    if ranks.size > 1:
        print(f"processes: {ranks.size}, {num_threads()} threads each; each computes its part of every batch")
    if ranks.summing:
        print(f"gradients: summed {ranks.summing}")
    print(
        f"steps: {training.total_steps:,}, beginning at {training.step:,}; output: {printable(training.output)}",
        flush=True,
    )
