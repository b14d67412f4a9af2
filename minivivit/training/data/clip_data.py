"""Labelled clips on disk as batches, in epochs, read and decoded ahead of the model that learns from them."""

from collections.abc import Generator, Mapping
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path

import numpy

from minivivit.backend import results_ahead
from minivivit.config import VivitConfig
from minivivit.training.data.segments import Clip, path_of, read_clip, span_of
from minivivit.training.data.wanted import Wanted, all_of_them
from minivivit.training.regularisation.augmentations.pipeline import AugmentationParams, augment_clip
from minivivit.video.sampling import centre_frame_indices, sample_frame_indices

Entry = tuple[Clip, int | tuple[int, ...]]  # a clip, and its label, or one label a head
Batch = tuple[list[numpy.ndarray], numpy.ndarray]  # clips, and their labels
# Threads that read ahead. Decoders and the resize let go of Python's lock: two threads are two processors' worth.
READERS = 2


class ClipData:
    """Clips on disk, in epochs: each epoch shows every training clip once, in an order of its own.

    Parameters
    ----------
    training, validation : list of (clip, label)
        A label is the index of a class, or a tuple of them, one a head.
    config : VivitConfig
        Of the model: how many frames to pick.
    num_classes : int
        For `describe`.
    seed : int
        Of the order of each epoch, and of what is drawn of each clip.
    batch_size : int
    frame_sample_rate, augmentation
        See `TrainingSettings`.
    lengths : mapping, optional
        How many frames each file has, as far as they have been counted.
    left_out : int
        How many clips could not be used and are not among the others, for `describe`.
    """

    def __init__(
        self,
        training: list[Entry],
        validation: list[Entry],
        config: VivitConfig,
        *,
        num_classes: int,
        seed: int,
        batch_size: int,
        frame_sample_rate: int = 2,
        augmentation: AugmentationParams | None = None,
        lengths: Mapping[Path, int] | None = None,
        left_out: int = 0,
    ):
        self.training, self.validation, self.num_classes = training, validation, num_classes
        self.num_frames, self.frame_sample_rate = config.num_frames, frame_sample_rate
        self.seed, self.augmentation = seed, augmentation
        self.steps_per_epoch = -(-len(training) // batch_size)
        self.num_validation_clips = len(validation)
        self._lengths: dict[Path, int] = dict(lengths or {})
        self._spans: dict[Clip, tuple[int, int]] = {}
        self.left_out = left_out

    def training_batch(
        self,
        step: int,
        batch_size: int,
        rng: numpy.random.Generator | None = None,
        wanted: Wanted = all_of_them,
    ) -> Batch:
        """The clips of a step that are wanted: read, frames picked and augmented.

        The order of an epoch depends on the seed and the epoch alone, so the step says where in it we are. The last
        batch of an epoch has what is left. What is drawn of a clip depends on the seed, the step and its place in the
        batch, so that clips may be read in any order, and ahead; `rng`, from which the built-in data draws, is left as
        it is.

        Returns
        -------
        clips : list of uint8 arrays (frames, height, width, 3), of any heights and widths
            Those that are wanted.
        labels : int64 (batch,), or (batch, heads)
            Of the whole batch.
        """
        return next(self.training_batches(step, step + 1, batch_size, rng, wanted))

    def training_batches(
        self,
        first: int,
        last: int,
        batch_size: int,
        rng: numpy.random.Generator | None = None,
        wanted: Wanted = all_of_them,
    ) -> Generator[Batch, None, None]:
        """The batches of the steps from `first` up to but without `last`; the next one is read meanwhile."""
        steps = (self._chosen(step, batch_size) for step in range(first, last))
        tasks = (
            partial(self._training_clip, chosen[place][0], step, place)
            for step in range(first, last)
            for chosen in [self._chosen(step, batch_size)]
            for place in wanted(len(chosen))
        )
        with closing(results_ahead(tasks, READERS, 2 * batch_size)) as clips:
            for chosen in steps:
                labels = numpy.array([label for _, label in chosen])
                yield list(islice(clips, len(wanted(len(chosen))))), labels

    def _chosen(self, step: int, batch_size: int) -> list[Entry]:
        epoch, position = divmod(step, self.steps_per_epoch)
        order = numpy.random.default_rng([self.seed, epoch]).permutation(len(self.training))
        return [self.training[index] for index in order[position * batch_size : (position + 1) * batch_size]]

    def _training_clip(self, clip: Clip, step: int, place: int) -> numpy.ndarray:
        rng = numpy.random.default_rng([self.seed, step, place, 1])  # zeros at the end would not count
        first, stop = self._span(clip)
        indices = sample_frame_indices(self.num_frames, self.frame_sample_rate, stop - first, rng)
        frames = read_clip(clip, first, indices)
        return frames if self.augmentation is None else augment_clip(frames, rng, self.augmentation)

    def validation_batches(
        self, batch_size: int, num_pieces: int = 1, wanted: Wanted = all_of_them
    ) -> Generator[Batch, None, None]:
        """The clips to validate on, from their middle, without augmentation, in pieces of batches; those wanted."""
        batch_size = -(-batch_size // num_pieces)
        firsts = range(0, len(self.validation), batch_size)
        ours = [firsts[batch] for batch in wanted(len(firsts))]
        entries = [entry for first in ours for entry in self.validation[first : first + batch_size]]
        return self.central_batches(entries, batch_size)

    def central_batches(self, entries: list[Entry], batch_size: int) -> Generator[Batch, None, None]:
        """Batches of the given (clip, label), from the middle of the clips."""
        tasks = (partial(self._central_clip, clip) for clip, _ in entries)
        with closing(results_ahead(tasks, READERS, 2 * batch_size)) as clips:
            for first in range(0, len(entries), batch_size):
                chosen = entries[first : first + batch_size]
                yield list(islice(clips, len(chosen))), numpy.array([label for _, label in chosen])

    def _central_clip(self, clip: Clip) -> numpy.ndarray:
        first, stop = self._span(clip)
        return read_clip(clip, first, centre_frame_indices(self.num_frames, self.frame_sample_rate, stop - first))

    def _span(self, clip: Clip) -> tuple[int, int]:
        """Where in its file a clip lies; counting frames can mean to decode them, so it is done once."""
        if clip not in self._spans:
            self._spans[clip] = span_of(clip, self._lengths.get(path_of(clip)))
        return self._spans[clip]

    def describe(self) -> str:
        """One line for people."""
        left_out = f"; {self.left_out} damaged left out" if self.left_out else ""
        return (
            f"{len(self.training)} clips to train on and {len(self.validation)} to validate on, "
            f"of {self.num_classes} classes{left_out}"
        )
