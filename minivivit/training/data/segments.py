"""A clip as a data set names it: a whole file or folder of pictures, or a stretch of one."""

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy

from minivivit.errors import InputError
from minivivit.video.reading import count_and_hold, count_frames, frame_rate, read_video


@dataclass(frozen=True)
class Segment:
    """A stretch of a clip.

    Attributes
    ----------
    path : Path
    start, stop : float
        From the frame `start`, counted from 0, up to but without the frame `stop`; None: to the end. With `in_seconds`
        the frames k of the file with ``start <= k / rate < stop``, where `rate` is what the file states.
    in_seconds : bool
    """

    path: Path
    start: float = 0
    stop: float | None = None
    in_seconds: bool = False

    def __str__(self) -> str:
        """For messages: the path, and which part of it."""
        if self.start == 0 and self.stop is None:
            return str(self.path)
        unit, stop = " s" if self.in_seconds else "", "" if self.stop is None else _number(self.stop)
        return f"{self.path} [{_number(self.start)} : {stop}{unit}]"

    def span(self, total: int) -> tuple[int, int]:
        """The first frame, and the one after the last, of a file of `total` frames; what lies behind its end is cut.

        Raises
        ------
        InputError
            When there is no frame in it; when it is in seconds and the file states no frame rate.
        """
        start, stop = self.start, total if self.stop is None else self.stop
        if self.in_seconds:
            rate = frame_rate(self.path)
            if rate is None:
                raise InputError(
                    f"{self}: the start is given in seconds, but the clip states no frame rate; give start_frame and "
                    "end_frame"
                )
            start, stop = _frame_at(self.start, rate), total if self.stop is None else _frame_at(self.stop, rate)
        first, last = int(start), min(int(stop), total)
        if first >= last:
            raise InputError(f"{self} holds no frame: the clip has {total}, and the part is {first} to {int(stop)}")
        return first, last


Clip = Path | Segment


def path_of(clip: Clip) -> Path:
    """The file or folder of a clip."""
    return clip.path if isinstance(clip, Segment) else clip


def span_of(clip: Clip, total: int | None = None) -> tuple[int, int]:
    """The first frame of a clip in its file, and the one after the last.

    Parameters
    ----------
    clip : Path or Segment
    total : int, optional
        How many frames the file has; None: count them, unless the clip says it.

    Raises
    ------
    InputError, MissingExtraError, OSError
        As `Segment.span` and `count_frames`.
    """
    total = count_frames(path_of(clip)) if total is None else total
    return clip.span(total) if isinstance(clip, Segment) else (0, total)


def read_clip(clip: Clip, first: int, indices: numpy.ndarray) -> numpy.ndarray:
    """The frames `indices` of a clip whose first one is `first` in its file: uint8 (frames, height, width, 3)."""
    return read_video(path_of(clip), indices + first)


def read_chosen(clip: Clip, choose: Callable[[int], numpy.ndarray]) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The frames of a clip that `choose` takes, read once each.

    A part whose end is known is read without counting the frames of its file, which can mean to decode an hour of video
    for a second of it; only if that fails, they are counted.

    Parameters
    ----------
    clip : Path or Segment
    choose : callable
        From the number of the clip's frames to an array of their indices, of any shape.

    Returns
    -------
    frames : uint8 array (shown, height, width, 3)
        Those that are chosen, in their order, each once.
    places : int array
        Which of them each index has become, in the shape that `choose` gave.

    Raises
    ------
    InputError, MissingExtraError, OSError
        As `read_video` and `span_of` do.
    """
    if isinstance(clip, Segment) and clip.stop is not None:
        with contextlib.suppress(InputError):
            return _read_chosen(partial(read_video, clip.path), *clip.span(_ANY_LENGTH), choose)
    total, read = count_and_hold(path_of(clip))
    return _read_chosen(read, *span_of(clip, total), choose)


def _read_chosen(
    read: Callable[[numpy.ndarray], numpy.ndarray], first: int, stop: int, choose: Callable[[int], numpy.ndarray]
) -> tuple[numpy.ndarray, numpy.ndarray]:
    indices = choose(stop - first)
    shown, places = numpy.unique(indices, return_inverse=True)
    return read(shown + first), places.reshape(indices.shape)


_ANY_LENGTH = 1 << 60


def _number(value: float) -> str:
    """All digits of a number, and no more: parts of a file must not come to have one name."""
    return str(int(value)) if value == int(value) else repr(value)


def _frame_at(seconds: float, rate: float) -> int:
    """The first frame shown at that time or later. 1.2 s at 25 a second is frame 30, whatever 1.2 is in binary."""
    return math.ceil(round(seconds * rate, 6))
