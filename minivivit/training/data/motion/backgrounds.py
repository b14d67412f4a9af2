"""Still, textured backgrounds: what the built-in motion data's shapes move in front of.

A background is value noise, as in K. Perlin's "An Image Synthesizer" (SIGGRAPH 1985): random values on a coarse grid,
interpolated bilinearly to a finer one, where finer values are added, and so on down to the pixels. The coarsest grid,
2 x 2, is a gradient across the frame; the finest has a value for each pixel and is grain. On top lies a little
clutter: small glyphs that do not move, so that an edge alone is no sign of the moving shape.
"""

import numpy

from minivivit.training.data.motion.shapes import GLYPHS, glyph_coverage

# (points of the grid along a side, greatest amplitude in grey levels); a clip draws each amplitude from 0 upwards.
OCTAVES = ((2, 36), (4, 24), (9, 20))
GRAIN_AMPLITUDE = 12
CLUTTER_GLYPHS = 2
CLUTTER_RADIUS = (0.06, 0.10)  # of the frame's side
CLUTTER_CONTRAST = (40, 90)  # grey levels


def _interpolated(grid: numpy.ndarray, size: int, axis: int) -> numpy.ndarray:
    """`grid` stretched linearly along `axis` to `size` points, its first and last points on the first and last."""
    points = grid.shape[axis]
    place = numpy.linspace(0, points - 1, size)
    lower = numpy.minimum(place.astype(numpy.intp), points - 2)
    shape = [1] * grid.ndim
    shape[axis] = size
    weight = (place - lower).astype(numpy.float32).reshape(shape)
    below, above = grid.take(lower, axis), grid.take(lower + 1, axis)
    above -= below
    above *= weight
    return numpy.add(below, above, out=above)


def value_noise(rng: numpy.random.Generator, batch: int, size: int) -> numpy.ndarray:
    """Textures around zero in grey levels, float32 (batch, 3, size, size), from the coarsest grid to the finest."""
    noise = numpy.zeros((batch, 3, 2, 2), dtype=numpy.float32)
    for points, greatest in (*OCTAVES, (size, GRAIN_AMPLITUDE)):
        if points != noise.shape[2]:
            noise = _interpolated(_interpolated(noise, points, axis=3), points, axis=2)
        amplitude = rng.random((batch, 1, 1, 1), dtype=numpy.float32) * numpy.float32(2 * greatest)
        values = rng.random(noise.shape, dtype=numpy.float32)
        values -= numpy.float32(0.5)
        values *= amplitude
        noise += values
    return noise


def _add_clutter(rng: numpy.random.Generator, background: numpy.ndarray) -> None:
    """Draw `CLUTTER_GLYPHS` small still glyphs into `background`, (batch, 3, size, size), each with probability 1/2."""
    batch, _, size, _ = background.shape
    for _ in range(CLUTTER_GLYPHS):
        coverage = glyph_coverage(
            glyph=rng.integers(len(GLYPHS), size=(batch,)),
            mirror=rng.choice([-1.0, 1.0], size=(batch,)),
            x=rng.uniform(0, size, (batch, 1)),
            y=rng.uniform(0, size, (batch, 1)),
            radius=rng.uniform(*CLUTTER_RADIUS, (batch, 1)) * size,
            angle=rng.uniform(0, 2 * numpy.pi, (batch, 1)),
            softness=rng.uniform(1, 2, (batch,)),
            size=size,
        )  # (batch, 1, size, size)
        contrast = rng.uniform(*CLUTTER_CONTRAST, (batch, 1)) * rng.choice([-1.0, 0.0, 0.0, 1.0], size=(batch, 1))
        tint = rng.uniform(-30, 30, (batch, 3)) * (contrast != 0)
        background += coverage * (contrast + tint).astype(numpy.float32)[:, :, None, None]


def textured_backgrounds(rng: numpy.random.Generator, colour: numpy.ndarray, size: int) -> numpy.ndarray:
    """One background a clip around the given colour.

    Parameters
    ----------
    rng : numpy.random.Generator
    colour : float array, (batch, 3)
        The mean colour in grey levels, 0 to 255.
    size : int
        Height and width.

    Returns
    -------
    float32 array, (batch, 3, size, size)
        Grey levels, neither rounded nor clipped.
    """
    background = value_noise(rng, len(colour), size)
    background += colour.astype(numpy.float32)[:, :, None, None]
    _add_clutter(rng, background)
    return background
