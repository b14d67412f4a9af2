"""Clips through a model: read and prepared ahead on threads, seen in blocks of views, answered one by one.

A pass through a small model is many short steps, between which threads wait for each other. So of a small model each
block has a thread of its own, which reads its clips and makes its passes; a large one has all threads for each pass.

A block is as many clips as a forward pass takes views of, or one clip in several passes. Blocks are cut by the order of
the data alone, and the last digits of a product depend on what stands beside it in a batch; so a measurement that is
interrupted and goes on, or is shared out among machines by whole blocks, has the bits of one that is not.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy

from minivivit.backend import num_threads, results_ahead, to_numpy
from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.models.classification import VivitForVideoClassification
from minivivit.system_errors import message_of
from minivivit.training.data.clip_data import READERS
from minivivit.training.data.lists.listed_clips import NamedClip
from minivivit.training.data.motion.batches import EVALUATION
from minivivit.training.data.motion.clips import shuffle_frames
from minivivit.training.data.segments import Clip, read_chosen
from minivivit.training.data.wanted import Wanted, all_of_them
from minivivit.training.measurement.answers import Answer, answer
from minivivit.video.clip_processor import ClipProcessor
from minivivit.video.sampling import centre_frame_indices
from minivivit.video.views import spatial_views, temporal_views

FEWEST_VIEWS, MOST_VIEWS = 8, 64  # in a pass, whatever a view's size
VALUES = 1 << 24  # of the pixels of a pass, between these
MOST_BLOCKS = 8  # side by side


@dataclass(frozen=True)
class Viewing:
    """How each clip is looked at.

    Attributes
    ----------
    num_clips, num_crops : int
        Temporal and spatial views.
    average : {"logits", "probabilities"}
    stride : int
        Every how many-th frame.
    shuffle_seed : int, optional
        Show the frames of each view in a random order.
    """

    num_clips: int = 1
    num_crops: int = 1
    average: str = "logits"
    stride: int = 2
    shuffle_seed: int | None = None

    @property
    def views(self) -> int:
        """How many there are of a clip."""
        return self.num_clips * self.num_crops


def views_of_a_pass(config: VivitConfig) -> int:
    """How many views go through the model at a time: few of a large model, for their memory; more of a small one."""
    height, width = config.frame_size
    values = config.num_frames * config.num_channels * height * width
    return min(MOST_VIEWS, max(FEWEST_VIEWS, VALUES // values))


def clips_of_a_block(config: VivitConfig, viewing: Viewing) -> int:
    """How many clips are answered together."""
    return max(1, views_of_a_pass(config) // viewing.views)


def answer_clips(
    model: VivitForVideoClassification,
    processor: ClipProcessor,
    clips: Sequence[NamedClip],
    viewing: Viewing,
    first: int = 0,
    last: int | None = None,
    wanted: Wanted = all_of_them,
) -> Iterator[list[Answer]]:
    """Show a model clips, and yield its answers block by block.

    Parameters
    ----------
    model, processor
    clips : list of (name, clip, labels)
        All of the data.
    viewing : Viewing
    first, last : int
        The clips to show, from `first` up to but without `last`; `first` begins a block.
    wanted : callable
        Which of their blocks, where other processes answer the rest.

    Yields
    ------
    list of Answer
        Of a clip that cannot be used one with its `damage`.
    """
    size, last = clips_of_a_block(model.config, viewing), len(clips) if last is None else last
    starts = range(first, last, size)
    blocks = [range(starts[block], min(starts[block] + size, last)) for block in wanted(len(starts))]
    if side_by_side := _blocks_side_by_side(model):
        whole = (partial(_read_block, model, processor, clips, viewing, block) for block in blocks)
        with closing(results_ahead(whole, side_by_side, side_by_side)) as answered:
            yield from answered
        return
    tasks = (
        partial(_prepared, clips[index][1], processor, model.config.num_frames, viewing, index)
        for block in blocks
        for index in block
    )
    with closing(results_ahead(tasks, READERS, max(2 * READERS, size + READERS))) as prepared:
        for start, stop in ((block.start, block.stop) for block in blocks):
            yield _block(model, clips, viewing, list(islice(prepared, stop - start)), start)


def _blocks_side_by_side(model: VivitForVideoClassification) -> int:
    """How many blocks have a thread of their own; one more than there are processors, for one may wait for its disk.

    0 for a large model, on a GPU, and where there is one thread only.
    """
    small = views_of_a_pass(model.config) == MOST_VIEWS and model.xp is numpy
    return min(num_threads() + 1, MOST_BLOCKS) if small and num_threads() > 1 else 0


def first_damage(
    processor: ClipProcessor, config: VivitConfig, clips: Sequence[NamedClip], viewing: Viewing, first: int, last: int
) -> Iterator[tuple[str, str]]:
    """Look at clips without a model: name and damage of each, which is empty where it can be used."""
    tasks = (
        partial(_prepared, clip, processor, config.num_frames, viewing, index)
        for index, (_, clip, _) in enumerate(clips[first:last], start=first)
    )
    with closing(results_ahead(tasks, READERS, 2 * READERS)) as prepared:
        for (name, _, _), views in zip(clips[first:last], prepared, strict=True):
            yield name, views if isinstance(views, str) else ""


Views = tuple[numpy.ndarray, numpy.ndarray]  # (crops, frames, channels, height, width), (clips, frames of a clip)


def _prepared(clip: Clip, processor: ClipProcessor, clip_len: int, viewing: Viewing, index: int) -> Views | str:
    """The pixel values of all frames that the views of a clip show, and which of them each shows; or its damage.

    A frame that occurs in several clips is prepared once.
    """

    def choose(num_frames: int) -> numpy.ndarray:
        if viewing.num_clips == 1:
            return centre_frame_indices(clip_len, viewing.stride, num_frames)[None]
        return temporal_views(viewing.num_clips, clip_len, viewing.stride, num_frames)

    try:
        frames, places = read_chosen(clip, choose)  # places: (clips, frames of a clip)
    except (InputError, OSError) as error:
        return message_of(error)
    if viewing.shuffle_seed is not None:
        rng = numpy.random.default_rng([viewing.shuffle_seed, index, EVALUATION])
        places = shuffle_frames(rng, places)
    return spatial_views(frames, processor, viewing.num_crops), places


def _read_block(
    model: VivitForVideoClassification,
    processor: ClipProcessor,
    clips: Sequence[NamedClip],
    viewing: Viewing,
    block: range,
) -> list[Answer]:
    """Read a block's clips, and answer them."""
    length = model.config.num_frames
    prepared = [_prepared(clips[index][1], processor, length, viewing, index) for index in block]
    return _block(model, clips, viewing, prepared, block.start)


