"""Clips that are NumPy arrays in .npy files."""

from pathlib import Path

import numpy

from minivivit.errors import InputError
from minivivit.files.quiet import warnings_held_back
from minivivit.files.tensor_data import quoted, reason_of
from minivivit.video.readers.gathering import check_video_size


def open_array(path: Path) -> numpy.ndarray:
    """The array in `path`, memory-mapped: on the disk until it is indexed.

    Raises
    ------
    InputError
        For a file that is no .npy file or is cut off, or that holds Python objects (which are never unpickled).
    """
    try:
        with warnings_held_back():  # of headers that look like Python 2's: what counts is what they say
            return numpy.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # NumPy reads the header with Python's own parser, which fails in many ways
        raise InputError(
            f"{path} cannot be read as a .npy file ({reason_of(error)}); write it with numpy.save"
        ) from None


def open_npy(path: Path) -> numpy.ndarray:
    """The clip in `path`, memory-mapped: uint8 (frames, height, width, 3).

    Raises
    ------
    InputError
        As `open_array`, and for an array of another shape or dtype.
    """
    video = open_array(path)
    if video.dtype != numpy.uint8 or video.ndim != 4 or video.shape[3] != 3 or video.size == 0:
        raise InputError(
            f"{path} holds {str(video.dtype)[:60]} of shape {quoted(video.shape)}; expected uint8 of shape "
            "(frames, height, width, 3), RGB from 0 to 255, not empty: convert it first"
        )
    return video


def read_npy(path: Path, indices: list[int] | None) -> numpy.ndarray:
    """The frames `indices` (None: all) of the clip in `path`, copied into memory; raises as `open_npy` does."""
    video = open_npy(path)
    count = len(video)
    if indices is None:
        check_video_size(video.shape, str(path))
        return numpy.array(video, order="C")
    if max(indices) >= count:
        raise InputError(
            f"index {max(indices)} is beyond the end of {path}, which has {count} frames: give indices from 0 to "
            f"{count - 1}"
        )
    check_video_size((len(indices), *video.shape[1:]), str(path))
    return numpy.array(video[indices], order="C")
