"""What goes wrong before the model: range, channels, axes and frames of the pixels."""

from collections.abc import Iterator
from typing import Any

import numpy

from minivivit.verification.comparison.evidence.evidence import Evidence, Hypothesis, relative_error

# How a pixel of 0 to 255 becomes a number: (name, scale, offset), scale * pixel + offset, one for each channel or for
# all. The first is what the published checkpoint was trained with, scenic's [-1, 1] scaled and shifted once more.
RANGES: list[tuple[str, Any, Any]] = [
    ("[-3, 1]", 2 / 127.5, -3.0),
    ("[-1, 1]", 1 / 127.5, -1.0),
    ("[0, 1]", 1 / 255, 0.0),
    ("[0, 255]", 1.0, 0.0),
    (
        "ImageNet's mean and standard deviation",
        1 / (255 * numpy.array([0.229, 0.224, 0.225])),
        -numpy.array([0.485, 0.456, 0.406]) / numpy.array([0.229, 0.224, 0.225]),
    ),
]
# Brightness of red, green and blue (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)
# Frames closer than this, relative to their size, count as one frame.
SAME_FRAME = 1e-3


def pixel_changes(pixels: numpy.ndarray) -> Iterator[tuple[str, str, str, numpy.ndarray]]:
    """(cause, mistake, advice, changed pixels) for the usual mistakes; pixels (1, frames, channels, height, width)."""
    _, frames, channels, height, width = pixels.shape
    if channels > 1:
        yield (
            "channel order",
            "with the channels reversed",
            "OpenCV reads BGR, the model expects RGB",
            pixels[:, :, ::-1],
        )
        yield (
            "grey frames",
            "with the mean of the channels in each",
            "keep the colours",
            numpy.broadcast_to(pixels.mean(axis=2, keepdims=True), pixels.shape),
        )
    if channels == 3:
        luma = (pixels * numpy.reshape(LUMA, (3, 1, 1))).sum(axis=2, keepdims=True)
        yield "grey frames", "with the luma in each channel", "keep the colours", numpy.broadcast_to(luma, pixels.shape)
    if height == width:
        yield (
            "height and width swapped",
            "with height and width swapped",
            "the clip is transposed; check the order of the axes where frames are read or resized",
            pixels.swapaxes(-1, -2),
        )
    yield "flipped", "upside down", "the rows are read from the bottom up", pixels[:, :, :, ::-1]
    yield "flipped", "mirrored", "an augmentation was left on, or the columns are read backwards", pixels[..., ::-1]
    yield "frame order", "with the frames in reverse", "reverse them", pixels[:, ::-1]
    names = sorted(range(frames), key=str)
    yield (
        "frame order",
        "with the frames in alphabetical order of their numbers (0, 1, 10, 11, ..., 2)",
        "sort the names of the files as numbers",
        pixels[:, names],
    )
    for shift in (1, -1):
        yield (
            "frame order",
            f"with the frames moved on by {shift} in a circle",
            "the sampled indices are one off",
            numpy.roll(pixels, shift, 1),
        )
    yield from _reshapes(pixels)
    yield from _ranges(pixels)


def _reshapes(pixels: numpy.ndarray) -> Iterator[tuple[str, str, str, numpy.ndarray]]:
    """Axes brought into shape by `reshape` where they had to be transposed."""
    for axes, stored in (
        ((0, 1, 3, 4, 2), "(batch, frames, height, width, channels)"),
        ((0, 2, 1, 3, 4), "(batch, channels, frames, height, width)"),
        ((0, 2, 3, 4, 1), "(batch, channels, height, width, frames)"),
    ):
        yield (
            "reshaped instead of transposed",
            f"stored as {stored} and reshaped to (batch, frames, channels, height, width)",
            "transpose the axes: reshape (view) keeps the numbers in their order",
            pixels.transpose(axes).reshape(pixels.shape),
        )


def _ranges(pixels: numpy.ndarray) -> Iterator[tuple[str, str, str, numpy.ndarray]]:
    """Every range that ours may be in, mapped to every range that theirs may be in."""
    channels = pixels.shape[2]
    for from_name, from_scale, from_offset in RANGES:
        lowest, highest = numpy.min(from_offset), numpy.max(from_offset + 255 * numpy.asarray(from_scale))
        if pixels.min() < lowest - 1e-3 or pixels.max() > highest + 1e-3:
            continue
        for to_name, to_scale, to_offset in RANGES:
            if from_name == to_name or max(numpy.size(from_scale), numpy.size(to_scale)) not in (1, channels):
                continue
            scale = numpy.asarray(to_scale) / numpy.asarray(from_scale)
            offset = to_offset - numpy.asarray(from_offset) * scale
            if to_name == next(name for name, _, _ in RANGES if name != from_name):
                yield from _limited(pixels, from_name, from_scale, from_offset)
            yield (
                "pixel range",
                f"with the pixels in {to_name} instead of {from_name}",
                "scale them as the checkpoint's preprocessor_config.json says",
                pixels * numpy.reshape(scale, (-1, 1, 1)) + numpy.reshape(offset, (-1, 1, 1)),
            )


