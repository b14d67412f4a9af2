"""``minivivit evaluate``: how often a model is right."""

import argparse
import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import NoReturn

import numpy
from tqdm import tqdm

from minivivit.backend import BACKENDS, to_numpy
from minivivit.bundled import bundled_model_directory
from minivivit.commands.common.arguments import integer, positive, shard, views
from minivivit.commands.common.lists import LISTS, add_list_arguments
from minivivit.commands.common.notes import held_log, print_notes
from minivivit.commands.evaluation_report import print_scores, write_confusion
from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.files.tensor_data import listed, quoted
from minivivit.models.classification import VivitForVideoClassification
from minivivit.models.multi_view import AVERAGES
from minivivit.models.top_classes import check_classifies
from minivivit.progress import progress_bar
from minivivit.training.data.clip_folders import find_clips
from minivivit.training.data.damage import damaged_error
from minivivit.training.data.lists.classes import indices_of_model
from minivivit.training.data.lists.label_names import read_label_names
from minivivit.training.data.lists.listed_clips import NamedClip
from minivivit.training.data.lists.reading import read_list
from minivivit.training.data.motion.batches import EVALUATION, check_motion_labels, motion_clip_size, stream
from minivivit.training.data.motion.clips import motion_clips, shuffle_frames
from minivivit.training.measurement.answers import Answer, answer
from minivivit.training.measurement.passes import (
    FEWEST_VIEWS,
    MOST_VIEWS,
    Viewing,
    answer_clips,
    clips_of_a_block,
    first_damage,
)
from minivivit.training.measurement.predictions import (
    Predictions,
    merge_predictions,
    opened_predictions,
    run_name,
    write_predictions,
)
from minivivit.training.measurement.scores import scores_of
from minivivit.training.parallel.ranks import Ranks, check_same_arguments, in_turns
from minivivit.training.parallel.started import find_ranks
from minivivit.training.setting_checks import LARGEST_SEED, whole
from minivivit.video.clip_processor import ClipProcessor
from minivivit.video.default_processor import load_processor

BATCH = 64  # generated clips that are taken at once
DEFAULT_STRIDE = 2  # as `minivivit classify`

DESCRIPTION = f"""\
Measure the accuracy of a model: the fraction of clips whose class it names right, first (top-1) and among the five most
probable (top-5, of more than five classes); of each class; and of models with several heads (verb and noun) for each
head and for all together.

The clips are freshly made motion clips, which no training has seen (their seeds are apart from those of training),
those of a folder with one sub-folder for each class, or those of a list. Files in a folder that are no clips wherever
they lie (hidden ones, Thumbs.db, desktop.ini, __MACOSX, labels.csv and the like) are passed over.

{LISTS} A number without a name is that of the model's class.

With --views 4x3, the paper's, each clip is seen in 4 clips, spread evenly from its first frame to its last, of 3 crops
each, and the answers are averaged, as  minivivit classify --views  does.

With --predictions each answer is written as it is made. Given the same file again, an evaluation that was interrupted
or killed goes on where it was. --shard 1/4 evaluates the first of four parts, and --merge makes of all parts'
predictions the figures of the whole, and with --predictions its file. Give --merge the model that made them (--model).
A shard is made of whole groups of clips that are answered together: {MOST_VIEWS} clips of a small model,
{FEWEST_VIEWS} of a large one, fewer with --views. So there cannot be more shards than groups.

Started by  mpiexec -n N  (pip install 'minivivit[mpi]' mpich), N processes share the clips, block by block. On GPUs
the processes of a machine take its GPUs in turn."""

