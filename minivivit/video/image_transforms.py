"""The steps of preprocessing around the resize: which size, the centre crop, rescaling, normalisation.

Every array here is an image or a stack of images with the channels first, (..., channels, height, width).
"""

from collections.abc import Mapping
from typing import Any

import numpy

from minivivit.backend import Array, array_namespace
from minivivit.errors import InputError
from minivivit.files.tensor_data import quoted
from minivivit.video.resize import checked_size

SIZE_KEYS = (
    {"height", "width"},
    {"shortest_edge"},
    {"shortest_edge", "longest_edge"},
    {"longest_edge"},
    {"max_height", "max_width"},
    {"min_pixels", "max_pixels"},
)


# --------------------------------------------------------------------------------------------------------------------
# Sizes
# --------------------------------------------------------------------------------------------------------------------


def size_dict(size: Any, *, default_to_square: bool, name: str) -> dict[str, int]:
    """`size` as the dict that configs hold.

    A dict stays as it is when its keys are one of the sets that transformers knows; (height, width) becomes
    ``{"height": height, "width": width}``; a whole number becomes a square, or ``{"shortest_edge": number}`` where
    `default_to_square` is false.
    """
    if isinstance(size, Mapping):
        result = dict(size)
    elif isinstance(size, list | tuple) and len(size) == 2:
        result = {"height": size[0], "width": size[1]}
    elif _is_whole(size):
        result = {"height": size, "width": size} if default_to_square else {"shortest_edge": size}
    else:
        result = {}
    if set(result) not in SIZE_KEYS or not all(_is_whole(edge) and edge >= 1 for edge in result.values()):
        example = "{'height': 224, 'width': 224}" if default_to_square else "{'shortest_edge': 256}"
        raise InputError(
            f"{name} is {quoted(size)}; expected a dict of whole numbers above 0 such as {example}, one whole number, "
            "or (height, width)"
        )
    return {key: int(edge) for key, edge in result.items()}


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | numpy.integer) and not isinstance(value, bool)


def resized_size(height: int, width: int, size: dict[str, int]) -> tuple[int, int]:
    """The height and width that `size` asks for.

    With ``shortest_edge`` the shorter edge gets that length and the longer keeps the aspect ratio, rounded down. (A
    ``longest_edge`` beside it is ignored, as by transformers' class.)
    """
    if "shortest_edge" in size:
        short, long = min(height, width), max(height, width)
        target = size["shortest_edge"]
        checked_size((target, target))
        other = int(target * long / short)
        return checked_size((other, target) if width <= height else (target, other))
    return height_and_width(size, "size")


def fitted_size(height: int, width: int, size: dict[str, int]) -> tuple[int, int]:
    """The height and width that `size` asks of a video processor: `resized_size`, and two that bound the longer edge.

    With ``shortest_edge`` and ``longest_edge`` the shorter edge gets its length, or as much less as the longer needs.
    With ``max_height`` and ``max_width`` the frame becomes as large as fits, of the same aspect ratio, rounded down.
    """
    if set(size) == {"max_height", "max_width"}:
        checked_size((size["max_height"], size["max_width"]))
        scale = min(size["max_height"] / height, size["max_width"] / width)
        return checked_size((int(height * scale), int(width * scale)))
    if set(size) != {"shortest_edge", "longest_edge"}:
        return resized_size(height, width, size)
    short, long = min(height, width), max(height, width)
    target: float = size["shortest_edge"]
    checked_size((size["shortest_edge"], size["longest_edge"]))
    if long / short * target > size["longest_edge"]:
        target = size["longest_edge"] * short / long
    if round(target) == short:
        return height, width
    edges = round(target), int(target * long / short)
    return checked_size(edges if height <= width else edges[::-1])


def height_and_width(size: dict[str, int], name: str) -> tuple[int, int]:
    """Height and width of a size dict that must have them."""
    if set(size) != {"height", "width"}:
        raise InputError(f"{name} has the keys {sorted(size)}; expected 'height' and 'width'")
    return checked_size((size["height"], size["width"]))


# --------------------------------------------------------------------------------------------------------------------
# The centre crop
# --------------------------------------------------------------------------------------------------------------------


def edge_before_crop(crop: int) -> int:
    """The edge that frames are resized to before a crop of this size is cut from them: 256 for 224, as in the paper."""
    return round(crop * 256 / 224)


def crop_offset(edge: int, crop: int) -> int:
    """Where a centred crop begins: (edge - crop) / 2 rounded down; negative when the crop is the larger."""
    return (edge - crop) // 2


