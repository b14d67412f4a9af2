"""The weights in a model directory, whichever of the usual files they are in.

    model.safetensors                                        one file
    model.safetensors.index.json, model-00001-of-0000N...    shards, and an index that maps each name to its shard
    pytorch_model.bin                                        the same, in PyTorch's format
    pytorch_model.bin.index.json, pytorch_model-00001-...

Read: the first of these that is there. Written: the first two. A variant ("fp16", say) stands before the last dot of
each name: model.fp16.safetensors, model.safetensors.index.fp16.json.
"""

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy
from numpy.typing import DTypeLike

from minivivit.errors import InputError
from minivivit.files.atomic import atomic_path, make_directory, naming_errors
from minivivit.files.json_file import read_json, write_json
from minivivit.files.parameter_names import buffers, log_left_out, published_names
from minivivit.files.safetensors_file import (
    check_writable,
    read_safetensors,
    safetensors_index,
    write_safetensors_to,
)
from minivivit.files.tensor_data import check_dtype_argument, check_finite, listed, quoted
from minivivit.files.torch_file import read_torch, torch_index
from minivivit.model_directory import CONFIG, WEIGHT_ENDINGS, check_no_training, check_no_weights_file

SINGLE_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
WEIGHT_FILES = (SINGLE_FILE, INDEX_FILE, "pytorch_model.bin", "pytorch_model.bin.index.json")
SUFFIXES = (*WEIGHT_ENDINGS, ".ckpt")
VARIANT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
# The names of weights that are some variant's: of a file, or of an index as transformers or others name it.
VARIANT_FILE = re.compile(
    rf"(?:model\.(?P<a>{VARIANT.pattern})\.safetensors|pytorch_model\.(?P<b>{VARIANT.pattern})\.bin)(?:\.index\.json)?"
    rf"|(?:model\.safetensors|pytorch_model\.bin)\.index\.(?P<c>{VARIANT.pattern})\.json"
)
SHARD = re.compile(r"-\d{5}-of-\d{5}")
SHARD_NAME = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")


# --------------------------------------------------------------------------------------------------------------------
# One file
# --------------------------------------------------------------------------------------------------------------------


def _is_safetensors(path: Path) -> bool:
    if path.name == CONFIG:
        raise InputError(f"{path} is a model's config; expected the model's directory: give {path.parent}")
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path} is no file of weights by its name; expected {', '.join(SUFFIXES)}")
    return path.suffix == ".safetensors"


def read_tensors(
    path: str | os.PathLike[str], dtype: DTypeLike | None = None, names: Iterable[str] | None = None
) -> dict[str, numpy.ndarray]:
    """Read the tensors of one file, of either format: see `read_safetensors` and `read_torch`.

    NaN and infinities are returned as they are; `read_weights` refuses them.
    """
    path = Path(path)
    return read_safetensors(path, dtype, names) if _is_safetensors(path) else read_torch(path, dtype, names)


