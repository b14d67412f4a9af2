"""`VivitVideoProcessor`: transformers' newer way from the frames of a video to the pixel values that the model takes.

For each clip: convert to RGB, resize (bytes, as PyTorch), centre crop, rescale, normalise. The steps and settings are
those of `VivitImageProcessor`, and the results nearly: with the published defaults 0.1 to 1 % of the values are one
grey level apart, as PyTorch's fixed-point weights are not Pillow's (`minivivit.video.torch_resize`).
"""

import os
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any, Self

import numpy

from minivivit.backend import Array, get_namespace
from minivivit.errors import InputError
from minivivit.files.tensor_data import quoted
from minivivit.video.clip_processor import (
    IMAGE_FILE,
    NESTED_FILE,
    VIDEO_FILE,
    VIDEO_PLACES,
    BatchFeature,
    ClipProcessor,
    check_return_tensors,
    check_steps,
    find_settings,
    plain,
    required,
    without_types,
)
from minivivit.video.clips import VideoMetadata, load_clips, uniform_indices
from minivivit.video.frame_groups import check_one_array, finish_frames, warn_if_already_rescaled
from minivivit.video.frames import checked_data_format
from minivivit.video.image_transforms import (
    crop_window,
    fitted_size,
    height_and_width,
    normalize,
    pad_to_crop,
    size_dict,
)
from minivivit.video.resize import BILINEAR, check_number_of_values, resampling_kernel
from minivivit.video.torch_resize import resize_planes_as_torch, torch_kernel

FLAGS = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb", "do_sample_frames")
SETTINGS = (
    *("do_convert_rgb", "do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale", "rescale_factor"),
    *("do_normalize", "image_mean", "image_std", "do_sample_frames", "num_frames", "fps", "return_metadata"),
    "default_to_square",
)
MEAN = STD = (0.5, 0.5, 0.5)


