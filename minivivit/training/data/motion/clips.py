"""Built-in data: short clips whose class is in the motion and in no single frame.

A glyph moves left, right, up or down, turns clockwise or counter-clockwise, grows or shrinks, in front of a still,
textured background. The eight classes are four coordinates of the glyph (across, down, angle, size), each of which
can run forward or backward; class `c` and its reverse `c ^ 1` stand side by side in `MOTION_CLASSES`.

How a clip is made
------------------
For each of the four coordinates k draw a path with constant speed, p_k(0), ..., p_k(T - 1), from the same distribution
whatever the class; T is the number of frames. The class chooses the coordinate m that moves and its direction:

    frame t shows    p_m((t + phase) mod T)          for a forward class,
                     p_m((T - 1 - t + phase) mod T)  for its reverse,
                     p_k(rest_k)                     for the three coordinates that stand still,

with `phase` and each `rest_k` uniform over 0, ..., T - 1. The clip is thus one whole turn of a loop, as an animated
picture on a web page is, entered at a random moment: T - 1 of its T steps, counted around the loop, go the class's
way, and one jumps back. (A clip shows T - 1 of these steps: with probability 1 / T the jump is the one not shown.)

No single frame tells the class
-------------------------------
At each t, (t + phase) mod T and (T - 1 - t + phase) mod T are uniform over 0, ..., T - 1, as rest_k is. So the four
coordinates of frame t are independent and distributed as p_k(uniform index), for every class and every t: frame t has
the same distribution in all classes, and whoever sees one frame, even knowing which, can only guess: 1/8.

The jump is what makes this exact. Without it (`loop=False`: phase = 0) a bounded coordinate that grows in a clip has a
mean that grows with t, so its first frame betrays its direction: a glyph on the left will most likely move right.

What remains when the frames are shuffled: at most one half
-----------------------------------------------------------
By the construction, the clip of class c with its frames in reverse order has the distribution of class c ^ 1 (the
noise of the frames is independent and the background still). A uniformly random order after a reversal is a uniformly
random order, so shuffled clips S of the two classes have one distribution: P(S | c) = P(S | c ^ 1). With equal priors
P(c | S) = P(c ^ 1 | S) <= 1/2, and a classifier f is right with probability

    P(f(S) = c) = E[P(c = f(S) | S)] <= 1/2.

One half is reached by whoever sees which of the four coordinates varies. The same holds without the loop.

Flips must not be used to augment this data: they turn left into right and clockwise into counter-clockwise.

Distributions (uniform; lengths as fractions of the frame's side, in brackets pixels at 32 x 32)
-----------------------------------------------------------------------------------------------
- radius of the circle around the glyph: 0.15 to 0.29 (4.8 to 9.3), on a logarithmic scale; a path spans 0.7 to 1 of
  that scale: a ratio of 1.59 to 1.93.
- centre: where the largest glyph fits, 0.32 to 0.68 (10.3 to 21.7); a path spans 0.7 to 1 of it (8 to 11.4).
- angle: starts anywhere; a path spans 100 to 175 degrees.
- one of the `GLYPHS`, mirrored or not; the width of its edge, 1 to 2 pixels.
- background: mean grey level 50 to 205, channels tinted by up to 40, texture as in `motion_backgrounds`; the glyph
  lies 90 to 130 grey levels from that mean, on the side with more room, with a tint of its own.
- noise: independent for each value of each frame, within plus or minus a grey levels; a clip has an a from 0 to 14.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from minivivit.backend import parallel_blocks
from minivivit.errors import InputError
from minivivit.training.data.motion.backgrounds import textured_backgrounds
from minivivit.training.data.motion.shapes import GLYPHS, glyph_coverage

# Label // 2 is the coordinate that moves, label ^ 1 the reverse.
MOTION_CLASSES: tuple[str, ...] = (
    "moving left",
    "moving right",
    "moving up",
    "moving down",
    "turning clockwise",
    "turning counter-clockwise",
    "growing",
    "shrinking",
)
_RUNS_FORWARD = numpy.array([False, True, False, True, True, False, True, False])
_ANGLE = 2  # the coordinates: 0 across, 1 down, 2 angle, 3 size

RADIUS = (0.15, 0.29)
MARGIN = 1 / 32  # between the largest glyph and the border: half of the widest soft edge at 32 x 32
SPAN = (0.7, 1.0)
TURN = (100.0, 175.0)
CONTRAST = (90.0, 130.0)
NOISE = 14.0

_BLOCK_VALUES = 32 * 1024  # pixels rendered at a time: the working arrays stay in the processor's cache


@dataclass(frozen=True)
class MotionParameters:
    """All that a batch of clips is made of; `render_motion` makes the clips from it without another random draw.

    Attributes
    ----------
    labels : int64 (batch,)
        Indices into `MOTION_CLASSES`.
    start, travel : float64 (batch, 4)
        A path's first value and its length for across, down, angle and size: radians for the angle, else fractions of
        the coordinate's range.
    phase : int64 (batch,)
        The moment at which the loop is entered.
    rest : int64 (batch, 4)
        The moment of its path at which a coordinate that does not move stands still.
    glyph, mirror, softness : (batch,)
        As `glyph_coverage` takes them.
    colour : float32 (batch, 3)
        The glyph's, in grey levels.
    background : float32 (batch, 3, size, size)
        In grey levels.
    noise : uint8 (batch, 3, frames, size, size)
        Uniform noise, before it is centred and scaled.
    noise_amplitude : float32 (batch,)
        In grey levels.
    """

    labels: numpy.ndarray
    start: numpy.ndarray
    travel: numpy.ndarray
    phase: numpy.ndarray
    rest: numpy.ndarray
    glyph: numpy.ndarray
    mirror: numpy.ndarray
    softness: numpy.ndarray
    colour: numpy.ndarray
    background: numpy.ndarray
    noise: numpy.ndarray
    noise_amplitude: numpy.ndarray


def balanced_labels(rng: numpy.random.Generator, count: int) -> numpy.ndarray:
    """`count` labels in random order, each class as often as the others or once more, int64 (count,)."""
    classes = rng.permutation(len(MOTION_CLASSES))
    return rng.permutation(classes[numpy.arange(count) % len(classes)])


def _checked_labels(rng: numpy.random.Generator, labels_or_count: int | numpy.ndarray) -> numpy.ndarray:
    given = numpy.asarray(labels_or_count)
    if given.dtype.kind not in "iu" or given.ndim > 1 or (given.ndim == 0 and given < 0):
        raise InputError(
            f"labels_or_count is {labels_or_count!r:.60}; expected a number of clips, 0 or more, or a list of labels, "
            f"each a whole number from 0 to {len(MOTION_CLASSES) - 1}"
        )
    if given.ndim == 0:
        return balanced_labels(rng, int(given))
    if given.size and not (given.min() >= 0 and given.max() < len(MOTION_CLASSES)):
        raise InputError(f"labels run from {given.min()} to {given.max()}; expected 0 to {len(MOTION_CLASSES) - 1}")
    return given.astype(numpy.int64)


def _check_clip_shape(num_frames: int, size: int) -> None:
    if not isinstance(num_frames, int | numpy.integer) or num_frames < 3:
        raise InputError(
            f"num_frames is {num_frames!r}; expected a whole number of at least 3, or no direction can be seen"
        )
    if not isinstance(size, int | numpy.integer) or size < 16:
        raise InputError(f"size is {size!r}; expected a whole number of at least 16 pixels, or no shape can be seen")


def _colours(rng: numpy.random.Generator, batch: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Mean colours of backgrounds and colours of glyphs that stand out from them, each (batch, 3)."""
    level = rng.uniform(50, 205, (batch, 1))
    contrast = rng.uniform(*CONTRAST, (batch, 1))
    tints = rng.uniform(-40, 40, (2, batch, 3))
    tints -= (tints[..., :1] + tints[..., 1:2] + tints[..., 2:]) / 3  # a tint leaves the grey level as it is
    glyph_level = numpy.where(level < 127.5, level + contrast, level - contrast)
    return level + tints[0], numpy.clip(glyph_level + tints[1], 0, 255)


