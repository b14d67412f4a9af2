"""``minivivit evaluate``: how often a model is right."""

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy

from minivivit.backend import BACKENDS
from minivivit.bundled import bundled_model_directory
from minivivit.commands.common.arguments import integer
from minivivit.commands.common.notes import held_log, print_notes
from minivivit.commands.common.text_table import printable
from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.files.tensor_data import listed, quoted
from minivivit.models.classification import VivitForVideoClassification
from minivivit.models.top_classes import check_classifies
from minivivit.progress import counted, progress_bar
from minivivit.training.data.clip_folders import ClipFolders, find_clips
from minivivit.training.data.damage import check_clips
from minivivit.training.data.folders import FolderData
from minivivit.training.data.motion.batches import (
    EVALUATION,
    check_motion_labels,
    motion_batches,
    motion_clip_size,
    stream,
)
from minivivit.training.data.motion.clips import shuffle_frames
from minivivit.training.data.wanted import Wanted, all_of_them
from minivivit.training.evaluation import Measurement, measure_shared
from minivivit.training.parallel.ranks import Ranks, check_same_arguments
from minivivit.training.parallel.started import find_ranks
from minivivit.training.setting_checks import LARGEST_SEED, whole
from minivivit.training.settings import MOTION
from minivivit.video.default_processor import load_processor

BATCH = 64  # generated clips that are taken at once
FOLDER_BATCH = 8  # clips of a folder, which may be large
DEFAULT_STRIDE = 2  # as `minivivit classify`

DESCRIPTION = """\
Measure the accuracy of a model: the fraction of clips whose class it names right.

The clips are freshly made motion clips, which no training has seen (their seeds are apart from those of training), or
those of a folder with one sub-folder for each class. Every clip of a folder is looked at first; files that are no clips
wherever they lie (hidden ones, Thumbs.db, desktop.ini, __MACOSX, labels.csv and the like) are passed over.

Started by  mpiexec -n N  (pip install 'minivivit[mpi]' mpich), N processes share the clips."""

EXAMPLES = """\
examples:
  minivivit evaluate
  minivivit evaluate --shuffle-frames --clips 500
  minivivit evaluate --model mine/best --data held_out_clips/ --json"""


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments to `parser`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("--model", metavar="DIR", help="the model; left out: the one that comes with the package")
    parser.add_argument("--data", metavar="DIR", help="a folder of clips; left out: freshly generated motion clips")
    parser.add_argument(
        "--seed", type=integer, default=0, metavar="N", help="of the generated clips and of the shuffling"
    )
    parser.add_argument("--clips", type=integer, default=2000, metavar="N", help="how many to generate (default: 2000)")
    parser.add_argument(
        "--stride",
        type=integer,
        default=DEFAULT_STRIDE,
        metavar="S",
        help="show every S-th frame of a file (default: 2)",
    )
    parser.add_argument(
        "--skip-damaged", action="store_true", help="leave out clips that cannot be read, and count them"
    )
    parser.add_argument("--shuffle-frames", action="store_true", help="show each clip's frames in random order")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--backend", choices=BACKENDS, default="auto", help="where to compute")


def run_evaluate(args: argparse.Namespace) -> int:
    """Measure the model that `args` name, and print the result."""
    return find_ranks().run(lambda ranks: _evaluate(args, ranks))


def _evaluate(args: argparse.Namespace, ranks: Ranks) -> int:
    """Measure, alone or with other processes, each of which classifies its share of the batches."""
    check_same_arguments(ranks, args)
    whole(0, maximum=LARGEST_SEED)("seed", args.seed)
    for name in ("clips", "stride"):
        whole(1)(name, getattr(args, name))
    directory = bundled_model_directory() if args.model is None else Path(args.model)
    config = VivitConfig.from_pretrained(directory)
    check_classifies(directory, config)
    _check_one_label_a_clip(config)
    processor, notes = load_processor(directory, config)
    rng = stream(args.seed, EVALUATION)
    skipped: list[str] = []
    wanted = all_of_them if args.shuffle_frames else ranks.turns  # shuffling draws for all clips, in their order
    if args.data is None:
        check_motion_labels(config)
        count, batches = args.clips, motion_batches(rng, args.clips, BATCH, *motion_clip_size(config), wanted)
    else:
        count, batches, skipped = _folder_batches(config, args.data, args.stride, args.skip_damaged, wanted, ranks)
    if args.shuffle_frames:
        batches = (([shuffle_frames(rng, clip[None])[0] for clip in clips], labels) for clips, labels in batches)
        batches = islice(batches, ranks.rank, None, ranks.size)
    with held_log() as messages:
        model = VivitForVideoClassification.from_pretrained(directory, backend=args.backend)
    with progress_bar(count, "evaluate", "clip") as bar:
        measured = measure_shared(model, processor, counted(batches, bar), ranks)
    print_notes([*notes, *messages])
    _print_measurement(args, config, measured, skipped)
    return 0


