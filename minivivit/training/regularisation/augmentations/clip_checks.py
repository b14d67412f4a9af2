"""What every augmentation expects of its arguments."""

import numpy

from minivivit.errors import InputError


def check_clip(clip: numpy.ndarray, *, uint8_only: bool = False) -> None:
    """Raise unless `clip` is (frames, height, width, 3) with at least one of each, uint8 or (if allowed) float."""
    is_array = isinstance(clip, numpy.ndarray) and not isinstance(clip, numpy.ma.MaskedArray)
    if not is_array or clip.ndim != 4 or clip.shape[3] != 3 or 0 in clip.shape:
        found = clip.shape if is_array else type(clip).__name__
        raise InputError(f"the clip is {found}; expected a NumPy array (frames, height, width, 3)")
    if clip.dtype != numpy.uint8 and (uint8_only or clip.dtype not in (numpy.float32, numpy.float64)):
        wanted = "uint8" if uint8_only else "uint8, float32 or float64"
        raise InputError(f"the clip has dtype {clip.dtype}; expected {wanted}")


def check_probability(name: str, value: float) -> None:
    """Raise unless `value` lies in [0, 1]."""
    if not 0.0 <= value <= 1.0:
        raise InputError(f"{name} is {value!r}; expected a probability, from 0 to 1")
