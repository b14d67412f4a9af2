"""The lines of a list, taken from its file one after the other, each no longer than a line of a list can be."""

from collections.abc import Iterator
from pathlib import Path

from minivivit.errors import InputError
from minivivit.files.tensor_data import check_is_file
from minivivit.training.data.lists.clip_list import wrong_line

LONGEST_LINE = 1 << 16  # bytes; a path has at most 4096
LARGEST_LIST = 1 << 30


def check_list_file(path: Path) -> None:
    """Refuse what cannot be a list: nothing there, no file, nothing in it, or more than any data set has.

    Raises
    ------
    InputError
    """
    check_is_file(path, "a list of clips")
    size = path.stat().st_size
    if size == 0:
        raise InputError(f"{path} is empty; expected a list of clips")
    if size > LARGEST_LIST:
        raise InputError(f"{path} has {size:,} bytes; a list of clips of at most {LARGEST_LIST:,} was expected")


def list_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each line that is not blank, without its end (LF, CR LF or CR) and a byte-order mark.

    The text is UTF-8; bytes that are not stand for themselves, as in names of files.

    Raises
    ------
    InputError
        For a line of more than 64 KiB, and for a NUL, of which text in UTF-16 is full.
    """
    number = 0
    with open(path, "rb") as file:
        while block := file.readline(LONGEST_LINE + 1):
            if len(block) > LONGEST_LINE:
                raise wrong_line(path, number + 1, f"has more than {LONGEST_LINE:,} bytes; is it a list of clips?")
            if b"\0" in block:
                raise wrong_line(path, number + 1, "holds a NUL byte; save the list as text in UTF-8")
            text = block.decode("utf-8", "surrogateescape")
            if number == 0:
                text = text.removeprefix("\ufeff")
            for line in text.removesuffix("\n").removesuffix("\r").split("\r"):
                number += 1
                if line.strip():
                    yield number, line
