"""The losses that transformers picks by `problem_type`, and the mean over several heads that scenic takes."""

import itertools
from typing import Any

import numpy

from minivivit.backend import Array, array_namespace, as_array, to_numpy
from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.ops.binary_cross_entropy import binary_cross_entropy_backward, binary_cross_entropy_forward
from minivivit.ops.cross_entropy import IGNORED_LABEL, cross_entropy_backward, cross_entropy_forward
from minivivit.ops.mean_squared_error import mean_squared_error_backward, mean_squared_error_forward


def problem_type(config: VivitConfig, labels: Array) -> str:
    """The config's problem type, or what the labels say: transformers' rule.

    One label is a regression; whole numbers are class indices; anything else is a yes or no for each class.
    """
    if config.problem_type is not None:
        return config.problem_type
    if config.num_labels == 1:
        return "regression"
    if numpy.dtype(labels.dtype).kind in "iu":
        return "single_label_classification"
    return "multi_label_classification"


def loss_forward(
    logits: Array,
    labels: Array,
    config: VivitConfig,
    label_smoothing: float = 0.0,
    counts: list[int] | None = None,
) -> tuple[Array, dict]:
    r"""Loss of a batch.

    "single_label_classification" is the mean cross-entropy, "regression" the mean squared error,
    "multi_label_classification" the mean binary cross-entropy with logits. With `config.class_splits` the logits are
    cut into one part a head, and the loss is the mean of the heads' cross-entropies.

    Parameters
    ----------
    logits : array, shape (batch, num_labels)
    labels : array
        Class indices (batch,), -100 for samples that do not count; or (batch, heads) with class_splits; or rows of
        probabilities (batch, num_labels), soft targets. For the other two losses numbers of the shape of the logits.
        Of one column, as of indices without class_splits, the last axis may be there or not.
    label_smoothing : float
        Of the cross-entropy; at least 0 and less than 1.
    counts : list of int, optional
        What `label_counts` says of a batch, of which these are a piece. The means are then over so many, and the losses
        and gradients of all pieces add up to those of the batch.

    Returns
    -------
    loss : scalar of the dtype of logits
    cache : dict

    Raises
    ------
    InputError
        For labels of another shape or dtype, out of range or not finite, and when all labels of a head are -100.

    References
    ----------
    transformers ``loss/loss_utils.py``; scenic ``ViViTMultiHeadClassificationModel.loss_function``.
    """
    labels = _on_device(labels, array_namespace(logits))
    if not isinstance(label_smoothing, int | float) or not 0 <= label_smoothing < 1:
        raise InputError(f"label_smoothing is {label_smoothing!r}; expected a number of at least 0 and less than 1")
    kind = problem_type(config, labels)
    if kind == "single_label_classification":
        heads = _split_heads(logits, labels, config)
        counts = _counted(labels, len(logits), config) if counts is None else counts
        if len(counts) != len(heads) or min(counts) < 1:
            raise InputError(
                f"counts is {counts}; expected a whole number of at least 1 for each of {len(heads)} heads"
            )
        results = [cross_entropy_forward(*head, label_smoothing, n) for head, n in zip(heads, counts, strict=True)]
        loss = sum(loss for loss, _ in results) / len(results)
        return loss, {"kind": kind, "heads": [cache for _, cache in results]}
    if label_smoothing:
        raise InputError(f"label_smoothing is for single_label_classification; this is {kind}")
    if labels.shape not in _shapes(logits.shape):
        raise InputError(f"labels have shape {labels.shape}; {kind} expects that of the logits, {logits.shape}")
    targets = _finite(labels.reshape(logits.shape), logits.dtype)
    forward = mean_squared_error_forward if kind == "regression" else binary_cross_entropy_forward
    loss, cache = forward(logits, targets)
    share = 1.0 if counts is None else len(logits) / counts[0]
    return loss * share, {"kind": kind, "loss": cache, "share": share}