def _file_index(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    return safetensors_index(path) if _is_safetensors(path) else torch_index(path)


# --------------------------------------------------------------------------------------------------------------------
# A directory
# --------------------------------------------------------------------------------------------------------------------


def weight_files(directory: Path, variant: str | None = None) -> list[Path]:
    """The file or shards that hold the weights of `directory`; shards are known to agree with their index."""
    if not directory.is_dir():
        check_no_weights_file(directory)
        raise InputError(f"{directory} is not a directory; expected one that holds a model (config.json and weights)")
    candidates = _file_names(variant)
    name = next((name for name in candidates if (directory / name).is_file()), None)
    if name is None:
        check_no_training(directory)
        raise InputError(_no_weights(directory, candidates, variant))
    if ".index." not in name:
        return [directory / name]
    shards = read_shard_index(directory / name)
    missing = [shard for shard in shards if not (directory / shard).is_file()]
    if missing:
        raise InputError(f"{directory / name} names files that are not there: {listed(missing)}; copy or download them")
    for shard, names in shards.items():
        found = _file_index(directory / shard).keys()
        if names - found:
            raise InputError(f"{directory / name} says that {shard} holds {listed(sorted(names - found))}; it does not")
        if found - names:
            raise InputError(f"{directory / shard} holds {listed(sorted(found - names))}; {name} does not say so")
    return [directory / shard for shard in shards]


def _file_names(variant: str | None) -> tuple[str, ...]:
    """The names that weights may have; of a variant, when one is asked for."""
    if variant is None:
        return WEIGHT_FILES
    if not isinstance(variant, str) or not VARIANT.fullmatch(variant):
        raise InputError(f"variant is {quoted(variant)}; expected letters and digits, such as 'fp16'")
    dotted = [".".join((*name.split(".")[:-1], variant, name.rpartition(".")[2])) for name in WEIGHT_FILES]
    return (*dotted, f"model.{variant}.safetensors.index.json", f"pytorch_model.{variant}.bin.index.json")


def _no_weights(directory: Path, names: tuple[str, ...], variant: str | None) -> str:
    """That there are no weights of these names, and which variants there are."""
    files = sorted(path.name for path in directory.iterdir() if path.is_file())
    variants: dict[str, str] = {}
    for name in files:
        match = VARIANT_FILE.fullmatch(name)
        if match and not SHARD.search(name):
            variants.setdefault(next(filter(None, match.groups())), name)
    what = "no weights" if variant is None else f"no weights of the variant {variant!r}"
    if not variants:
        others = [name for name in files if name.endswith(SUFFIXES)]
        advice = f"; it holds {listed(others, 3)}: rename what has the weights" if others else ""
        return f"{directory} holds {what}; looked for {', '.join(names)}{advice}"
    found = listed(f"{own} ({file})" for own, file in variants.items())
    some = next(iter(variants))
    return (
        f"{directory} holds {what}, but these variants: {found}; pass variant={some!r} to from_pretrained, or give the "
        "files their usual names"
    )


def read_shard_index(path: Path) -> dict[str, set[str]]:
    """Shard -> names of its tensors, from an index file. Shards are plain names: nothing outside the directory."""
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError(f"{path} has no 'weight_map'; expected an object: tensor name -> file name")
    suffix = ".bin" if path.name.startswith("pytorch_model.") else ".safetensors"
    shards: dict[str, set[str]] = {}
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}", shard):
            raise InputError(f"{path} maps {quoted(name)} to {quoted(shard)}; expected the name of a file beside it")
        if not shard.endswith(suffix):
            raise InputError(f"{path} maps {quoted(name)} to {quoted(shard)}; expected a {suffix} file")
        shards.setdefault(shard, set()).add(name)
    return shards


def tensor_index(path: str | os.PathLike[str]) -> dict[str, tuple[tuple[int, ...], str]]:
    """What a file of weights, or a model directory, holds: ``{name: (shape, dtype name)}``, without reading numbers.

    Of a directory, as of `read_weights`, the names are the published ones, and buffers are left out.

    Raises
    ------
    InputError
        As `read_tensors` and `read_weights`.
    """
    path = Path(path)
    if not path.is_dir():
        return _file_index(path)
    return {parameter.name: parameter.entry for parameter in _parameters(path)[0]}


class _Parameter(NamedTuple):
    """A tensor of a model directory, its names and its shape and dtype."""

    name: str  # the published one
    stored_name: str
    file: Path
    entry: tuple[tuple[int, ...], str]


def _parameters(directory: Path, variant: str | None = None) -> tuple[list[_Parameter], set[str]]:
    """What a model directory holds, and the names of buffers there, which are left out."""
    found = {
        name: (file, entry) for file in weight_files(directory, variant) for name, entry in _file_index(file).items()
    }
    left_out = buffers({name: dtype for name, (_, (_, dtype)) in found.items()})
    published = published_names((name for name in found if name not in left_out), str(directory))
    return [_Parameter(new, name, *found[name]) for name, new in published.items()], left_out


