"""The log of a training: one JSON object a line, in a file that only grows."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from minivivit.errors import InputError
from minivivit.files.atomic import naming_errors
from minivivit.files.json_file import parse_json_object

BLOCK = 1 << 20  # bytes read at once


class Log:
    """A JSON-lines file that goes on where a checkpoint left it.

    Parameters
    ----------
    path : path-like
    length : int
        How many bytes of the file to keep: what was written after the checkpoint is cut off, for it will be written
        again. 0 for a new training.
    digest : str, optional
        The SHA-256 of these bytes, as `sync` returned it.

    Raises
    ------
    InputError
        When the file does not begin with these bytes: it is not the log of that checkpoint.
    """

    def __init__(self, path: str | os.PathLike[str], length: int = 0, digest: str | None = None):
        self.path = Path(path)
        self._hash = hashlib.sha256()
        self._length = length
        if length:
            self._check(length, digest)
        if (
            self.path.exists()
        ):  # otherwise the first line makes it, so that nothing is there before the first checkpoint
            with naming_errors(self.path), open(self.path, "ab") as file:
                file.truncate(length)

    def _check(self, length: int, digest: str | None) -> None:
        """Read what is to be kept."""
        advice = f"put back the log that belongs to it, or move {self.path.name} away to go on with a new one"
        size = self.path.stat().st_size
        if size < length:
            raise InputError(
                f"{self.path} has {size:,} bytes, but the checkpoint was made when it had {length:,}; {advice}"
            )
        with open(self.path, "rb") as file:
            while length:
                block = file.read(min(length, BLOCK))
                length -= len(block)
                self._hash.update(block)
        if digest not in (None, self._hash.hexdigest()):
            raise InputError(f"{self.path} is not as the training wrote it: it was changed, or is damaged; {advice}")

    def write(self, **values: Any) -> None:
        """Append one line."""
        line = json.dumps(values).encode("utf-8") + b"\n"
        with naming_errors(self.path), open(self.path, "ab") as file:
            file.write(line)
        self._hash.update(line)
        self._length += len(line)

    def sync(self) -> tuple[int, str]:
        """Bring what was written to the disk, and return its length in bytes and its SHA-256."""
        if self._length:
            with naming_errors(self.path), open(self.path, "rb+") as file:
                os.fsync(file.fileno())
        return self._length, self._hash.hexdigest()


def read_log(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The lines of a log. A last line that a kill cut off is left out.

    Raises
    ------
    InputError
        When another line is not a JSON object.
    """
    lines = Path(path).read_bytes().split(b"\n")[:-1]  # what follows the last line feed is not a whole line
    return [parse_json_object(line, f"line {number} of {path}") for number, line in enumerate(lines, start=1)]
