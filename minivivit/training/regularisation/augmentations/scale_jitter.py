"""Scale jitter: stretch the frames a little, so that objects come in more sizes and proportions."""

import numpy

from minivivit.errors import InputError
from minivivit.training.regularisation.augmentations.clip_checks import check_clip, check_probability
from minivivit.training.regularisation.augmentations.resize import bilinear_resize


def random_scale_jitter(
    clip: numpy.ndarray,
    rng: numpy.random.Generator,
    scale_min_factor: float = 0.9,
    scale_max_factor: float = 1.33,
    prob_scale_jitter: float = 1.0,
) -> numpy.ndarray:
    """Resize all frames by one random factor for the height and another for the width.

    Both are uniform between the two limits and independent, so the aspect ratio changes too. The new sides are rounded
    down. A crop follows as a rule. The defaults are those of scenic's ViViT configs.

    Parameters
    ----------
    clip : array (frames, height, width, 3), uint8 or float
    rng : numpy.random.Generator
        Three draws, whether it resizes or not.
    scale_min_factor, scale_max_factor : float
        Above 0, in this order.
    prob_scale_jitter : float
        The probability of resizing at all.

    Returns
    -------
    array (frames, new height, new width, 3)

    References
    ----------
    ``scale_jitter_augm`` of DMVR, which scenic calls.
    """
    check_clip(clip)
    check_probability("prob_scale_jitter", prob_scale_jitter)
    if not 0.0 < scale_min_factor <= scale_max_factor < float("inf"):
        raise InputError(
            f"the scale factors are {scale_min_factor!r} to {scale_max_factor!r}; expected above 0, smaller first"
        )
    height_factor = rng.uniform(scale_min_factor, scale_max_factor)
    width_factor = rng.uniform(scale_min_factor, scale_max_factor)
    if rng.random() >= prob_scale_jitter:
        return clip
    _, height, width, _ = clip.shape
    return bilinear_resize(clip, max(1, int(height * height_factor)), max(1, int(width * width_factor)))
