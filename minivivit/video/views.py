"""Several views of one video: clips spread evenly over time, and three crops spread over space.

The paper evaluates so: four clips together see nearly all of a video, and its best results (4 x 3) crop each of them
three times (section 4.1, "Inference"; table 6). A model classifies each view, and `minivivit.models.multi_view`
averages the answers.
"""

from collections.abc import Sequence
from typing import Any

import numpy

from minivivit.backend import Array
from minivivit.errors import InputError
from minivivit.video.clip_processor import ClipProcessor
from minivivit.video.image_transforms import crop_window, height_and_width, size_dict
from minivivit.video.sampling import checked_counts

# Where the shorter edge of resized frames is at most so many of the crop's, the arithmetic is done once for all crops.
MOST_AROUND = 1.5


def temporal_views(num_views: int, clip_len: int, frame_sample_rate: int, seg_len: int) -> numpy.ndarray:
    r"""Indices of the frames of several clips, spread evenly over a video: scenic's rule, through DMVR.

    With s the stride `frame_sample_rate`, n the number of clips, and a last possible offset m = max(0, seg_len -
    clip_len s), clip i takes the frames

    .. math:: \left(\left\lfloor \frac{i\,m}{n - 1} \right\rfloor + k s\right) \bmod \mathrm{seg\_len},
              \qquad k = 0, \dots, \mathrm{clip\_len} - 1.

    The remainder repeats a video that is too short from its start, as often as it takes; the clips are then all the
    same. A single clip lies in the middle, its offset floor(m / 2), as scenic has it.

    (This is another rule than that of `sample_frame_indices` and `centre_frame_indices`, which is transformers': steps
    here are exactly s. TensorFlow computes the offsets in float32; from 15 clips on that now and then misses a whole
    number, which gives the frame before.)

    Parameters
    ----------
    num_views : int
        How many clips, n.
    clip_len : int
        How many frames each of them has.
    frame_sample_rate : int
        Every how many-th frame it takes, s.
    seg_len : int
        How many frames the video has (`count_frames`).

    Returns
    -------
    numpy.ndarray
        Of type intp (64 bits; 32 in a browser), shape (num_views, clip_len), each in 0, ..., seg_len - 1.

    Raises
    ------
    InputError
        When a number is not a whole number of at least 1.

    References
    ----------
    DMVR ``processors.py``, ``sample_linspace_sequence`` (several clips) and ``sample_sequence`` (one).
    """
    num_views, clip_len, stride, seg_len = checked_counts(
        num_views=num_views, clip_len=clip_len, frame_sample_rate=frame_sample_rate, seg_len=seg_len
    )
    last = max(seg_len - clip_len * stride, 0)
    offsets = numpy.arange(num_views) * last // (num_views - 1) if num_views > 1 else numpy.array([last // 2])
    steps = numpy.arange(clip_len) * stride
    return (offsets[:, None] + steps) % seg_len  # (num_views, clip_len)


def spatial_views(frames: Any, processor: ClipProcessor, num_crops: int = 1) -> Array:
    """Pixel values of one crop of a clip, the processor's own, or of `three_spatial_crops`.

    Parameters
    ----------
    frames : array (frames, height, width, channels) or list of frames
        As the processor takes one video.
    processor : VivitImageProcessor or VivitVideoProcessor
    num_crops : {1, 3}

    Returns
    -------
    array, shape (num_crops, frames, channels, height, width)

    Raises
    ------
    InputError
        For another number of crops, and as `three_spatial_crops`.
    """
    if num_crops == 1:
        return processor.pixel_values(frames)
    if num_crops == 3:
        return three_spatial_crops(frames, processor)
    raise InputError(f"num_crops is {num_crops!r}; expected 1 (the centre) or 3 (both ends too)")


def three_spatial_crops(frames: Any, processor: ClipProcessor) -> Array:
    """Pixel values of a clip cropped at the left, centre and right; or at the top, middle and bottom.

    The frames are resized, cut to the crop's length at the beginning, middle and end of one axis, and handed to the
    processor's other steps. The axis is the one with more pixels to spare: the longer one for a square crop, and the
    width when both are equal. A frame with no pixel to spare gives the same crop three times.

    The middle one is the processor's centre crop, to the bit. Centred offsets are rounded down there and here, where
    scenic rounds up: one pixel further, when an odd number of pixels is to spare.

    Parameters
    ----------
    frames : array (frames, height, width, channels) or list of frames
        As the processor takes one video.
    processor : VivitImageProcessor or VivitVideoProcessor
        One that crops.

    Returns
    -------
    array, shape (3, frames, channels, height, width)

    Raises
    ------
    InputError
        When the processor does not crop, and as the processor does.

    References
    ----------
    scenic ``dataset_lib/video_ops.py``, ``three_spatial_crops``; it goes back to SlowFast, arXiv:1812.03982.
    """
    if not processor.do_center_crop:
        raise InputError("the processor does not crop (do_center_crop is false); three crops need a crop_size")
    crop = height_and_width(size_dict(processor.crop_size, default_to_square=True, name="crop_size"), "crop_size")
    if processor.do_resize and min(processor.size.values()) <= MOST_AROUND * min(crop):
        whole = processor.pixel_values(frames, do_center_crop=False, data_format="channels_first")[0]
        if whole.shape[2] >= crop[0] and whole.shape[3] >= crop[1]:
            return numpy.stack([whole[:, :, rows, columns] for rows, columns in _three_windows(whole.shape[2:], crop)])
    # Little of a frame may be in the crops, or what is around it is padded: the arithmetic of the crops alone.
    resized = processor.pixel_values(
        frames, do_center_crop=False, data_format="channels_first", **processor.without_arithmetic
    )[0]  # (frames, channels, resized height, resized width)
    windows = _three_windows(resized.shape[2:], crop)
    if windows[0] == windows[1] == windows[2]:  # nothing to spare, as in square frames: one crop for all
        return numpy.repeat(
            processor.pixel_values([resized], do_resize=False, input_data_format="channels_first"), 3, 0
        )
    # The processor's centre crop now finds nothing left to cut, and pads.
    parts = [resized[:, :, rows, columns] for rows, columns in windows]
    return processor.pixel_values(parts, do_resize=False, input_data_format="channels_first")


def _three_windows(edges: Sequence[int], crop: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Rows and columns of the three crops; of an edge that is shorter than the crop, all."""
    axis = 0 if edges[0] - crop[0] > edges[1] - crop[1] else 1
    edge, length = edges[axis], crop[axis]
    along = [slice(0, length), crop_window(edge, length), slice(max(edge - length, 0), edge)]
    across = crop_window(edges[1 - axis], crop[1 - axis])
    return [(window, across) if axis == 0 else (across, window) for window in along]
