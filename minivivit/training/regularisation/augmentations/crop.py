"""Random crop."""

import numpy

from minivivit.errors import InputError
from minivivit.training.regularisation.augmentations.clip_checks import check_clip


def random_crop(clip: numpy.ndarray, rng: numpy.random.Generator, crop_size: int | tuple[int, int]) -> numpy.ndarray:
    """A window of all frames at one random place; every place that fits is equally likely.

    Parameters
    ----------
    clip : array (frames, height, width, 3), uint8 or float
    rng : numpy.random.Generator
        Two draws: the first row and the first column.
    crop_size : int or (height, width)
        One number for a square.

    Returns
    -------
    array (frames, crop height, crop width, 3)
        A view.

    Raises
    ------
    InputError
        When the clip is smaller than the crop.
    """
    check_clip(clip)
    _, height, width, _ = clip.shape
    crop_height, crop_width = (crop_size, crop_size) if isinstance(crop_size, int) else crop_size
    if not (1 <= crop_height <= height and 1 <= crop_width <= width):
        raise InputError(
            f"cannot crop {crop_height} x {crop_width} from frames of {height} x {width} (height x width); "
            "resize the clip first, or crop less"
        )
    top = rng.integers(height - crop_height + 1)
    left = rng.integers(width - crop_width + 1)
    return clip[:, top : top + crop_height, left : left + crop_width]
