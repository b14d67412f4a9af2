"""What every format of a list is read into: clips, and their labels as they are written."""

from dataclasses import dataclass
from pathlib import Path

from minivivit.errors import InputError
from minivivit.files.tensor_data import quoted
from minivivit.training.data.segments import Segment


@dataclass(frozen=True, slots=True)
class ListedClip:
    """One clip of a list.

    Attributes
    ----------
    name : str
        As the list has it, with the part of the file that it is: what messages and predictions call it.
    clip : Segment
    labels : tuple of str
        One a head, as they are written: names of classes, or their numbers.
    line : int
        Where in the list it stands, from 1.
    """

    name: str
    clip: Segment
    labels: tuple[str, ...]
    line: int


@dataclass(frozen=True)
class ClipList:
    """A list that has been read.

    Attributes
    ----------
    source : Path
    heads : tuple of str
        What the labels are of: ``("label",)``, or as ``("noun", "verb")``.
    clips : list of ListedClip
    known_sizes : tuple of tuples of int
        Numbers of classes, a head each, that the data set is known to have: the first that hold all labels count.
    """

    source: Path
    heads: tuple[str, ...]
    clips: list[ListedClip]
    known_sizes: tuple[tuple[int, ...], ...] = ()


def wrong_line(source: Path, number: int, message: str) -> InputError:
    """The error of a line of a list."""
    return InputError(f"{source}, line {number}: {message}")


def clip_at(
    root: Path, place: str, start: float = 0, stop: float | None = None, in_seconds: bool = False
) -> tuple[str, Segment]:
    """Name and segment of a clip that a list names. A relative path is one in `root`; an absolute one stays."""
    segment = Segment(root / place, start, stop, in_seconds)
    return place + str(segment).removeprefix(str(segment.path)), segment


def checked_part(start: float | None, stop: float | None, source: Path, number: int) -> None:
    """Refuse a part that ends before it begins."""
    if stop is not None and stop <= (start or 0):
        raise wrong_line(source, number, f"the part ends at {stop:g} and begins at {start or 0:g}; the end comes later")


def frame_number(text: str, column: str, source: Path, number: int) -> int:
    """A whole number of frames of at least 0."""
    digits = text.removesuffix(".0")  # as pandas writes a column in which a number is missing
    if not digits.isascii() or not digits.isdigit() or len(digits) > 12:
        raise wrong_line(source, number, f"{column} is {quoted(text)}; expected a whole number of at least 0")
    return int(digits)
