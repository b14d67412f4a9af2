"""RandAugment: a few operations drawn at random, all of one magnitude."""

from collections.abc import Callable, Sequence

import numpy

from minivivit.errors import InputError
from minivivit.training.regularisation.augmentations import enhance, geometry, intensity
from minivivit.training.regularisation.augmentations.clip_checks import check_clip

# Magnitudes are fractions of this; above it they go on in proportion (the paper uses 15 and 20).
MAX_LEVEL = 10.0

# The largest cutout is 2 x 40 pixels wide and the longest translation is 100 pixels, at MAX_LEVEL (as scenic has them).
CUTOUT_CONST = 40
TRANSLATE_CONST = 100

Operation = Callable[[numpy.ndarray, float, numpy.random.Generator], numpy.ndarray]


def _enhance_factor(level: float) -> float:
    return level * 1.8 + 0.1


def _signed(value: float, rng: numpy.random.Generator) -> float:
    return value if rng.random() < 0.5 else -value


def _random_cutout(clip: numpy.ndarray, level: float, rng: numpy.random.Generator) -> numpy.ndarray:
    row, column = int(rng.integers(clip.shape[1])), int(rng.integers(clip.shape[2]))
    return geometry.cutout(clip, row, column, int(level * CUTOUT_CONST), fill=0)


def _solarize(clip: numpy.ndarray, level: float, rng: numpy.random.Generator) -> numpy.ndarray:
    return intensity.solarize(clip, int(level * 256))


# Each takes the clip, the magnitude divided by MAX_LEVEL, and the generator.
OPERATIONS: dict[str, Operation] = {
    "AutoContrast": lambda clip, level, rng: intensity.autocontrast(clip),
    "Equalize": lambda clip, level, rng: intensity.equalize(clip),
    "Invert": lambda clip, level, rng: intensity.invert(clip),
    "Posterize": lambda clip, level, rng: intensity.posterize(clip, min(8, int(level * 4))),
    "Solarize": _solarize,
    "Color": lambda clip, level, rng: enhance.adjust_colour_balance(clip, _enhance_factor(level)),
    "Contrast": lambda clip, level, rng: enhance.adjust_global_contrast(clip, _enhance_factor(level)),
    "Brightness": lambda clip, level, rng: enhance.scale_brightness(clip, _enhance_factor(level)),
    "Sharpness": lambda clip, level, rng: enhance.sharpen(clip, _enhance_factor(level)),
    "Cutout": _random_cutout,
    "SolarizeAdd": lambda clip, level, rng: intensity.solarize_add(clip, int(level * 110)),
    "Rotate": lambda clip, level, rng: geometry.rotate(clip, _signed(level * 30, rng)),
    "ShearX": lambda clip, level, rng: geometry.shear_x(clip, _signed(level * 0.3, rng)),
    "ShearY": lambda clip, level, rng: geometry.shear_y(clip, _signed(level * 0.3, rng)),
    "TranslateX": lambda clip, level, rng: geometry.translate_x(clip, _signed(level * TRANSLATE_CONST, rng)),
    "TranslateY": lambda clip, level, rng: geometry.translate_y(clip, _signed(level * TRANSLATE_CONST, rng)),
    "Identity": lambda clip, level, rng: clip,
}

# What scenic applies to video: nothing that moves pixels, and now and then nothing at all.
VIDEO_OPERATIONS = (
    "AutoContrast", "Equalize", "Invert", "Posterize", "Solarize", "Color", "Contrast", "Brightness", "Sharpness",
    "Cutout", "SolarizeAdd", "Identity",
)  # fmt: skip


def rand_augment(
    clip: numpy.ndarray,
    rng: numpy.random.Generator,
    rand_augment_num_layers: int = 2,
    rand_augment_magnitude: float = 15,
    operations: Sequence[str] = VIDEO_OPERATIONS,
) -> numpy.ndarray:
    """Apply `rand_augment_num_layers` operations, each drawn evenly from `operations`, one after the other.

    With m = magnitude / 10, the operations of `OPERATIONS` are: AutoContrast, Equalize, Invert and Identity, which have
    no magnitude; Posterize to 4 m bits; Solarize from the threshold 256 m; SolarizeAdd of 110 m; Color, Contrast,
    Brightness and Sharpness by the factor 0.1 + 1.8 m; Cutout of a square of side 80 m, black, at a random place;
    Rotate by 30 m degrees, ShearX and ShearY by 0.3 m, TranslateX and TranslateY by 100 m pixels, in either direction.
    Posterize and Solarize grow weaker with the magnitude, and the four factors are 1 at m = 1/2: so it is in the
    original code too, and a magnitude of 0 is not the identity.

    Parameters
    ----------
    clip : uint8 array (frames, height, width, 3)
    rng : numpy.random.Generator
        What is drawn is the same for all frames.
    rand_augment_num_layers : int
        N in the paper of RandAugment; 2 in scenic's ViViT configs.
    rand_augment_magnitude : float
        M there; 15 for Epic Kitchens and 20 for Something-Something v2 in scenic's ViViT configs.
    operations : sequence of str
        Keys of `OPERATIONS`. The default is scenic's choice for video.

    Returns
    -------
    uint8 array of the clip's shape

    Raises
    ------
    InputError
        For a clip of another dtype, an unknown operation, or a negative number of layers or magnitude.

    References
    ----------
    Cubuk et al. (2020), RandAugment; ``distort_image_with_randaugment`` in scenic's ``video_ops``.
    """
    check_clip(clip, uint8_only=True)
    unknown = [name for name in operations if name not in OPERATIONS]
    if unknown or not operations:
        found = f"unknown operation {unknown[0]!r}" if unknown else "no operation to choose from"
        raise InputError(f"{found}; expected some of {', '.join(OPERATIONS)}")
    if rand_augment_num_layers < 0 or not 0 <= rand_augment_magnitude < float("inf"):
        raise InputError(
            f"rand_augment_num_layers is {rand_augment_num_layers!r} and rand_augment_magnitude is "
            f"{rand_augment_magnitude!r}; expected numbers of at least 0"
        )
    for _ in range(rand_augment_num_layers):
        name = operations[int(rng.integers(len(operations)))]
        clip = OPERATIONS[name](clip, rand_augment_magnitude / MAX_LEVEL, rng)
    return clip
