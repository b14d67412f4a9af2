"""From logits to the names of the most probable classes."""

import itertools
import math
from typing import Any

import numpy

from minivivit.backend import Array, to_numpy
from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.ops.sigmoid import sigmoid
from minivivit.ops.softmax import softmax_forward


def class_probabilities(logits: Array, config: VivitConfig) -> numpy.ndarray:
    r"""Probabilities of the classes.

    A softmax over the classes; over each head's own with `config.class_splits`; and a sigmoid for each class by itself
    where `config.problem_type` is "multi_label_classification".

    Parameters
    ----------
    logits : array, shape (..., num_labels)

    Returns
    -------
    numpy.ndarray, shape (..., num_labels)

    Raises
    ------
    InputError
        When the model is a regression, or a logit is not finite.
    """
    logits = to_numpy(logits)
    if config.problem_type == "regression":
        raise InputError("the config's problem_type is 'regression': the model predicts numbers, not classes")
    if logits.shape[-1] != config.num_labels or config.num_labels == 0:
        raise InputError(f"logits have shape {logits.shape}; expected {config.num_labels} classes, at least one")
    if not numpy.isfinite(logits).all():
        raise InputError("the logits are not finite: are the weights sound? float64 reaches further than float32")
    if config.problem_type == "multi_label_classification":
        return sigmoid(logits)
    edges = numpy.cumsum(config.class_splits or [config.num_labels])[:-1]
    return numpy.concatenate([softmax_forward(head)[0] for head in numpy.split(logits, edges, axis=-1)], axis=-1)


def top_classes(probabilities: numpy.ndarray, config: VivitConfig, top_k: int = 5) -> list[dict[str, Any]]:
    """The most probable classes of one clip, most probable first; the lower index first where they are equal.

    With `config.class_splits` a class is one of each head, as "open + door", and its probability is the product of
    theirs: the joint probability, were the heads independent.

    Parameters
    ----------
    probabilities : numpy.ndarray, shape (num_labels,)
        From `class_probabilities`.
    top_k : int
        How many, at most.

    Returns
    -------
    list of dict
        ``{"label": str, "index": int, "probability": float}``; with class_splits the index is a list, one a head.
    """
    if top_k < 1:
        raise InputError(f"top_k is {top_k}; expected a whole number of at least 1")
    sizes = config.class_splits or [config.num_labels]
    edges = [0, *itertools.accumulate(sizes)]
    heads = []  # of each head, the top_k indices; the top_k of all combinations are among theirs
    for start, stop in itertools.pairwise(edges):
        order = numpy.argsort(-probabilities[start:stop], kind="stable")[:top_k]
        heads.append([start + int(index) for index in order])
    combined = [
        (math.prod(float(probabilities[index]) for index in indices), indices) for indices in itertools.product(*heads)
    ]
    combined.sort(key=lambda entry: (-entry[0], entry[1]))
    return [
        {
            "label": " + ".join(config.id2label[index] for index in indices),
            "index": [index - start for index, start in zip(indices, edges, strict=False)]
            if config.class_splits
            else indices[0],
            "probability": probability,
        }
        for probability, indices in combined[:top_k]
    ]
