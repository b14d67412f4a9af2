"""`VivitImageProcessor`: from the frames of a video to the pixel values that the model takes.

For each frame, in this order: resize (8 bits, as Pillow), centre crop, rescale, normalise. The frames of one shape are
worked on together. The class has the arguments, the defaults, the order of operations and the rounding of
transformers' class of the same name, and its results are equal to the bit.
"""

import os
from typing import Any

import numpy

from minivivit.backend import Array, get_namespace
from minivivit.errors import InputError
from minivivit.video import image_transforms
from minivivit.video.clip_processor import (
    IMAGE_FILE,
    IMAGE_PLACES,
    VIDEO_PLACES,
    BatchFeature,
    ClipProcessor,
    check_return_tensors,
    check_steps,
    checked_factor,
    find_settings,
    plain,
    required,
    without_types,
)
from minivivit.video.frame_groups import (
    group_frames,
    nested_lists,
    one_array,
    process_group,
    resize_frames,
    warn_if_already_rescaled,
)
from minivivit.video.frames import checked_data_format, infer_data_format, is_frame, make_batched, to_data_format
from minivivit.video.image_transforms import height_and_width, resized_size, size_dict
from minivivit.video.resize import BILINEAR, check_number_of_values, resampling_kernel
from minivivit.video.video_processor import VivitVideoProcessor

DEFAULT_MEAN = DEFAULT_STD = (0.5, 0.5, 0.5)
SETTINGS = (
    *("do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale", "rescale_factor", "offset"),
    *("do_normalize", "image_mean", "image_std"),
)


