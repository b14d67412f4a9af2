"""Checks of single settings: each takes the name, for the message, and the value, and raises `InputError`."""

import math
import sys
from collections.abc import Callable
from typing import Any

from minivivit.errors import InputError
from minivivit.files.tensor_data import quoted

Check = Callable[[str, Any], None]


# A larger whole number is taken for a mistake: no computer counts so far.
LARGEST_WHOLE = (1 << 63) - 1
# NumPy draws seeds of 128 bits.
LARGEST_SEED = (1 << 128) - 1


def whole(minimum: int, optional: bool = False, maximum: int = LARGEST_WHOLE) -> Check:
    """A check for whole numbers from `minimum` to `maximum`, and for None if `optional`."""

    def check(name: str, value: Any) -> None:
        if optional and value is None:
            return
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise InputError(f"{name} is {quoted(value)}; expected a whole number of at least {minimum}")
        if value > maximum:
            raise InputError(f"{name} is {quoted(value)}; more than {maximum:,} is taken for a mistake")

    return check


def number(
    low: float, high: float = math.inf, *, above: bool = False, below: bool = False, optional: bool = False
) -> Check:
    """A check for numbers from `low` to `high`, the ends left out with `above` and `below`."""
    words = f"{'above' if above else 'of at least'} {low:g}"
    if high != math.inf:
        words += f" and {'below' if below else 'at most'} {high:g}"

    def check(name: str, value: Any) -> None:
        if optional and value is None:
            return
        number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
        if not number or value < low or value > high or (above and value == low) or (below and value == high):
            raise InputError(f"{name} is {quoted(value)}; expected a number {words}")

    return check


def choice(*choices: str) -> Check:
    """A check for one of `choices`."""

    def check(name: str, value: Any) -> None:
        if value not in choices:
            raise InputError(f"{name} is {quoted(value)}; expected one of {', '.join(map(repr, choices))}")

    return check


def check_bool(name: str, value: Any) -> None:
    """Raise unless `value` is True or False."""
    if not isinstance(value, bool):
        raise InputError(f"{name} is {quoted(value)}; expected true or false")


def check_dict(name: str, value: Any) -> None:
    """Raise unless `value` is a dict with strings as keys."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InputError(f"{name} is {quoted(value)}; expected an object with settings by name")


def check_patterns(name: str, value: Any) -> None:
    """Raise unless `value` is a tuple of strings."""
    if not isinstance(value, tuple) or not all(isinstance(pattern, str) for pattern in value):
        raise InputError(f"{name} is {quoted(value)}; expected a list of patterns, such as ['vivit.embeddings.*']")


def check_text(name: str, value: Any) -> None:
    """Raise unless `value` is None or a text of at least one character."""
    if value is not None and (not isinstance(value, str) or not value):
        raise InputError(f"{name} is {quoted(value)}; expected one or more characters")


def check_augmentation(name: str, value: Any, default: Any) -> None:
    """A switch is a switch, and a number a number; the augmentations themselves check the rest."""
    if value == "model" and name in ("crop_size", "min_resize"):
        return
    if isinstance(default, bool):
        check_bool(f"augmentation's {name}", value)
    elif name == "crop_size" and isinstance(value, list | tuple) and len(value) == 2:
        for side in value:
            whole(1)("each side of augmentation's crop_size", side)
    elif name in ("crop_size", "min_resize"):
        whole(1, optional=True)(f"augmentation's {name}", value)
    elif name == "rand_augment_num_layers":
        whole(0)(f"augmentation's {name}", value)
    elif name.startswith("prob_"):
        number(0, 1)(f"augmentation's {name}", value)
    else:
        number(0)(f"augmentation's {name}", value)
