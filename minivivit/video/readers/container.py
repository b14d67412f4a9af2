"""Frames of a video container (MP4, MKV, AVI, MPEG, WMV and others), decoded by FFmpeg through PyAV."""

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy

from minivivit.errors import InputError, MissingExtraError
from minivivit.files.tensor_data import reason_of
from minivivit.video.readers.gathering import MAX_FRAME_PIXELS, Frame, check_frame_size

# FFmpeg by itself would also follow playlists, scripts and patterns, in files of any name, to other files and to the
# network. Only these of its demuxers are let in, which read one file and no other, and only the file itself is opened.
_DEMUXERS = (
    "mov",  # MP4, MOV, M4V, 3GP, F4V; references to other files (enable_drefs) are off
    *("matroska", "avi", "asf", "flv", "ogg", "mpeg", "mpegts", "mxf", "gxf", "nut", "ivf", "dv", "rm", "wtv"),
    *("mjpeg", "yuv4mpegpipe", "h264", "hevc", "m4v", "mpegvideo", "av1", "obu", "vc1", "flic", "smjpeg", "dhav"),
)
_CONTAINER_OPTIONS = {
    "format_whitelist": ",".join(_DEMUXERS),
    "protocol_whitelist": "file",
    "max_pixels": str(MAX_FRAME_PIXELS),
}