EXAMPLES = """\
examples:
  minivivit evaluate
  minivivit evaluate --shuffle-frames --clips 500
  minivivit evaluate --model mine/best --data held_out_clips/ --json
  minivivit evaluate --model k400 --data val.csv --root videos/ --labels names.txt --views 4x3 --predictions val_out.csv
  minivivit evaluate --model k400 --data val.csv --root videos/ --views 4x3 --shard 2/4 --predictions part2.csv
  minivivit evaluate --model k400 --merge part1.csv part2.csv part3.csv part4.csv --predictions whole.csv"""


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments to `parser`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    add = parser.add_argument
    add("--model", metavar="DIR", help="the model; left out: the one that comes with the package")
    add("--data", metavar="DATA", help="a folder or a list of clips; left out: freshly generated motion clips")
    add_list_arguments(parser)
    add("--seed", type=integer, default=0, metavar="N", help="of the generated clips and of the shuffling")
    add("--clips", type=integer, default=2000, metavar="N", help="how many to generate (default: 2000)")
    text = "show every S-th frame of a file (default: 2)"
    add("--stride", type=integer, default=DEFAULT_STRIDE, metavar="S", help=text)
    text = "average over T clips (in time) of S crops (1 or 3) each, such as 4x3"
    add("--views", type=views, default=(1, 1), metavar="TxS", help=text)
    add("--average", choices=AVERAGES, default=AVERAGES[0], help="what of the views to average (default: logits)")
    add("--skip-damaged", action="store_true", help="leave out clips that cannot be read, and count them")
    add("--shuffle-frames", action="store_true", help="show each clip's frames in random order")
    add("--predictions", metavar="FILE", help="write every answer as CSV; go on with the file if it is there")
    add("--shard", type=shard, metavar="I/N", help="evaluate the I-th of N parts of the clips, counted from 1")
    text = "no evaluation: the figures of the predictions of all shards"
    add("--merge", nargs="+", metavar="FILE", help=text)
    add("--confusion", metavar="FILE", help="write how often each class is taken for which, as CSV")
    add(
        "--top-k", type=positive, default=5, metavar="K", help="how many of the commonest mistakes to name (default: 5)"
    )
    add("--json", action="store_true", help="print one JSON object")
    add("--backend", choices=BACKENDS, default="auto", help="where to compute")


def run_evaluate(args: argparse.Namespace) -> int:
    """Measure the model that `args` name, and print the result."""
    return find_ranks().run(lambda ranks: _evaluate(args, ranks))


def _evaluate(args: argparse.Namespace, ranks: Ranks) -> int:
    """Measure, alone or with other processes, each of which answers every so many-th block of clips."""
    check_same_arguments(ranks, args)
    _check_arguments(args)
    directory = bundled_model_directory() if args.model is None else Path(args.model)
    config = VivitConfig.from_pretrained(directory)
    check_classifies(directory, config)
    _check_one_label_a_head(args, config)
    notes: list[str] = []
    if args.merge is not None:
        answers = ranks.from_first(lambda: _merged(args, config))
    else:
        ranks.take_device(args.backend)
        find_answers = _motion_answers if args.data is None else _clip_answers
        answers = find_answers(args, directory, config, notes, ranks)
    scores = scores_of(answers, config)
    if scores.damaged and not args.skip_damaged:
        raise damaged_error(scores.damaged, len(answers), next(answer.damage for answer in answers if answer.damage))
    if not scores.clips:
        raise InputError(
            f"none of the {len(answers):,} clips in {args.data or listed(args.merge)} can be used; is it what it "
            "seems? Of a list, is --root right?"
        )
    if args.confusion is not None:
        ranks.from_first(lambda: write_confusion(Path(args.confusion), scores, config))
    print_notes(notes)
    print_scores(args, config, scores)
    return 0


def _check_arguments(args: argparse.Namespace) -> None:
    """Refuse what cannot be meant, before anything is read."""
    whole(0, maximum=LARGEST_SEED)("--seed", args.seed)
    for name in ("clips", "stride"):
        whole(1)(f"--{name}", getattr(args, name))
    if args.merge is not None and (args.data is not None or args.shard is not None):
        raise InputError("--merge makes figures of predictions; it goes without --data and --shard")
    if args.data is None and args.merge is None:
        given = [
            option
            for option, value in (("--views", args.views != (1, 1)), ("--shard", args.shard), ("--root", args.root))
            if value
        ]
        given += [option for option, value in (("--labels", args.labels), ("--predictions", args.predictions)) if value]
        if given:
            raise InputError(
                f"{', '.join(given)} {'is' if len(given) == 1 else 'are'} for clips on the disk; name them with --data"
            )
    if args.data is not None and not Path(args.data).is_file() and (args.root or args.labels):
        raise InputError(f"{args.data} is no list of clips; --root and --labels are for lists")
    if args.confusion is not None and Path(args.confusion).exists():
        raise InputError(f"{args.confusion} is there already; choose another name, nothing is overwritten")


