"""What the axes of a tensor of ours count: clips, times, tokens, heads, features."""

import math
from dataclasses import dataclass

import numpy

from minivivit.config import VivitConfig
from minivivit.verification.comparison.evidence.evidence import PARAMETERS

PLURALS = {"query": "queries", "class": "classes", "kernel entry": "kernel entries"}


@dataclass(frozen=True)
class Axis:
    """One thing that is counted.

    Attributes
    ----------
    name : str
        In the singular, such as ``"token"``.
    size : int
    has_cls : bool
        Whether the first of them is the CLS token.
    """

    name: str
    size: int
    has_cls: bool = False

    def words(self, indices: list[int]) -> str:
        """Such as ``"token 64 (the last)"``, ``"heads 0 and 1"``, ``"features 12 to 23"`` or ``"the even frames"``."""
        noun, of, whole = self.name.partition(" of ")
        plural, tail = PLURALS.get(self.name, f"{noun}s"), f"{of}{whole}"
        if self.size > 3 and len(indices) > 1:
            for start, word in ((0, "even"), (1, "odd")):
                if indices == list(range(start, self.size, 2)):
                    return f"the {word} {plural}{tail}"
        if len(indices) > 1:
            return f"{plural} {listed_ranges(ranges(indices))}{tail}"
        which = "the CLS token" if self.has_cls and indices == [0] else "the first" if indices == [0] else ""
        which = "the last" if indices == [self.size - 1] else which
        return f"{noun} {indices[0]}{tail}" + (f" ({which})" if which and self.size > 2 else "")


def ranges(indices: list[int]) -> list[tuple[int, int]]:
    """Runs of consecutive numbers, (first, last) each."""
    found: list[tuple[int, int]] = []
    for index in indices:
        if found and found[-1][1] == index - 1:
            found[-1] = (found[-1][0], index)
        else:
            found.append((index, index))
    return found


def listed_ranges(found: list[tuple[int, int]], most: int = 6) -> str:
    """Such as ``"0, 4 and 12 to 23"``."""
    parts = []
    for first, last in found:
        parts += [f"{first} to {last}"] if last > first + 1 else [str(index) for index in range(first, last + 1)]
    if len(parts) > most:
        return f"{', '.join(parts[:most])} and more"
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def attention_axes(config: VivitConfig) -> tuple[str, str]:
    """The axes that a layer of Model 3 attends over, in their order."""
    return ("temporal", "spatial") if config.attention_order == "time_space" else ("spatial", "temporal")


def axes_of(name: str, shape: tuple[int, ...], config: VivitConfig | None, clips: int | None) -> list[Axis]:
    """The axes of a tensor; an axis that counts two things gives two, so that their sizes make up the shape.

    Parameters
    ----------
    name : str
        Of ours.
    shape : tuple of int
    config : VivitConfig or None
        Without it, times, places, heads and classes are not told apart.
    clips : int or None
        Clips in the batch, where that is known.
    """
    last = name.rpartition(".")[2]
    if last in PARAMETERS:
        return _of_parameter(last, shape)
    if len(shape) == 5:
        return list(map(Axis, ("clip", "frame", "channel", "pixel row", "pixel column"), shape))
    if not shape:
        return []
    first = _leading(name, shape, config, clips)
    if len(shape) == 4:
        return [*first, *map(Axis, ("head", "query", "key"), shape[1:])]
    tokens = [_tokens(name, shape[1], config)] if len(shape) == 3 else []
    features = [Axis("class" if name.endswith("classifier") else "feature", shape[-1])] if len(shape) > 1 else []
    return [*first, *tokens, *features] if len(shape) <= 3 else [Axis(f"axis {i}", n) for i, n in enumerate(shape)]


def _of_parameter(last: str, shape: tuple[int, ...]) -> list[Axis]:
    if last in ("cls_token", "position_embeddings") and len(shape) == 3:
        return [Axis("clip", shape[0]), Axis("token", shape[1], last != "cls_token"), Axis("feature", shape[2])]
    if len(shape) == 1:
        return [Axis("entry", shape[0])]
    if len(shape) == 2:
        return [Axis("row", shape[0]), Axis("column", shape[1])]
    return [Axis("row", shape[0]), Axis("kernel entry", math.prod(shape[1:]))]


def _leading(name: str, shape: tuple[int, ...], config: VivitConfig | None, clips: int | None) -> list[Axis]:
    """The first axis: clips, and times or places where they are folded into it."""
    size = shape[0]
    if clips is None or config is None or not clips or size == clips or size % clips:
        return [Axis("clip", size)]
    times, rows, columns = config.grid_size
    inner = size // clips
    if inner == times and (inner != rows * columns or "spatial" in name):
        return [Axis("clip", clips), Axis("time", inner)]
    return [Axis("clip", clips), Axis("place" if inner == rows * columns else "entry", inner)]


def _tokens(name: str, size: int, config: VivitConfig | None) -> Axis:
    if config is None:
        return Axis("token", size)
    times, rows, columns = config.grid_size
    if "temporal" in name and size == times:
        return Axis("time", size)
    return Axis("token", size, size in (times * rows * columns + 1, rows * columns + 1, times + 1))


def split_heads(axes: list[Axis], heads: int) -> list[Axis]:
    """Features as heads and features of a head."""
    size = axes[-1].size
    if axes[-1].name != "feature" or heads < 2 or size % heads:
        return axes
    return [*axes[:-1], Axis("head", heads), Axis("feature of each head", size // heads)]


def split_grid(axes: list[Axis], config: VivitConfig) -> tuple[list[Axis], int] | None:
    """Tokens as times, rows and columns of the grid, and where that axis stood; None where they are none.

    The CLS token has to be cut off first where there is one.
    """
    grid = [int(size) for size in config.grid_size]
    for place, axis in enumerate(axes):
        number = axis.size - axis.has_cls
        if axis.name == "token" and number == math.prod(grid):
            parts = list(zip(("time", "row of the grid", "column of the grid"), grid, strict=True))
        elif axis.name in ("token", "place") and number == grid[1] * grid[2]:
            parts = list(zip(("row of the grid", "column of the grid"), grid[1:], strict=True))
        elif axis.name == "token" and number == grid[0]:
            parts = [("time", grid[0])]
        else:
            continue
        return [*axes[:place], *(Axis(name, size) for name, size in parts), *axes[place + 1 :]], place
    return None


def shaped(tensor: numpy.ndarray, axes: list[Axis]) -> numpy.ndarray:
    """A tensor with one axis for each thing that is counted."""
    return tensor.reshape([axis.size for axis in axes])