class VivitVideoProcessor(ClipProcessor):
    """Sample, resize, centre crop, rescale and normalise the frames of videos.

    The class has the arguments, the defaults and the file of transformers' class of the same name (5.24), and its pixel
    values are equal to the bit for clips of bytes. Like those of `VivitImageProcessor` they **end in [-3, 1]** with the
    defaults. There is no `offset`: whoever rescales subtracts 1.

    Parameters
    ----------
    do_resize : bool, default True
        Resize each frame to `size`, as PyTorch does with antialias.
    size : dict, int or (int, int), default {"shortest_edge": 256}
        ``{"shortest_edge": s}`` keeps the aspect ratio, and so do ``{"shortest_edge": s, "longest_edge": l}`` and
        ``{"max_height": h, "max_width": w}``; ``{"height": h, "width": w}`` does not. An int means the first, a pair
        the last.
    resample : int or str, default 2 (bilinear)
        The kernel: 0 nearest, 1 lanczos, 2 bilinear, 3 bicubic.
    do_center_crop : bool, default True
        Cut `crop_size` out of the middle; a smaller frame is padded with zeros (before rescaling), the odd one behind.
    crop_size : dict, int or (int, int), default {"height": 224, "width": 224}
        An int means a square.
    do_rescale : bool, default True
        Multiply by `rescale_factor` and subtract 1, in float32.
    rescale_factor : float, default 1 / 127.5
    do_normalize : bool, default True
        Subtract `image_mean` and divide by `image_std`, in float32.
    image_mean, image_std : float or sequence of float, default (0.5, 0.5, 0.5)
        One number, or one for each channel.
    do_convert_rgb : bool, default True
        Repeat a grey channel three times; blend four channels with white by the last, or drop it where it is 255.
    do_sample_frames : bool, default False
        Take `num_frames` of a video's frames evenly, or as many as make `fps` a second; with neither, all.
    num_frames : int, optional
    fps : float, optional
    return_metadata : bool, default False
        Return what is known of each video beside its pixel values.
    default_to_square : bool, optional
        True: an int for `size` means a square, in place of the shortest edge.
    **unknown
        Settings of other libraries or versions; kept in `unknown_settings` and written again by `save_pretrained`.

    Raises
    ------
    InputError
        For a setting that cannot be meant. All are checked again, together, by `preprocess`.

    Examples
    --------
    >>> processor = VivitVideoProcessor.from_pretrained(directory)
    >>> processor("cooking.mp4", do_sample_frames=True, num_frames=32, return_tensors="np").pixel_values.shape
    (1, 32, 3, 224, 224)
    """

    model_input_names = ("pixel_values",)
    setting_names = SETTINGS
    kind, type_key, file_name = "video processor", "video_processor_type", VIDEO_FILE
    places = (*VIDEO_PLACES, (IMAGE_FILE, None), (NESTED_FILE, "image_processor"))
    without_arithmetic = dict.fromkeys(("do_rescale", "do_normalize"), False)
    as_chosen = dict.fromkeys(("do_sample_frames", "return_metadata"), False)

    def __init__(
        self,
        /,
        *,
        do_resize: bool = True,
        size: Any = None,
        resample: Any = BILINEAR,
        do_center_crop: bool = True,
        crop_size: Any = None,
        do_rescale: bool = True,
        rescale_factor: float = 1 / 127.5,
        do_normalize: bool = True,
        image_mean: Any = None,
        image_std: Any = None,
        do_convert_rgb: bool = True,
        do_sample_frames: bool = False,
        num_frames: int | None = None,
        fps: float | None = None,
        return_metadata: bool = False,
        default_to_square: bool | None = None,
        **unknown: Any,
    ):
        self.default_to_square = default_to_square
        square = bool(default_to_square)
        self.do_resize = do_resize
        self.size = size_dict({"shortest_edge": 256} if size is None else size, default_to_square=square, name="size")
        self.resample = None if resample is None else resampling_kernel(resample).number
        self.do_center_crop = do_center_crop
        crop_size = {"height": 224, "width": 224} if crop_size is None else crop_size
        self.crop_size = size_dict(crop_size, default_to_square=True, name="crop_size")
        self.do_rescale = do_rescale
        self.rescale_factor = rescale_factor
        self.do_normalize = do_normalize
        self.image_mean = list(MEAN) if image_mean is None else plain(image_mean)
        self.image_std = list(STD) if image_std is None else plain(image_std)
        self.do_convert_rgb = do_convert_rgb
        self.do_sample_frames = do_sample_frames
        self.num_frames, self.fps = num_frames, fps
        self.return_metadata = return_metadata
        self.unknown_settings = without_types(unknown)

    def preprocess(  # type: ignore[override]
        self,
        videos: Any,
        *,
        video_metadata: Any = None,
        return_tensors: str | None = None,
        data_format: str | None = "channels_first",
        input_data_format: str | None = None,
        backend: str | None = None,
        **settings: Any,
    ) -> BatchFeature:
        """Turn videos into pixel values.

        Parameters
        ----------
        videos : path, frame, video or batch of videos
            A path is read by `minivivit.read_video`. A frame is a PIL image or an array (height, width, channels) or
            (channels, height, width); a video is a list of frames or an array of four axes with the frames first; a
            batch is a list of paths or videos, or an array of five axes. Videos may differ in size and layout.
        video_metadata : mapping or list of mappings, optional
            One a video: ``total_num_frames`` and, for `fps`, the video's own ``fps``; see `VideoMetadata`.
        return_tensors : {None, "np"}
            ``"np"``: one array. None: a list with one array (frames, channels, height, width) a video.
        data_format : {"channels_first", "channels_last"}
            Of the result.
        input_data_format : {None, "channels_first", "channels_last"}
            Of arrays; None recognises 1 or 3 channels (first, if both ends could be channels).
        backend : {None, "numpy", "cupy", "auto"}
            Where the steps after the crop are computed, and whose arrays are returned. None means ``"numpy"``.
        **settings
            In place of the processor's own, by the names of its parameters; None keeps its own.

        Returns
        -------
        BatchFeature
            With the entry ``pixel_values``: (videos, frames, channels, height, width), float32 whenever frames are
            rescaled or normalised; and ``video_metadata``, a list, if `return_metadata` is set.

        Raises
        ------
        InputError
            For settings that contradict each other, frames that cannot be told apart or resized, frames that the video
            does not have, an absurd size, and videos that do not make one array when `return_tensors` asks for one.
        """
        checked = self._settings(settings)
        check_return_tensors(return_tensors)
        target = checked_data_format(data_format, "data_format") or "channels_first"
        source = checked_data_format(input_data_format, "input_data_format")
        xp = get_namespace(backend or "numpy")
        sample = partial(self.sample_frames, num_frames=checked["num_frames"], fps=checked["fps"])
        clips = load_clips(videos, video_metadata, source, sample if checked["do_sample_frames"] else None)
        pixels = [convert_to_rgb(frames) if checked["do_convert_rgb"] else frames for frames, _ in clips]
        if checked["do_rescale"]:
            warn_if_already_rescaled(pixels, "do_rescale=False")
        results = _process(pixels, checked, target, xp)
        features = BatchFeature(pixel_values=_one_array(results, xp) if return_tensors == "np" else results)
        if checked["return_metadata"]:
            features["video_metadata"] = [metadata for _, metadata in clips]
        return features

    def sample_frames(
        self, metadata: VideoMetadata, num_frames: int | None = None, fps: float | None = None
    ) -> numpy.ndarray:
        """Which frames of a video of this metadata are taken: `minivivit.video.clips.uniform_indices`."""
        num_frames = self.num_frames if num_frames is None else num_frames
        fps = self.fps if fps is None else fps
        return uniform_indices(metadata.total_num_frames, num_frames, fps, metadata.fps)

    def _settings(self, overrides: dict[str, Any]) -> dict[str, Any]:
        """The processor's settings with `overrides`, checked together."""
        for name in overrides:
            if name not in SETTINGS:
                raise InputError(f"{quoted(name)} is no setting of the video processor; they are {', '.join(SETTINGS)}")
        given = {name: value for name, value in overrides.items() if value is not None}
        settings = {name: getattr(self, name) for name in SETTINGS} | given
        check_steps(settings, (*FLAGS, "return_metadata", "default_to_square"))
        if settings["do_resize"]:
            settings["size"] = size_dict(
                settings["size"], default_to_square=bool(settings["default_to_square"]), name="size"
            )
            torch_kernel(settings["resample"])
            fitted_size(1, 1, settings["size"])
        return settings

    @classmethod
    def from_pretrained(cls, directory: str | os.PathLike[str], **overrides: Any) -> Self:
        """A video processor from a directory that transformers or `save_pretrained` wrote, or from a JSON file.

        Parameters
        ----------
        directory : path-like
            The settings are looked for in ``processor_config.json`` (under the key ``video_processor``),
            ``video_preprocessor_config.json`` and ``preprocessor_config.json``, in that order. The last is an image
            processor's: the result is a video processor all the same, as with transformers.
        **overrides
            Settings in place of the file's.

        Raises
        ------
        InputError
            When there is no such file, or what it holds cannot be meant.
        """
        found = required(find_settings(directory, cls.places), directory, cls)
        processor = cls.from_found(found, overrides)
        if processor.unknown_settings.get("offset") is False and processor.do_rescale:
            warnings.warn(
                f"{found.path} says offset false, which a video processor does not know: it subtracts 1 after "
                "rescaling; use VivitImageProcessor, or pass do_rescale=False",
                stacklevel=2,
            )
        return processor


