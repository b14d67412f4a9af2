"""Weights that tell a mistake, and weights that hide some.

A freshly initialised model has biases of 0, norms of 1 and, where it is so initialised, a CLS token and positions of 0.
A port that forgets a bias, loads a norm's weight nowhere or adds no positions computes the same as ours with them.
Weights that differ from these numbers everywhere hide nothing.
"""

import os
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path

import numpy

from minivivit.backend import Array, to_numpy
from minivivit.config import VivitConfig
from minivivit.files.json_file import read_json, write_json
from minivivit.files.weights import write_weights
from minivivit.models.base import VivitBase
from minivivit.video.clip_processor import SETTINGS_FILES

# Kind -> which parameters are of it, and the number that hides them.
KINDS: dict[str, tuple[Callable[[str], bool], float]] = {
    "biases": (lambda name: name.endswith("bias"), 0.0),
    "layer norms' weights": (lambda name: "layernorm" in name and name.endswith("weight"), 1.0),
    "CLS tokens": (lambda name: name.endswith("cls_token"), 0.0),
    "position embeddings": (lambda name: name.endswith("position_embeddings"), 0.0),
}


def hiding_weights(state: Mapping[str, Array]) -> list[str]:
    """What of a model's parameters is all 0, or all 1, and so hides whether a port has it.

    Parameters
    ----------
    state : mapping
        Parameter name -> array.

    Returns
    -------
    kinds : list of str
        Such as ``"all biases are 0"``; empty for a trained model.
    """
    found = []
    for kind, (belongs, number) in KINDS.items():
        arrays = [array for name, array in state.items() if belongs(name)]
        if arrays and all(bool((array == number).all()) for array in arrays):
            found.append(f"all {kind} are {number:g}")
    return found


def deviation(name: str, shape: tuple[int, ...], rng: numpy.random.Generator) -> numpy.ndarray:
    """Random numbers that change a parameter enough to be seen and not so much that the network saturates.

    They are normal, with a spread of 0.3 for vectors, 0.5 for the CLS token and position embeddings, and one over the
    root of its inputs for a matrix or a kernel.
    """
    spread = 0.3 if len(shape) == 1 else prod(shape[1:]) ** -0.5
    if name.endswith(("cls_token", "position_embeddings")):
        spread = 0.5
    return spread * rng.standard_normal(shape)


def perturb(state: Mapping[str, Array], seed: int) -> dict[str, numpy.ndarray]:
    """A model's parameters with a `deviation` added to each, in float32: the same for the same seed, wherever it runs.

    Each parameter has a generator of its own, seeded by the seed and its name, so that neither their order nor what
    else there is matters.
    """
    perturbed = {}
    for name, array in state.items():
        rng = numpy.random.default_rng([seed, *name.encode()])
        perturbed[name] = (to_numpy(array) + deviation(name, array.shape, rng)).astype("float32")
    return perturbed


def write_model(model: VivitBase, directory: Path, processor_of: str | os.PathLike[str] | None) -> None:
    """Write a model whose numbers float32 holds, as transformers reads it, with the processor of another.

    Parameters
    ----------
    model : VivitModel or VivitForVideoClassification
    directory : path
        Where ``config.json`` and ``model.safetensors`` go.
    processor_of : path-like, optional
        A directory whose processor's settings (``preprocessor_config.json``, or a video processor's) are copied too.
    """
    config = VivitConfig.from_dict(model.config.to_dict())
    config.other["architectures"] = [type(model).__name__]
    config.other.pop("torch_dtype", None)
    config.other["dtype"] = "float32"
    config.save_pretrained(directory)
    write_weights(directory, {name: to_numpy(array).astype("float32") for name, array in model.state_dict().items()})
    for name in SETTINGS_FILES if processor_of is not None else ():
        settings = Path(processor_of or "") / name
        if settings.is_file():
            write_json(directory / name, read_json(settings))
