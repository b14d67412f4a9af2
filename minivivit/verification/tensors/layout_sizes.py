"""Sizes by name in a layout: what stands in a mapping for the numbers that our config and trace say.

    reshape(batch, times, places + 1, 3 * hidden)

A size is a whole number, a name of `NAMED_SIZES`, or such joined by +, - and *, which binds closer.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.files.tensor_data import quoted

NAMED_SIZES = {
    "batch": "clips",
    "frames": "frames of a clip",
    "times": "tubelets in time",
    "rows": "tubelets from top to bottom",
    "columns": "tubelets from left to right",
    "places": "rows * columns",
    "tokens": "times * places, and one more where Model 1 or 4 has a CLS token",
    "hidden": "features of a token",
    "intermediate": "features within an MLP",
    "heads": "attention heads",
    "head_size": "hidden / heads",
    "labels": "classes",
}
LARGEST = 1 << 62  # no tensor has an axis as long as this
ARGUMENTS = re.compile(r"\(([^()]*)\)")
TERM = re.compile(r"\s*([a-z_]+|[0-9]{1,18})\s*")


def named_sizes(config: Any, input_shape: Any) -> dict[str, int]:
    """What the names stand for.

    Parameters
    ----------
    config : VivitConfig, or a dict of one
        Anything else, and a dict of none: names are unknown then.
    input_shape : sequence of int, or None
        Of the pixel values, (batch, frames, channels, height, width). Left out, the config's, and no batch.
    """
    if isinstance(config, Mapping):
        try:
            config = VivitConfig.from_dict(config)
        except InputError:
            return {}
    if not isinstance(config, VivitConfig):
        return {}
    times, rows, columns = config.grid_size
    sizes = {"frames": config.num_frames}
    if isinstance(input_shape, list | tuple) and len(input_shape) == 5 and all(type(n) is int for n in input_shape):
        sizes |= {"batch": input_shape[0], "frames": input_shape[1]}
        if config.temporal_encoding == "tubelet":
            times = input_shape[1] // config.tubelet_size[0]
        rows, columns = input_shape[3] // config.tubelet_size[1], input_shape[4] // config.tubelet_size[2]
    joint = config.attention_type in ("spatio_temporal", "factorised_dot_product")
    return sizes | {
        "times": times,
        "rows": rows,
        "columns": columns,
        "places": rows * columns,
        "tokens": times * rows * columns + (1 if joint and config.use_cls_token else 0),
        "hidden": config.hidden_size,
        "intermediate": config.intermediate_size,
        "heads": config.num_attention_heads,
        "head_size": config.hidden_size // config.num_attention_heads,
        "labels": config.num_labels,
    }


def with_sizes(layout: str, sizes: Mapping[str, int]) -> str:
    """The layout with numbers in place of names.

    Raises
    ------
    InputError
        For a name that is none, or that `sizes` lacks, and for what is no size.
    """
    if not re.search(r"\([^()]*[a-z+*][^()]*\)", layout):
        return layout

    def numbers(arguments: re.Match[str]) -> str:
        return f"({', '.join(_size(text, layout, sizes) for text in arguments[1].split(','))})"

    return ARGUMENTS.sub(numbers, layout)


def _size(text: str, layout: str, sizes: Mapping[str, int]) -> str:
    """One size, as digits."""
    if re.fullmatch(r"\s*(-1|[0-9]*)\s*", text):
        return text.strip()
    total = 0
    for sign, product in re.findall(r"([+-]?)([^+-]*)", text)[:-1]:
        factors = [_factor(factor, layout, sizes) for factor in product.split("*")]
        total += (-1 if sign == "-" else 1) * math.prod(factors)
        if not abs(total) < LARGEST:
            raise InputError(f"{quoted(text.strip())} in the layout {quoted(layout)} is too large for a size")
    return str(total)


def _factor(text: str, layout: str, sizes: Mapping[str, int]) -> int:
    match = TERM.fullmatch(text)
    if match is None or not (match[1].isdigit() or match[1] in NAMED_SIZES):
        raise InputError(
            f"{quoted(text.strip())} in the layout {quoted(layout)} is no size; expected a whole number, or one of "
            f"{', '.join(NAMED_SIZES)}, or such joined by +, - and *"
        )
    if match[1].isdigit():
        return int(match[1])
    if match[1] not in sizes:
        raise InputError(f"our trace does not say what {match[1]} in the layout {quoted(layout)} is; write the number")
    return sizes[match[1]]
