"""Clips as arrays: one function for every kind of file that a clip comes in."""

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import cast

import numpy

from minivivit.errors import InputError
from minivivit.video.readers.container import container_frame_rate, container_frames, held_frames
from minivivit.video.readers.gathering import Frame, check_any, check_frames, checked_indices, gather_frames
from minivivit.video.readers.images import animation_frames, folder_frames
from minivivit.video.readers.npy import open_npy, read_npy
from minivivit.video.sampling import centre_frame_indices

_NPY_HEAD = b"\x93NUMPY"
# GIF; PNG; TIFF and BigTIFF, little-endian and big-endian. WebP starts as AVI does: see _is_animation.
_ANIMATION_HEADS = (b"GIF8", b"\x89PNG", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_video(path: str | os.PathLike[str], indices: Sequence[int] | numpy.ndarray | None = None) -> numpy.ndarray:
    """Read a clip, or some of its frames.

    What a file is, its content says, not its name:

    - MP4, MOV, 3GP, MKV, WebM, AVI, MPEG (also transport streams), WMV, FLV, OGG, MXF and others that hold their frames
      themselves are decoded by FFmpeg through PyAV (``pip install 'minivivit[video]'``). Playlists, scripts and
      whatever else would open other files or the network are refused;
    - animated GIF, PNG and WebP and the pages of a TIFF by Pillow (a still picture is a clip of one frame);
    - a folder is the pictures in it, in natural order (``frame2.jpg`` before ``frame10.jpg``), other files ignored;
    - ``.npy`` holds the array itself, of which only the wanted frames are read.

    Index i is the i-th frame that the decoder yields, counted from 0 and never sought by its timestamp: timestamps need
    not rise, and frame counts in headers can be wrong. So everything before the last wanted frame is decoded, but only
    wanted frames are turned into RGB and kept, and decoding ends after the last of them.

    Pixels of containers are PyAV's ``to_ndarray(format="rgb24")``, turned and mirrored by the display matrix that the
    file states, as FFmpeg does (an angle between quarter turns keeps the frame's size and has black corners). Pixels of
    pictures are Pillow's ``convert("RGB")`` (transparency is dropped), turned and mirrored as EXIF says.

    A damaged clip gives the frames before the damage to a call whose `indices` all lie before it, and to any other an
    error that says where it fails. Damage that the decoder hides goes unnoticed, and so may a cut, above all of a
    stream (MPEG, TS, FLV, OGG), which does not say how long it is.

    Parameters
    ----------
    path : path-like
        The file or folder.
    indices : sequence of int, optional
        The frames to return, in this order; they need not be sorted and may repeat. None: all frames. Negative indices
        are refused, for the end of a clip is known only after decoding it.

    Returns
    -------
    numpy.ndarray
        uint8 (frames, height, width, 3), RGB, in memory and writable.

    Raises
    ------
    InputError
        When there is nothing at `path`; when it is empty, cut off, damaged or not a clip; when an index is beyond the
        end (the message says how many frames there are); when wanted frames differ in size; when a frame has more than
        2**26 pixels or the result more than 8 GiB.
    MissingExtraError
        When the file needs PyAV, which is not installed.
    OSError
        When the operating system refuses to read the file.
    """
    path = Path(path)
    wanted = None if indices is None else checked_indices(indices)
    if _is_npy(path):
        return read_npy(path, wanted)
    with closing(_frames(path)) as frames:
        return gather_frames(frames, wanted, str(path))


def frame_rate(path: str | os.PathLike[str]) -> float | None:
    """The frames per second that a video container states; None for other kinds of clips, and where it states none.

    Raises
    ------
    InputError, MissingExtraError, OSError
        As `read_video` does.
    """
    path = Path(path)
    if not _is_container(path):
        return None
    return container_frame_rate(path)


def count_frames(path: str | os.PathLike[str]) -> int:
    """The number of frames that ``read_video(path)`` returns: those that the decoder yields.

    It is counted, not looked up: some containers state no count, and stated ones can be wrong (an edit list hides
    frames, a recording breaks off). So of a video container the whole clip is decoded, though not turned into RGB: 0.1
    s for ten seconds of 340 x 256. Other kinds only have their structure read.

    Raises
    ------
    InputError, MissingExtraError, OSError
        As `read_video` does; so for a clip whose end is damaged.
    """
    path = Path(path)
    if _is_npy(path):
        return len(open_npy(path))
    with closing(_frames(path)) as frames:
        count = sum(1 for _ in frames)
    check_any(count, str(path))
    return count


def count_and_hold(
    path: str | os.PathLike[str],
) -> tuple[int, Callable[[Sequence[int] | numpy.ndarray], numpy.ndarray]]:
    """The number of frames of a clip, and what reads some of them, given their indices.

    Both are as `count_frames` and `read_video` have them. But a short video is decoded once for the two: its frames
    wait in memory, as they are decoded, for as long as the second is kept.

    Raises
    ------
    InputError, MissingExtraError, OSError
        As `count_frames`; the second, as `read_video`.
    """
    path = Path(path)
    if not _is_container(path):
        return count_frames(path), partial(read_video, path)
    count, held = held_frames(path)
    check_any(count, str(path))
    if held is None:
        return count, partial(read_video, path)
    return count, lambda indices: gather_frames(held, checked_indices(indices), str(path))


def read_central_frames(path: str | os.PathLike[str], clip_len: int, stride: int) -> numpy.ndarray:
    """The frames in the middle of a clip, as `centre_frame_indices` chooses them; raises as `count_and_hold`."""
    total, read = count_and_hold(path)
    return read(centre_frame_indices(clip_len, stride, total))


def check_video(path: str | os.PathLike[str]) -> int:
    """The number of frames of a clip of which ``read_video(path, indices)`` can return any.

    Every frame is decoded and turned into RGB, one after the other, and none is kept.

    Raises
    ------
    InputError, MissingExtraError, OSError
        As `read_video` does, for whatever is wrong with any frame, frames of several sizes included.
    """
    path = Path(path)
    if _is_npy(path):
        return len(open_npy(path))
    with closing(_frames(path)) as frames:
        return check_frames(frames, str(path))


def _frames(path: Path) -> Generator[Frame, None, None]:
    """The clip's frames, one after the other; closing the generator closes the file."""
    if path.is_dir():
        frames = folder_frames(path)
    elif _is_animation(_head(path)):
        frames = animation_frames(path)
    else:
        frames = container_frames(path)
    return cast(Generator[Frame, None, None], frames)


def _is_container(path: Path) -> bool:
    return not (path.is_dir() or _is_npy(path) or _is_animation(_head(path)))


def _is_npy(path: Path) -> bool:
    return not path.is_dir() and (_head(path).startswith(_NPY_HEAD) or path.suffix.lower() == ".npy")


def _is_animation(head: bytes) -> bool:
    return head.startswith(_ANIMATION_HEADS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def _head(path: Path) -> bytes:
    """The first bytes of the file, by which its kind is known."""
    if not path.is_file():
        raise InputError(f"{path} does not exist or is not a file; expected a clip or a folder of pictures there")
    with open(path, "rb") as file:
        head = file.read(16)
    if not head:
        raise InputError(f"{path} is empty; expected a clip")
    return head
