"""Frames of one shape, worked on together: the pipeline of the image processor, and its results put back in place.

The steps, for every frame (channels, height, width):

    resize -> centre crop -> p * rescale_factor - offset -> (p - mean) / std

Of the resized frame only the pixels that the crop keeps are computed. The first two steps run on the CPU, in bytes;
the others run in the given array library, frame by frame, so that on the CPU a frame stays in the cache.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy

from minivivit.backend import Array, parallel_blocks
from minivivit.errors import InputError
from minivivit.files.tensor_data import quoted
from minivivit.video.frames import frame_to_array, infer_data_format, to_data_format
from minivivit.video.image_transforms import (
    center_crop,
    crop_window,
    height_and_width,
    is_unit_range,
    normalize,
    pad_to_crop,
    rescale,
    resized_size,
    to_bytes,
)
from minivivit.video.resize import VALUES_TOGETHER, check_number_of_values, resize_planes

# Pixel values are near 1, and as whole bytes at most 255. What is so far above is a mistake in the settings.
LARGEST_PIXEL_VALUE = 1e6


class FrameGroup(NamedTuple):
    """Frames of one shape, dtype, layout and range, from anywhere in the batch.

    Attributes
    ----------
    places : list of (video, frame)
        Where in the batch each frame stands, in the batch's order.
    frames : list of arrays (channels, height, width)
    data_format : str
        Where the channels were.
    unit_range : bool
        Whether the frames have to be multiplied by 255 to be resized in bytes.
    """

    places: list[tuple[int, int]]
    frames: list[Array]
    data_format: str
    unit_range: bool


def group_frames(batch: list[list[Any]], input_data_format: str | None, will_resize: bool) -> list[FrameGroup]:
    """Check every frame and put those that can be worked on together into one group."""
    groups: dict[tuple, FrameGroup] = {}
    for v, video in enumerate(batch):
        for f, frame in enumerate(video):
            array = frame_to_array(frame)
            data_format = input_data_format or infer_data_format(array.shape)
            unit_range = will_resize and is_unit_range(array)
            group = groups.setdefault(
                (array.shape, array.dtype, data_format, unit_range), FrameGroup([], [], data_format, unit_range)
            )
            group.places.append((v, f))
            group.frames.append(to_data_format(array, data_format, "channels_first"))
    return list(groups.values())


def resize_frames(
    frames: Sequence[Array],
    unit_range: bool,
    size: tuple[int, int],
    resample: Any,
    window: tuple[slice, slice] | None = None,
) -> Array:
    """Resize in bytes, (channels, height, width) each -> (frames, channels, rows, columns), and undo the factor 255."""
    resized = resize_planes([to_bytes(frame, unit_range) for frame in frames], size, resample, window)
    return rescale(resized, 1 / 255) if unit_range else resized


def _resize_and_crop(group: FrameGroup, settings: dict[str, Any]) -> Array:
    """The first two steps, on the CPU -> (frames, channels, height, width)."""
    channels, height, width = group.frames[0].shape
    new_size = resized_size(height, width, settings["size"]) if settings["do_resize"] else (height, width)
    crop = height_and_width(settings["crop_size"], "crop_size") if settings["do_center_crop"] else new_size
    check_number_of_values(len(group.frames) * channels * crop[0] * crop[1], f"frames of {crop[0]} x {crop[1]}")
    if not settings["do_resize"]:
        return numpy.stack([center_crop(frame, *crop) for frame in group.frames])
    window = (crop_window(new_size[0], crop[0]), crop_window(new_size[1], crop[1]))
    kept = resize_frames(group.frames, group.unit_range, new_size, settings["resample"], window)
    return pad_to_crop(kept, new_size, crop)


def _rescale_and_normalize(frame: Array, settings: dict[str, Any]) -> Array:
    """The last two steps, for frames (..., channels, height, width), in their array library."""
    if settings["do_rescale"]:
        frame = rescale(frame, settings["rescale_factor"])
    if settings["offset"]:
        frame = frame - 1
    if settings["do_normalize"]:
        frame = normalize(frame, settings["image_mean"], settings["image_std"])
    return frame


def process_group(group: FrameGroup, settings: dict[str, Any], data_format: str | None, xp: Any) -> Array:
    """All steps for the frames of a group -> (frames, channels, height, width), or with the channels last."""
    frames = xp.asarray(_resize_and_crop(group, settings))
    arithmetic = partial(_rescale_and_normalize, settings=settings)
    return finish_frames(frames, arithmetic, settings, data_format or group.data_format, xp)


def finish_frames(
    frames: Array, arithmetic: Callable[[Array], Array], settings: dict[str, Any], data_format: str, xp: Any
) -> Array:
    """The steps after the crop, frame by frame (of small frames a few at a time), and the channels put in their place.

    Parameters
    ----------
    frames : array (frames, channels, height, width)
    arithmetic : callable
        What rescales and normalises frames (..., channels, height, width) as `settings` say.
    """
    if settings["do_rescale"] or settings["do_normalize"]:
        _check_values(frames, arithmetic, settings)
        together = max(1, VALUES_TOGETHER // max(1, frames[0].size))
        first = arithmetic(frames[:together])
        result = xp.empty((len(frames), *first.shape[1:]), first.dtype)
        result[:together] = first

        def some_frames(start: int) -> None:
            result[start : start + together] = arithmetic(frames[start : start + together])

        parallel_blocks([partial(some_frames, start) for start in range(together, len(frames), together)], xp)
        frames = result
    return xp.ascontiguousarray(to_data_format(frames, "channels_first", data_format))


def _check_values(frames: Array, arithmetic: Callable[[Array], Array], settings: dict[str, Any]) -> None:
    """Refuse settings that make no pixel values of bytes, or of fractions: a model would see nothing in them."""
    dtype, channels = numpy.dtype(frames.dtype), frames.shape[1]
    ramp = numpy.arange(256, dtype=dtype) if dtype.kind in "iu" else numpy.linspace(0, 1, 256, dtype=dtype)
    with numpy.errstate(all="ignore"):
        values = arithmetic(numpy.broadcast_to(ramp, (channels, 1, 256)))
    largest = float(numpy.abs(values).max())
    which = ", ".join(f"{name} {settings[name]!r}" for name in ("rescale_factor", "image_mean", "image_std"))
    if not largest <= LARGEST_PIXEL_VALUE:
        raise InputError(
            f"the settings make pixel values of up to {largest:.3g} from frames of {dtype}, and a model expects them "
            f"near 1: {which}"
        )
    if dtype.kind in "iu" and not (numpy.diff(values.astype("float64")) != 0).all():
        raise InputError(f"the settings make the same pixel value of different bytes: {which}")


def warn_if_already_rescaled(groups: Iterable[Any], advice: str) -> None:
    """A likely mistake: frames of floats in [0, 1] that are about to be divided by 127.5 again."""
    for frames in groups:
        if frames[0].dtype.kind == "f" and all(frame.min() >= 0 and frame.max() <= 1 for frame in frames):
            warnings.warn(
                f"frames of floats in [0, 1] are about to be rescaled again; pass {advice} if they are already what "
                "you want",
                stacklevel=3,
            )
            return


def nested_lists(lengths: list[int], groups: list[FrameGroup], results: list[Array]) -> list[list[Array]]:
    """The groups' results as a list of videos, each a list of frames, in the batch's order."""
    pixels: list[list[Any]] = [[None] * length for length in lengths]
    for group, result in zip(groups, results, strict=True):
        for (v, f), frame in zip(group.places, result, strict=True):
            pixels[v][f] = frame
    return pixels


def one_array(lengths: list[int], groups: list[FrameGroup], results: list[Array], xp: Any) -> Array:
    """The groups' results as one array (videos, frames, ...); the errors are those of `check_one_array`."""
    check_one_array(lengths, {result.shape[1:] for result in results})
    if len(results) > 1:
        return xp.stack([xp.stack(video) for video in nested_lists(lengths, groups, results)])
    return results[0].reshape(len(lengths), lengths[0], *results[0].shape[1:])


def check_one_array(lengths: list[int], frame_shapes: set[tuple[int, ...]]) -> None:
    """See that videos of these `lengths` in frames, whose frames have these shapes, can be stacked.

    Raises
    ------
    InputError
        When the videos differ in their number of frames, or the frames in their final shape.
    """
    differing = None
    if len(set(lengths)) > 1:
        differing = f"the videos have {quoted(lengths)} frames, which make no single array; sample equally many of each"
    elif len(frame_shapes) > 1:
        shapes = quoted(sorted(frame_shapes))
        differing = f"the frames end in the shapes {shapes}, which make no single array; crop them"
    if differing:
        raise InputError(f"{differing}, or use return_tensors=None")
