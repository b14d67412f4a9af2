"""A trace on the disk: a store for `Trace` that writes each tensor as it is recorded, and keeps none.

    DIR/pixel_values.safetensors                 the input, and the embeddings
    DIR/vivit.encoder.layer.0.safetensors        a file a layer
    DIR/vivit.layernorm.safetensors              what comes after the layers
    DIR/gradient.classifier.safetensors          the backward pass, likewise, if it was asked for
    DIR/config.json, DIR/model.safetensors       the model, where its weights were perturbed
    DIR/trace.safetensors.index.json             what was recorded, in that order, and in which file it is

The index is laid out as transformers lays out that of sharded checkpoints.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from minivivit.backend import Array, to_numpy
from minivivit.errors import InputError
from minivivit.files.atomic import atomic_directory, make_hidden, naming_errors, take_after, write_text
from minivivit.files.json_file import read_json
from minivivit.files.safetensors_stream import SafetensorsStream
from minivivit.files.tensor_data import listed, quoted
from minivivit.files.weights import read_shard_index
from minivivit.verification.tensors.source import TRACE_INDEX
from minivivit.video.clip_processor import SETTINGS_FILES

FORMAT = "minivivit-trace/1"
INPUT = "pixel_values"
# The names of one layer: all that begin with this. Names between layers share a file that is called as the first.
LAYER = re.compile(r"(.*?\blayer\.\d+)(?:\..*)?")
# What Windows takes for devices, whatever follows behind a dot.
RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(10))}
# What a trace of perturbed weights holds besides: the model that they are of, for a port to load.
MODEL_FILES = ("config.json", "model.safetensors", *SETTINGS_FILES)
# Quadratic in the number of tokens: 0.9 GB each in every layer of ViViT-B/16x2 in float64.
LARGE = (".scores", ".probs")


class TraceWriter(dict):
    """A store for `minivivit.layers.trace.Trace` that writes what it is given into files, one a layer.

    Each tensor goes to its file at once, so that the values are those at the time of recording whatever becomes of the
    array, and no more than one tensor is copied at a time. As a dict it stays empty.

    Parameters
    ----------
    directory : path
        An empty directory.
    only : str or list of str, optional
        Shell patterns (``*``, ``?``, ``[...]``) of names; the full name must match one of them. Left out, everything is
        recorded but attention scores and probabilities. The input, ``pixel_values``, is recorded in any case.
    on_record : callable, optional
        Called with each name that comes by, recorded or not: a progress bar listens here.

    Attributes
    ----------
    names : list of str
        That came by, written or not.
    weight_map : dict of str to str
        Name -> its file's, in the order of recording.
    total_size : int
        Bytes of the tensors.
    """

    def __init__(
        self,
        directory: Path,
        only: str | Sequence[str] | None = None,
        on_record: Callable[[str], Any] | None = None,
    ):
        super().__init__()
        self.directory, self.on_record = directory, on_record
        self.only = None if only is None else [only] if isinstance(only, str) else list(only)
        self.names: list[str] = []
        self.weight_map: dict[str, str] = {}
        self.total_size = 0
        self._stream: SafetensorsStream | None = None
        self._part: str | bool = ""  # what the open file holds: a layer, or what is outside of layers, by its pass
        self._seen: set[str] = set()  # patterns that matched a name

    def wants(self, name: str) -> bool:
        """Whether a tensor of this name will be written."""
        if self.only is None:
            return not name.endswith(LARGE)
        matching = [pattern for pattern in self.only if fnmatchcase(name, pattern)]
        self._seen.update(matching)
        return bool(matching) or name == INPUT

    def __setitem__(self, name: str, array: Array) -> None:
        self.names.append(name)
        if self.on_record is not None:
            self.on_record(name)
        if not self.wants(name):
            return
        if name in self.weight_map:
            raise InputError(f"{quoted(name)} was recorded twice; a trace holds the names of one pass")
        array = to_numpy(array)
        match = LAYER.fullmatch(name)
        layer = match[1] if match else ""
        part = layer or name.startswith("gradient.")
        if self._stream is None or part != self._part:
            self._begin(layer or name)
            self._part = part
        assert self._stream is not None
        if not self._stream.add(name, array):
            self._begin(layer or name)
            self._stream.add(name, array)
        self.weight_map[name] = self._stream.path.name
        self.total_size += array.nbytes

    def _begin(self, name: str) -> None:
        """Close the open file, and open one called as `name`; where that is taken, with a number."""
        self.close()
        base = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:100].lstrip(".-") or "tensors"
        if base.partition(".")[0].upper() in RESERVED:
            base = f"_{base}"
        taken, number = {file.lower() for file in self.weight_map.values()}, 1
        file = f"{base}.safetensors"
        while file.lower() in taken:  # Windows and macOS tell no A from an a
            number += 1
            file = f"{base}-{number}.safetensors"
        self._stream = SafetensorsStream(self.directory / file)

    def close(self) -> None:
        """Complete the open file."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def unwritten(self) -> list[str]:
        """The names that came by and were not written."""
        return [name for name in self.names if name not in self.weight_map]

    def unmatched(self) -> list[str]:
        """The patterns of `only` that no name has matched."""
        return [pattern for pattern in self.only or [] if pattern not in self._seen]

    def write_index(self, metadata: Mapping[str, Any]) -> None:
        """Complete the open file, and write the index: `metadata`, and the names in the order of recording."""
        self.close()
        index = {"metadata": metadata, "weight_map": self.weight_map}
        write_text(self.directory / TRACE_INDEX, json.dumps(index, indent=1) + "\n")


