"""Glyphs drawn by signed distance: what the built-in motion data moves about.

A glyph is a union of tapered capsules. A capsule is the set of points nearer to the segment from `a` to `b` than a
radius, which here runs linearly from `r_a` to `r_b` along the segment. With the foot of a point `p` on the segment,

    t(p) = clip((p - a) . (b - a) / |b - a|^2, 0, 1),

its signed distance (negative inside) is

    d(p) = |p - a - t (b - a)| - (r_a + t (r_b - r_a)),

and the distance of a union is the least of its parts'. (For `r_a != r_b` this is a close bound of the distance and not
the distance itself, which is all that an edge two pixels wide can show.) A pixel is covered by 1 inside, by 0 outside
and by a ramp of `softness` pixels between them, which is what smooths the edges:

    coverage(p) = clip(1/2 - d(p) / softness, 0, 1).

Distances and coverage: I. Quilez, "2D distance functions"; C. Green, "Improved Alpha-Tested Magnification for Vector
Textures and Special Effects", SIGGRAPH 2007.
"""

from collections.abc import Sequence

import numpy

# Each glyph: three capsules (x_a, y_a, x_b, y_b, r_a, r_b), y down, before they are fitted to the unit disc. A glyph of
# fewer parts names one again; the two ends of a capsule differ. All are long, with a head unlike their tail: none looks
# like itself turned by less than a whole turn, and a small turn shows even in 10 pixels.
_CAPSULES: dict[str, list[tuple[float, ...]]] = {
    "arrow": [(-0.8, 0, 0.6, 0, 0.18, 0.18), (0.9, 0, 0.3, 0.5, 0.12, 0.25), (0.9, 0, 0.3, -0.5, 0.12, 0.25)],
    "drop": [(-0.4, 0, 0.9, 0, 0.6, 0.08), (-0.4, 0, 0.9, 0, 0.6, 0.08), (-0.4, 0, 0.9, 0, 0.6, 0.08)],
    "fork": [(-0.9, 0, 0.2, 0, 0.2, 0.2), (0.2, 0, 0.8, 0.4, 0.2, 0.2), (0.2, 0, 0.8, -0.4, 0.2, 0.2)],
    "hammer": [(-0.9, 0, 0.6, 0, 0.2, 0.2), (0.6, -0.5, 0.6, 0.5, 0.3, 0.3), (0.6, -0.5, 0.6, 0.5, 0.3, 0.3)],
    "key": [(-0.5, 0, -0.4, 0, 0.5, 0.5), (-0.2, 0, 0.9, 0, 0.2, 0.2), (0.8, 0, 0.8, 0.45, 0.2, 0.2)],
    "L": [(-0.7, 0, 0.9, 0, 0.25, 0.25), (-0.7, 0, -0.7, 0.7, 0.25, 0.25), (-0.7, 0, -0.7, 0.7, 0.25, 0.25)],
    "P": [(-0.9, 0, 0.9, 0, 0.18, 0.18), (0.3, 0.25, 0.6, 0.25, 0.38, 0.38), (0.3, 0.25, 0.6, 0.25, 0.38, 0.38)],
    "7": [(-0.8, -0.4, -0.7, 0.4, 0.25, 0.25), (-0.7, -0.4, 0.9, 0, 0.25, 0.2), (-0.7, -0.4, 0.9, 0, 0.25, 0.2)],
}
GLYPHS = tuple(_CAPSULES)


def fitted_to_unit_disc(capsules: Sequence[Sequence[float]]) -> numpy.ndarray:
    """The capsules moved so that their bounding box is centred, and scaled so that the farthest point lies at 1.

    Parameters
    ----------
    capsules : sequence of (x_a, y_a, x_b, y_b, r_a, r_b)
        y points down; no capsule's ends coincide.

    Returns
    -------
    float64 array, (capsules, 6)
    """
    glyph = numpy.array(capsules, dtype=numpy.float64)
    ends = glyph[:, :4].reshape(-1, 2, 2)  # (capsule, end, xy): a view, so that moving the ends moves the glyph's
    radii = glyph[:, 4:, None]  # (capsule, end, 1)
    ends -= ((ends - radii).min(axis=(0, 1)) + (ends + radii).max(axis=(0, 1))) / 2
    return glyph / (numpy.sqrt((ends**2).sum(axis=2, keepdims=True)) + radii).max()


_UNIT_CAPSULES = numpy.stack([fitted_to_unit_disc(capsules) for capsules in _CAPSULES.values()])  # (glyphs, 3, 6)


