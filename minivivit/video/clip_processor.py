"""What an image processor and a video processor have in common: settings, as attributes, as a dict and in a file.

transformers has two classes for ViViT's frames, `VivitImageProcessor` and `VivitVideoProcessor`, each with a file of
its own. They differ in how they resize; which file a model's directory holds says which of them the model wants.
"""

import copy
import json
import math
import numbers
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy

from minivivit.backend import Array
from minivivit.errors import InputError
from minivivit.files.atomic import make_directory, write_text
from minivivit.files.json_file import read_json
from minivivit.files.tensor_data import quoted
from minivivit.model_directory import check_no_training
from minivivit.video.image_transforms import height_and_width, size_dict

# Where transformers' processors leave their settings: the file, and the key in it where they are nested (None where
# they are the file).
Place = tuple[str, str | None]
IMAGE_FILE, VIDEO_FILE = "preprocessor_config.json", "video_preprocessor_config.json"
NESTED_FILE = "processor_config.json"
IMAGE_PLACES: tuple[Place, ...] = ((NESTED_FILE, "image_processor"), (IMAGE_FILE, None))
VIDEO_PLACES: tuple[Place, ...] = ((NESTED_FILE, "video_processor"), (VIDEO_FILE, None))
SETTINGS_FILES = tuple(dict.fromkeys(name for name, _ in (*IMAGE_PLACES, *VIDEO_PLACES)))


class BatchFeature(dict):
    """What a processor returns: a dict whose values are attributes too (``features.pixel_values``)."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no entry {name!r}; there are {', '.join(self) or 'none'}") from None


class Found(NamedTuple):
    """Settings in a file: which one, what it holds, and whether they are a video processor's."""

    path: Path
    settings: dict[str, Any]
    for_video: bool


class ClipProcessor:
    """The part of a processor that is not arithmetic: calling it, and its settings as dicts and files.

    A subclass has its settings as attributes, and says what they are called and where they are kept.
    """

    setting_names: ClassVar[tuple[str, ...]]
    kind: ClassVar[str]  # for messages
    type_key: ClassVar[str]  # under which the file names the class
    file_name: ClassVar[str]  # that save_pretrained writes
    places: ClassVar[tuple[Place, ...]]  # where from_pretrained looks, in this order
    without_arithmetic: ClassVar[Mapping[str, bool]]  # settings with which bytes stay bytes
    as_chosen: ClassVar[Mapping[str, bool]] = {}  # settings with which the frames given are the frames taken

    do_resize: bool
    size: dict[str, int]
    do_center_crop: bool
    crop_size: dict[str, int]
    unknown_settings: dict[str, Any]

    def __init__(self, /, **settings: Any):
        raise NotImplementedError

    def preprocess(self, *args: Any, **settings: Any) -> BatchFeature:
        """Turn videos into pixel values."""
        raise NotImplementedError

    def __call__(self, *args: Any, **settings: Any) -> BatchFeature:
        """The same as `preprocess`."""
        return self.preprocess(*args, **settings)

    def pixel_values(self, videos: Any, **settings: Any) -> Array:
        """The pixel values of videos whose frames are chosen, as one array (videos, frames, ...)."""
        return self.preprocess(videos, return_tensors="np", **self.as_chosen, **settings).pixel_values

    def to_dict(self) -> dict[str, Any]:
        """The settings, the unknown ones included, as the file holds them."""
        settings = self.unknown_settings | {name: plain(getattr(self, name)) for name in self.setting_names}
        settings[self.type_key] = type(self).__name__
        return copy.deepcopy({name: value for name, value in settings.items() if value is not None})

    def to_json_string(self) -> str:
        """`to_dict` as indented JSON with sorted keys, and a line feed."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string()}"

    @classmethod
    def from_dict(cls, settings: dict[str, Any], /, **overrides: Any) -> Self:
        """A processor from a dict such as `to_dict` gives, with settings given by name in place of the dict's.

        Raises
        ------
        InputError
            For a setting that cannot be meant, and an override that is no setting.
        """
        for name in overrides:
            if name not in cls.setting_names and name not in settings:
                raise InputError(
                    f"{quoted(name)} is no setting of the {cls.kind}; the settings are {', '.join(cls.setting_names)}"
                )
        return cls(**(settings | overrides))

    @classmethod
    def from_found(cls, found: Found, overrides: Mapping[str, Any]) -> Self:
        """A processor from what `find_settings` found."""
        try:
            return cls.from_dict(found.settings, **overrides)
        except InputError as error:
            raise InputError(f"{found.path}: {error}") from None

    def save_pretrained(self, directory: str | os.PathLike[str]) -> list[str]:
        """Write the settings' file into `directory`, which is made if need be; return the file's path.

        The file is ``preprocessor_config.json`` for an image processor, ``video_preprocessor_config.json`` for a video
        processor, as with transformers.
        """
        folder = Path(directory)
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file; expected a directory to write {self.file_name} into")
        make_directory(folder)
        path = folder / self.file_name
        write_text(path, self.to_json_string())
        return [str(path)]


# --------------------------------------------------------------------------------------------------------------------
# Finding settings
# --------------------------------------------------------------------------------------------------------------------


def find_settings(
    directory: str | os.PathLike[str], places: tuple[Place, ...] = (*IMAGE_PLACES, *VIDEO_PLACES)
) -> Found | None:
    """The first of `places` in `directory` that holds a processor's settings, or that file itself; None if none does.

    Whose they are, a key says (``video_processor_type``, ``image_processor_type``), and without one the place.
    """
    folder = Path(directory)
    if folder.is_file():
        settings = read_json(folder)
        return Found(folder, settings, _for_video(settings, folder.name == VIDEO_FILE))
    for name, key in places:
        path = folder / name
        if path.is_file():
            content: Any = read_json(path)
            content = content if key is None else content.get(key)
            if isinstance(content, dict):
                return Found(path, content, _for_video(content, (name, key) in VIDEO_PLACES))
    return None


def required(found: Found | None, directory: str | os.PathLike[str], of: type[ClipProcessor]) -> Found:
    """What was found of the settings of a class; an InputError if that is nothing."""
    if found is None:
        check_no_training(directory)
        names = ", ".join(dict.fromkeys(name for name, _ in of.places))
        article = "an" if of.kind[0] in "aeiou" else "a"
        raise InputError(
            f"{directory} holds no settings of {article} {of.kind}; expected one of {names} in a directory"
        )
    return found


def _for_video(settings: Mapping[str, Any], place_is_for_video: bool) -> bool:
    if "video_processor_type" in settings:
        return True
    return place_is_for_video and "image_processor_type" not in settings


# --------------------------------------------------------------------------------------------------------------------
# Settings that both have
# --------------------------------------------------------------------------------------------------------------------


def without_types(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings less the keys that name a class: written anew when saved, or by older versions for another use."""
    types = ("image_processor_type", "video_processor_type", "feature_extractor_type", "processor_class")
    return {key: value for key, value in settings.items() if key not in types}


