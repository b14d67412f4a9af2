"""What a caller may hand over as videos, brought into one form: a list of videos, each a list of frames.

A frame is a PIL image or an array of three axes, with the channels first or last. A video is a list of frames or an
array of four axes; a batch is a list of videos or an array of five. A single frame is a video of one frame.
"""

import os
from typing import Any

import numpy
from PIL import Image

from minivivit.backend import Array, to_numpy
from minivivit.errors import InputError
from minivivit.files.tensor_data import quoted, reason_of

DATA_FORMATS = ("channels_first", "channels_last")


def checked_data_format(data_format: Any, name: str) -> str | None:
    """`data_format` as a plain string; None stays None, which leaves the choice to the image."""
    if data_format is None:
        return None
    if data_format not in DATA_FORMATS:
        raise InputError(f"{name} is {quoted(data_format)}; expected 'channels_first', 'channels_last' or None")
    return DATA_FORMATS[DATA_FORMATS.index(data_format)]


def infer_data_format(shape: tuple[int, ...]) -> str:
    """Where the channels of an image are: first if that axis has 1 or 3 of them, else last if that one has.

    Raises
    ------
    InputError
        Where neither end has 1 or 3: four channels, for example, are not guessed.
    """
    if len(shape) >= 3 and shape[-3] in (1, 3):
        return "channels_first"
    if len(shape) >= 3 and shape[-1] in (1, 3):
        return "channels_last"
    raise InputError(
        f"cannot tell which axis of the frame shape {tuple(shape)} holds the channels (1 or 3 of them are recognised); "
        "pass input_data_format='channels_first' or 'channels_last'"
    )


def to_data_format(image: Array, source: str, target: str) -> Array:
    """A view of the image (..., axis, axis, axis) with its channels moved from where `source` says to `target`."""
    if source == target:
        return image
    if target == "channels_first":
        return image.swapaxes(-1, -2).swapaxes(-2, -3)  # (h, w, c) -> (h, c, w) -> (c, h, w)
    return image.swapaxes(-3, -2).swapaxes(-2, -1)  # (c, h, w) -> (h, c, w) -> (h, w, c)


def is_frame(value: Any, axes: int = 3) -> bool:
    """Whether `value` is a PIL image (which counts as three axes), or an array with this many axes."""
    if isinstance(value, Image.Image):
        return axes == 3
    return hasattr(value, "__array__") and getattr(value, "ndim", None) == axes


def frame_to_array(frame: Any) -> numpy.ndarray:
    """One frame as an array of three axes whose values are real numbers.

    Raises
    ------
    InputError
        For a PIL image without channels (grey, palette), an empty frame, another dtype, NaN or infinity.
    """
    try:
        array = to_numpy(frame)
    except (
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:  # other libraries' arrays: gradients, foreign dtypes, devices
        kind = type(frame).__name__
        raise InputError(f"a frame of the type {kind} cannot become a NumPy array ({reason_of(error)})") from None
    if isinstance(frame, Image.Image) and array.ndim != 3:
        raise InputError(f"a PIL frame has the mode {frame.mode!r}; convert it first with frame.convert('RGB')")
    if array.dtype.kind not in "buif" or array.dtype.itemsize > 8:
        raise InputError(
            f"a frame has the dtype {array.dtype}; expected integers (best uint8) or floats of up to 64 bits"
        )
    if array.size == 0:
        raise InputError(
            f"a frame has the shape {array.shape}, which holds no pixel; expected height and width above 0"
        )
    if array.dtype.kind == "f" and not numpy.isfinite(array).all():
        raise InputError("a frame holds NaN or infinity; expected finite pixel values")
    return array


def make_batched(videos: Any) -> list[list[Any]]:
    """The videos as a list of lists of frames (still as they were given).

    Parameters
    ----------
    videos : frame, video or batch of videos
        As the head of this file says.

    Raises
    ------
    InputError
        For an empty video or batch, a mixture of frames and videos, and anything that is neither.
    """
    if isinstance(videos, str | os.PathLike):
        raise InputError(
            f"got the path {os.fspath(videos)!r} where frames belong; read it first with minivivit.read_video"
        )
    if is_frame(videos):
        batch = [[videos]]
    elif is_frame(videos, 4):
        batch = [list(videos)]
    elif is_frame(videos, 5):
        batch = [list(video) for video in videos]
    elif not isinstance(videos, list | tuple):
        raise InputError(f"got {_describe(videos)}; expected a video: frames in a list, or an array of 4 (or 5) axes")
    elif all(is_frame(frame) for frame in videos):
        batch = [list(videos)]
    elif all(isinstance(video, list | tuple) or is_frame(video, 4) for video in videos):
        batch = [list(video) for video in videos]
    else:
        odd = next(item for item in videos if not is_frame(item))
        raise InputError(
            f"the list holds {_describe(odd)}; expected frames of 3 axes, or videos, and no mixture of them"
        )
    for video in batch:
        for frame in video:
            if not is_frame(frame):
                raise InputError(f"a video holds {_describe(frame)}; expected PIL images or arrays of 3 axes")
    if not batch or not all(batch):
        raise InputError("the video is empty; expected at least one frame")
    return batch


def _describe(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return type(value).__name__ if shape is None else f"{type(value).__name__} of the shape {tuple(shape)}"