def _block(
    model: VivitForVideoClassification,
    clips: Sequence[NamedClip],
    viewing: Viewing,
    prepared: list[Views | str],
    start: int,
) -> list[Answer]:
    """The answers of a block's clips, of which the first is number `start`."""
    usable = [views for views in prepared if not isinstance(views, str)]
    logits = iter(_logits(model, usable))
    answers = []
    for index, ((name, _, labels), views) in enumerate(
        zip(clips[start : start + len(prepared)], prepared, strict=True), start=start
    ):
        if isinstance(views, str):
            answers.append(Answer(index, name, labels, damage=views))
        else:
            own = numpy.stack(list(islice(logits, viewing.views)))
            answers.append(answer(index, name, labels, own, model.config, viewing.average))
    return answers


def _logits(model: VivitForVideoClassification, prepared: list[Views]) -> Iterator[numpy.ndarray]:
    """The logits (num_labels,) of each view, clip after clip, a clip's crops beside each other."""
    views = ((frames, of_clip) for pixels, places in prepared for of_clip in places for frames in pixels)
    while batch := list(islice(views, views_of_a_pass(model.config))):
        frames, of_clip = batch[0]
        pixel_values = numpy.empty((len(batch), len(of_clip), *frames.shape[1:]), frames.dtype)
        for view, (frames, of_clip) in zip(pixel_values, batch, strict=True):
            numpy.take(frames, of_clip, axis=0, out=view, mode="clip")  # all are there; "raise" would copy twice
        with numpy.errstate(all="ignore"):  # an overflow shows in the logits, which are checked
            out = model.forward(pixel_values, return_dict=True, output_attentions=False, output_hidden_states=False)
        yield from to_numpy(out.logits)
