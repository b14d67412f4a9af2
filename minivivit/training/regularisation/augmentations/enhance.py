"""RandAugment's operations that blend a clip with a poorer version of itself.

``poorer + factor (clip - poorer)``, cut to 0 to 255 and rounded down, as Pillow's `ImageEnhance` does, to the bit:
factor 0 is the poorer version, 1 the clip, and beyond 1 the difference is exaggerated. All take and return uint8 clips
(frames, height, width, 3).
"""

import numpy

from minivivit.training.regularisation.augmentations.clip_checks import check_clip


def _blend(poorer: numpy.ndarray, clip: numpy.ndarray, factor: float) -> numpy.ndarray:
    result = clip.astype(numpy.float32)
    poorer = poorer.astype(numpy.float32)
    result -= poorer
    result *= numpy.float32(factor)
    result += poorer
    numpy.clip(result, 0, 255, out=result)
    return result.astype(numpy.uint8)


def grey_levels(clip: numpy.ndarray) -> numpy.ndarray:
    """Luma (frames, height, width) as Pillow computes it, in 16-bit fixed point: 0.299 r + 0.587 g + 0.114 b."""
    red, green, blue = (clip[..., channel].astype(numpy.int32) for channel in range(3))
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(numpy.uint8)


def adjust_colour_balance(clip: numpy.ndarray, factor: float) -> numpy.ndarray:
    """RandAugment's ``Color``: blend with the same clip in grey."""
    check_clip(clip, uint8_only=True)
    return _blend(grey_levels(clip)[..., None], clip, factor)


def adjust_global_contrast(clip: numpy.ndarray, factor: float) -> numpy.ndarray:
    """RandAugment's ``Contrast``: blend with the mean grey of the whole clip, one rounded number."""
    check_clip(clip, uint8_only=True)
    mean = int(grey_levels(clip).mean() + 0.5)
    return _blend(numpy.full((1, 1, 1, 1), mean), clip, factor)


def scale_brightness(clip: numpy.ndarray, factor: float) -> numpy.ndarray:
    """RandAugment's ``Brightness``: blend with black."""
    check_clip(clip, uint8_only=True)
    return _blend(numpy.zeros((1, 1, 1, 1)), clip, factor)


def sharpen(clip: numpy.ndarray, factor: float) -> numpy.ndarray:
    """RandAugment's ``Sharpness``: blend with a smoothed clip (factor below 1 blurs, above 1 sharpens).

    The smoothed value is the mean of the 3 x 3 neighbours in the same frame, the pixel itself counting five times,
    rounded; pixels on the border of the frame keep their own.
    """
    check_clip(clip, uint8_only=True)
    smooth = clip.copy()
    _, height, width, _ = clip.shape
    if height > 2 and width > 2:
        values = clip.astype(numpy.int32)
        rows = values[:, :-2] + values[:, 1:-1] + values[:, 2:]  # (frames, height - 2, width, 3)
        total = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4 * values[:, 1:-1, 1:-1]
        smooth[:, 1:-1, 1:-1] = (2 * total + 13) // 26  # total / 13, to the nearest
    return _blend(smooth, clip, factor)