def draw_motion_parameters(
    rng: numpy.random.Generator, labels: numpy.ndarray, num_frames: int = 8, size: int = 32, loop: bool = True
) -> MotionParameters:
    """Draw everything that is random in clips of the given labels; nothing drawn depends on a label.

    Parameters are those of `motion_clips`; the distributions are in this file's docstring.
    """
    _check_clip_shape(num_frames, size)
    labels = _checked_labels(rng, numpy.asarray(labels))
    batch = len(labels)
    travel = rng.uniform(*SPAN, (batch, 4))
    start = rng.random((batch, 4)) * (1 - travel)
    travel[:, _ANGLE] = numpy.radians(rng.uniform(*TURN, batch))
    start[:, _ANGLE] = rng.uniform(0, 2 * numpy.pi, batch)
    phase = rng.integers(num_frames, size=batch)
    background_colour, colour = _colours(rng, batch)
    return MotionParameters(
        labels=labels,
        start=start,
        travel=travel,
        phase=phase if loop else numpy.zeros_like(phase),
        rest=rng.integers(num_frames, size=(batch, 4)),
        glyph=rng.integers(len(GLYPHS), size=batch),
        mirror=rng.choice([-1.0, 1.0], size=batch),
        softness=rng.uniform(1, 2, batch),
        colour=colour.astype(numpy.float32),
        background=textured_backgrounds(rng, background_colour, size),
        noise=rng.integers(256, size=(batch, 3, num_frames, size, size), dtype=numpy.uint8),
        noise_amplitude=rng.random(batch, dtype=numpy.float32) * numpy.float32(NOISE),
    )


