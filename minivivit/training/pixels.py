"""From the frames of clips to the pixel values of a batch."""

import numpy

from minivivit.config import VivitConfig
from minivivit.video.image_processor import VivitImageProcessor


def new_processor(config: VivitConfig) -> VivitImageProcessor:
    """The image processor for a model trained from scratch: pixel values in [-1, 1].

    Square frames are the middle of the picture, resized so that its shorter side fits; others are the whole picture,
    stretched.
    """
    height, width = config.frame_size
    size = {"shortest_edge": height} if height == width else {"height": height, "width": width}
    return VivitImageProcessor(size=size, crop_size={"height": height, "width": width}, do_normalize=False)


def to_pixel_values(clips: list[numpy.ndarray], processor: VivitImageProcessor, config: VivitConfig) -> numpy.ndarray:
    """What the model sees of `clips`.

    Parameters
    ----------
    clips : list of uint8 arrays (frames, height, width, 3)
        One that already has the model's size (a random crop, say) is not resized or cropped again.
    processor : VivitImageProcessor
    config : VivitConfig

    Returns
    -------
    float32 array (batch, frames, channels, height, width)
    """
    sizes = {clip.shape[1:3] for clip in clips}
    fits = sizes == {config.frame_size}
    if fits or config.frame_size not in sizes:
        return _process(clips, processor, fits)
    return numpy.concatenate([_process([clip], processor, clip.shape[1:3] == config.frame_size) for clip in clips])


def _process(clips: list[numpy.ndarray], processor: VivitImageProcessor, fits: bool) -> numpy.ndarray:
    if fits:
        return processor(clips, return_tensors="np", do_resize=False, do_center_crop=False).pixel_values
    return processor(clips, return_tensors="np").pixel_values
