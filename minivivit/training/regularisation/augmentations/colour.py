"""Colour jitter and colour drop, on colours between 0 and 1."""

import numpy

from minivivit.backend import one_pass
from minivivit.training.regularisation.augmentations.clip_checks import check_clip, check_probability

# The weights of red, green and blue in the luma of ITU-R BT.601, as TensorFlow writes them.
LUMA_WEIGHTS = (0.2989, 0.5870, 0.1140)

# How far scenic's colour jitter goes (DMVR's color_default_augm).
MAX_BRIGHTNESS_DELTA = 32.0 / 255.0
SATURATION_FACTORS = (0.6, 1.4)
CONTRAST_FACTORS = (0.6, 1.4)
MAX_HUE_DELTA = 0.2


def adjust_brightness(clip: numpy.ndarray, delta: float) -> numpy.ndarray:
    """``x + delta``, for floats (..., 3). The result may leave [0, 1]."""
    return clip + delta


def adjust_contrast(clip: numpy.ndarray, factor: float) -> numpy.ndarray:
    """``mean + factor (x - mean)``, with the mean of each frame and channel, for floats (..., height, width, 3)."""
    mean = clip.mean(axis=(-3, -2), keepdims=True)
    return mean + factor * (clip - mean)


def adjust_saturation(clip: numpy.ndarray, factor: float) -> numpy.ndarray:
    """Multiply the saturation by `factor` and leave hue and value, for floats (..., 3).

    With V the largest of a colour's channels and C = V - smallest, the saturation is S = C / V, and a channel x lies
    at ``V - (V - x)``, where ``V - x`` is proportional to S. So ``x <- V - k (V - x)``, where
    ``k = min(factor, 1 / S)`` keeps the new saturation at 1 or below. A colour with V <= 0 has no saturation and
    becomes grey.
    """
    value = clip.max(axis=-1, keepdims=True)
    chroma = value - clip.min(axis=-1, keepdims=True)
    safe_chroma = numpy.where(chroma > 0, chroma, 1)  # a grey's k multiplies zero
    k = numpy.where(value > 0, numpy.minimum(factor, value / safe_chroma), 0)
    return numpy.where(chroma > 0, value - k * (value - clip), clip)


def adjust_hue(clip: numpy.ndarray, delta: float) -> numpy.ndarray:
    """Turn the hue by `delta` of the colour circle and leave saturation and value, for floats (..., 3).

    The hue h, in [0, 6), is a place on the hexagon red, yellow, green, cyan, blue, magenta: with V and C as in
    `adjust_saturation`, it is ``(g - b) / C`` where red is the largest, ``2 + (b - r) / C`` where green is, and
    ``4 + (r - g) / C`` where blue is. Back from h: with ``k = (h + n) mod 6`` and n = 5, 3, 1 for red, green, blue, the
    channel is ``V - C clip(min(k, 4 - k), 0, 1)``.
    """
    red, green, blue = (clip[..., channel] for channel in range(3))
    value = clip.max(axis=-1)
    chroma = value - clip.min(axis=-1)
    safe_chroma = numpy.where(chroma > 0, chroma, 1)
    is_red, is_green = value == red, value == green
    difference = numpy.where(is_red, green - blue, numpy.where(is_green, blue - red, red - green))
    hue = difference / safe_chroma
    hue = numpy.where(is_red, hue, numpy.where(is_green, hue + 2, hue + 4)) + 6 * delta
    result = numpy.empty_like(clip)
    for channel, n in enumerate((5, 3, 1)):
        k = (hue + n) % 6
        result[..., channel] = value - chroma * numpy.clip(numpy.minimum(k, 4 - k), 0, 1)
    return result


def colour_drop(clip: numpy.ndarray) -> numpy.ndarray:
    """Replace each colour by its luma, ``0.2989 r + 0.587 g + 0.114 b``, in all three channels."""
    check_clip(clip)
    with one_pass():
        luma = _as_float(clip) @ numpy.array(LUMA_WEIGHTS, dtype=_float_dtype(clip))  # (frames, height, width)
    return _as_dtype(numpy.repeat(luma[..., None], 3, axis=-1), clip.dtype)


def random_colour_jitter(
    clip: numpy.ndarray,
    rng: numpy.random.Generator,
    prob_color_augment: float = 0.8,
    prob_color_drop: float = 0.1,
) -> numpy.ndarray:
    """Jitter brightness, saturation, contrast and hue, in this order; then, sometimes, drop the colours.

    The brightness moves by up to 32/255, saturation and contrast are multiplied by 0.6 to 1.4, the hue turns by up to
    a fifth of the circle, all uniform and the same for all frames; at the end colours are cut to [0, 1].

    Parameters
    ----------
    clip : array (frames, height, width, 3)
        Floats from 0 to 1; or uint8, which is computed in float32 and rounded.
    rng : numpy.random.Generator
        Six draws, whatever is applied.
    prob_color_augment, prob_color_drop : float
        The probabilities of the jitter and of the drop, independent. The defaults are those of scenic's ViViT configs.

    References
    ----------
    ``color_default_augm`` of DMVR, which scenic calls on clips that are already normalised.
    """
    check_clip(clip)
    check_probability("prob_color_augment", prob_color_augment)
    check_probability("prob_color_drop", prob_color_drop)
    delta = rng.uniform(-MAX_BRIGHTNESS_DELTA, MAX_BRIGHTNESS_DELTA)
    saturation = rng.uniform(*SATURATION_FACTORS)
    contrast = rng.uniform(*CONTRAST_FACTORS)
    hue_delta = rng.uniform(-MAX_HUE_DELTA, MAX_HUE_DELTA)
    jitters, drops = rng.random() < prob_color_augment, rng.random() < prob_color_drop
    if jitters:
        jittered = numpy.empty_like(clip)
        for index in range(len(clip)):  # frame by frame: the temporaries stay small
            frame = adjust_brightness(_as_float(clip[index]), delta)
            frame = adjust_contrast(adjust_saturation(frame, saturation), contrast)
            jittered[index] = _as_dtype(numpy.clip(adjust_hue(frame, hue_delta), 0, 1), clip.dtype)
        clip = jittered
    return colour_drop(clip) if drops else clip


def _float_dtype(clip: numpy.ndarray) -> numpy.dtype:
    return numpy.dtype(numpy.float32) if clip.dtype == numpy.uint8 else clip.dtype


def _as_float(clip: numpy.ndarray) -> numpy.ndarray:
    """uint8 as float32 between 0 and 1; floats as they are."""
    return clip.astype(numpy.float32) / 255 if clip.dtype == numpy.uint8 else clip


def _as_dtype(colours: numpy.ndarray, dtype: numpy.dtype) -> numpy.ndarray:
    """Floats between 0 and 1 in the dtype of the clip that they came from."""
    return numpy.rint(colours * 255).astype(numpy.uint8) if dtype == numpy.uint8 else colours
