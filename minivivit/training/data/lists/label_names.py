"""Files that name the classes, as `--labels`: JSON or text.

JSON: a list of names in the order of the classes; an object of names and numbers, as Something-Something's
``{"Approaching something with your camera": "0", ...}``, or of numbers and names; or an object of such, one a head:
``{"noun": [...], "verb": [...]}``. Text: a name each line in the order of the classes, as mmaction2's
``label_map_k400.txt``; name and number with a comma between, as Moments in Time's ``moments_categories.txt``; or Epic
Kitchens' own CSV of classes (``id``, ``key``).
"""

import csv
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minivivit.errors import InputError
from minivivit.files.tensor_data import quoted
from minivivit.training.data.lists.lines import check_list_file, is_utf8, list_json, list_lines, not_utf8

MOST_CLASSES = 100_000
LARGEST_FILE = 1 << 26


def read_label_names(path: Path, heads: tuple[str, ...]) -> list[list[str]]:
    """The names of the classes in their order, a list a head.

    Parameters
    ----------
    path : Path
    heads : tuple of str
        Those of the list of clips.

    Raises
    ------
    InputError
        When the file is of none of these kinds, or not in UTF-8, a number is missing or occurs twice, or it is for
        other heads.
    """
    check_list_file(path, "a file with the names of the classes")
    if path.stat().st_size > LARGEST_FILE:
        raise InputError(
            f"{path} has {path.stat().st_size:,} bytes; names of classes of at most {LARGEST_FILE:,} expected"
        )
    with open(path, "rb") as file:
        head = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    names = _from_json(path, heads) if head in (b"{", b"[") else [_from_text(path)]
    if len(names) != len(heads):
        raise InputError(
            f"{path} names the classes of one head, but the clips have labels of {len(heads)}; expected a JSON object "
            f"with {', '.join(heads)}"
        )
    for of_head in names:
        if not of_head or len(of_head) > MOST_CLASSES:
            raise InputError(f"{path} names {len(of_head):,} classes; expected 1 to {MOST_CLASSES:,}")
        name, times = Counter(of_head).most_common(1)[0]
        if times > 1:
            raise InputError(f"{path} names the class {quoted(name)} {times} times; each has a name of its own")
    return names


def _from_json(path: Path, heads: tuple[str, ...]) -> list[list[str]]:
    value = list_json(path)
    if isinstance(value, dict) and all(isinstance(entry, list | dict) for entry in value.values()):
        if sorted(value) != sorted(heads):
            raise InputError(f"{path} names classes of {quoted(sorted(value))}; expected {', '.join(heads)}")
        return [_in_order(value[head], path) for head in heads]
    return [_in_order(value, path)]


def _in_order(value: Any, path: Path) -> list[str]:
    """The names in a JSON list, or in an object of names and numbers."""
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return value
    if isinstance(value, dict) and all(_is_number(number) for number in value.values()):
        return _by_number({name.strip('"'): number for name, number in value.items()}, path)
    if isinstance(value, dict) and all(isinstance(name, str) for name in value.values()):
        return _by_number({name: number for number, name in value.items()}, path, len(value))
    raise InputError(f"{path} holds {quoted(value)}; expected a list of names, or an object of names and numbers")


def _from_text(path: Path) -> list[str]:
    lines = []
    for number, line in list_lines(path):
        if not is_utf8(line):
            raise not_utf8(path, number)
        lines.append(line.strip())
    if lines and re.match("id,key(,|$)", lines[0]):
        rows = list(csv.reader(lines[1:]))
        if any(len(row) < 2 for row in rows):
            raise InputError(f"{path} has a line without id and key; expected Epic Kitchens' list of classes")
        return _by_number({row[1]: row[0] for row in rows}, path, len(rows))
    pairs = [re.fullmatch(r"(.*\S)\s*,\s*([0-9]{1,6})", line) for line in lines]
    if all(pairs):
        return _by_number({pair[1]: pair[2] for pair in pairs if pair}, path, len(pairs))
    return lines


def _by_number(numbers: Mapping[str, Any], path: Path, count: int | None = None) -> list[str]:
    """Names in the order of their numbers, which must be 0, 1, 2 and so on."""
    count = len(numbers) if count is None else count
    names: dict[int, str] = {}
    for name, number in numbers.items():
        if not _is_number(number):
            raise InputError(
                f"{path} gives the class {quoted(name)} the number {quoted(number)}; expected 0, 1, 2, ..."
            )
        names[int(number)] = name
    missing = next((index for index in range(count) if index not in names), None)
    if missing is not None:
        if count == 1:
            raise InputError(f"{path} names 1 class, but its number is not 0; expected 0")
        raise InputError(f"{path} names {count} classes, but none has the number {missing}; expected 0 to {count - 1}")
    return [names[index] for index in range(count)]


def _is_number(value: Any) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool) and value >= 0) or (
        isinstance(value, str) and re.fullmatch("[0-9]{1,6}", value) is not None
    )