def _check_one_label_a_head(args: argparse.Namespace, config: VivitConfig) -> None:
    """Neither a folder nor the built-in data has more than one label for a clip; a list may have one a head."""
    is_list = args.merge is not None or (args.data is not None and Path(args.data).is_file())
    if config.class_splits is not None and len(config.class_splits) > 1 and not is_list:
        raise InputError(
            f"the model has {len(config.class_splits)} heads (class_splits {quoted(config.class_splits)}), but the "
            "clips have one label each: their accuracy cannot be measured here; give a list with a label for each "
            "head, or use joint_accuracy and joint_top_k of minivivit.models.top_classes on logits and labels"
        )
    if config.problem_type == "multi_label_classification":
        raise InputError(
            "the config's problem_type is 'multi_label_classification': a clip can be of many classes, but the clips "
            "have one label each: their accuracy cannot be measured here"
        )


def _motion_answers(
    args: argparse.Namespace, directory: Path, config: VivitConfig, notes: list[str], ranks: Ranks
) -> list[Answer]:
    """Answers for clips that are made for it; every rank draws all of them, and answers its own batches."""
    processor, more = load_processor(directory, config)
    check_motion_labels(config)
    (num_frames, size), rng = motion_clip_size(config), stream(args.seed, EVALUATION)
    model = _load(directory, args.backend, [*more], notes)

    def own_batches() -> Iterator[list[Answer]]:
        firsts = range(0, args.clips, BATCH)
        ours = set(ranks.turns(len(firsts)))
        for batch, first in enumerate(firsts):
            clips, labels = motion_clips(rng, min(BATCH, args.clips - first), num_frames, size)
            if args.shuffle_frames:
                clips = numpy.concatenate([shuffle_frames(rng, clip[None]) for clip in clips])
            if batch in ours:
                with numpy.errstate(all="ignore"):  # an overflow shows in the logits, which are checked
                    out = model.forward(processor.pixel_values(list(clips)), return_dict=True)
                pairs = zip(labels.tolist(), to_numpy(out.logits), strict=True)
                yield [
                    answer(index, f"clip {index}", [label], logits[None], config)
                    for index, (label, logits) in enumerate(pairs, start=first)
                ]

    answers: list[Answer] = []
    with progress_bar(args.clips, "evaluate", "clip") as bar:
        for found in in_turns(ranks, own_batches()):
            answers += _without_top(found)
            bar.update(len(found))
    return answers


def _clip_answers(
    args: argparse.Namespace, directory: Path, config: VivitConfig, notes: list[str], ranks: Ranks
) -> list[Answer]:
    """Answers for clips on the disk, or for a shard of them; of several ranks the first one writes the predictions."""
    processor, more = load_processor(directory, config)
    clips, data_notes = _find(args, config)
    shuffle_seed = args.seed if args.shuffle_frames else None
    viewing = Viewing(args.views[0], args.views[1], args.average, args.stride, shuffle_seed)
    model = _load(directory, args.backend, [*more, *data_notes], notes)
    first, last = _shard(len(clips), clips_of_a_block(config, viewing), args.shard)
    kept: Predictions | _NotWritten = _NotWritten()
    with progress_bar(last - first, "evaluate", "clip") as bar, ExitStack() as stack:

        def take_up() -> list[Answer]:
            nonlocal kept
            kept = stack.enter_context(_kept(args, model, processor, clips, viewing, first, last))
            return _without_top(kept.answers)

        answered = ranks.from_first(take_up)
        bar.initial = bar.n = len(answered)  # the time that remains is that of the others
        bar.refresh()
        own = answer_clips(model, processor, clips, viewing, first + len(answered), last, ranks.turns)
        for answers in in_turns(ranks, own):
            kept.append(answers)
            answered += _without_top(answers)
            bar.update(len(answers))
            if not args.skip_damaged and any(answer.damage for answer in answers):
                _name_all_damage(processor, config, clips[first:last], viewing, answered, bar)
        return answered


def _without_top(answers: Iterable[Answer]) -> list[Answer]:
    """Answers without the classes after the first, which only a file of predictions needs: most of their memory."""
    return [dataclasses.replace(answer, top=()) for answer in answers]


