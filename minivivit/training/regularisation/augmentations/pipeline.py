"""The augmentations of one training clip, in the order of the paper's code."""

from dataclasses import dataclass

import numpy

from minivivit.training.regularisation.augmentations.clip_checks import check_clip
from minivivit.training.regularisation.augmentations.colour import random_colour_jitter
from minivivit.training.regularisation.augmentations.crop import random_crop
from minivivit.training.regularisation.augmentations.flip import random_horizontal_flip
from minivivit.training.regularisation.augmentations.rand_augment import rand_augment
from minivivit.training.regularisation.augmentations.resize import resize_smallest
from minivivit.training.regularisation.augmentations.scale_jitter import random_scale_jitter


@dataclass(frozen=True)
class AugmentationParams:
    """What `augment_clip` does, spelled as ``dataset_configs`` and its ``augmentation_params`` in scenic's configs.

    As in scenic, each ``do_...`` is off until it is asked for; the numbers beside it are those of the ViViT configs.

    Attributes
    ----------
    crop_size : int or (height, width), optional
        Size of the frames that come out. None: no crop.
    min_resize : int, optional
        Length of the shorter side before anything else. None: as it is. scenic: 256 for crops of 224.
    do_random_flip : bool
        scenic has no name for it: it flips on Kinetics and does not on Something-Something v2.
    do_jitter_scale, scale_min_factor, scale_max_factor, prob_scale_jitter
        See `random_scale_jitter`.
    do_rand_augment, rand_augment_num_layers, rand_augment_magnitude
        See `rand_augment`. When it is on, `do_color_augment` has no effect (as in scenic).
    do_color_augment, prob_color_augment, prob_color_drop
        See `random_colour_jitter`.
    """

    crop_size: int | tuple[int, int] | None = None
    min_resize: int | None = None
    do_random_flip: bool = False
    do_jitter_scale: bool = False
    scale_min_factor: float = 0.9
    scale_max_factor: float = 1.33
    prob_scale_jitter: float = 1.0
    do_rand_augment: bool = False
    rand_augment_num_layers: int = 2
    rand_augment_magnitude: float = 15
    do_color_augment: bool = False
    prob_color_augment: float = 0.8
    prob_color_drop: float = 0.1


def augment_clip(clip: numpy.ndarray, rng: numpy.random.Generator, params: AugmentationParams) -> numpy.ndarray:
    """Resize the shorter side, jitter the scale, crop, flip, and then RandAugment or colour jitter.

    Parameters
    ----------
    clip : uint8 array (frames, height, width, 3)
        Before normalisation. (Floats from 0 to 1 are taken too, but not by RandAugment.)
    rng : numpy.random.Generator
    params : AugmentationParams

    Returns
    -------
    array (frames, crop height, crop width, 3) of the clip's dtype, contiguous

    Raises
    ------
    InputError
        When the crop does not fit into the frame: with scale jitter, ``scale_min_factor`` times the shorter side must
        not be below `crop_size`.
    """
    check_clip(clip)
    if params.min_resize is not None:
        clip = resize_smallest(clip, params.min_resize)
    if params.do_jitter_scale:
        clip = random_scale_jitter(
            clip, rng, params.scale_min_factor, params.scale_max_factor, params.prob_scale_jitter
        )
    if params.crop_size is not None:
        clip = random_crop(clip, rng, params.crop_size)
    if params.do_random_flip:
        clip = random_horizontal_flip(clip, rng)
    if params.do_rand_augment:
        clip = rand_augment(clip, rng, params.rand_augment_num_layers, params.rand_augment_magnitude)
    elif params.do_color_augment:
        clip = random_colour_jitter(clip, rng, params.prob_color_augment, params.prob_color_drop)
    return numpy.ascontiguousarray(clip)