# --------------------------------------------------------------------------------------------------------------------
# The steps, for clips (frames, channels, height, width)
# --------------------------------------------------------------------------------------------------------------------


def convert_to_rgb(clip: numpy.ndarray) -> numpy.ndarray:
    """A clip of three channels, from one of 1, 3 or 4.

    Grey is repeated. With a fourth channel a, each colour c becomes (1 - a / 255) 255 + (a / 255) c: what shows in
    front of white, in floats (float64 for a clip of float64, else float32). Where a is 255 throughout the clip it is
    dropped, and bytes stay bytes.
    """
    channels = clip.shape[1]
    if channels == 3:
        return clip
    if channels == 1:
        return numpy.repeat(clip, 3, axis=1)
    if channels != 4:
        raise InputError(
            f"a clip has {channels} channels; expected 1 (grey), 3 (RGB) or 4 (RGB and alpha); or do_convert_rgb=False"
        )
    if not (clip[:, 3:] < 255).any():
        return clip[:, :3]
    floats: Array = clip.astype(numpy.float64 if clip.dtype == numpy.float64 else numpy.float32)
    colours, share = floats[:, :3], floats[:, 3:] / 255
    return (1 - share) * 255 + share * colours


def _process(clips: list[numpy.ndarray], settings: dict[str, Any], data_format: str, xp: Any) -> list[Array]:
    """All steps for all clips, those of one shape and dtype together: (frames, channels, height, width) each."""
    groups: dict[tuple, list[int]] = {}
    for place, clip in enumerate(clips):
        groups.setdefault((clip.shape[1:], clip.dtype), []).append(place)
    results: list[Any] = [None] * len(clips)
    for places in groups.values():
        frames = [frame for place in places for frame in clips[place]]
        done = finish_frames(
            xp.asarray(_resize_and_crop(frames, settings)),
            partial(_rescale_and_normalize, settings=settings),
            settings,
            data_format,
            xp,
        )
        start = 0
        for place in places:
            results[place] = done[start : start + len(clips[place])]
            start += len(clips[place])
    return results


