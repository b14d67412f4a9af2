"""Mixup: train on weighted sums of two clips, with the same weighted sum of their labels."""

import numpy

from minivivit.backend import Array
from minivivit.errors import InputError


def mixup(inputs: Array, targets: Array, rng: numpy.random.Generator, mixup_alpha: float = 1.0) -> tuple[Array, Array]:
    """Mix every clip of a batch with its counterpart in the reversed batch, and the targets likewise.

    ``w x + (1 - w) x[::-1]`` with one weight ``w ~ Beta(alpha, alpha)`` for the whole batch, as scenic does. A small
    alpha puts ``w`` near 0 or 1 most of the time; alpha 1 is uniform. The middle clip of an odd batch meets itself.

    Parameters
    ----------
    inputs : float array (batch, ...)
        Such as pixel values.
    targets : float array (batch, num_classes)
        Distributions over the classes, such as `one_hot` makes.
    rng : numpy.random.Generator
        One draw is taken from it.
    mixup_alpha : float
        At least 0; 0 returns the batch as it is, without a draw. The paper has 0.1 for Epic Kitchens and 0.3 for
        Something-Something v2.

    Returns
    -------
    inputs, targets : arrays of the shapes and dtypes given

    Raises
    ------
    InputError
        When the targets are class indices, the batch sizes differ, the dtypes are not float, or alpha is negative.

    References
    ----------
    Zhang et al. (2018), mixup: Beyond Empirical Risk Minimization; ``mixup`` in scenic's ``dataset_utils``.
    """
    if not 0.0 <= mixup_alpha < float("inf"):
        raise InputError(f"mixup_alpha is {mixup_alpha!r}; expected a finite number of at least 0")
    if targets.ndim != 2 or inputs.shape[0] != targets.shape[0]:
        raise InputError(
            f"mixup got inputs {tuple(inputs.shape)} and targets {tuple(targets.shape)}; expected (batch, ...) and "
            "(batch, num_classes): make class indices one-hot first"
        )
    if inputs.dtype.kind != "f" or targets.dtype.kind != "f":
        raise InputError(f"mixup got inputs {inputs.dtype} and targets {targets.dtype}; expected float arrays")
    if mixup_alpha == 0:
        return inputs, targets
    weight = mixup_weight(rng, mixup_alpha)
    return mixed(inputs, inputs[::-1], weight), mixed(targets, targets[::-1], weight)


def mixup_weight(rng: numpy.random.Generator, mixup_alpha: float) -> float:
    """The weight of a batch, between 0 and 1."""
    return float(rng.beta(mixup_alpha, mixup_alpha))


def mixed(array: Array, counterparts: Array, weight: float) -> Array:
    """``weight`` times what is there, and the rest of what it is mixed with."""
    return weight * array + (1.0 - weight) * counterparts
