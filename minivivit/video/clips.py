"""What a caller may hand a video processor, brought into one form: clips as arrays, and what is known of each.

A clip is a path, an array of four axes (frames first), or a list of frames; a batch is a list of clips or an array of
five. The frames of one clip are of one shape; clips may differ.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy

from minivivit.errors import InputError
from minivivit.files.tensor_data import quoted
from minivivit.video.frames import frame_to_array, infer_data_format, make_batched, to_data_format
from minivivit.video.reading import count_and_hold, frame_rate, read_video
from minivivit.video.sampling import checked_counts


@dataclass
class VideoMetadata(Mapping):
    """What is known of a video, and which of its frames were taken: transformers' fields, as attributes and as keys.

    Attributes
    ----------
    total_num_frames : int
        Of the whole video.
    fps : float, optional
        Its frames per second.
    width, height : int, optional
    duration : float, optional
        In seconds.
    video_backend : str, optional
        What decoded it.
    frames_indices : sequence of int, optional
        The frames that were taken.
    """

    total_num_frames: int
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    duration: float | None = None
    video_backend: str | None = None
    frames_indices: Any = field(default=None, compare=False)

    def __iter__(self) -> Iterator[str]:
        return (each.name for each in fields(self))

    def __len__(self) -> int:
        return len(fields(self))

    def __getitem__(self, name: str) -> Any:
        if name not in list(self):
            raise KeyError(name)
        return getattr(self, name)

    @property
    def timestamps(self) -> list[float]:
        """When the frames that were taken are shown, in seconds."""
        if not self.fps or self.frames_indices is None:
            raise InputError("the times of the frames are not known: the metadata lacks fps or frames_indices")
        return [int(index) / self.fps for index in self.frames_indices]


# A video with more frames than that, six days at 30 a second, is taken for a mistake.
MAX_FRAMES = 2**24

Clip = tuple[numpy.ndarray, VideoMetadata]  # (frames, channels, height, width), and what is known of it
Sampler = Callable[[VideoMetadata], numpy.ndarray]  # which frames to take


def uniform_indices(total: int, num_frames: int | None, fps: float | None, video_fps: float | None) -> numpy.ndarray:
    r"""Which frames a video processor takes: `num_frames` of them evenly, floor(i total / num_frames).

    With `fps` in its place, num_frames = max(1, floor(total / video_fps * fps)); with neither, all frames.

    Returns
    -------
    int64 array

    Raises
    ------
    InputError
        For both, for a number that cannot be meant, more frames than there are, and `fps` where that of the video is
        not known.
    """
    (total,) = checked_counts(total_num_frames=total)
    if total > MAX_FRAMES:
        raise InputError(f"total_num_frames is {quoted(total)}; expected {MAX_FRAMES:,} at most")
    if fps is not None and num_frames is not None:
        raise InputError("num_frames and fps are both given; they exclude each other: give one")
    if fps is not None:
        _check_rate(fps, "fps")
        if video_fps is None:
            raise InputError(
                f"fps is {quoted(fps)}, but how many frames a second the video has is not known; give it as "
                "video_metadata={'total_num_frames': ..., 'fps': ...}, or give num_frames in place of fps"
            )
        _check_rate(video_fps, "the video's own fps")
        num_frames = max(1, int(min(total / float(video_fps) * float(fps), 2.0**62)))
    if num_frames is None:
        return numpy.arange(total)
    (num_frames,) = checked_counts(num_frames=num_frames)
    if num_frames > total:
        raise InputError(
            f"{quoted(num_frames)} frames are asked for, and the video has {total:,}; give fewer num_frames or fps"
        )
    return numpy.arange(num_frames) * total // num_frames


def _check_rate(rate: Any, name: str) -> None:
    number = isinstance(rate, int | float | numpy.number) and not isinstance(rate, bool)
    if not (number and 0 < rate <= sys.float_info.max):
        raise InputError(f"{name} is {quoted(rate)}; expected a number above 0")


def load_clips(videos: Any, metadata: Any, input_data_format: str | None, sample: Sampler | None) -> list[Clip]:
    """All clips as arrays with the channels first, the frames chosen by `sample` where it is given.

    Parameters
    ----------
    videos : path, clip, or batch of them
    metadata : None, mapping, or list of mappings
        One a clip: the fields of `VideoMetadata`. None: what the array or the file tells.
    input_data_format : {None, "channels_first", "channels_last"}
    sample : callable, optional
        From metadata to indices.

    Raises
    ------
    InputError
        For what is no clip, an empty batch, metadata that does not fit, and whatever `read_video` refuses.
    """
    clips = _batched(videos)
    known = _checked_metadata(metadata, len(clips))
    return [_load(clip, given, input_data_format, sample) for clip, given in zip(clips, known, strict=True)]


def _batched(videos: Any) -> list[Any]:
    """The batch as a list of paths and lists of frames."""
    paths = _paths(videos)
    if paths is not None:
        return paths
    if isinstance(videos, list | tuple) and any(_is_path(video) for video in videos):
        return [clip for video in videos for clip in ([video] if _is_path(video) else make_batched(video))]
    return list(make_batched(videos))


def _is_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike)


def _paths(videos: Any) -> list[Any] | None:
    """A path, a list of paths, or a list of such lists, as one list; None for anything else."""
    if _is_path(videos):
        return [videos]
    if not isinstance(videos, list | tuple) or not videos:
        return None
    if all(_is_path(video) for video in videos):
        return list(videos)
    if all(isinstance(video, list | tuple) and video and all(map(_is_path, video)) for video in videos):
        return [path for video in videos for path in video]
    return None


def _checked_metadata(metadata: Any, count: int) -> list[VideoMetadata | None]:
    """One metadata for each clip, or None for each."""
    if metadata is None:
        return [None] * count
    entries = list(metadata) if isinstance(metadata, list | tuple) else [metadata]
    if entries and all(isinstance(entry, list | tuple) for entry in entries):
        entries = [each for entry in entries for each in entry]
    if len(entries) != count:
        raise InputError(f"video_metadata has {len(entries)} entries for {count} videos; give one a video, in order")
    return [_one_metadata(entry) for entry in entries]


def _one_metadata(entry: Any) -> VideoMetadata:
    names = [each.name for each in fields(VideoMetadata)]
    if not isinstance(entry, Mapping):
        raise InputError(f"video_metadata holds {quoted(entry)}; expected dicts with {', '.join(names)}")
    strange = [name for name in entry if name not in names]
    if strange:
        raise InputError(f"video_metadata has the key {quoted(strange[0])}; expected {', '.join(names)}")
    if "total_num_frames" not in entry:
        raise InputError("video_metadata lacks total_num_frames, the number of frames of the whole video")
    checked_counts(total_num_frames=entry["total_num_frames"])
    return VideoMetadata(**entry)


def _load(clip: Any, given: VideoMetadata | None, data_format: str | None, sample: Sampler | None) -> Clip:
    """One clip: a path, or a list of frames."""
    if _is_path(clip):
        return _read(clip, given, sample)
    frames = [frame_to_array(frame) for frame in clip]
    if len({(frame.shape, frame.dtype) for frame in frames}) > 1:
        shapes = sorted({frame.shape for frame in frames})
        raise InputError(
            f"the frames of a clip are of the shapes {quoted(shapes)} or differ in dtype; expected one shape and dtype"
        )
    layout = data_format or infer_data_format((len(frames), *frames[0].shape))
    frames = [to_data_format(frame, layout, "channels_first") for frame in frames]
    height, width = frames[0].shape[1:]
    metadata = given or VideoMetadata(len(frames), None, width, height, frames_indices=list(range(len(frames))))
    if sample is None:
        return numpy.stack(frames), replace(metadata)
    indices = sample(metadata)
    if indices.max() >= len(frames):
        raise InputError(
            f"frame {indices.max()} is to be taken, as total_num_frames is {metadata.total_num_frames} in "
            f"video_metadata, but the clip has {len(frames)} frames"
        )
    return numpy.stack([frames[i] for i in indices]), replace(metadata, frames_indices=indices)


def _read(path: Any, given: VideoMetadata | None, sample: Sampler | None) -> Clip:
    """The clip of a file or folder, or the frames of it that `sample` chooses.

    Of metadata that is given only the fps counts, and only where the file states none (pictures, arrays).
    """
    fps = frame_rate(path) or (None if given is None else given.fps)
    if sample is None:
        frames, indices = read_video(path), None  # (frames, height, width, 3)
        total = len(frames)
    else:
        total, read = count_and_hold(path)
        indices = sample(VideoMetadata(total, fps))
        frames = read(indices)
    metadata = VideoMetadata(
        total,
        fps,
        width=frames.shape[2],
        height=frames.shape[1],
        duration=total / fps if fps else None,
        video_backend="minivivit",
        frames_indices=numpy.arange(total) if indices is None else indices,
    )
    return to_data_format(frames, "channels_last", "channels_first"), metadata
