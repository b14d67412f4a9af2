"""Labels as distributions over the classes: one-hot, and smoothed."""

from typing import Any

import numpy

from minivivit.backend import Array, array_namespace
from minivivit.errors import InputError


def one_hot(labels: Array, num_classes: int, dtype: Any = "float32") -> Array:
    """Class indices (batch,) as rows (batch, num_classes) with a 1 at the label and 0 elsewhere.

    Raises
    ------
    InputError
        When a label is not a whole number in [0, num_classes).
    """
    xp = array_namespace(labels)
    if not numpy.issubdtype(labels.dtype, numpy.integer):
        raise InputError(f"labels have dtype {labels.dtype}; expected whole numbers, the indices of the classes")
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise InputError(
            f"labels lie between {int(labels.min())} and {int(labels.max())}; expected 0 to {num_classes - 1}"
        )
    return (labels[..., None] == xp.arange(num_classes)).astype(dtype)


def smooth_labels(targets: Array, label_smoothing: float) -> Array:
    """Move a part of every target's weight to all classes alike.

    ``(1 - label_smoothing) targets + label_smoothing / num_classes``: the true class keeps that share too, as in
    scenic's ``apply_label_smoothing`` and PyTorch's ``cross_entropy``.

    Parameters
    ----------
    targets : array (..., num_classes)
        Rows that add up to 1, such as `one_hot` makes or `mixup` returns.
    label_smoothing : float
        In [0, 1]. The paper has 0.2 for Epic Kitchens and 0.3 for Something-Something v2.

    References
    ----------
    Szegedy et al. (2016), Rethinking the Inception Architecture for Computer Vision, section 7.
    """
    if not 0.0 <= label_smoothing <= 1.0:
        raise InputError(f"label_smoothing is {label_smoothing!r}; expected a number between 0 and 1")
    return targets * (1.0 - label_smoothing) + label_smoothing / targets.shape[-1]
