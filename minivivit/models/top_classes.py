"""From logits to the names of the most probable classes."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy

from minivivit.backend import Array, as_array, to_numpy
from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.files.weights import tensor_index
from minivivit.ops.sigmoid import sigmoid
from minivivit.ops.softmax import softmax_forward


def check_classifies(directory: str | os.PathLike[str], config: VivitConfig) -> None:
    """Raise unless the model in `directory` names classes.

    Parameters
    ----------
    directory : path-like
    config : VivitConfig
        That of the directory.

    Raises
    ------
    InputError
        For a regression; and for a bare model, which would get a head of random numbers, and give random answers.
    """
    _check_no_regression(config)
    if not any(name.startswith("classifier.") for name in tensor_index(Path(directory))):
        raise InputError(
            f"{directory} holds a model without a classifier: there are no classes to name; fine-tune it first"
        )


def _check_no_regression(config: VivitConfig) -> None:
    """By the rule of the loss (`minivivit.models.loss.problem_type`), one label alone is a regression too."""
    if config.problem_type == "regression":
        raise InputError("the config's problem_type is 'regression': the model predicts numbers, not classes")
    if config.problem_type is None and config.num_labels == 1:
        raise InputError(
            "the config has one label and no problem_type, which makes it a regression: the model predicts a number, "
            "not classes"
        )


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
        When the model is a regression, a logit is not finite, or the logits are no array of numbers of that shape.
    """
    logits = to_numpy(as_array(logits, "logits"))
    _check_no_regression(config)
    if logits.dtype.kind not in "fiu":
        raise InputError(f"logits have dtype {logits.dtype}; expected real or whole numbers")
    if logits.dtype.kind in "iu":
        logits = logits.astype(numpy.float64)
    if logits.ndim == 0 or logits.shape[-1] != config.num_labels or config.num_labels == 0:
        raise InputError(f"logits have shape {logits.shape}; expected {config.num_labels} classes, at least one")
    if not numpy.isfinite(logits).all():
        raise InputError("the logits are not finite: are the weights sound? float64 reaches further than float32")
    if config.problem_type == "multi_label_classification":
        return sigmoid(logits)
    heads = _split(logits, config.class_splits or [config.num_labels])
    return numpy.concatenate([softmax_forward(head)[0] if head.size else head for head in heads], axis=-1)


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
    combined: list[tuple[float, list[int]]] = [(1.0, [])]
    for start, stop in itertools.pairwise(edges):
        order = numpy.argsort(-probabilities[start:stop], kind="stable")[:top_k]
        # what is not among the top_k of the heads so far is in no combination that is, so that no list grows past k * k
        combined = [
            (probability * float(probabilities[start + index]), [*indices, start + int(index)])
            for probability, indices in combined
            for index in order
        ]
        combined = sorted(combined, key=lambda entry: (-entry[0], entry[1]))[:top_k]
    return [
        {
            "label": " + ".join(config.id2label[index] for index in indices),
            "index": [index - start for index, start in zip(indices, edges, strict=False)]
            if config.class_splits
            else indices[0],
            "probability": probability,
        }
        for probability, indices in combined
    ]


def joint_top_k(logits: Array, labels: Any, config: VivitConfig, k: int = 5) -> numpy.ndarray:
    r"""Whether the right classes of all heads together are among the k most probable combinations.

    A combination (a, b) of the classes of two heads has the probability p_a q_b, each head's by its own softmax; the
    accuracy of actions (verb and noun) for Epic Kitchens is the mean of what is returned, with k = 1 and 5. Of equal
    combinations the one whose classes come first in the heads' order goes first, as in `top_classes`. With one head
    it is the usual top-k accuracy.

    Parameters
    ----------
    logits : array, shape (batch, num_labels)
    labels : array, shape (batch, heads); or (batch,) with one head
        Index of the right class within each head.
    config : VivitConfig
        With `class_splits` (any number of heads), or without.
    k : int

    Returns
    -------
    numpy.ndarray of bool, shape (batch,)

    Raises
    ------
    InputError
        When k is below 1, the labels are no indices of classes, and as `class_probabilities`.

    References
    ----------
    scenic ``projects/vivit/model_utils.py``, ``joint_top_k`` and ``get_joint_logits_labels``.
    """
    if k < 1:
        raise InputError(f"k is {k}; expected a whole number of at least 1")
    probabilities = class_probabilities(logits, config)
    sizes = config.class_splits or [config.num_labels]
    labels = _head_labels(labels, len(probabilities), sizes)
    joint = numpy.ones((len(probabilities), 1))  # (batch, at most k); float64: the products are those of `top_classes`
    is_right = numpy.ones(joint.shape, bool)  # which of them the right combination is, if it is still there
    for head, size, own in zip(_split(probabilities, sizes), sizes, labels.T, strict=True):
        joint = (joint[:, :, None] * head[:, None, :]).reshape(len(joint), -1)  # (batch, k * size)
        is_right = (is_right[:, :, None] & (numpy.arange(size) == own[:, None])[:, None, :]).reshape(joint.shape)
        # the k most probable so far, in the heads' order again, by which the next stable sort lets equal ones go
        kept = numpy.sort(numpy.argsort(-joint, axis=1, kind="stable")[:, :k], axis=1)
        joint, is_right = (numpy.take_along_axis(array, kept, axis=1) for array in (joint, is_right))
    return numpy.asarray(is_right.any(axis=1))


def joint_accuracy(logits: Array, labels: Any, config: VivitConfig) -> numpy.ndarray:
    """Whether every head's most probable class is the right one: `joint_top_k` with k = 1."""
    return joint_top_k(logits, labels, config, 1)


def _split(array: numpy.ndarray, sizes: Sequence[int]) -> list[numpy.ndarray]:
    """(..., num_labels) cut into one (..., size) a head."""
    return numpy.split(array, numpy.cumsum(sizes)[:-1], axis=-1)


def _head_labels(labels: Any, batch: int, sizes: Sequence[int]) -> numpy.ndarray:
    """The labels as (batch, heads), checked."""
    labels = to_numpy(as_array(labels, "labels"))
    if labels.shape not in ([(batch, 1), (batch,)] if len(sizes) == 1 else [(batch, len(sizes))]) or (
        labels.dtype.kind not in "iu"
    ):
        raise InputError(
            f"labels have shape {labels.shape} and dtype {labels.dtype}; expected {batch} x {len(sizes)} class indices"
        )
    labels = labels.reshape(batch, len(sizes)).astype(numpy.int64)
    for own, size in zip(labels.T, sizes, strict=True):
        if batch and (own.min() < 0 or own.max() >= size):
            raise InputError(f"labels of a head range from {own.min()} to {own.max()}; expected 0 to {size - 1}")
    return labels
