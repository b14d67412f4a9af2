"""Keep the wanted frames of a clip, and no others, while its frames pass by one at a time."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

import numpy

from minivivit.backend import to_numpy
from minivivit.errors import InputError

# One frame that has not been turned into pixels yet: calling it gives uint8 (height, width, 3). Most frames of a clip
# are never called. A frame may be called only until the next one is asked for.
Frame = Callable[[], numpy.ndarray]

# A frame of 8192 x 8192; the largest that cameras and screens show is 8K, half of that.
MAX_FRAME_PIXELS = 2**26
# The most that one call returns: 1,380 frames of 1080p. Models look at 32 frames, or so.
MAX_VIDEO_BYTES = 8 * 2**30


def check_frame_size(width: int, height: int, name: str) -> None:
    """Refuse a frame of no pixels or of more than `MAX_FRAME_PIXELS`, before memory is taken for it."""
    if not 0 < width * height <= MAX_FRAME_PIXELS:
        raise InputError(
            f"{name} claims frames of {width} x {height} pixels; expected at least one pixel and at most "
            f"{MAX_FRAME_PIXELS:,}: is the file what it seems to be?"
        )


def check_video_size(shape: tuple[int, ...], name: str) -> None:
    """Refuse a video, uint8 of `shape`, of more than `MAX_VIDEO_BYTES`, before memory is taken for it."""
    size = int(numpy.prod([int(length) for length in shape], dtype=object))  # Python's integers do not overflow
    if size > MAX_VIDEO_BYTES:
        raise InputError(
            f"{shape[0]} frames of {name} take {size / 2**30:,.1f} GiB or more; at most "
            f"{MAX_VIDEO_BYTES / 2**30:g} GiB are read at once: pass fewer indices"
        )


def checked_indices(indices: object) -> list[int]:
    """`indices` as a list of whole numbers of at least 0, or an `InputError`."""
    try:
        array = to_numpy(indices)
    except ValueError:  # rows of different lengths
        array = numpy.empty(0)
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iu":
        raise InputError(
            f"indices is {str(indices)[:60]!r}; expected a sequence of at least one whole number, or None for "
            "all frames"
        )
    if array.min() < 0:
        raise InputError(
            f"indices holds {array.min()}; frames are counted from 0, and never from the end, whose place is known "
            "only after decoding: count_frames gives the number of frames"
        )
    return [int(index) for index in array]


def gather_frames(frames: Iterable[Frame], indices: list[int] | None, name: str) -> numpy.ndarray:
    """Take the wanted frames from `frames` as they pass.

    Only wanted frames are turned into pixels, each straight into its place in the result, and nothing is asked of
    `frames` after the last wanted one.

    Parameters
    ----------
    frames : iterable of callables
        The clip's frames in order; each gives its pixels, uint8 (height, width, 3), when called.
    indices : list of int, or None
        The wanted frames, in any order, with repetitions; None for all.
    name : str
        The clip's name, for error messages.

    Returns
    -------
    numpy.ndarray
        uint8 (len(indices), height, width, 3).

    Raises
    ------
    InputError
        For an index beyond the end, a clip without frames, wanted frames that differ in size, or a result larger than
        `MAX_VIDEO_BYTES`.
    """
    if indices is None:
        return _all_frames(frames, name)
    places: dict[int, list[int]] = defaultdict(list)  # frame index -> where it goes in the result
    for place, index in enumerate(indices):
        places[index].append(place)
    last, passed, video = max(places), 0, None
    for index, frame in enumerate(frames):
        passed += 1
        if index in places:
            pixels = frame()  # (height, width, 3)
            if video is None:
                check_video_size((len(indices), *pixels.shape), name)
                video = numpy.empty((len(indices), *pixels.shape), numpy.uint8)
            _check_same_size(pixels.shape, video.shape[1:], index, name)
            video[places[index]] = pixels
        if index == last and video is not None:
            return video
    check_any(passed, name)
    raise InputError(
        f"index {last} is beyond the end of {name}, which has {passed} frames: give indices from 0 to {passed - 1}"
    )


def check_frames(frames: Iterable[Frame], name: str) -> int:
    """Turn each frame into pixels, keep none, and return how many there are; raises as `gather_frames` does."""
    count = sum(1 for _ in _of_one_size(frames, name))
    check_any(count, name)
    return count


def _all_frames(frames: Iterable[Frame], name: str) -> numpy.ndarray:
    kept: list[numpy.ndarray] = []
    for pixels in _of_one_size(frames, name):
        kept.append(pixels)
        check_video_size((len(kept), *pixels.shape), name)
    check_any(len(kept), name)
    video = numpy.empty((len(kept), *kept[0].shape), numpy.uint8)
    kept.reverse()
    for index in range(len(video)):
        video[index] = kept.pop()  # freed as it is copied: the clip lies in memory once, not twice
    return video


def _of_one_size(frames: Iterable[Frame], name: str) -> Iterator[numpy.ndarray]:
    shape = None
    for index, frame in enumerate(frames):
        pixels = frame()
        shape = shape or pixels.shape
        _check_same_size(pixels.shape, shape, index, name)
        yield pixels


def _check_same_size(shape: tuple[int, ...], expected: tuple[int, ...], index: int, name: str) -> None:
    if shape != expected:
        raise InputError(
            f"frame {index} of {name} is {shape[1]} x {shape[0]} pixels, but frames before it are {expected[1]} x "
            f"{expected[0]}: a clip has frames of one size; resize them first, or give indices of one part"
        )


def check_any(count: int, name: str) -> None:
    """Refuse a clip without frames."""
    if count == 0:
        raise InputError(f"{name} holds no frames; expected a clip with at least one")