def motion_paths(parameters: MotionParameters) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Where the glyph is in each frame: x, y, angle and radius, each float64 (batch, frames).

    x and y are in pixels from the left and the top, the angle in radians clockwise on the screen, the radius in pixels.
    """
    num_frames, size = parameters.noise.shape[2:4]
    batch = len(parameters.labels)
    moment = (parameters.phase[:, None] + numpy.arange(num_frames)) % num_frames  # (batch, frames)
    forward = _RUNS_FORWARD[parameters.labels]
    moment = numpy.where(forward[:, None], moment, moment[:, ::-1])
    moments = numpy.repeat(parameters.rest[:, :, None], num_frames, axis=2)  # (batch, 4, frames)
    moments[numpy.arange(batch), parameters.labels // 2] = moment
    path = parameters.start[..., None] + parameters.travel[..., None] * (moments / (num_frames - 1))
    across, down, angle, log_size = path.transpose(1, 0, 2)

    smallest, largest = RADIUS
    margin = largest + MARGIN
    x, y = (size * (margin + (1 - 2 * margin) * u) for u in (across, down))
    return x, y, angle, size * smallest * (largest / smallest) ** log_size


def _render_block(
    parameters: MotionParameters,
    paths: tuple[numpy.ndarray, ...],
    clips: numpy.ndarray,
    block: slice,
    shapes: numpy.ndarray | None,
) -> None:
    """Write the clips of one block: glyph over background, then noise, rounded to uint8."""
    x, y, angle, radius = (path[block] for path in paths)
    coverage = glyph_coverage(
        parameters.glyph[block],
        parameters.mirror[block],
        x,
        y,
        radius,
        angle,
        parameters.softness[block],
        size=clips.shape[2],
        shapes=shapes,
    )  # (clips, frames, size, size)
    amplitude = parameters.noise_amplitude[block, None, None, None]
    scale = amplitude / numpy.float32(127.5)
    frames, glyph_part = numpy.empty_like(coverage), numpy.empty_like(coverage)
    for channel in range(3):
        background = parameters.background[block, channel, None]  # (clips, 1, size, size): still
        contrast = parameters.colour[block, channel, None, None, None] - background
        numpy.multiply(parameters.noise[block, channel], scale, out=frames)  # 0 to 2 a: centred with the next line
        numpy.add(frames, background - (amplitude - numpy.float32(0.5)), out=frames)  # + 0.5 rounds
        numpy.multiply(coverage, contrast, out=glyph_part)
        numpy.add(frames, glyph_part, out=frames)
        numpy.clip(frames, 0, 255, out=frames)
        clips[block, ..., channel] = frames


def render_motion(parameters: MotionParameters, shapes: numpy.ndarray | None = None) -> numpy.ndarray:
    """The clips that `parameters` describe, uint8 (batch, frames, size, size, 3).

    Given `shapes`, the glyphs are those, as `glyph_coverage` takes them.

    Blocks of clips are rendered in parallel; the bits depend neither on the number of threads nor on the machine.
    """
    batch, _, num_frames, size, _ = parameters.noise.shape
    clips = numpy.empty((batch, num_frames, size, size, 3), dtype=numpy.uint8)
    paths = motion_paths(parameters)
    step = max(1, _BLOCK_VALUES // (num_frames * size * size))

    def block_task(first: int):
        return lambda: _render_block(parameters, paths, clips, slice(first, first + step), shapes)

    parallel_blocks([block_task(first) for first in range(0, batch, step)])
    return clips


def take_clips(parameters: MotionParameters, rows: Sequence[int]) -> MotionParameters:
    """The parameters of some of the clips."""
    return MotionParameters(**{name: array[list(rows)] for name, array in vars(parameters).items()})


def motion_clips(
    rng: numpy.random.Generator,
    labels_or_count: int | numpy.ndarray,
    num_frames: int = 8,
    size: int = 32,
    loop: bool = True,
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Fresh clips of the eight motions, and their labels.

    Parameters
    ----------
    rng : numpy.random.Generator
        The same state gives the same bits.
    labels_or_count : int array (batch,), or int
        The classes wanted, as indices into `MOTION_CLASSES`; or how many clips, balanced over the classes in random
        order (`balanced_labels`).
    num_frames : int
        At least 3. The length of a path does not depend on it: more frames show a slower motion.
    size : int
        Height and width in pixels, at least 16. Lengths are fractions of it.
    loop : bool
        True: the clip is a loop entered at a random moment, and no frame tells the class. False: each clip starts at
        its path's beginning, which looks simpler, but its first and last frames then give the class away in part.

    Returns
    -------
    clips : uint8 (batch, num_frames, size, size, 3)
    labels : int64 (batch,)

    Raises
    ------
    InputError
        For labels outside 0 to 7, a negative count, and clips that are too short or too small.

    Examples
    --------
    >>> clips, labels = motion_clips(numpy.random.default_rng(0), 16)
    >>> clips.shape, MOTION_CLASSES[labels[0]]  # doctest: +SKIP
    """
    labels = _checked_labels(rng, labels_or_count)
    parameters = draw_motion_parameters(rng, labels, num_frames, size, loop)
    return render_motion(parameters), labels


def shuffle_frames(rng: numpy.random.Generator, clips: numpy.ndarray) -> numpy.ndarray:
    """A copy of `clips`, (batch, frames, ...), with each clip's frames in a random order of their own."""
    if clips.ndim < 2:
        raise InputError(f"clips have shape {clips.shape}; expected (batch, frames, ...)")
    batch, num_frames = clips.shape[:2]
    order = rng.permuted(numpy.tile(numpy.arange(num_frames), (batch, 1)), axis=1)
    return clips[numpy.arange(batch)[:, None], order]
