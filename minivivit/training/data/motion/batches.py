"""The built-in data as batches: fresh clips at every step, and none of them twice."""

from collections.abc import Generator, Iterator
from itertools import count

import numpy

from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.files.tensor_data import listed
from minivivit.training.data.motion.clips import (
    MOTION_CLASSES,
    balanced_labels,
    draw_motion_parameters,
    render_motion,
    take_clips,
)
from minivivit.training.data.wanted import Wanted, all_of_them
from minivivit.training.parallel.parts import pieces_of_batches

# Which of the independent streams of a seed: training's own generator, validation, and evaluation never meet.
TRAINING, VALIDATION, EVALUATION = range(3)


def stream(seed: int, use: int) -> numpy.random.Generator:
    """The generator of `seed` for one use: ``TRAINING``, ``VALIDATION`` or ``EVALUATION``."""
    return numpy.random.default_rng([seed, use])


class MotionData:
    """Clips of `minivivit.training.data.motion.clips` in the size that a model takes.

    Parameters
    ----------
    config : VivitConfig
        Of the model: frames a clip, and the size of the frames, which must be square.
    seed : int
    validation_clips : int
        How many clips there are to validate on: the same ones each time.
    """

    steps_per_epoch = None  # it never ends

    def __init__(self, config: VivitConfig, seed: int, validation_clips: int):
        self.num_frames, self.size = motion_clip_size(config)
        self.seed = seed
        self.num_validation_clips = validation_clips

    def training_batch(
        self, step: int, batch_size: int, rng: numpy.random.Generator, wanted: Wanted = all_of_them
    ) -> tuple[list[numpy.ndarray], numpy.ndarray]:
        """The clips (frames, height, width, 3) of bytes that are wanted, and the labels of all, drawn from `rng`.

        The step does not matter. All draws of the batch are made, whichever of its clips are wanted.
        """
        labels = balanced_labels(rng, batch_size)
        parameters = draw_motion_parameters(rng, labels, self.num_frames, self.size)
        return list(render_motion(take_clips(parameters, wanted(batch_size)))), labels

    def training_batches(
        self, first: int, last: int, batch_size: int, rng: numpy.random.Generator, wanted: Wanted = all_of_them
    ) -> Generator[tuple[list[numpy.ndarray], numpy.ndarray], None, None]:
        """The batches of the steps from `first` up to but without `last`, each drawn when it is asked for."""
        for step in range(first, last):
            yield self.training_batch(step, batch_size, rng, wanted)

    def validation_batches(
        self, batch_size: int, num_pieces: int = 1, wanted: Wanted = all_of_them
    ) -> Iterator[tuple[list[numpy.ndarray], numpy.ndarray]]:
        """The clips to validate on, made again from the seed each time, in pieces of batches; those wanted of them.

        A batch is drawn as a whole, so that the clips do not depend on the pieces.
        """
        rng = stream(self.seed, VALIDATION)
        batches = pieces_of_batches(self.num_validation_clips, batch_size, num_pieces)
        ours, numbers = set(wanted(sum(map(len, batches)))), count()
        for pieces in batches:
            first = pieces[0].start
            rows = [[clip - first for clip in piece] for piece in pieces if next(numbers) in ours]
            yield from self._drawn(rng, pieces[-1].stop - first, rows)

    def _drawn(
        self, rng: numpy.random.Generator, batch_size: int, pieces: list[list[int]]
    ) -> Iterator[tuple[list[numpy.ndarray], numpy.ndarray]]:
        """A batch of fresh clips, of which some pieces are rendered, each when it is asked for."""
        labels = balanced_labels(rng, batch_size)
        parameters = draw_motion_parameters(rng, labels, self.num_frames, self.size)
        for rows in pieces:
            yield list(render_motion(take_clips(parameters, rows))), labels[rows]

    def describe(self) -> str:
        """One line for people."""
        return f"built-in motion data, {self.num_frames} frames of {self.size} x {self.size}, fresh at every step"


def motion_clip_size(config: VivitConfig) -> tuple[int, int]:
    """(frames, side) of the motion clips that a model takes, which must be square and have three channels."""
    height, width = config.frame_size
    if height != width or config.num_channels != 3:
        raise InputError(
            f"the model takes frames of {height} x {width} with {config.num_channels} channels; the built-in data has "
            "square frames with 3 channels"
        )
    return config.num_frames, height


def check_motion_labels(config: VivitConfig) -> None:
    """Raise unless the model's classes are those of the built-in data, in their order."""
    labels = tuple(config.id2label.values())
    if labels != MOTION_CLASSES:
        raise InputError(
            f"the model's classes are {listed(labels, 3)}; the built-in data has {', '.join(MOTION_CLASSES)}: "
            "give a folder of clips of the model's classes"
        )