class _NotWritten:
    """Where answers go that are written nowhere."""

    answers: tuple[Answer, ...] = ()

    def append(self, answers: Sequence[Answer]) -> None:
        """See `Predictions`."""


def _kept(
    args: argparse.Namespace,
    model: VivitForVideoClassification,
    processor: ClipProcessor,
    clips: Sequence[NamedClip],
    viewing: Viewing,
    first: int,
    last: int,
) -> AbstractContextManager[Predictions | _NotWritten]:
    """Where the answers go, with those that are there already."""
    if args.predictions is None:
        return nullcontext(_NotWritten())
    content = {
        "weights": _weights_digest(model),
        "config": model.config.to_dict(),
        "processor": processor.to_dict(),
        "viewing": dataclasses.asdict(viewing),
        "clips": hashlib.sha256("\n".join(f"{name!a} {labels}" for name, _, labels in clips).encode()).hexdigest(),
    }
    block = clips_of_a_block(model.config, viewing)
    return opened_predictions(Path(args.predictions), run_name(content), len(clips), model.config, first, last, block)


def _weights_digest(model: VivitForVideoClassification) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(model.state_dict().items()):
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(numpy.ascontiguousarray(to_numpy(array)).data)
    return digest.hexdigest()


def _name_all_damage(
    processor: ClipProcessor,
    config: VivitConfig,
    clips: Sequence[NamedClip],
    viewing: Viewing,
    answers: Sequence[Answer],
    bar: tqdm,
) -> NoReturn:
    """Where one clip cannot be used, look for all such, so that they can be mended at once."""
    found = [(answer.name, answer.damage) for answer in answers]
    for entry in first_damage(processor, config, clips, viewing, len(answers), len(clips)):
        found.append(entry)
        bar.update()
    damaged = sorted(name for name, damage in found if damage)
    raise damaged_error(damaged, len(found), next(damage for _, damage in sorted(found) if damage))


def _load(directory: Path, backend: str, own_notes: list[str], notes: list[str]) -> VivitForVideoClassification:
    """The model; what there is to say goes to `notes`."""
    with held_log() as messages:
        model = VivitForVideoClassification.from_pretrained(directory, backend=backend)
    notes += [*own_notes, *messages]
    return model


def _shard(count: int, block: int, part: tuple[int, int] | None) -> tuple[int, int]:
    """The first clip of a shard, and the one after its last: whole blocks, so that each is answered as in the whole."""
    if part is None:
        return 0, count
    blocks = -(-count // block)
    number, shards = part
    if shards > blocks:
        fewer = f"give at most {blocks:,} parts, or leave --shard out" if blocks > 1 else "leave --shard out"
        raise InputError(
            f"--shard {number}/{shards} is one of {shards} parts, but the {count:,} clips can be cut into at most "
            f"{blocks:,}: this model answers {block} together; {fewer}"
        )
    edges = [min(count, blocks * edge // shards * block) for edge in (number - 1, number)]
    return edges[0], edges[1]


def _merged(args: argparse.Namespace, config: VivitConfig) -> list[Answer]:
    """The answers in the predictions of all shards, written into one file if asked for."""
    run, answers = merge_predictions([Path(path) for path in args.merge], config)
    if args.predictions is not None:
        write_predictions(Path(args.predictions), run, answers, config)
    return answers


def _find(args: argparse.Namespace, config: VivitConfig) -> tuple[list[NamedClip], list[str]]:
    """The clips of a list or a folder, with the indices of their classes, and notes."""
    if not Path(args.data).is_file():
        return _find_in_folder(args.data, config), []
    clip_list = read_list(args.data, args.root)
    names = None if args.labels is None else read_label_names(Path(args.labels), clip_list.heads)
    indices, notes = indices_of_model(clip_list, config, names)
    return [(clip.name, clip.clip, own) for clip, own in zip(clip_list.clips, indices, strict=True)], notes


def _find_in_folder(folder: str, config: VivitConfig) -> list[NamedClip]:
    """The clips of a folder, whose sub-folders must have names of the model's classes."""
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
    return [(f"{name}/{path.name}", path, (label_of[name],)) for name, paths in clips.items() for path in paths]
