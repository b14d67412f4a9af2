"""The log of a training: one JSON object a line, in a file that only grows."""

import json
import os
from pathlib import Path
from typing import Any

from minivivit.errors import InputError
from minivivit.files.json_file import parse_json_object


class Log:
    """A JSON-lines file that goes on where a checkpoint left it.

    Parameters
    ----------
    path : path-like
    length : int
        How many bytes of the file to keep: what was written after the checkpoint is cut off, for it will be written
        again. 0 for a new training.

    Raises
    ------
    InputError
        When the file is shorter than `length`: it is not the log of that checkpoint.
    """

    def __init__(self, path: str | os.PathLike[str], length: int = 0):
        path = Path(path)
        size = path.stat().st_size if path.exists() else 0
        if size < length:
            raise InputError(
                f"{path} has {size:,} bytes, but the checkpoint was made when it had {length:,}; put back the log that "
                "belongs to it"
            )
        self.path = path
        with open(path, "ab") as file:
            file.truncate(length)

    def write(self, **values: Any) -> None:
        """Append one line."""
        with open(self.path, "ab") as file:
            file.write(json.dumps(values).encode("utf-8") + b"\n")

    def sync(self) -> int:
        """Bring what was written to the disk, and return the length of the file."""
        with open(self.path, "rb+") as file:
            os.fsync(file.fileno())
            return file.seek(0, os.SEEK_END)


def read_log(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The lines of a log. A last line that a kill cut off is left out.

    Raises
    ------
    InputError
        When another line is not a JSON object.
    """
    lines = Path(path).read_bytes().split(b"\n")[:-1]  # what follows the last line feed is not a whole line
    return [parse_json_object(line, f"line {number} of {path}") for number, line in enumerate(lines, start=1)]