def _limited(
    pixels: numpy.ndarray, name: str, scale: Any, offset: Any
) -> Iterator[tuple[str, str, str, numpy.ndarray]]:
    """Video's limited range, 16 to 235, on the way from 0 to 255; and pixels cut off."""
    a, b = numpy.reshape(scale, (-1, 1, 1)), numpy.reshape(offset, (-1, 1, 1))
    of_bytes = (pixels - b) / a
    advice = "decode to full range, 0 to 255, once"
    yield "limited range", "with 0 to 255 squeezed into 16 to 235", advice, a * (16 + of_bytes * 219 / 255) + b
    stretched = ((of_bytes - 16) * 255 / 219).clip(0, 255)
    yield "limited range", "with 16 to 235 stretched to 0 to 255", advice, a * stretched + b
    if pixels.min() < -1 or pixels.max() > 1:
        yield "pixels clipped", "clipped to [-1, 1]", f"pixels are in {name}", pixels.clip(-1, 1)


def pixel_hypotheses(evidence: Evidence) -> Iterator[Hypothesis]:
    """What could be wrong with pixel values that differ."""
    pixels = evidence.sample("pixel_values")
    if pixels is None or pixels.ndim != 5:
        return
    for change in pixel_changes(pixels):
        yield Hypothesis(*change)
    theirs = evidence.read_theirs("pixel_values")
    if theirs is None or theirs.shape[1:] != pixels.shape[1:]:
        return
    yield from _matched_frames(evidence, pixels, theirs, max(SAME_FRAME, evidence.budget or 0.0))
    yield from _fitted_range(evidence, pixels, theirs)


def _matched_frames(
    evidence: Evidence, pixels: numpy.ndarray, theirs: numpy.ndarray, tolerance: float
) -> Iterator[Hypothesis]:
    """Every frame of theirs is one of ours, in another order, or taken more than once."""
    frames = pixels.shape[1]
    indices = []
    for time in range(frames):
        errors = [relative_error(pixels[0, other], theirs[0, time]) for other in range(frames)]
        if not min(errors) <= tolerance:
            return
        indices.append(int(numpy.argmin(errors)))
    indices = evidence.fitted("frames", indices)
    usual = [list(range(frames)), list(range(frames))[::-1], sorted(range(frames), key=str)]
    usual += [numpy.roll(usual[0], shift).tolist() for shift in (1, -1)]
    if indices in usual:  # those have a name of their own
        return
    shown = ", ".join(map(str, indices[:12])) + (", ..." if frames > 12 else "")
    yield Hypothesis(
        "frame order",
        f"with the frames {shown}",
        "some are taken twice: check how frames are sampled"
        if len(set(indices)) < frames
        else "check the order in which frames are read",
        pixels[:, indices],
    )


def _fitted_range(evidence: Evidence, pixels: numpy.ndarray, theirs: numpy.ndarray) -> Iterator[Hypothesis]:
    """theirs = a ours + b, a and b fitted for each channel; a fit of two numbers to a whole clip is no accident."""
    axes = (0, 1, 3, 4)
    mean, mean_theirs = pixels.mean(axes, keepdims=True), theirs.mean(axes, keepdims=True)
    centred = pixels - mean
    variance = numpy.square(centred).mean(axes, keepdims=True)
    if not (variance > 0).all() or not numpy.isfinite(theirs).all():
        return
    scale = (centred * (theirs - mean_theirs)).mean(axes, keepdims=True) / variance
    scale, offset = evidence.fitted("range", (scale, mean_theirs - scale * mean))
    if not (scale > 1e-6).all():
        return
    numbers = ", ".join(f"{a:.4g} x + {b:.4g}" for a, b in zip(scale.ravel(), offset.ravel(), strict=True))
    yield Hypothesis(
        "pixel scaling",
        f"scaled and shifted, channel by channel: {numbers}",
        "compare the mean, the standard deviation and the factor of rescaling with preprocessor_config.json",
        pixels * scale + offset,
        is_fit=True,
    )