def label_counts(labels: Array, config: VivitConfig) -> list[int]:
    """How many labels of a batch each head's mean is over: those that are not -100. One head without class_splits.

    Parameters
    ----------
    labels : array, shape (batch, ...)
        As for `loss_forward`.
    """
    labels = _on_device(labels, array_namespace(as_array(labels, "labels")))
    if labels.ndim == 0:
        labels = labels[None]
    if problem_type(config, labels) != "single_label_classification":
        return [len(labels)]
    return _counted(labels, len(labels), config)


def loss_backward(cache: dict) -> Array:
    """Gradient of the loss to the logits: each head's share of the mean is one part of them."""
    if cache["kind"] == "regression":
        return mean_squared_error_backward(cache["share"], cache["loss"])
    if cache["kind"] == "multi_label_classification":
        return binary_cross_entropy_backward(cache["share"], cache["loss"])
    heads = [cross_entropy_backward(1.0 / len(cache["heads"]), head) for head in cache["heads"]]
    return array_namespace(heads[0]).concatenate(heads, axis=1)


def _on_device(labels: Any, xp: Any) -> Array:
    labels = as_array(labels, "labels")
    if array_namespace(labels) is not xp:
        labels = xp.asarray(to_numpy(labels))
    if numpy.dtype(labels.dtype).kind not in "fiu":
        raise InputError(f"labels have dtype {labels.dtype}; expected whole or real numbers")
    return labels


def _shapes(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The shapes that labels of (batch, columns) may have: a single column needs no axis, nor a single sample of it."""
    if shape[1] != 1:
        return [shape]
    return [shape, shape[:1]] if shape[0] != 1 else [shape, shape[:1], ()]


def _finite(labels: Array, dtype: Any) -> Array:
    """Labels that are no indices, in the dtype of the logits."""
    with numpy.errstate(over="ignore"):
        labels = labels.astype(dtype)
    if not bool(array_namespace(labels).isfinite(labels).all()):
        raise InputError(f"labels hold NaN, infinity or a number too large for {dtype}; expected finite numbers")
    return labels


def _counted(labels: Array, batch: int, config: VivitConfig) -> list[int]:
    """How many labels of each head count: all, but for indices of -100. It may not be none."""
    num_heads = len(config.class_splits or [None])
    if numpy.dtype(labels.dtype).kind == "f":
        return [batch] * num_heads
    columns = labels.reshape(batch, -1)
    counts = [int((columns[:, index] != IGNORED_LABEL).sum()) for index in range(columns.shape[1])]
    if 0 in counts:
        raise InputError(f"every label is {IGNORED_LABEL}, which means 'ignore': there is no loss")
    return counts


def _split_heads(logits: Array, labels: Array, config: VivitConfig) -> list[tuple[Array, Array]]:
    """(logits, labels) of each head; one head without `class_splits`."""
    sizes = config.class_splits or [config.num_labels]
    batch = len(logits)
    edges = [sum(sizes[:index]) for index in range(len(sizes) + 1)]
    pieces = list(itertools.pairwise(edges))
    if labels.shape == logits.shape and numpy.dtype(labels.dtype).kind == "f":
        labels = _finite(labels, logits.dtype)
        return [(logits[:, start:stop], labels[:, start:stop]) for start, stop in pieces]
    if labels.shape not in _shapes((batch, len(sizes))) or numpy.dtype(labels.dtype).kind not in "iu":
        raise InputError(
            f"labels have shape {labels.shape} and dtype {labels.dtype}; expected {batch} x {len(sizes)} class "
            f"indices, or probabilities of shape {logits.shape}"
        )
    labels = labels.reshape(batch, len(sizes))
    for index, size in enumerate(sizes):
        counted = labels[:, index][labels[:, index] != IGNORED_LABEL]
        if counted.size and (int(counted.min()) < 0 or int(counted.max()) >= size):
            low, high = int(counted.min()), int(counted.max())
            found = f"the label is {low}" if low == high else f"labels range from {low} to {high}"
            raise InputError(f"{found}; expected 0 to {size - 1}")
    return [(logits[:, start:stop], labels[:, index]) for index, (start, stop) in enumerate(pieces)]
