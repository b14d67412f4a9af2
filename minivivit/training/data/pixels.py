"""From the frames of clips to the pixel values of a batch."""

import numpy

from minivivit.config import VivitConfig
from minivivit.video.clip_processor import ClipProcessor
from minivivit.video.image_processor import VivitImageProcessor


def new_processor(config: VivitConfig) -> VivitImageProcessor:
    """The image processor for a model trained from scratch: pixel values in [-1, 1].

    Square frames are the middle of the picture, resized so that its shorter side fits; others are the whole picture,
    stretched.
    """
    height, width = config.frame_size
    size = {"shortest_edge": height} if height == width else {"height": height, "width": width}
    return VivitImageProcessor(size=size, crop_size={"height": height, "width": width}, do_normalize=False)


def to_pixel_values(clips: list[numpy.ndarray], processor: ClipProcessor, already_cut: bool = False) -> numpy.ndarray:
    """What the model sees of `clips` in training.

    Parameters
    ----------
    clips : list of uint8 arrays (frames, height, width, 3)
    processor : VivitImageProcessor or VivitVideoProcessor
    already_cut : bool
        Whether the clips are random crops of the model's size: then they are not resized or cropped again. All others
        are prepared as they will be when the model is used.

    Returns
    -------
    float32 array (batch, frames, channels, height, width)
    """
    if already_cut:
        return processor.pixel_values(clips, do_resize=False, do_center_crop=False)
    return processor.pixel_values(clips)
