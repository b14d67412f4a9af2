"""A folder of clips as batches: one sub-folder a class, any kind of clip that `read_video` reads."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy

from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.files.tensor_data import quoted
from minivivit.progress import progress_bar
from minivivit.training.regularisation.augmentations.pipeline import AugmentationParams, augment_clip
from minivivit.video.reading import count_frames, read_video
from minivivit.video.sampling import centre_frame_indices, sample_frame_indices


def find_clips(folder: str | os.PathLike[str]) -> dict[str, list[Path]]:
    """The classes in a folder, in the order of their names, and the clips of each.

    A class is a sub-folder; its name is the label. What lies in it are clips: files, and folders of pictures. Names
    that begin with a dot are ignored.

    Raises
    ------
    InputError
        When it is no folder, has no sub-folders, or one of them is empty.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; expected one with a sub-folder of clips for each class")
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(classes) < 2:
        raise InputError(
            f"{folder} has {len(classes)} sub-folders; expected one for each class, at least 2, with its clips inside"
        )
    clips = {path.name: sorted(clip for clip in path.iterdir() if not clip.name.startswith(".")) for path in classes}
    for name, paths in clips.items():
        if not paths:
            raise InputError(f"{folder / name} is empty; expected the clips of the class {quoted(name)} in it")
    return clips


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
        order = sorted(paths, key=lambda path: hashlib.sha256(f"{seed}/{name}/{path.name}".encode()).digest())
        held_out = set(order[:count])
        validation += [(path, label) for path in paths if path in held_out]
        training += [(path, label) for path in paths if path not in held_out]
    return training, validation


class FolderData:
    """Clips on disk, in epochs: each epoch shows every training clip once, in an order of its own.

    Parameters
    ----------
    clips : dict
        As `find_clips` returns it.
    config : VivitConfig
        Of the model: how many frames to pick.
    seed : int
        Of the split and of the order of each epoch.
    validation_fraction, frame_sample_rate, augmentation
        See `TrainingSettings`.
    batch_size : int
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
    ):
        self.classes = list(clips)
        self.num_frames, self.frame_sample_rate = config.num_frames, frame_sample_rate
        self.seed, self.augmentation = seed, augmentation
        self.training, self.validation = split_clips(clips, validation_fraction, seed)
        self.steps_per_epoch = -(-len(self.training) // batch_size)
        self.num_validation_clips = len(self.validation)
        self._lengths: dict[Path, int] = {}

    def check_clips(self) -> None:
        """Count the frames of every clip, so that one that cannot be read is found before anything is trained.

        What counting does not see (a damaged picture in a folder) is still found only when the clip's turn comes.

        Raises
        ------
        InputError, MissingExtraError
            For the first clip that is none, or is damaged.
        """
        entries = sorted(self.training + self.validation)
        with progress_bar(len(entries), "checking clips", "clip") as bar:
            for path, _ in entries:
                self._length(path)
                bar.update()

    def training_batch(
        self, step: int, batch_size: int, rng: numpy.random.Generator
    ) -> tuple[list[numpy.ndarray], numpy.ndarray]:
        """The clips of a step: read, frames picked and augmented with draws from `rng`.

        The order of an epoch depends on the seed and the epoch alone, so the step says where in it we are. The last
        batch of an epoch has what is left.

        Returns
        -------
        clips : list of uint8 arrays (frames, height, width, 3), of any heights and widths
        labels : int64 (batch,)
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        order = numpy.random.default_rng([self.seed, epoch]).permutation(len(self.training))
        chosen = [self.training[index] for index in order[position * batch_size : (position + 1) * batch_size]]
        clips = [self._training_clip(path, rng) for path, _ in chosen]
        return clips, numpy.array([label for _, label in chosen])

    def _training_clip(self, path: Path, rng: numpy.random.Generator) -> numpy.ndarray:
        indices = sample_frame_indices(self.num_frames, self.frame_sample_rate, self._length(path), rng)
        clip = read_video(path, indices)
        return clip if self.augmentation is None else augment_clip(clip, rng, self.augmentation)

    def validation_batches(self, batch_size: int) -> Iterator[tuple[list[numpy.ndarray], numpy.ndarray]]:
        """The clips to validate on, from the middle of their files, without augmentation."""
        return self.central_batches(self.validation, batch_size)

    def central_batches(
        self, entries: list[tuple[Path, int]], batch_size: int
    ) -> Iterator[tuple[list[numpy.ndarray], numpy.ndarray]]:
        """Batches of the given (path, label), from the middle of the files."""
        for first in range(0, len(entries), batch_size):
            chosen = entries[first : first + batch_size]
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
        return (
            f"{len(self.training)} clips to train on and {len(self.validation)} to validate on, "
            f"of {len(self.classes)} classes"
        )
