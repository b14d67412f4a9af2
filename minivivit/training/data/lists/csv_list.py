"""Lists with a header: CSV with a column for the path and one or more for labels, and maybe a part of the file.

::

    path,label,start,end
    cooking/a.mp4,stir,12.5,14
    cooking/b.mp4,pour,,

``video_path``, ``file_name``, ``filename`` and ``video`` are names for the path, too (the first is that of DMVR, from
which scenic's data sets are made), ``class`` for the label; columns ``label_NAME`` are labels of several heads, in
their order. ``start`` and ``end`` (``stop``) are seconds, or times as 00:01:12.5; ``start_frame`` and ``end_frame``
(``stop_frame``) count frames from 0, the end being the first that no longer belongs to it. Commas, semicolons or tabs
separate. Other columns are passed over.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from minivivit.errors import InputError
from minivivit.files.tensor_data import listed, quoted, reason_of
from minivivit.training.data.lists.clip_list import (
    ClipList,
    ListedClip,
    checked_part,
    clip_at,
    frame_number,
    wrong_line,
)
from minivivit.training.data.lists.lines import list_lines

PATHS = ("path", "video_path", "file_name", "filename", "video")
LABELS = ("label", "class")
STARTS, STOPS = ("start", "start_time", "start_seconds"), ("end", "stop", "end_time", "end_seconds")
START_FRAMES, STOP_FRAMES = ("start_frame",), ("end_frame", "stop_frame")
SEPARATORS = (",", ";", "\t")


def header_of(line: str) -> tuple[list[str], str]:
    """The names of the columns in a header, in lower case, and what separates them; no names where it is none."""
    for separator in SEPARATORS:
        names = [name.strip().strip('"').lower() for name in line.split(separator)]
        if len(names) > 1 and any(name in (*PATHS, *LABELS, "video_id") for name in names):
            return names, separator
    return [], ","


def rows_of(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Number of the line and cells by column of each row below the header.

    Raises
    ------
    InputError
        When a column occurs twice, the header is repeated, a row has another number of cells, or quotes do not match.
    """
    lines = list_lines(path)
    number, header = next(lines)
    names, separator = header_of(header)
    numbers = [number]
    _check_columns(names, path, number)

    def texts() -> Iterator[str]:
        for number, line in lines:
            numbers[0] = number
            yield line

    rows = csv.reader(texts(), delimiter=separator, strict=True)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise wrong_line(path, numbers[0], f"is no CSV ({reason_of(error)})") from None
        cells = [cell.strip() for cell in row]
        if [cell.lower() for cell in cells] == names:
            raise wrong_line(path, numbers[0], "repeats the header; were two lists joined?")
        if len(cells) != len(names):
            columns = "1 column" if len(cells) == 1 else f"{len(cells)} columns"
            raise wrong_line(path, numbers[0], f"has {columns}, but the header has {len(names)}")
        yield numbers[0], dict(zip(names, cells, strict=True))


def read_csv(path: Path, root: Path) -> ClipList:
    """The list in a CSV file with a header.

    Raises
    ------
    InputError
        As `rows_of`; when a column is missing, or a cell is empty or cannot be meant.
    """
    number, header = next(list_lines(path))
    names, _ = header_of(header)
    _check_columns(names, path, number)
    place = _one_of(PATHS, names, path, "the path")
    heads = [name for name in names if name.startswith(("label_", "class_"))]
    if not heads:
        label = _one_of(LABELS, names, path, "the label")
        if label is None:
            raise InputError(
                f"{path} has no column label: it has {listed(names)}; expected path, label and maybe start, end"
            )
        heads = [label]
    start = _one_of(STARTS, names, path, "the start"), _one_of(START_FRAMES, names, path, "the start")
    stop = _one_of(STOPS, names, path, "the end"), _one_of(STOP_FRAMES, names, path, "the end")
    in_seconds = start[0] is not None or stop[0] is not None
    if in_seconds and (start[1] is not None or stop[1] is not None):
        raise InputError(f"{path} has parts in seconds and in frames, {listed(names)}; expected one of the two")
    if place is None:
        raise InputError(f"{path} has no column path: it has {listed(names)}; expected one of {', '.join(PATHS)}")
    read_time = _seconds if in_seconds else frame_number
    clips = []
    for number, row in rows_of(path):
        for column in (place, *heads):
            if not row[column]:
                raise wrong_line(path, number, f"{column} is empty")
        first, last = (
            read_time(row[column], column, path, number) if column is not None and row[column] else None
            for column in (start[0] or start[1], stop[0] or stop[1])
        )
        checked_part(first, last, path, number)
        name, clip = clip_at(root, row[place], first or 0, last, in_seconds)
        clips.append(ListedClip(name, clip, tuple(row[head] for head in heads), number))
    return ClipList(path, tuple(head.removeprefix("label_").removeprefix("class_") for head in heads), clips)


def _check_columns(names: list[str], path: Path, number: int) -> None:
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise wrong_line(path, number, f"the column {listed(twice)} occurs twice in the header")


def _one_of(choices: tuple[str, ...], names: list[str], path: Path, what: str) -> str | None:
    """The one of `choices` that is a column, if one is."""
    found = [name for name in names if name in choices]
    if len(found) > 1:
        raise InputError(f"{path} has several columns for {what}: {listed(found)}; leave one")
    return found[0] if found else None


def _seconds(text: str, column: str, source: Path, number: int) -> float:
    """Seconds, or hours, minutes and seconds with colons."""
    if not re.fullmatch(r"(([0-9]{1,4}:)?[0-9]{1,6}:)?[0-9]{1,9}(\.[0-9]{0,12})?", text):
        raise wrong_line(
            source, number, f"{column} is {quoted(text)}; expected seconds such as 12.5, or a time such as 00:01:12.5"
        )
    total = 0.0
    for part in text.split(":"):
        total = 60 * total + float(part)
    return total
