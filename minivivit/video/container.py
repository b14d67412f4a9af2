"""Frames of a video container (MP4, MOV, MKV, WebM, AVI), decoded by FFmpeg through PyAV."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy

from minivivit.errors import InputError, MissingExtraError
from minivivit.files.tensor_data import reason_of
from minivivit.video.gathering import MAX_FRAME_PIXELS, Frame, check_frame_size

# FFmpeg by itself would also follow playlists, in files of any name, to other files and to the network. Only these
# containers are looked into, and only the file itself is opened.
_CONTAINER_OPTIONS = {
    "format_whitelist": "mov,matroska,avi",
    "protocol_whitelist": "file",
    "max_pixels": str(MAX_FRAME_PIXELS),
}


def container_frames(path: Path) -> Iterator[Frame]:
    """The frames of the best video stream in `path`, in the order in which the decoder yields them.

    A frame's pixels are PyAV's ``to_ndarray(format="rgb24")``, turned as the file says that it is to be shown
    (`_to_rgb`). Frames that FFmpeg patches up and yields in spite of damage count like any other.

    Raises
    ------
    MissingExtraError
        When PyAV is not installed.
    InputError
        When the file is no video of these kinds or has no video stream; at the frame at which the decoder fails; and
        after the last frame of a Matroska file that is shorter than its header says.
    """
    try:
        import av
    except ImportError:
        raise MissingExtraError("av", "video", f"reading {path}") from None

    decoded = 0
    with _open(av, path) as container:
        stream = _video_stream(container, path)
        try:
            for frame in container.decode(stream):
                check_frame_size(frame.width, frame.height, str(path))
                yield partial(_to_rgb, frame, path, decoded)
                decoded += 1
        except av.error.FFmpegError as error:
            failed = f"the decoder failed at frame {decoded}: {_reason(error)}"
            raise InputError(_failure(path, decoded, failed)) from None
    expected, actual = _stated_size(path), path.stat().st_size
    if expected is not None and actual < expected:
        cut = f"the file is cut off after {actual:,} of {expected:,} bytes"
        raise InputError(_failure(path, decoded, cut))


def _open(av: Any, path: Path) -> Any:
    try:
        # "file:" keeps a colon in the name from being read as a protocol; texts in other encodings than UTF-8 are none
        # of our business.
        return av.open(f"file:{path}", options=_CONTAINER_OPTIONS, metadata_errors="ignore")
    except av.error.FFmpegError as error:
        raise InputError(
            f"{path} cannot be opened as a video ({_reason(error)}); expected MP4, MOV, MKV, WebM, AVI, GIF, PNG, "
            "WebP, TIFF, .npy or a folder of images, complete and undamaged"
        ) from None


def _video_stream(container: Any, path: Path) -> Any:
    """The best video stream, if it can be decoded into frames of a sensible size.

    Its thread_type stays as it is (threads within a frame): with threads over frames, FFmpeg says nothing of failures
    in the last few packets, and a damaged clip merely seems to end there.
    """
    stream = container.streams.best("video")
    if stream is None:
        raise InputError(f"{path} has no video stream; expected a clip with pictures, not only sound or text")
    codec = stream.codec_context
    if codec is None:
        raise InputError(f"{path} has a video stream of a kind that FFmpeg has no decoder for; re-encode the clip")
    if codec.width == 0:  # also what FFmpeg leaves of a size beyond its option max_pixels
        raise InputError(
            f"{path} states no frame size, or one of more than {MAX_FRAME_PIXELS:,} pixels; is it a whole video?"
        )
    check_frame_size(codec.width, codec.height, str(path))
    return stream


def _to_rgb(frame: Any, path: Path, index: int) -> numpy.ndarray:
    """Pixels of `frame` as they are to be shown, uint8 (height, width, 3).

    Telephones write upright clips as sideways frames and a display matrix. FFmpeg reports its angle anticlockwise in
    degrees, which is how `numpy.rot90` counts too; an angle between quarter turns takes the nearest. The matrix's
    other effects (mirroring, scaling) are not applied.
    """
    try:
        pixels = frame.to_ndarray(format="rgb24")
    except (ValueError, OSError) as error:  # FFmpeg's own errors are of these two types or derive from them
        raise InputError(
            f"frame {index} of {path} has no conversion to RGB ({reason_of(error)}); re-encode the clip"
        ) from None
    return numpy.rot90(pixels, round(frame.rotation / 90))


def _failure(path: Path, decoded: int, what: str) -> str:
    if decoded == 0:
        return f"{path}: {what}; no frame can be read: repair or re-encode the clip"
    return (
        f"{path}: {what}; {decoded} frames before that can be read: give indices from 0 to {decoded - 1}, or repair or "
        "re-encode the clip"
    )


def _reason(error: Any) -> str:
    return reason_of(error.strerror or error)


# --------------------------------------------------------------------------------------------------------------------
# Is the file complete? For the other containers FFmpeg reports a cut; a cut Matroska file merely seems to end.
# --------------------------------------------------------------------------------------------------------------------


def _stated_size(path: Path) -> int | None:
    """The length in bytes that a Matroska or WebM file claims in its head; None where it claims none.

    Such a file is an EBML header and a segment (RFC 8794, RFC 9559): each a 4-byte name, a size, and as many bytes. A
    live recording leaves the segment's size open.
    """
    with open(path, "rb") as file:
        head = file.read(4096)
    end = 0
    for name in (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"):
        if head[end : end + 4] != name or len(head) < end + 5:
            return None
        start = end + 4
        width = 9 - head[start].bit_length()  # the number of leading zero bits says how many bytes the size has
        size = int.from_bytes(head[start : start + width], "big") & ((1 << 7 * width) - 1)
        if size == (1 << 7 * width) - 1:  # all ones: not known
            return None
        end = start + width + size
    return end