def read_weights(
    directory: str | os.PathLike[str], dtype: DTypeLike | None = None, variant: str | None = None
) -> dict[str, numpy.ndarray]:
    """Read all weights of a model directory.

    Parameters
    ----------
    directory : path-like
        The first of these is read: ``model.safetensors``, ``model.safetensors.index.json`` and its shards,
        ``pytorch_model.bin``, ``pytorch_model.bin.index.json`` and its shards.
    dtype : {None, "float32", "float64"}
        Of the arrays. None keeps float32 and float64 and widens float16 and bfloat16 to float32.
    variant : str, optional
        Of the files: with "fp16", ``model.fp16.safetensors`` and so on.

    Returns
    -------
    dict
        Published name (`minivivit.files.parameter_names`) -> C-contiguous, writable array. Buffers of integers, which
        are no weights, are left out, and named in a warning that is logged. Memory: the arrays once, and a block of
        4 MiB.

    Raises
    ------
    InputError
        When none of the files is there; an index names shards or tensors that are missing or leaves some out; a tensor
        is not floating-point or holds NaN or infinities (once converted to `dtype`); and as `read_tensors`.
    """
    check_dtype_argument(dtype)
    parameters, left_out = _parameters(Path(directory), variant)
    log_left_out(left_out, str(directory))
    of_file: dict[Path, dict[str, str]] = {}
    for parameter in parameters:
        of_file.setdefault(parameter.file, {})[parameter.stored_name] = parameter.name
    weights: dict[str, numpy.ndarray] = {}
    for path, names in of_file.items():
        for stored_name, array in read_tensors(path, dtype, names).items():
            check_finite(path, stored_name, array)
            weights[names[stored_name]] = array
    return weights


def write_weights(
    directory: str | os.PathLike[str],
    tensors: Mapping[str, numpy.ndarray],
    metadata: Mapping[str, str] | None = None,
    max_shard_bytes: int | None = None,
) -> None:
    """Write the weights of a model directory, in safetensors format, as transformers names and reads them.

    One file ``model.safetensors``; or, when the tensors take more than `max_shard_bytes`, shards in the order of
    `tensors`, each at most that large unless a single tensor is larger, and ``model.safetensors.index.json``.

    Parameters
    ----------
    directory : path-like
        Made if it is not there.
    tensors : mapping
        Flat name -> NumPy array of float16, float32 or float64, of any strides. No copy is made of contiguous ones.
    metadata : mapping of str to str, optional
        For the header, beside ``{"format": "pt"}``.
    max_shard_bytes : int, optional

    Raises
    ------
    InputError
        For a tensor that is no NumPy array of these types, before anything is written.

    Notes
    -----
    All files are written beside their places first and renamed when complete, so that a crash leaves the weights that
    were there, or the new ones; never a part of a file. A crash between the renames of shards, whose names may be those
    of older shards, leaves no index: an error when read, never a mixture. Safetensors files of earlier weights that the
    new ones replace are removed at the end.
    """
    check_writable(tensors)
    if max_shard_bytes is not None and max_shard_bytes < 1:
        raise InputError(f"max_shard_bytes is {quoted(max_shard_bytes)}; expected None or a positive number of bytes")
    directory = Path(directory)
    make_directory(directory)
    shards = _split(tensors, max_shard_bytes)
    with ExitStack() as stack:
        for shard, names in shards.items():
            temporary = stack.enter_context(atomic_path(directory / shard))
            with open(temporary, "wb") as file:
                write_safetensors_to(file, {name: tensors[name] for name in names}, metadata)
        if len(shards) > 1:
            with naming_errors(directory):
                (directory / INDEX_FILE).unlink(missing_ok=True)
    if len(shards) > 1:
        total = sum(array.nbytes for array in tensors.values())
        weight_map = {name: shard for shard, names in shards.items() for name in names}
        write_json(directory / INDEX_FILE, {"metadata": {"total_size": total}, "weight_map": weight_map})
    with naming_errors(directory):
        _remove_replaced(directory, {*shards, INDEX_FILE} if len(shards) > 1 else {*shards})


def _split(tensors: Mapping[str, numpy.ndarray], max_bytes: int | None) -> dict[str, list[str]]:
    """File name -> names of its tensors, filled in order; a new shard begins where the next tensor would not fit."""
    shards: list[list[str]] = [[]]
    size = 0
    for name, array in tensors.items():
        if max_bytes is not None and shards[-1] and size + array.nbytes > max_bytes:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += array.nbytes
    if len(shards) == 1:
        return {SINGLE_FILE: shards[0]}
    return {f"model-{i:05d}-of-{len(shards):05d}.safetensors": names for i, names in enumerate(shards, start=1)}


def _remove_replaced(directory: Path, written: set[str]) -> None:
    """Remove the safetensors weights that were there before. The index goes first: without it, shards mean nothing."""
    for name in (INDEX_FILE, SINGLE_FILE):
        if name not in written:
            (directory / name).unlink(missing_ok=True)
    for path in directory.iterdir():
        if SHARD_NAME.fullmatch(path.name) and path.name not in written:
            path.unlink()