def _resize_and_crop(frames: Sequence[Array], settings: dict[str, Any]) -> Array:
    """Frames (channels, height, width) of one shape, on the CPU -> (frames, channels, height, width)."""
    channels, height, width = frames[0].shape
    new_size = fitted_size(height, width, settings["size"]) if settings["do_resize"] else (height, width)
    crop = height_and_width(settings["crop_size"], "crop_size") if settings["do_center_crop"] else new_size
    check_number_of_values(len(frames) * channels * crop[0] * crop[1], f"frames of {crop[0]} x {crop[1]}")
    window = (crop_window(new_size[0], crop[0]), crop_window(new_size[1], crop[1]))
    if settings["do_resize"]:
        kept = resize_planes_as_torch(frames, new_size, settings["resample"], window)
    else:
        kept = numpy.stack([frame[:, window[0], window[1]] for frame in frames])
    return pad_to_crop(kept, new_size, crop, extra_first=False)


def _rescale_and_normalize(frame: Array, settings: dict[str, Any]) -> Array:
    """The last two steps, for one frame (channels, height, width), in float32, rounded after each operation."""
    if settings["do_rescale"]:
        frame = frame.astype(numpy.float32) * numpy.float32(settings["rescale_factor"]) - numpy.float32(1)
    if settings["do_normalize"]:
        mean, std = settings["image_mean"], settings["image_std"]
        if frame.shape[0] == 1:  # a grey frame becomes as many channels as there are means
            frame = frame.repeat(max(numpy.size(mean), numpy.size(std)), axis=0)
        frame = normalize(frame.astype(numpy.float32), mean, std)
    return frame


def _one_array(clips: list[Array], xp: Any) -> Array:
    """The clips as one array (videos, frames, ...)."""
    check_one_array([len(clip) for clip in clips], {clip.shape[1:] for clip in clips})
    return clips[0][None] if len(clips) == 1 else xp.stack(clips)