@contextmanager
def new_trace_directory(directory: str | os.PathLike[str]) -> Iterator[Path]:
    """Give an empty directory beside `directory`; on success, put it in the place of `directory`.

    So there is never a half-written trace. When the body raises, what it wrote is removed, and what was there before
    stays. (Killed, it may leave a hidden directory ``.NAME.*.part``, which may be deleted; killed
    between the two renames at the very end, the trace that was there is in ``.NAME.*.old``.)

    Parameters
    ----------
    directory : path-like
        Where the trace shall stand. Parents are made.

    Yields
    ------
    pathlib.Path

    Raises
    ------
    InputError
        When there is something other than a trace or an empty directory in its place, or none can be made there.
    """
    directory = Path(os.path.realpath(directory))
    check_replaceable(directory)
    if not directory.exists() or not any(directory.iterdir()):
        with atomic_directory(directory) as temporary:
            yield temporary
        return
    if directory == Path.cwd():
        raise InputError(f"{directory} is the current directory and holds a trace; name another one, or empty it first")
    temporary = make_hidden(directory)
    try:
        with naming_errors(directory, temporary):
            yield temporary
            check_replaceable(directory)  # while we computed, it may have become something else
            _replace(directory, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace(directory: Path, new: Path) -> None:
    """Put `new` in the place of `directory`, which is removed; where that fails, it stays."""
    old = new.with_suffix(".old")
    take_after(new, os.stat(directory))
    directory.rename(old)
    try:
        new.rename(directory)
    except BaseException:
        old.rename(directory)
        raise
    shutil.rmtree(old, ignore_errors=True)


def check_replaceable(directory: Path) -> None:
    """Refuse to write a trace over what is neither a trace nor an empty directory.

    Raises
    ------
    InputError
        When there is a file, a directory without a trace's index, or one with files that the index does not name.
    """
    if not directory.exists():
        return
    if not directory.is_dir():
        raise InputError(f"{directory} is a file; expected a directory to write the trace into")
    found = list(directory.iterdir())
    if not found:
        return
    advice = "choose another directory, or delete this one yourself"
    index = directory / TRACE_INDEX
    metadata = read_json(index).get("metadata") if index.is_file() else None
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise InputError(f"{directory} exists and is no trace; {advice}")
    known = {TRACE_INDEX, *read_shard_index(index)}
    if isinstance(metadata.get("perturbed"), dict):
        known.update(MODEL_FILES)
    strange = sorted(path.name for path in found if path.name not in known or not path.is_file())
    if strange:
        raise InputError(f"{directory} holds a trace, and besides {listed(strange)}; {advice}")