# Where PyAV is not installed, these decide whether a file is said to need it: endings of names of what these demuxers
# read, and the first bytes of Matroska and WebM, FLV, OGG, ASF (WMV) and MPEG. MP4 and AVI: see `_begins_as_video`.
VIDEO_ENDINGS = (
    *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v", ".mkv", ".webm", ".avi", ".divx", ".asf", ".wmv", ".flv"),
    *(".ogg", ".ogv", ".ogm", ".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".vob", ".ts", ".m2t", ".m2ts", ".mts", ".mxf"),
    *(".gxf", ".nut", ".ivf", ".dv", ".rm", ".rmvb", ".wtv", ".mjpeg", ".mjpg", ".y4m", ".h264", ".264", ".h265"),
    *(".265", ".hevc", ".av1", ".obu", ".vc1", ".flc", ".fli", ".dav"),
)
VIDEO_HEADS = (b"\x1a\x45\xdf\xa3", b"FLV\1", b"OggS", b"\x30\x26\xb2\x75", b"\0\0\1\xba", b"\0\0\1\xb3")
PICTURE_ENDINGS = (".gif", ".png", ".apng", ".webp", ".tif", ".tiff")

# A clip whose frames would take no more than this as RGB is decoded once, to count them and to read some.
HELD_BYTES = 1 << 26


def container_frames(path: Path) -> Iterator[Frame]:
    """The frames of the best video stream in `path`, in the order in which the decoder yields them.

    A frame's pixels are PyAV's ``to_ndarray(format="rgb24")``, turned and mirrored as the file says that it is to be
    shown (its display matrix, applied as FFmpeg does). Frames that FFmpeg patches up and yields in spite of damage
    count like any other.

    Raises
    ------
    MissingExtraError
        When PyAV is not installed.
    InputError
        When the file is no video of these kinds or has no video stream; at the frame at which the decoder fails; and
        after the last frame of a Matroska file that is shorter than its header says.
    """
    with closing(_decoded(path)) as frames:
        for _, pixels in frames:
            yield pixels


def held_frames(path: Path) -> tuple[int, list[Frame] | None]:
    """How many frames `container_frames` yields, and those frames, decoded; None where they take much memory.

    Raises
    ------
    MissingExtraError, InputError
        As `container_frames`.
    """
    held: list[Frame] | None = []
    count, size = 0, 0
    with closing(_decoded(path)) as frames:
        for frame, pixels in frames:
            count += 1
            size += 3 * frame.width * frame.height
            if size > HELD_BYTES:
                held = None
            if held is not None:
                held.append(pixels)
    return count, held


def _decoded(path: Path) -> Generator[tuple[Any, Frame], None, None]:
    """PyAV's frames, and what makes pixels of each."""
    av = _pyav(path)
    decoded = 0
    # One for all frames: to make one takes longer than to use it. With threads of its own, as PyAV from 17 on has them,
    # to wait for them takes longer than to do without.
    alone: dict[str, Any] = {"threads": 1} if _major_version(av) >= 17 else {}
    reformat = partial(av.video.reformatter.VideoReformatter().reformat, format="rgb24", **alone)
    with _open(av, path) as container:
        stream = _video_stream(container, path)
        try:
            for frame in container.decode(stream):
                check_frame_size(frame.width, frame.height, str(path))
                yield frame, partial(_to_rgb, frame, reformat, path, decoded)
                decoded += 1
        except av.error.FFmpegError as error:
            failed = f"the decoder failed at frame {decoded}: {_reason(error)}"
            raise InputError(_failure(path, decoded, failed)) from None
    expected, actual = _stated_size(path), path.stat().st_size
    if expected is not None and actual < expected:
        cut = f"the file is cut off after {actual:,} of {expected:,} bytes"
        raise InputError(_failure(path, decoded, cut))


def container_frame_rate(path: Path) -> float | None:
    """The average number of frames a second that the best video stream states; None where it states none.

    Raises
    ------
    MissingExtraError, InputError
        As `container_frames`, but for what is wrong with the frames themselves.
    """
    av = _pyav(path)
    with _open(av, path) as container:
        rate = _video_stream(container, path).average_rate
    return float(rate) if rate else None


def _pyav(path: Path) -> Any:
    """The package av; where it is not installed, whether `path` would need it decides what is said."""
    try:
        import av
    except ImportError:
        pass
    else:
        return av
    ending = path.suffix.lower()
    if ending in VIDEO_ENDINGS or _begins_as_video(path):
        raise MissingExtraError("av", "video", f"reading {path}")
    if ending in PICTURE_ENDINGS:
        raise InputError(
            f"{path} is damaged: it does not begin as a GIF, PNG, WebP or TIFF does; repair it, or copy it again"
        )
    raise InputError(
        f"{path} is not a clip; expected a video (MP4, MOV, MKV, WebM, AVI and others), an animated GIF, PNG or WebP, "
        "a TIFF, a .npy file or a folder of images"
    )


def _begins_as_video(path: Path) -> bool:
    """Whether the first bytes are those of a common container, whatever its name is."""
    with open(path, "rb") as file:
        head = file.read(12)
    return head.startswith(VIDEO_HEADS) or head[4:8] == b"ftyp" or (head[:4] == b"RIFF" and head[8:] == b"AVI ")


def _open(av: Any, path: Path) -> Any:
    # PyAV before 18 crashes where it passes options on to the streams of a container that names them late, as MPEG and
    # FLV do. There a claim of too many pixels is found by `_video_stream`, and by the decoder's own limit (2**28).
    options = {"options" if _major_version(av) >= 18 else "container_options": _CONTAINER_OPTIONS}
    try:
        # "file:" keeps a colon in the name from being read as a protocol; texts in other encodings than UTF-8 are none
        # of our business.
        return av.open(f"file:{path}", metadata_errors="ignore", **options)
    except av.error.FFmpegError as error:
        raise InputError(
            f"{path} cannot be opened as a video ({_reason(error)}); expected MP4, MOV, MKV, WebM, AVI, MPEG, TS, "
            "WMV, FLV, OGG, GIF, PNG, WebP, TIFF, .npy or a folder of images, complete and undamaged, and no playlist"
        ) from None


def _major_version(av: Any) -> int:
    return int(av.__version__.split(".")[0])


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


def _to_rgb(frame: Any, reformat: Callable[[Any], Any], path: Path, index: int) -> numpy.ndarray:
    """Pixels of `frame` as they are to be shown, uint8 (height, width, 3)."""
    matrix = _display_matrix(frame)
    degrees = 0 if matrix is None else _clockwise_angle(matrix)
    odd = degrees > 1 and degrees % 90 != 0  # FFmpeg passes over a single degree
    try:
        frame = _rotate(frame, degrees) if odd else frame
        pixels = reformat(frame).to_ndarray()
    except (ValueError, OSError) as error:  # FFmpeg's own errors are of these two types or derive from them
        raise InputError(
            f"frame {index} of {path} has no conversion to RGB ({reason_of(error)}); re-encode the clip"
        ) from None
    return pixels if matrix is None or odd else _upright(pixels, matrix, degrees)


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
# How is a frame to be shown? As FFmpeg shows it (-autorotate, which is on unless it is turned off).
# --------------------------------------------------------------------------------------------------------------------


def _display_matrix(frame: Any) -> list[int] | None:
    """(a, b, c, d) of the frame's display matrix, which takes its point (x right, y down) to (a x + c y, b x + d y).

    Telephones write upright clips as sideways frames and such a matrix; front cameras mirror. Translation, perspective
    and the units (fixed point, 2**-16) change no orientation. None where the frame has no matrix.
    """
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            matrix = numpy.frombuffer(bytes(data), numpy.int32)  # (9,), row by row, in the machine's byte order
            return [int(matrix[place]) for place in (0, 1, 3, 4)]
    return None


def _clockwise_angle(matrix: list[int]) -> int:
    """By how many whole degrees, 0 to 359, the matrix turns clockwise, as FFmpeg's `av_display_rotation_get` has it.

    Scale does not matter, and a matrix that maps the frame to a line or a point turns it by nothing.
    """
    a, b, c, d = matrix
    width, height = math.hypot(a, c), math.hypot(b, d)
    if width == 0 or height == 0:
        return 0
    return round(math.degrees(math.atan2(b / height, a / width))) % 360


def _upright(pixels: numpy.ndarray, matrix: list[int], degrees: int) -> numpy.ndarray:
    """The pixels (height, width, 3) turned by quarter turns and mirrored: all eight orientations that there are."""
    a, _, c, d = matrix
    if degrees == 90:
        return pixels.swapaxes(0, 1) if c > 0 else numpy.rot90(pixels, -1)
    if degrees == 270:
        return pixels[::-1, ::-1].swapaxes(0, 1) if c < 0 else numpy.rot90(pixels)
    if degrees == 180 and a < 0:
        pixels = pixels[:, ::-1]
    return pixels[::-1] if degrees in (0, 180) and d < 0 else pixels


def _rotate(frame: Any, degrees: int) -> Any:
    """The frame turned clockwise about its centre by FFmpeg's filter: of the same size, what leaves it cut off, and
    its corners black.
    """
    from av.filter import Graph

    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 25)
    )
    graph.link_nodes(source, graph.add("rotate", f"{degrees}*PI/180"), graph.add("buffersink")).configure()
    graph.push(frame)
    return graph.pull()


# --------------------------------------------------------------------------------------------------------------------
# Is the file complete? FFmpeg reports a cut of MP4 and AVI; a cut Matroska file merely seems to end, though it says how
# long it is, and so do streams (MPEG, TS, FLV, OGG), which do not.
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
