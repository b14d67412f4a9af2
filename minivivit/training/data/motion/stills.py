"""Single frames of the built-in data, classified by where the glyph is and how large: an image task to pre-train on.

A frame does not tell how its glyph moves, but it tells where the glyph is and how large. A model that has learned
that finds the glyph before any background, and knows nothing about time: it is what a model of ImageNet is to the
paper's. (Which of the glyphs it is, the other thing that a frame tells, takes small models far longer to learn.)

The eight classes halve each of three coordinates: across, down, and size on its logarithmic scale. By the construction
of the clips each coordinate is distributed symmetrically about its middle, independently of the others: the classes are
equally likely.
"""

from collections.abc import Iterator

import numpy

from minivivit.training.data.motion.batches import MotionData
from minivivit.training.data.motion.clips import (
    RADIUS,
    balanced_labels,
    draw_motion_parameters,
    motion_paths,
    render_motion,
)
from minivivit.training.data.wanted import Wanted, all_of_them

STILL_CLASSES: tuple[str, ...] = tuple(
    f"{size}, {down} {across}"
    for size in ("small", "large")
    for down in ("upper", "lower")
    for across in ("left", "right")
)
SHORTEST_CLIP = 3  # frames, or no motion can be seen


class StillData(MotionData):
    """Clips of one frame, fresh at every step, labelled with the indices of `STILL_CLASSES`."""

    def training_batch(
        self, step: int, batch_size: int, rng: numpy.random.Generator, wanted: Wanted = all_of_them
    ) -> tuple[list[numpy.ndarray], numpy.ndarray]:
        """Clips (1, height, width, 3) of bytes and labels, drawn from `rng`; the step does not matter."""
        frames, labels = still_frames(rng, batch_size, self.size)
        return [frames[place] for place in wanted(batch_size)], labels

    def _drawn(
        self, rng: numpy.random.Generator, batch_size: int, pieces: list[list[int]]
    ) -> Iterator[tuple[list[numpy.ndarray], numpy.ndarray]]:
        """A batch of fresh frames, and some pieces of it."""
        frames, labels = still_frames(rng, batch_size, self.size)
        for rows in pieces:
            yield [frames[row] for row in rows], labels[rows]

    def describe(self) -> str:
        """One line for people."""
        return f"single frames of the built-in data, {self.size} x {self.size}, fresh at every step"


def still_frames(rng: numpy.random.Generator, count: int, size: int) -> tuple[list[numpy.ndarray], numpy.ndarray]:
    """The first frames of fresh motion clips, and their labels.

    All frames of a motion clip have the same distribution, so the first will do.

    Parameters
    ----------
    rng : numpy.random.Generator
    count : int
        How many.
    size : int
        Height and width in pixels, at least 16.

    Returns
    -------
    frames : list of uint8 arrays (1, size, size, 3)
    labels : int64 array (count,)
        Indices into `STILL_CLASSES`.
    """
    parameters = draw_motion_parameters(rng, balanced_labels(rng, count), SHORTEST_CLIP, size)
    x, y, _, radius = (path[:, 0] for path in motion_paths(parameters))
    middle_radius = size * (RADIUS[0] * RADIUS[1]) ** 0.5
    labels = 4 * (radius > middle_radius) + 2 * (y > size / 2) + (x > size / 2)
    return list(render_motion(parameters)[:, :1]), labels