def plain(value: Any) -> Any:
    """Arrays and tuples as lists, NumPy's numbers as Python's: what JSON can hold."""
    if isinstance(value, numpy.ndarray | numpy.generic):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


def check_steps(settings: dict[str, Any], flags: tuple[str, ...]) -> None:
    """Check the settings of the steps that both have, and make the crop's size a dict."""
    for name in flags:
        if settings[name] not in (True, False, None):  # None is as good as False
            raise InputError(f"{name} is {quoted(settings[name])}; expected True or False")
    for name, step in (("size", "do_resize"), ("resample", "do_resize"), ("crop_size", "do_center_crop")):
        if settings[step] and settings[name] is None:
            raise InputError(f"{name} is None, but {step} is set; give {name}, or set {step}=False")
    if settings["do_center_crop"]:
        settings["crop_size"] = size_dict(settings["crop_size"], default_to_square=True, name="crop_size")
        height_and_width(settings["crop_size"], "crop_size")
    if settings["do_rescale"]:
        checked_factor(settings["rescale_factor"])
    if settings["do_normalize"] and (settings["image_mean"] is None or settings["image_std"] is None):
        raise InputError("image_mean or image_std is None, but do_normalize is set; give both")


def check_return_tensors(return_tensors: Any) -> None:
    """Refuse other frameworks' tensors."""
    if return_tensors is not None and return_tensors != "np":
        raise InputError(
            f"return_tensors is {quoted(return_tensors)}; 'np' (one array) and None (lists of arrays) are supported"
        )


def checked_factor(factor: Any) -> float:
    """`rescale_factor` as a float, if it is a finite number."""
    try:
        value = float(factor) if isinstance(factor, numbers.Real) and not isinstance(factor, bool) else math.nan
    except OverflowError:  # a whole number of hundreds of digits
        value = math.inf
    if not math.isfinite(value):
        raise InputError(f"rescale_factor is {quoted(factor)}; expected a finite number such as 1 / 127.5")
    return value
