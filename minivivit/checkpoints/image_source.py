"""Pretrained models to start from, in whatever they are kept, under scenic's names."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy

from minivivit.checkpoints.big_vision import scenic_pieces, stored_names, weights_inside
from minivivit.checkpoints.mismatch import mismatch
from minivivit.checkpoints.names import scenic_parameters
from minivivit.checkpoints.scenic import read_scenic, scenic_leaves, to_scenic, weights_of_train_state
from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.files.json_file import read_json
from minivivit.files.npz_file import npz_index, read_npz
from minivivit.files.tensor_data import quoted
from minivivit.files.weights import read_weights, tensor_index
from minivivit.model_directory import check_no_training
from minivivit.models.classification import VivitForVideoClassification
from minivivit.models.parameters import classification_shapes, flatten

# Their modules are numbered among all of a block, scenic's among those of a class: the n-th of a class gets number n.
NUMBERED_MODULE = re.compile(r"(.*/)?([A-Za-z]+)_(\d+)")


class ImageSource(NamedTuple):
    """A pretrained model whose numbers have not been read yet.

    Attributes
    ----------
    name : str
        For errors.
    shapes : dict
        Scenic's name of each parameter -> its shape in scenic's layout.
    read : callable
        ``read(names) -> {name: array}`` in scenic's layout.
    grid : (rows, columns) or None
        Of the position embeddings; None where they are taken to be square.
    """

    name: str
    shapes: dict[str, tuple[int, ...]]
    read: Callable[[Iterable[str]], dict[str, numpy.ndarray]]
    grid: tuple[int, int] | None = None


def open_image_source(source: Any) -> ImageSource:
    """Find out what `source` is and what it holds.

    Parameters
    ----------
    source : path-like or mapping
        A directory of Hugging Face's with a ViT, or with a ViViT; an ``.npz`` file with the names of
        google-research/vision_transformer or big_vision; a scenic train state file; or a tree of arrays with scenic's
        or big_vision's names.

    Raises
    ------
    InputError
        For anything else, and for files that are damaged.
    """
    if isinstance(source, Mapping):
        return _from_tree("the tree", weights_of_train_state(source))
    path = Path(source)
    if path.is_dir():
        return _from_directory(path)
    if path.suffix == ".npz":
        return _from_npz(path)
    return _from_tree(str(path), read_scenic(path))


def _from_tree(name: str, tree: Mapping[str, Any]) -> ImageSource:
    leaves = {key: numpy.asarray(leaf) for key, leaf in scenic_leaves(tree)}
    inside = weights_inside({key: leaf.dtype.name for key, leaf in leaves.items()}, name)
    pieces = scenic_pieces({key: (stored, leaves[stored].shape) for key, stored in inside.items()}, name)

    def read(names: Iterable[str]) -> dict[str, numpy.ndarray]:
        return {key: pieces[key].cut(leaves[pieces[key].stored_name]) for key in names}

    return ImageSource(name, {key: piece.shape for key, piece in pieces.items()}, read)


# --------------------------------------------------------------------------------------------------------------------
# .npz files of google-research/vision_transformer and big_vision
# --------------------------------------------------------------------------------------------------------------------


def _from_npz(path: Path) -> ImageSource:
    index = npz_index(path)
    inside = weights_inside({name: dtype for name, (_, dtype) in index.items()}, str(path))
    scenic_names = renumber_modules(inside)
    stored = {scenic_names[name]: (stored_name, index[stored_name][0]) for name, stored_name in inside.items()}
    pieces = scenic_pieces(stored, str(path))

    def read(names: Iterable[str]) -> dict[str, numpy.ndarray]:
        wanted = {name: pieces[name] for name in names}
        arrays = read_npz(path, names=stored_names(wanted.values()))
        return {name: piece.cut(arrays[piece.stored_name]) for name, piece in wanted.items()}

    return ImageSource(str(path), {name: piece.shape for name, piece in pieces.items()}, read)


def renumber_modules(names: Iterable[str]) -> dict[str, str]:
    """Scenic's names for those of an .npz file.

    Before flax's linen, the modules of a block were numbered together: LayerNorm_0, MultiHeadDotProductAttention_1,
    LayerNorm_2, MlpBlock_3. Scenic, like linen, numbers those of each class from 0. The head is its output_projection.
    """
    names = list(names)
    paths = {"/".join(parts[:depth]) for parts in (n.split("/") for n in names) for depth in range(1, len(parts))}
    numbers: dict[tuple[str, str], list[int]] = {}
    for path in paths:
        match = NUMBERED_MODULE.fullmatch(path)
        if match and match[2] != "encoderblock":
            numbers.setdefault((match[1] or "", match[2]), []).append(int(match[3]))
    # Number of a module -> its place among those of its class.
    places = {
        key: {number: place for place, number in reversed([*enumerate(sorted(of))])} for key, of in numbers.items()
    }

    def rename(name: str) -> str:
        parts, renamed, prefix = name.split("/"), [], ""
        for part in parts:
            match = NUMBERED_MODULE.fullmatch(part)
            siblings = places.get((prefix, match[2])) if match else None
            renamed.append(f"{match[2]}_{siblings[int(match[3])]}" if match and siblings else part)
            prefix += f"{part}/"
        renamed[0] = "output_projection" if renamed[0] == "head" else renamed[0]
        return "/".join(renamed)

    return {name: rename(name) for name in names}


# --------------------------------------------------------------------------------------------------------------------
# Directories of Hugging Face's
# --------------------------------------------------------------------------------------------------------------------


def _from_directory(path: Path) -> ImageSource:
    check_no_training(path)
    values = read_json(path / "config.json")
    if values.get("model_type") == "vivit":
        model = VivitForVideoClassification.from_pretrained(path, backend="numpy")
        return _from_tree(str(path), to_scenic(model.state_dict(), model.config))
    if values.get("model_type") != "vit":
        raise InputError(
            f"{path} holds a model of type {quoted(values.get('model_type'))}; expected a 'vit' or a 'vivit'"
        )
    index = {_our_name(name): (name, shape) for name, (shape, _) in tensor_index(path).items()}
    config = _image_config(path, values, {name: shape for name, (_, shape) in index.items()})
    expected, rows = flatten(classification_shapes(config)), scenic_parameters(config)
    found = {name: _with_one_frame(shape) for name, (_, shape) in index.items()}
    problems = mismatch({name: expected[name] for name in expected if name in found}, found)
    if problems:
        raise InputError(f"{path} does not fit its config.json: {problems}")

    def read(names: Iterable[str]) -> dict[str, numpy.ndarray]:
        weights, wanted = read_weights(path), set(names)
        arrays = {}
        for name, (stored_name, _) in index.items():
            if rows[name].name in wanted:
                array = weights[stored_name]
                arrays[rows[name].name] = rows[name].to_scenic(array.reshape(expected[name]))
        return arrays

    height, width = config.frame_size
    grid = (height // config.tubelet_size[1], width // config.tubelet_size[2])
    return ImageSource(str(path), {rows[name].name: rows[name].shape for name in index}, read, grid)


def _our_name(name: str) -> str:
    """What we would call a parameter of `ViTModel` or `ViTForImageClassification`."""
    name = name.removeprefix("vit.")
    if name.startswith("pooler.dense."):  # the dense layer with tanh that the original has before its head
        return name.replace("pooler.dense", "pre_logits")
    return name if name.startswith("classifier.") else f"vivit.{name}"


def _with_one_frame(shape: tuple[int, ...]) -> tuple[int, ...]:
    """An image's patch kernel (hidden, channels, height, width) as one of a tubelet that is one frame deep."""
    return (*shape[:2], 1, *shape[2:]) if len(shape) == 4 else tuple(shape)


def _image_config(path: Path, values: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> VivitConfig:
    """An image model as a ViViT: Model 1 with a single frame, embedded as frame sampling does."""
    patch = values.get("patch_size", 16)
    patch = [patch, patch] if isinstance(patch, int) else patch
    pooler, head = shapes.get("pre_logits.bias"), shapes.get("classifier.bias")
    same = (
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "image_size",
        "num_channels",
    )
    try:
        return VivitConfig(
            **{name: values[name] for name in (*same, "qkv_bias") if name in values},
            num_frames=1,
            tubelet_size=(1, *patch),
            temporal_encoding="frame_sampling",
            num_sampled_frames=1,
            representation_size=pooler[0] if pooler else None,
            num_labels=head[0] if head else 0,
        )
    except (InputError, TypeError) as error:
        raise InputError(f"{path / 'config.json'} describes no image model that fits: {error}") from None
