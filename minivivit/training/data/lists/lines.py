"""The lines of a list, taken from its file one after the other, each no longer than a line of a list can be."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minivivit.errors import InputError
from minivivit.files.json_file import parse_json
from minivivit.files.tensor_data import check_is_file
from minivivit.training.data.lists.clip_list import wrong_line

LONGEST_LINE = 1 << 16  # bytes; a path has at most 4096
LARGEST_LIST = 1 << 30
OTHER_BYTE = re.compile("[\udc80-\udcff]")  # what "surrogateescape" makes of bytes that are not UTF-8


def check_list_file(path: Path, what: str = "a list of clips") -> None:
    """Refuse what cannot be a list, or `what`: nothing there, no file, nothing in it, or more than any data set has.

    Raises
    ------
    InputError
    """
    check_is_file(path, what)
    size = path.stat().st_size
    if size == 0:
        raise InputError(f"{path} is empty; expected {what}")
    if size > LARGEST_LIST:
        raise InputError(f"{path} has {size:,} bytes; {what} of at most {LARGEST_LIST:,} was expected")


def list_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each line that is not blank, without its end (LF, CR LF or CR) and a byte-order mark.

    The text is UTF-8; bytes that are not stand for themselves, as in names of files (`is_utf8`).

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


def is_utf8(text: str) -> bool:
    """Whether text from `list_lines` was UTF-8 in the file."""
    return text.isascii() or OTHER_BYTE.search(text) is None


def list_json(path: Path) -> Any:
    """The JSON value in a file, with or without a byte-order mark.

    Raises
    ------
    InputError
        As `parse_json`.
    """
    content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise not_utf8(path, content[: error.start].count(b"\n") + 1) from None
    return parse_json(content, str(path))


def not_utf8(path: Path, number: int) -> InputError:
    """The error of a line in another encoding, as spreadsheets write them."""
    return wrong_line(path, number, "is not in UTF-8; save the file as text in UTF-8")