def _placed_capsules(
    glyph: numpy.ndarray,
    mirror: numpy.ndarray,
    x: numpy.ndarray,
    y: numpy.ndarray,
    radius: numpy.ndarray,
    angle: numpy.ndarray,
    shapes: numpy.ndarray,
) -> numpy.ndarray:
    """The glyphs' capsules in pixels, (6, parts, batch, frames, 1, 1): mirrored, turned, sized and moved there.

    Sine and cosine are taken in float64 and only the placed capsules are rounded to float32. What follows is plain
    arithmetic, which IEEE 754 fixes to the bit, so that a seed gives the same clips on every machine.
    """
    capsules = shapes[glyph].transpose(2, 1, 0)[..., None]  # (6, parts, batch, 1)
    cosine, sine = radius * numpy.cos(angle), radius * numpy.sin(angle)  # (batch, frames)
    placed = []
    for local_x, local_y in (capsules[0:2], capsules[2:4]):  # the two ends
        flipped_y = local_y * mirror[:, None]
        placed += [x + cosine * local_x - sine * flipped_y, y + sine * local_x + cosine * flipped_y]
    placed += [radius * capsules[4], radius * capsules[5]]
    return numpy.stack(placed).astype(numpy.float32)[..., None, None]


def glyph_coverage(
    glyph: numpy.ndarray,
    mirror: numpy.ndarray,
    x: numpy.ndarray,
    y: numpy.ndarray,
    radius: numpy.ndarray,
    angle: numpy.ndarray,
    softness: numpy.ndarray,
    size: int,
    shapes: numpy.ndarray | None = None,
) -> numpy.ndarray:
    """How much of each pixel a glyph covers, for one glyph a clip and one place, size and angle of it a frame.

    Parameters
    ----------
    glyph : int array, (batch,)
        Which of `GLYPHS`.
    mirror : array of +1 or -1, (batch,)
        -1 draws the glyph's mirror image.
    x, y : float64 arrays, (batch, frames)
        The centre in pixels from the left and from the top; the centre of the first pixel lies at 0.5.
    radius : float64 array, (batch, frames)
        The radius in pixels of the circle around the glyph.
    angle : float64 array, (batch, frames)
        In radians, clockwise as seen on the screen.
    softness : float array, (batch,)
        The width of the edge's ramp in pixels.
    size : int
        Height and width of a frame.
    shapes : float64 array, (glyphs, parts, 6), optional
        Glyphs to choose from in place of `GLYPHS`, as `fitted_to_unit_disc` makes one.

    Returns
    -------
    float32 array, (batch, frames, size, size)
        From 0 (outside) to 1 (inside).
    """
    shapes = _UNIT_CAPSULES if shapes is None else shapes
    placed = _placed_capsules(glyph, mirror, x, y, radius, angle, shapes)
    x_a, y_a, x_b, y_b, r_a, r_b = placed  # each (parts, batch, frames, 1, 1)
    along_x, along_y = x_b - x_a, y_b - y_a
    squared_length = along_x * along_x + along_y * along_y
    pixel = numpy.arange(size, dtype=numpy.float32) + numpy.float32(0.5)
    from_x, from_y = pixel - x_a, pixel[:, None] - y_a  # (parts, batch, frames, 1, size) and (..., size, 1)
    foot_x, foot_y = from_x * (along_x / squared_length), from_y * (along_y / squared_length)

    distance = numpy.full((*x.shape, size, size), numpy.inf, dtype=numpy.float32)
    foot, offset, part = (numpy.empty_like(distance) for _ in range(3))
    for i in range(len(x_a)):
        numpy.add(foot_x[i], foot_y[i], out=foot)  # t, before it is clipped
        numpy.clip(foot, 0, 1, out=foot)
        numpy.multiply(foot, along_x[i], out=offset)
        numpy.subtract(from_x[i], offset, out=offset)
        numpy.multiply(offset, offset, out=part)  # (p_x - a_x - t (b_x - a_x))^2
        numpy.multiply(foot, along_y[i], out=offset)
        numpy.subtract(from_y[i], offset, out=offset)
        numpy.multiply(offset, offset, out=offset)
        numpy.add(part, offset, out=part)
        numpy.sqrt(part, out=part)  # |p - a - t (b - a)|
        numpy.multiply(foot, r_b[i] - r_a[i], out=foot)
        numpy.subtract(part, foot, out=part)
        numpy.subtract(part, r_a[i], out=part)
        numpy.minimum(distance, part, out=distance)

    slope = numpy.float32(-1) / softness.astype(numpy.float32)[:, None, None, None]
    coverage = numpy.multiply(distance, slope, out=distance)
    coverage += numpy.float32(0.5)
    return numpy.clip(coverage, 0, 1, out=coverage)