def crop_window(edge: int, crop: int) -> slice:
    """The part of an edge that a centred crop keeps: all of it when the crop is larger."""
    offset = crop_offset(edge, crop)
    return slice(max(offset, 0), min(offset + crop, edge))


def center_crop(image: Array, height: int, width: int) -> Array:
    """Crop (..., H, W) to (..., height, width) around the centre, with zeros where the image is smaller.

    Output pixel i of an axis is input pixel i + floor((edge - crop) / 2), or 0 outside. Only when padding is needed is
    the result a copy.
    """
    old_height, old_width = image.shape[-2:]
    inside = image[..., crop_window(old_height, height), crop_window(old_width, width)]
    if inside.shape[-2:] == (height, width):
        return inside
    return pad_to_crop(inside, (old_height, old_width), (height, width))


def pad_to_crop(inside: Array, old: tuple[int, int], new: tuple[int, int], extra_first: bool = True) -> Array:
    """The second half of `center_crop`: zeros around what it kept of an image of the size `old`.

    Of an odd number of rows or columns of zeros the extra one comes first, as with transformers' image processor, or
    last, as with its video processor.
    """
    if inside.shape[-2:] == new:
        return inside
    missing = [max(crop - edge, 0) for edge, crop in zip(old, new, strict=True)]
    top, left = ((number + extra_first) // 2 for number in missing)
    height, width = inside.shape[-2:]
    padded = array_namespace(inside).zeros((*inside.shape[:-2], *new), inside.dtype)
    padded[..., top : top + height, left : left + width] = inside
    return padded


# --------------------------------------------------------------------------------------------------------------------
# Arithmetic
# --------------------------------------------------------------------------------------------------------------------


def rescale(image: Array, scale: float, dtype: Any = numpy.float32) -> Array:
    """image * scale, computed in float64 and rounded once, to `dtype`."""
    return (image.astype(numpy.float64) * float(scale)).astype(dtype)


def normalize(image: Array, mean: Any, std: Any) -> Array:
    """(image - mean) / std for each channel, in the image's dtype if it is a float, else in float32.

    Parameters
    ----------
    image : array (..., channels, height, width)
    mean, std : number or sequence of one number a channel
        Rounded to the dtype of the computation first.
    """
    xp = array_namespace(image)
    if image.dtype.kind != "f":
        image = image.astype(numpy.float32)
    channels = image.shape[-3]
    per_channel = [
        xp.asarray(channel_values(values, channels, name), image.dtype)[:, None, None]  # (channels, 1, 1)
        for values, name in ((mean, "image_mean"), (std, "image_std"))
    ]
    return (image - per_channel[0]) / per_channel[1]


def channel_values(values: Any, channels: int, name: str) -> list[float]:
    """`values`, a number or a sequence of numbers, as one float for each channel; a deviation must not be 0."""
    try:
        numbers = [float(value) for value in (numpy.atleast_1d(values))]
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} is {quoted(values)}; expected a number or one number for each channel") from None
    if numpy.ndim(values) == 0:
        numbers *= channels
    if len(numbers) != channels:
        raise InputError(f"{name} has {len(numbers)} values for frames of {channels} channels; expected {channels}")
    if not numpy.isfinite(numbers).all() or (name == "image_std" and 0.0 in numbers):
        raise InputError(
            f"{name} is {quoted(values)}; expected finite numbers{', none of them 0' * (name == 'image_std')}"
        )
    return numbers


# --------------------------------------------------------------------------------------------------------------------
# Images that are not bytes, on their way through an 8-bit resize
# --------------------------------------------------------------------------------------------------------------------


def is_unit_range(image: numpy.ndarray) -> bool:
    """Whether an image has to be multiplied by 255 to become bytes.

    Values that are whole numbers (to within ``numpy.allclose``) in [0, 255] are bytes already; other values in [0, 1]
    are fractions of 255. An image of zeros and ones is therefore taken for bytes, by transformers and here.

    Raises
    ------
    InputError
        For any other values: they cannot be resized in 8 bits.
    """
    if image.dtype == numpy.uint8:
        return False
    low, high = image.min(), image.max()
    if low >= 0 and high <= 255 and numpy.allclose(image, image.astype(numpy.int64)):
        return False
    if low >= 0 and high <= 1:
        return True
    raise InputError(
        f"a frame to resize has values from {low:g} to {high:g}; expected whole numbers in [0, 255], or "
        "fractions in [0, 1]"
    )


def to_bytes(image: numpy.ndarray, unit_range: bool) -> numpy.ndarray:
    """The image as uint8: times 255 first if `unit_range`, then rounded towards zero."""
    return (rescale(image, 255) if unit_range else image).astype(numpy.uint8, copy=False)
