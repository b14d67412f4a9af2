"""Checkpoints of google-research/scenic, the paper's own code: into a model, and back into scenic's tree."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy

from minivivit.backend import Array, get_namespace, to_numpy
from minivivit.checkpoints.mismatch import mismatch
from minivivit.checkpoints.names import scenic_parameters
from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.files.msgpack_file import Progress, read_flax_msgpack, write_flax_msgpack
from minivivit.files.tensor_data import check_finite, quoted
from minivivit.model_directory import check_no_weights_file
from minivivit.models.classification import VivitForVideoClassification
from minivivit.models.parameters import classification_shapes, flatten, unflatten

# Where a train state keeps the weights: until 2022, and since.
WEIGHT_PLACES = (("optimizer", "target"), ("params",))

# What all of scenic's ViViTs compute with and no checkpoint says: flax's `gelu` and `LayerNorm`.
SCENIC_ARITHMETIC = {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6}
# Names of the same function, up to the digits of a constant.
TANH_GELUS = ("gelu_pytorch_tanh", "gelu_new", "gelu_fast")

Source = str | os.PathLike[str] | Mapping[str, Any]


def load_scenic(
    source: Source, config: VivitConfig, dtype: Any = "float32", *, backend: str | None = "auto"
) -> VivitForVideoClassification:
    """A model with the weights of a scenic ViViT.

    Parameters
    ----------
    source : path-like or mapping
        A scenic train state file (Flax msgpack, weights under ``optimizer/target`` or ``params``); or such a tree as
        nested dicts of arrays, with or without those outer keys. Names joined by "/" are as good as nesting.
    config : VivitConfig
        Of the model, for instance ``VivitConfig.from_preset("vivit-l-16x2-fe-kinetics400")``.
    dtype : {"float32", "float64"}
    backend : {"numpy", "cupy", "auto"}

    Returns
    -------
    VivitForVideoClassification
        Its config is a copy of `config` with ``hidden_act="gelu_pytorch_tanh"`` and ``layer_norm_eps=1e-6``, with which
        everything of scenic's computes.

    Raises
    ------
    InputError
        For a file that is truncated, damaged or hostile; for weights that do not fit the config: one error that lists
        every name of scenic's that is missing, unexpected or of another shape; for NaN and infinities.
    MissingExtraError
        For a file, where the package msgpack is not installed.

    References
    ----------
    scenic ``projects/vivit/README.md`` (model zoo), ``train_lib/train_utils.py`` (TrainState).
    """
    if not isinstance(config, VivitConfig):
        raise InputError(f"config is a {type(config).__name__}; expected a VivitConfig")
    config = VivitConfig.from_dict(config.to_dict(), **SCENIC_ARITHMETIC)
    _check_frame_sampling(config)
    # The constructor would draw values first, only for them to be replaced.
    model = VivitForVideoClassification.__new__(VivitForVideoClassification)
    model._prepare(config, dtype)
    xp = get_namespace(backend)
    if isinstance(source, Mapping):
        state_dict = from_scenic(weights_of_train_state(source), config)
    else:
        state_dict = from_scenic(read_scenic(source), config, str(source))
    model.params = unflatten({name: model._own(state_dict.pop(name), xp=xp) for name in list(state_dict)})
    return model


def read_scenic(path: str | os.PathLike[str], progress: Progress | None = None) -> Mapping[str, Any]:
    """The tree of weights of a scenic train state file, as nested dicts of arrays; the optimiser's state is skipped.

    Raises
    ------
    InputError, MissingExtraError
        As `minivivit.files.msgpack_file.read_flax_msgpack`.
    """
    check_no_weights_file(path)
    return weights_of_train_state(read_flax_msgpack(path, WEIGHT_PLACES, progress))


def weights_of_train_state(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """The weights inside a train state; a tree that is none is returned as it is."""
    for place in WEIGHT_PLACES:
        inner: Any = tree
        for key in place:
            inner = inner.get(key) if isinstance(inner, Mapping) else None
        if isinstance(inner, Mapping):
            return weights_of_train_state(inner)
    return tree


def from_scenic(tree: Mapping[str, Any], config: VivitConfig, source: str = "the tree") -> dict[str, Array]:
    """A state dict with our names from a tree in scenic's layout; the inverse of `to_scenic`.

    Raises
    ------
    InputError
        One error that lists every name of scenic's that is missing, unexpected or of another shape.
    """
    leaves = {name: _as_array(name, leaf, source) for name, leaf in scenic_leaves(tree)}
    del tree  # what was read for this call alone can then go as soon as it is copied
    table = scenic_parameters(config)
    wanted = {row.name: row.shape for row in table.values()}
    problems = mismatch(wanted, {name: array.shape for name, array in leaves.items()})
    if problems:
        raise InputError(f"{source} does not fit the config: {problems}")
    for name, array in leaves.items():
        check_finite(source, name, array)
    our_shapes = flatten(classification_shapes(config))
    return {name: row.from_scenic(leaves.pop(row.name), our_shapes[name]) for name, row in table.items()}


def to_scenic(state_dict: Mapping[str, Array], config: VivitConfig) -> dict[str, Any]:
    """A tree in scenic's names and layout from a dict with our names: parameters, or gradients to them.

    Parameters
    ----------
    state_dict : mapping of flat names to arrays
        Of `VivitForVideoClassification`, or of `VivitModel` without a pooler. Not all names need be there. The gradient
        to the pixels, "pixel_values" (batch, frames, channels, height, width), becomes "video" (batch, frames, height,
        width, channels).
    config : VivitConfig

    Returns
    -------
    dict
        Nested, of copies of the arrays on the device that they are on.

    Raises
    ------
    InputError
        One error that lists every name that the model does not have and every shape that differs.
    """
    table, shapes = scenic_parameters(config), flatten(classification_shapes(config))
    bare = not any(name.startswith("vivit.") for name in state_dict)
    tree: dict[str, Any] = {}
    unknown, wrong = {}, {}
    for name, array in state_dict.items():
        full_name = f"vivit.{name}" if bare and name not in table else name
        if name == "pixel_values":
            tree["video"] = array.transpose(0, 1, 3, 4, 2).copy()
        elif full_name not in table:
            unknown[name] = array.shape
        elif tuple(array.shape) != shapes[full_name]:
            wrong[name] = (tuple(array.shape), shapes[full_name])
        else:
            *branches, leaf = table[full_name].path
            node = tree
            for branch in branches:
                node = node.setdefault(branch, {})
            node[leaf] = table[full_name].to_scenic(array)
    if unknown or wrong:
        wanted = {name: shape for name, (_, shape) in wrong.items()}
        found = {**unknown, **{name: shape for name, (shape, _) in wrong.items()}}
        raise InputError(f"the state dict does not fit the config: {mismatch(wanted, found)}")
    return tree


def save_scenic(
    model: VivitForVideoClassification, path: str | os.PathLike[str], progress: Progress | None = None
) -> None:
    """Write the weights of `model` as a scenic train state: Flax msgpack, under ``optimizer/target``.

    Raises
    ------
    InputError
        For a model that scenic would not compute as ours: another activation than the tanh form of GELU, another
        epsilon, no query/key/value bias.
    MissingExtraError
        Where the package msgpack is not installed.
    """
    config = model.config
    expected = {"hidden_act": TANH_GELUS, "layer_norm_eps": (SCENIC_ARITHMETIC["layer_norm_eps"],), "qkv_bias": (True,)}
    for name, values in expected.items():
        if getattr(config, name) not in values:
            raise InputError(
                f"{name} is {getattr(config, name)!r}, but scenic's ViViT computes with {values[0]!r}: the weights "
                "would mean something else there"
            )
    _check_frame_sampling(config)
    state_dict = {name: to_numpy(array) for name, array in model.state_dict().items()}
    write_flax_msgpack(Path(path), {"optimizer": {"target": to_scenic(state_dict, config)}}, progress)


def scenic_leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(name joined by "/", array) of every leaf."""
    for key, node in tree.items():
        if isinstance(node, Mapping):
            yield from scenic_leaves(node, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", node


def _as_array(name: str, leaf: Any, source: str) -> numpy.ndarray:
    array = to_numpy(leaf)
    if array.dtype.name == "bfloat16":  # JAX's, which NumPy knows once ml_dtypes is imported
        array = array.astype(numpy.float32)
    if array.dtype.kind != "f":
        raise InputError(f"{source} holds {array.dtype} under {quoted(name)}; weights are floating-point numbers")
    return array


def _check_frame_sampling(config: VivitConfig) -> None:
    """Scenic stacks sampled frames into one tall image before it cuts patches; ours are cut frame by frame."""
    height, patch_height = config.frame_size[0], config.tubelet_size[1]
    if config.temporal_encoding == "frame_sampling" and height % patch_height:
        raise InputError(
            f"with temporal_encoding 'frame_sampling', scenic's patches straddle frames unless the height, {height}, "
            f"is a multiple of the patch's, {patch_height}: such weights have no counterpart here"
        )
