"""A safetensors file that grows tensor by tensor: nothing is kept in memory, and nobody need know what comes next.

The format begins with its header, which says where each tensor lies. So room is left for a header, the numbers follow
it one tensor after the other, and at the end the header is written into its room, with spaces behind it, which the
format allows.
"""

import json
import os
from pathlib import Path

import numpy

from minivivit.errors import InputError
from minivivit.files.atomic import naming_errors
from minivivit.files.safetensors_file import WRITTEN_DTYPES, check_writable
from minivivit.files.tensor_data import quoted

# Bytes in front of the numbers: 8 for the header's length, then the header; enough for a hundred tensors.
ROOM = 1 << 14
EMPTY = '{"__metadata__":{"format":"pt"}'


class SafetensorsStream:
    """A new safetensors file, open for writing.

    Parameters
    ----------
    path : path-like
        Must not exist. Half-written until `close` has returned: write it in a place of your own, and rename it.

    Attributes
    ----------
    path : pathlib.Path
    num_bytes : int
        Of the numbers written so far.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path, self.num_bytes = Path(path), 0
        self._header = EMPTY
        self._file = open(self.path, "xb")  # noqa: SIM115  (closed by `close`)
        self._file.seek(ROOM)

    def add(self, name: str, array: numpy.ndarray) -> bool:
        """Write one tensor behind the others, with the values that it has now.

        Returns
        -------
        written : bool
            False when the header has no room left for another entry: close this file and begin the next.

        Raises
        ------
        InputError
            When it is no NumPy array of float16, float32 or float64, or its name alone would fill the header.
        """
        check_writable({name: array})
        end = self.num_bytes + array.nbytes
        entry = {
            "dtype": WRITTEN_DTYPES[array.dtype.name],
            "shape": array.shape,
            "data_offsets": [self.num_bytes, end],
        }
        header = self._header + "," + json.dumps({name: entry}, separators=(",", ":"))[1:-1]  # ASCII only
        if len(header) + 1 > ROOM - 8:
            if self._header == EMPTY:
                raise InputError(f"the name {quoted(name)} has {len(name):,} letters, too many for a safetensors file")
            return False
        contiguous = numpy.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        with naming_errors(self.path):
            self._file.write(contiguous.reshape(-1).view(numpy.uint8).data)
        self._header, self.num_bytes = header, end
        return True

    def close(self) -> None:
        """Write the header; afterwards the file is whole, and on the disk."""
        with naming_errors(self.path), self._file:
            self._file.seek(0)
            self._file.write((ROOM - 8).to_bytes(8, "little") + (self._header + "}").encode("ascii").ljust(ROOM - 8))
            self._file.flush()
            os.fsync(self._file.fileno())