def _check_one_label_a_clip(config: VivitConfig) -> None:
    """Neither a folder nor the built-in data has more than one label for a clip."""
    if config.class_splits is not None and len(config.class_splits) > 1:
        raise InputError(
            f"the model has {len(config.class_splits)} heads (class_splits {quoted(config.class_splits)}), but the "
            "clips have one label each: their accuracy cannot be measured here; joint_accuracy and joint_top_k of "
            "minivivit.models.top_classes measure it from logits and labels"
        )
    if config.problem_type == "multi_label_classification":
        raise InputError(
            "the config's problem_type is 'multi_label_classification': a clip can be of many classes, but the clips "
            "have one label each: their accuracy cannot be measured here"
        )


def _folder_batches(
    config: VivitConfig, folder: str, frame_sample_rate: int, skip_damaged: bool, wanted: Wanted, ranks: Ranks
) -> tuple[int, Iterator[tuple[list[numpy.ndarray], numpy.ndarray]], list[str]]:
    """How many clips a folder has, all of them, and the names of those that were skipped.

    Its sub-folders must have names of the model's classes.
    """
    clips = find_clips(folder)
    label_of = {label: index for index, label in config.id2label.items()}
    unknown = [name for name in clips if name not in label_of]
    if unknown:
        raise InputError(
            f"{folder} has sub-folders that are no classes of the model: {listed(unknown)}; its classes are "
            f"{listed(label_of)}"
        )
    same = Counter(config.id2label.values())
    for name in clips:
        if same[name] > 1:
            raise InputError(
                f"the model has {same[name]} classes of the name {quoted(name)}, so the sub-folder of {folder} does "
                "not say which is meant; give them different names in the config's id2label"
            )
    lengths, skipped = ranks.from_first(lambda: check_clips(ClipFolders(clips).by_name(), skip_damaged))
    entries = [(path, label_of[name]) for name, paths in clips.items() for path in paths if path in lengths]
    if not entries:
        raise InputError(f"none of the {len(skipped):,} clips in {folder} can be used; is the folder what it seems?")
    data = FolderData(clips, config, seed=0, batch_size=BATCH, frame_sample_rate=frame_sample_rate, lengths=lengths)
    return len(entries), data.central_batches(entries, FOLDER_BATCH, wanted), skipped


def _print_measurement(
    args: argparse.Namespace, config: VivitConfig, measured: Measurement, skipped: list[str]
) -> None:
    accuracies = measured.class_accuracies()
    if args.json:
        result: dict[str, Any] = {
            "accuracy": measured.accuracy,
            "loss": measured.loss,
            "clips": measured.count,
            "correct": measured.correct,
            "skipped": skipped,
            "data": args.data or MOTION,
            "seed": args.seed,
            "shuffle_frames": args.shuffle_frames,
            "classes": [
                {"label": label, "index": index, "accuracy": accuracies[index]}
                for index, label in config.id2label.items()
            ],
        }
        print(json.dumps(result, indent=2))
        return
    shuffled = ", frames shuffled" if args.shuffle_frames else ""
    left_out = f"; {len(skipped)} damaged left out" if skipped else ""
    print(f"accuracy {measured.accuracy:.4f}  ({measured.correct} of {measured.count} clips{shuffled}{left_out})")
    seen = [(printable(config.id2label[index]), value) for index, value in enumerate(accuracies) if value is not None]
    width = max(len(name) for name, _ in seen)
    for name, accuracy in seen:
        print(f"  {name:<{width}}  {accuracy:.4f}")
