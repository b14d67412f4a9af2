"""Folders of clips (`minivivit.training.data.clip_folders`) as batches, of any kind of clip that `read_video` reads."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy

from minivivit.config import VivitConfig
from minivivit.training.data.wanted import Wanted, all_of_them
from minivivit.training.regularisation.augmentations.pipeline import AugmentationParams, augment_clip
from minivivit.video.reading import count_frames, read_video
from minivivit.video.sampling import centre_frame_indices, sample_frame_indices


def split_clips(
    clips: dict[str, list[Path]], validation_fraction: float, seed: int
) -> tuple[list[tuple[Path, int]], list[tuple[Path, int]]]:
    """(path, label) of the clips to train on and of those to validate on; the same split for the same names and seed.

    Of each class the clips are ordered by a hash of the seed and their names, and the first `validation_fraction`,
    rounded to a whole number, are for validation. So a clip that is added or taken away moves others across the border
    only by ones. At least one clip of each class stays for training; at least one is for validation where there are
    two or more, unless the fraction is 0.
    """
    training, validation = [], []
    for label, (name, paths) in enumerate(clips.items()):
        count = round(validation_fraction * len(paths))
        if validation_fraction > 0:
            count = min(max(count, 1), len(paths) - 1)
        order = sorted(paths, key=lambda path: hashlib.sha256(os.fsencode(f"{seed}/{name}/{path.name}")).digest())
        held_out = set(order[:count])
        validation += [(path, label) for path in paths if path in held_out]
        training += [(path, label) for path in paths if path not in held_out]
    return training, validation


class FolderData:
    """Clips on disk, in epochs: each epoch shows every training clip once, in an order of its own.

    Parameters
    ----------
    clips : dict
        The clips of each class, as `find_clips` returns them.
    config : VivitConfig
        Of the model: how many frames to pick.
    seed : int
        Of the split and of the order of each epoch.
    validation_fraction, frame_sample_rate, augmentation
        See `TrainingSettings`.
    batch_size : int
    held_out : dict, optional
        Clips to validate on, of the same classes. None: the `validation_fraction` of `clips`.
    lengths : mapping, optional
        How many frames each clip has, as far as they have been counted.
    left_out : int
        How many clips could not be used and are not among the others, for `describe`.
    """

    def __init__(
        self,
        clips: dict[str, list[Path]],
        config: VivitConfig,
        *,
        seed: int,
        batch_size: int,
        validation_fraction: float = 0.2,
        frame_sample_rate: int = 2,
        augmentation: AugmentationParams | None = None,
        held_out: dict[str, list[Path]] | None = None,
        lengths: Mapping[Path, int] | None = None,
        left_out: int = 0,
    ):
        self.classes = list(clips)
        self.num_frames, self.frame_sample_rate = config.num_frames, frame_sample_rate
        self.seed, self.augmentation = seed, augmentation
        self.training, self.validation = split_clips(clips, validation_fraction if held_out is None else 0, seed)
        if held_out is not None:
            self.validation = [(path, self.classes.index(name)) for name, paths in held_out.items() for path in paths]
        self.steps_per_epoch = -(-len(self.training) // batch_size)
        self.num_validation_clips = len(self.validation)
        self._lengths: dict[Path, int] = dict(lengths or {})
        self.left_out = left_out

    def training_batch(
        self, step: int, batch_size: int, rng: numpy.random.Generator, wanted: Wanted = all_of_them
    ) -> tuple[list[numpy.ndarray], numpy.ndarray]:
        """The clips of a step that are wanted: read, frames picked and augmented.

        The order of an epoch depends on the seed and the epoch alone, so the step says where in it we are. The last
        batch of an epoch has what is left. Each clip has random numbers of its own, whose seeds are drawn from `rng`,
        so that it is the same whichever others are wanted.

        Returns
        -------
        clips : list of uint8 arrays (frames, height, width, 3), of any heights and widths
            Those that are wanted.
        labels : int64 (batch,)
            Of the whole batch.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        order = numpy.random.default_rng([self.seed, epoch]).permutation(len(self.training))
        chosen = [self.training[index] for index in order[position * batch_size : (position + 1) * batch_size]]
        seeds = rng.integers(2**63, size=len(chosen)).tolist()
        clips = [
            self._training_clip(chosen[place][0], numpy.random.default_rng(seeds[place]))
            for place in wanted(len(chosen))
        ]
        return clips, numpy.array([label for _, label in chosen])

    def _training_clip(self, path: Path, rng: numpy.random.Generator) -> numpy.ndarray:
        indices = sample_frame_indices(self.num_frames, self.frame_sample_rate, self._length(path), rng)
        clip = read_video(path, indices)
        return clip if self.augmentation is None else augment_clip(clip, rng, self.augmentation)

    def validation_batches(
        self, batch_size: int, wanted: Wanted = all_of_them
    ) -> Iterator[tuple[list[numpy.ndarray], numpy.ndarray]]:
        """The clips to validate on, from the middle of their files, without augmentation; the batches wanted."""
        return self.central_batches(self.validation, batch_size, wanted)

    def central_batches(
        self, entries: list[tuple[Path, int]], batch_size: int, wanted: Wanted = all_of_them
    ) -> Iterator[tuple[list[numpy.ndarray], numpy.ndarray]]:
        """Batches of the given (path, label), from the middle of the files; those that are wanted."""
        for batch in wanted(-(-len(entries) // batch_size)):
            chosen = entries[batch * batch_size : (batch + 1) * batch_size]
            clips = []
            for path, _ in chosen:
                indices = centre_frame_indices(self.num_frames, self.frame_sample_rate, self._length(path))
                clips.append(read_video(path, indices))
            yield clips, numpy.array([label for _, label in chosen])

    def _length(self, path: Path) -> int:
        """Frames in a file; counting them can mean to decode it, so it is done once."""
        if path not in self._lengths:
            self._lengths[path] = count_frames(path)
        return self._lengths[path]

    def describe(self) -> str:
        """One line for people."""
        left_out = f"; {self.left_out} damaged left out" if self.left_out else ""
        return (
            f"{len(self.training)} clips to train on and {len(self.validation)} to validate on, "
            f"of {len(self.classes)} classes{left_out}"
        )
