"""A pool of motion clips that never grows: what a small dataset is."""

import math
from collections.abc import Iterator

import numpy

from minivivit.config import VivitConfig
from minivivit.training.data.motion.batches import MotionData
from minivivit.training.data.motion.clips import motion_clips
from minivivit.training.data.wanted import Wanted, all_of_them
from minivivit.training.regularisation.augmentations.pipeline import AugmentationParams, augment_clip
from minivivit.video.image_transforms import crop_window, edge_before_crop

Batches = Iterator[tuple[list[numpy.ndarray], numpy.ndarray]]


class PoolData(MotionData):
    """A fixed number of motion clips, all of them once in each epoch, in an order of its own.

    The clips are rendered larger than the model takes them, by 8/7 as the paper's frames of 256 are to its crops of
    224. Without a random crop, the model sees the middle.

    Parameters
    ----------
    config : VivitConfig
        Of the model.
    rng : numpy.random.Generator
        The clips and all orders are drawn from it, now.
    clips : int
        How many there are.
    batch_size, steps : int
        Of the training: so many orders are drawn.
    augmentation : AugmentationParams, optional
        What is done to each clip, anew each time that it is seen; it cuts the frames to the model's size.
    """

    def __init__(
        self,
        config: VivitConfig,
        rng: numpy.random.Generator,
        clips: int,
        batch_size: int,
        steps: int,
        augmentation: AugmentationParams | None = None,
    ):
        super().__init__(config, seed=0, validation_clips=0)
        self.augmentation = augmentation
        self.clips, self.labels = motion_clips(rng, clips, self.num_frames, edge_before_crop(self.size))
        epochs = math.ceil(steps * batch_size / clips)
        self.order = numpy.concatenate([rng.permutation(clips) for _ in range(epochs)])

    def training_batch(
        self, step: int, batch_size: int, rng: numpy.random.Generator, wanted: Wanted = all_of_them
    ) -> tuple[list[numpy.ndarray], numpy.ndarray]:
        """The clips of one step, (frames, height, width, 3) of bytes each, and their labels; `rng` augments."""
        rows = self.order[step * batch_size : (step + 1) * batch_size]
        if self.augmentation is None:
            clips = [middle(self.clips[row], self.size) for row in rows]
        else:
            clips = [augment_clip(self.clips[row], rng, self.augmentation) for row in rows]
        return [clips[place] for place in wanted(len(rows))], self.labels[rows]

    def as_they_are(self, batch_size: int, most: int) -> Batches:
        """The first `most` clips of the pool, without augmentation."""
        last = min(most, len(self.labels))
        for first in range(0, last, batch_size):
            rows = slice(first, min(first + batch_size, last))
            yield [middle(clip, self.size) for clip in self.clips[rows]], self.labels[rows]


def fresh_batches(config: VivitConfig, rng: numpy.random.Generator, clips: int, batch_size: int) -> Batches:
    """Clips of no pool, in the size that the model takes: the middle of what is rendered."""
    for first in range(0, clips, batch_size):
        size = config.frame_size[0]
        count = min(batch_size, clips - first)
        frames, labels = motion_clips(rng, count, config.num_frames, edge_before_crop(size))
        yield [middle(clip, size) for clip in frames], labels


def middle(clip: numpy.ndarray, size: int) -> numpy.ndarray:
    """The middle `size` x `size` pixels of a clip's frames."""
    window = crop_window(clip.shape[1], size)
    return clip[:, window, window]
