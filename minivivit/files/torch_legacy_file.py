"""PyTorch's file format from before version 1.6 (``torch.save(..., _use_new_zipfile_serialization=False)``).

Five pickles one after the other, and then the numbers:

    a magic number, the version of the protocol, what the machine was like
    the state dict; where a tensor's numbers should stand, it names a storage
    the names of the storages, in the order in which they follow
    of each storage, the number of its elements (8 bytes) and the elements

The format of the versions before 0.2, a tar archive, is refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from minivivit.errors import InputError
from minivivit.files import restricted_pickle
from minivivit.files.tensor_data import quoted
from minivivit.files.torch_pickle import (
    ALLOWED,
    MAX_PICKLE_BYTES,
    Storage,
    are_sizes,
    find_state_dict,
    storage_type,
)

MAGIC_NUMBER, PROTOCOL_VERSION = 0x1950A86A20F9469CFC6C, 1001
COUNT_BYTES = 8


class LegacyFile:
    """An open file of this format.

    Attributes
    ----------
    path : Path
    byte_order : "<"
    tensors : dict
        Name -> `minivivit.files.torch_pickle.Tensor`, known to lie inside the file.
    """

    byte_order = "<"

    def __init__(self, path: Path, file: BufferedReader):
        self.path, self.file, self.size = path, file, path.stat().st_size
        self.storages: dict[str, Storage] = {}
        self.item_sizes: dict[str, int] = {}
        self.position = 0
        self.head = file.read(MAX_PICKLE_BYTES)
        if self.next_pickle() != MAGIC_NUMBER or self.next_pickle() != PROTOCOL_VERSION:
            raise InputError(f"{path} is a pickle, but not one that torch.save wrote; copy or download it again")
        self.next_pickle()  # what the machine was like; big-endian ones wrote little-endian numbers too
        self.tensors = find_state_dict(path, self.next_pickle())
        self.offsets = self.find_numbers(self.next_pickle())

    def next_pickle(self) -> Any:
        """What the pickle at the current position holds, after which the next one begins."""
        try:
            value, self.position = restricted_pickle.load_at(self.head, self.position, ALLOWED, self.find_storage)
        except UnpicklingError as error:
            advice = ""
            if len(self.head) == MAX_PICKLE_BYTES:
                advice = f", or has more than {MAX_PICKLE_BYTES:,} bytes: save the model's state_dict() alone"
            raise InputError(f"{self.path}: {error}{advice}") from None
        return value

    def find_storage(self, persistent_id: Any) -> Storage:
        """The storage that ``("storage", torch.FloatStorage, key, device, count, view)`` names."""
        if type(persistent_id) is not tuple or len(persistent_id) != 6 or persistent_id[0] != "storage":
            raise UnpicklingError("its pickle names a storage in an unknown way")
        tag, key, _, count, view = persistent_id[1:]
        if view is not None:
            raise UnpicklingError("its storages are views of others, as in PyTorch before 0.4; save it again there")
        if type(key) is not str or not are_sizes((count,)):
            raise UnpicklingError("its pickle names a storage in an unknown way")
        dtype, self.item_sizes[key] = storage_type(tag)
        storage = Storage(key, dtype, count)
        if self.storages.setdefault(key, storage) != storage:
            raise UnpicklingError(f"its storage {quoted(key)} is said to be two things; the file is damaged")
        return storage

    def find_numbers(self, keys: Any) -> dict[str, int]:
        """Name of each storage -> where in the file its first element is."""
        if type(keys) is not list or not all(type(key) is str for key in keys) or len(set(keys)) < len(keys):
            raise InputError(f"{self.path} has no list of its storages; it is damaged")
        if self.storages.keys() != set(keys):
            odd = quoted(next(iter(self.storages.keys() ^ set(keys))))
            raise InputError(f"{self.path}: its storage {odd} is missing, or nothing's; the file is damaged")
        offsets, position = {}, self.position
        for key in keys:
            self.file.seek(position)
            count = int.from_bytes(self.file.read(COUNT_BYTES), "little")
            promised = self.storages[key].count
            offsets[key] = position + COUNT_BYTES
            position = offsets[key] + promised * self.item_sizes[key]
            if position > self.size or count != promised:
                raise InputError(
                    f"{self.path}: its storage {quoted(key)} has not the {promised:.6g} elements that were promised; "
                    "the file is damaged or cut short"
                )
        if position != self.size:
            raise InputError(f"{self.path} has {self.size - position:,} bytes too many; it is damaged")
        return offsets

    @contextmanager
    def open(self, key: str) -> Iterator[BufferedReader]:
        """The file, at the first element of a storage."""
        self.file.seek(self.offsets[key])
        yield self.file
