"""What the notebooks look at: the published checkpoint where there is one, else the model and the clip that ship."""

import os
from pathlib import Path

import numpy

from minivivit import VivitConfig, VivitForVideoClassification, VivitImageProcessor, read_video
from minivivit.bundled import bundled_clip, bundled_model_directory
from minivivit.video.default_processor import load_processor
from minivivit.video.reading import count_frames
from minivivit.video.sampling import centre_frame_indices


def published_checkpoint() -> Path | None:
    """The directory that the environment variable MINIVIVIT_CHECKPOINT names, in Hugging Face's layout, or None."""
    name = os.environ.get("MINIVIVIT_CHECKPOINT")
    return Path(name) if name else None


def model_directory() -> Path:
    """The published checkpoint's directory where there is one, else the bundled model's."""
    return published_checkpoint() or bundled_model_directory()


def clip_path() -> Path:
    """The clip that the environment variable MINIVIVIT_CLIP names, or else the bundled one."""
    name = os.environ.get("MINIVIVIT_CLIP")
    return Path(name) if name else bundled_clip()


def load_model(dtype: str = "float32") -> VivitForVideoClassification:
    """The classifier in `model_directory`."""
    return VivitForVideoClassification.from_pretrained(model_directory(), dtype=dtype, backend="numpy")


def load_image_processor() -> VivitImageProcessor:
    """The image processor that goes with it."""
    return load_processor(model_directory(), VivitConfig.from_pretrained(model_directory()))[0]


def load_frames() -> numpy.ndarray:
    """As many frames of the clip as the model takes, every second one if there are enough: bytes (frames, H, W, 3)."""
    config = VivitConfig.from_pretrained(model_directory())
    return read_video(clip_path(), centre_frame_indices(config.num_frames, 2, count_frames(clip_path())))


def load_pixel_values() -> numpy.ndarray:
    """Those frames as the model sees them: float32 (1, frames, channels, height, width)."""
    return load_image_processor()(load_frames(), return_tensors="np").pixel_values


class Keep(dict):
    """A store for a trace that keeps only what is asked for.

    A plain dict would keep everything, and have the attention probabilities of all layers made: 6 GB for the published
    model.

    Parameters
    ----------
    *prefixes : str
        How the names begin that are kept, such as ``"vivit.encoder.layer.2."``.
    """

    def __init__(self, *prefixes: str):
        super().__init__()
        self.prefixes = prefixes

    def wants(self, name: str) -> bool:
        """Whether scores or probabilities of this name are to be made at all."""
        return name.startswith(self.prefixes)

    def __setitem__(self, name: str, array: numpy.ndarray) -> None:
        if self.wants(name):
            super().__setitem__(name, array)
