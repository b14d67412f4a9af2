"""Image models as google-research/big_vision keeps them, under scenic's names.

    params/img/pos_embedding               in a tree, with optimisers or a text tower beside it; positions at the top
    params/img/Transformer/encoderblock/   all blocks in one, stacked along a first axis (``scan=True``)
    params/img/head                        scenic's output_projection

There, positions are added before the CLS token is put in front, so that they have none for it: its is 0.
"""

from collections.abc import Iterable, Mapping
from math import isqrt
from typing import NamedTuple

import numpy

from minivivit.errors import InputError
from minivivit.files.parameter_names import log_left_out
from minivivit.files.tensor_data import STORED_TYPES, quoted

KERNEL = "embedding/kernel"
POSITIONS = "Transformer/posembed_input/pos_embedding"
# Where the weights of an image model may be: of big_vision, of its two towers, of flax's old optimisers, and alone.
PREFIXES = [f"{place}{tower}" for place in ("params/", "opt/target/", "target/", "") for tower in ("", "img/")]
STACK = "Transformer/encoderblock/"
MOST_LAYERS = 1000
# How the last parts of the names of parameters begin. What else holds no floating-point numbers is none.
PARAMETERS = ("kernel", "bias", "scale", "pos_embedding", "cls", "probe")


class Piece(NamedTuple):
    """What one of scenic's parameters is made from: a stored array, one layer of it, or it after a row of zeros."""

    stored_name: str
    shape: tuple[int, ...]
    layer: int | None = None
    with_cls_row: bool = False

    def cut(self, array: numpy.ndarray) -> numpy.ndarray:
        """The parameter, from the stored array."""
        array = array if self.layer is None else array[self.layer]
        return numpy.concatenate([numpy.zeros_like(array[:, :1]), array], axis=1) if self.with_cls_row else array


def weights_inside(dtypes: Mapping[str, str], source: str) -> dict[str, str]:
    """The name of each of an image model's parameters -> the name that it is stored under, with all that is around it.

    Parameters
    ----------
    dtypes : mapping of stored names to the names of dtypes
    source : str
        For the log, which names what is left out because it is no array of floating-point numbers.
    """
    prefix = next((prefix for prefix in PREFIXES if prefix + KERNEL in dtypes), "")
    inside = {name.removeprefix(prefix): name for name in dtypes if name.startswith(prefix)}
    if not prefix:
        inside = {name: stored for name, stored in inside.items() if not name.startswith("opt/")}
    no_weights = {
        name
        for name, stored in inside.items()
        if dtypes[stored] not in STORED_TYPES and not name.rpartition("/")[2].startswith(PARAMETERS)
    }
    log_left_out((inside[name] for name in no_weights), source)
    return {name: stored for name, stored in inside.items() if name not in no_weights}


def scenic_pieces(stored: Mapping[str, tuple[str, tuple[int, ...]]], source: str) -> dict[str, Piece]:
    """What scenic's parameters are made from.

    Parameters
    ----------
    stored : mapping
        Name of each parameter -> the name that it is stored under, and its shape.
    source : str
        For errors.

    Raises
    ------
    InputError
        For stacks of layers of different heights, of none or of too many layers, or beside single layers.

    References
    ----------
    big_vision ``models/vit.py`` (_Model, fix_old_checkpoints, scan_to_pyloop).
    """
    depth = _depth({name: shape for name, (_, shape) in stored.items() if name.startswith(STACK)}, source)
    pieces: dict[str, Piece] = {}
    for name, (stored_name, shape) in stored.items():
        if name.startswith(STACK):
            rest = name.removeprefix(STACK)
            for layer in range(depth):
                pieces[f"Transformer/encoderblock_{layer}/{rest}"] = Piece(stored_name, shape[1:], layer)
        elif name in ("pos_embedding", "Transformer/pos_embedding"):
            pieces[POSITIONS] = _positions(stored_name, shape, "cls" in stored)
        elif name.startswith("head/"):
            pieces[f"output_projection/{name.removeprefix('head/')}"] = Piece(stored_name, shape)
        else:
            pieces[name] = Piece(stored_name, shape)
    made = len(stored) if not depth else len(stored) + (depth - 1) * sum(name.startswith(STACK) for name in stored)
    if len(pieces) < made:
        raise InputError(f"{source} holds a parameter twice, under two names; expected each once")
    return pieces


def _depth(stacks: Mapping[str, tuple[int, ...]], source: str) -> int:
    """How many layers the stacks have; 0 without stacks."""
    if not stacks:
        return 0
    heights = {shape[0] if shape else 0 for shape in stacks.values()}
    depth = heights.pop()
    if heights or not 1 <= depth <= MOST_LAYERS:
        name, shape = next(iter(stacks.items()))
        raise InputError(
            f"{source} stacks its layers, but not all alike: {quoted(name)} is {shape}; expected a first axis of one "
            f"length, 1 to {MOST_LAYERS} layers, in all of {STACK}"
        )
    return depth


def _positions(stored_name: str, shape: tuple[int, ...], has_cls: bool) -> Piece:
    """Positions of places alone get a row of zeros for the CLS token, where there is one."""
    if not has_cls or len(shape) != 3 or isqrt(shape[1]) ** 2 + 1 == shape[1]:  # a square, and one: older, complete
        return Piece(stored_name, shape)
    return Piece(stored_name, (shape[0], shape[1] + 1, shape[2]), with_cls_row=True)


def stored_names(pieces: Iterable[Piece]) -> list[str]:
    """The stored arrays that the pieces are cut from, each once."""
    return list(dict.fromkeys(piece.stored_name for piece in pieces))