class VivitImageProcessor(ClipProcessor):
    """Resize, centre crop, rescale and normalise the frames of videos.

    With the published defaults, **pixel values end in [-3, 1], not in [-1, 1]**. Rescaling with `offset` takes a byte p
    to p / 127.5 - 1, in [-1, 1]; normalising then subtracts 0.5 and divides by 0.5, as if the values were in [0, 1].
    The published checkpoint's logits were computed with exactly that, so it is kept. For another checkpoint, one that
    wants [-1, 1], pass ``do_normalize=False``.

    Parameters
    ----------
    do_resize : bool, default True
        Resize each frame to `size`, with 8-bit arithmetic, as Pillow (see `minivivit.video.resize`).
    size : dict, int or (int, int), default {"shortest_edge": 256}
        ``{"shortest_edge": s}`` keeps the aspect ratio; ``{"height": h, "width": w}`` does not. An int means the
        former, a pair the latter.
    resample : int or str, default 2 (bilinear)
        The kernel, by Pillow's number or by name: 0 nearest, 1 lanczos, 2 bilinear, 3 bicubic, 4 box, 5 hamming.
    do_center_crop : bool, default True
        Cut `crop_size` out of the middle; a smaller frame is padded with zeros (before rescaling).
    crop_size : dict, int or (int, int), default {"height": 224, "width": 224}
        An int means a square.
    do_rescale : bool, default True
        Multiply by `rescale_factor`, in float64, rounded to float32.
    rescale_factor : float, default 1 / 127.5
    offset : bool, default True
        After rescaling, subtract 1. Needs `do_rescale`.
    do_normalize : bool, default True
        Subtract `image_mean` and divide by `image_std`, in float32.
    image_mean, image_std : float or sequence of float, default (0.5, 0.5, 0.5)
        One number, or one for each channel.
    **unknown
        Settings of other libraries or versions; kept in `unknown_settings` and written again by `save_pretrained`.

    Raises
    ------
    InputError
        For a setting that cannot be meant. All are checked again, together, by `preprocess`.

    Examples
    --------
    >>> processor = VivitImageProcessor.from_pretrained(directory)
    >>> features = processor(minivivit.read_video(path, indices), return_tensors="np")
    >>> features.pixel_values.shape
    (1, 32, 3, 224, 224)
    """

    model_input_names = ("pixel_values",)
    setting_names = SETTINGS
    kind, type_key, file_name = "image processor", "image_processor_type", IMAGE_FILE
    places = (*IMAGE_PLACES, *VIDEO_PLACES)
    without_arithmetic = dict.fromkeys(("do_rescale", "offset", "do_normalize"), False)

    def __init__(
        self,
        /,
        do_resize: bool = True,
        size: Any = None,
        resample: Any = BILINEAR,
        do_center_crop: bool = True,
        crop_size: Any = None,
        do_rescale: bool = True,
        rescale_factor: float = 1 / 127.5,
        offset: bool = True,
        do_normalize: bool = True,
        image_mean: Any = None,
        image_std: Any = None,
        **unknown: Any,
    ):
        self.do_resize = do_resize
        self.size = size_dict({"shortest_edge": 256} if size is None else size, default_to_square=False, name="size")
        self.resample = None if resample is None else resampling_kernel(resample).number
        self.do_center_crop = do_center_crop
        crop_size = {"height": 224, "width": 224} if crop_size is None else crop_size
        self.crop_size = size_dict(crop_size, default_to_square=True, name="crop_size")
        self.do_rescale = do_rescale
        self.rescale_factor = rescale_factor
        self.offset = offset
        self.do_normalize = do_normalize
        self.image_mean = list(DEFAULT_MEAN) if image_mean is None else plain(image_mean)
        self.image_std = list(DEFAULT_STD) if image_std is None else plain(image_std)
        self.unknown_settings = without_types(unknown)

    # ----------------------------------------------------------------------------------------------------------------
    # Preprocessing
    # ----------------------------------------------------------------------------------------------------------------

    def __call__(self, images: Any, *args: Any, **kwargs: Any) -> BatchFeature:
        """The same as `preprocess`."""
        return self.preprocess(images, *args, **kwargs)

    def preprocess(
        self,
        videos: Any,
        do_resize: bool | None = None,
        size: Any = None,
        resample: Any = None,
        do_center_crop: bool | None = None,
        crop_size: Any = None,
        do_rescale: bool | None = None,
        rescale_factor: float | None = None,
        offset: bool | None = None,
        do_normalize: bool | None = None,
        image_mean: Any = None,
        image_std: Any = None,
        return_tensors: str | None = None,
        data_format: str | None = "channels_first",
        input_data_format: str | None = None,
        *,
        backend: str | None = None,
    ) -> BatchFeature:
        """Turn videos into pixel values.

        Parameters
        ----------
        videos : frame, video or batch of videos
            A frame is a PIL image or an array (height, width, channels) or (channels, height, width), of bytes or of
            floats, those of [0, 1] with ``do_rescale=False``. A video is a list of frames or an array of four axes
            with the frames first; a batch is a list of videos or an array of five axes.
        do_resize, size, resample, do_center_crop, crop_size, do_rescale, rescale_factor, offset, do_normalize, \
        image_mean, image_std : optional
            In place of the processor's own; None keeps that.
        return_tensors : {None, "np"}
            ``"np"``: one array. None: a list of videos, each a list of frames.
        data_format : {"channels_first", "channels_last", None}
            Of the result; None keeps that of each frame.
        input_data_format : {None, "channels_first", "channels_last"}
            Of the frames; None recognises 1 or 3 channels (first, if both ends could be channels).
        backend : {None, "numpy", "cupy", "auto"}
            Where the steps after the resize are computed, and whose arrays are returned. None means ``"numpy"``. The
            resize is always computed on the CPU.

        Returns
        -------
        BatchFeature
            With the entry ``pixel_values``: (videos, frames, channels, height, width), float32 whenever frames are
            rescaled, or normalised from bytes.

        Raises
        ------
        InputError
            For settings that contradict each other, frames that cannot be told apart or resized, an absurd size, and
            videos that do not make one array when `return_tensors` asks for one.
        """
        steps = (do_resize, size, resample, do_center_crop, crop_size, do_rescale, rescale_factor, offset)
        given = zip(SETTINGS, (*steps, do_normalize, image_mean, image_std), strict=True)
        settings = self._settings({name: value for name, value in given if value is not None})
        check_return_tensors(return_tensors)
        data_format = checked_data_format(data_format, "data_format")
        input_data_format = checked_data_format(input_data_format, "input_data_format")
        xp = get_namespace(backend or "numpy")
        batch = make_batched(videos)
        lengths = [len(video) for video in batch]
        groups = group_frames(batch, input_data_format, bool(settings["do_resize"]))
        if settings["do_rescale"]:
            warn_if_already_rescaled([group.frames for group in groups], "do_rescale=False, offset=False")
        results = [process_group(group, settings, data_format, xp) for group in groups]
        if return_tensors is None:
            return BatchFeature(pixel_values=nested_lists(lengths, groups, results))
        return BatchFeature(pixel_values=one_array(lengths, groups, results, xp))

    def _settings(self, overrides: dict[str, Any]) -> dict[str, Any]:
        """The processor's settings with `overrides`, checked together."""
        settings = {name: getattr(self, name) for name in SETTINGS} | overrides
        check_steps(settings, ("do_resize", "do_center_crop", "do_rescale", "offset", "do_normalize"))
        if settings["do_resize"]:
            settings["size"] = size_dict(settings["size"], default_to_square=False, name="size")
            if "shortest_edge" not in settings["size"]:
                height_and_width(settings["size"], "size")
            resampling_kernel(settings["resample"])
        if settings["offset"] and not settings["do_rescale"]:
            raise InputError("offset is set, but do_rescale is not; set do_rescale=True, or offset=False")
        return settings

    # ----------------------------------------------------------------------------------------------------------------
    # The steps one by one, for one image (height, width, channels) or (channels, height, width)
    # ----------------------------------------------------------------------------------------------------------------

    def resize(
        self,
        image: Array,
        size: Any,
        resample: Any = BILINEAR,
        data_format: str | None = None,
        input_data_format: str | None = None,
    ) -> Array:
        """Resize one image: uint8 for whole numbers in [0, 255], float32 in [0, 1] for fractions in [0, 1]."""
        image, target = _opened(image, data_format, input_data_format)
        size = size_dict(size, default_to_square=False, name="size")
        new_size = resized_size(image.shape[1], image.shape[2], size)
        resized = resize_frames([image], image_transforms.is_unit_range(image), new_size, resample)[0]
        return to_data_format(resized, "channels_first", target)

    def center_crop(
        self, image: Array, size: Any, data_format: str | None = None, input_data_format: str | None = None
    ) -> Array:
        """Crop one image, or pad it with zeros, to ``size["height"]`` x ``size["width"]``, around its centre."""
        image, target = _opened(image, data_format, input_data_format)
        height, width = height_and_width(size_dict(size, default_to_square=True, name="size"), "size")
        check_number_of_values(image.shape[0] * height * width, f"cropping to {height} x {width}")
        return to_data_format(image_transforms.center_crop(image, height, width), "channels_first", target)

    def rescale(
        self,
        image: Array,
        scale: float,
        offset: bool = True,
        data_format: str | None = None,
        input_data_format: str | None = None,
        dtype: Any = numpy.float32,
    ) -> Array:
        """image * scale, and minus 1 if `offset`."""
        image, target = _opened(image, data_format, input_data_format)
        scaled = image_transforms.rescale(image, checked_factor(scale), dtype)
        return to_data_format(scaled - 1 if offset else scaled, "channels_first", target)

    def normalize(
        self,
        image: Array,
        mean: Any,
        std: Any,
        data_format: str | None = None,
        input_data_format: str | None = None,
    ) -> Array:
        """(image - mean) / std for each channel."""
        image, target = _opened(image, data_format, input_data_format)
        return to_data_format(image_transforms.normalize(image, mean, std), "channels_first", target)

    # ----------------------------------------------------------------------------------------------------------------
    # Settings as dicts and files
    # ----------------------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, directory: str | os.PathLike[str], **overrides: Any) -> Any:
        """The processor of a directory that transformers or `save_pretrained` wrote, or of a JSON file.

        Parameters
        ----------
        directory : path-like
            The settings are looked for in ``processor_config.json`` (under the key ``image_processor``),
            ``preprocessor_config.json``, ``processor_config.json`` (under ``video_processor``) and
            ``video_preprocessor_config.json``, in that order.
        **overrides
            Settings in place of the file's.

        Returns
        -------
        VivitImageProcessor or VivitVideoProcessor
            As the file says (``image_processor_type`` or ``video_processor_type``): a model that was saved with a video
            processor gets the pixels that it is used to.

        Raises
        ------
        InputError
            When there is no such file, or what it holds cannot be meant.
        """
        found = required(find_settings(directory, cls.places), directory, cls)
        return (VivitVideoProcessor if found.for_video else cls).from_found(found, overrides)


def _opened(image: Any, data_format: str | None, input_data_format: str | None) -> tuple[Array, str]:
    """One image of a public step with its channels first, and the layout that its result shall have."""
    if not is_frame(image) or not hasattr(image, "dtype"):
        raise InputError(f"got {type(image).__name__} {getattr(image, 'shape', '')}; expected an array of 3 axes")
    source = checked_data_format(input_data_format, "input_data_format") or infer_data_format(image.shape)
    target = checked_data_format(data_format, "data_format") or source
    return to_data_format(image, source, "channels_first"), target
