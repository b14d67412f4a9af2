"""Stochastic depth (Huang et al. 2016, arXiv:1603.09382), as scenic's ViViT does it."""

import numpy

from minivivit.backend import Array


def layer_drop_rate(layer: int, num_layers: int, rate: float) -> float:
    r"""Drop rate of a layer: it grows linearly from 0 in the first to `rate` in the last, :math:`p_l = p\, l/(L-1)`."""
    return layer / max(num_layers - 1, 1) * rate


def stochastic_depth_mask(rng: numpy.random.Generator, batch: int, num_axes: int, rate: float) -> numpy.ndarray:
    """Draw which samples keep their branch: boolean, shape (batch, 1, ..., 1), True with probability 1 - `rate`."""
    return rng.random((batch,) + (1,) * (num_axes - 1), dtype=numpy.float32) >= rate


def stochastic_depth_forward(branch: Array, keep: Array) -> tuple[Array, dict]:
    r"""Drop a residual branch for whole samples: :math:`y = k \, x` with one k in {0, 1} a sample.

    There is no division by the keep probability, unlike in timm: scenic has none. A sample whose branch is dropped
    passes the layer unchanged.

    References
    ----------
    scenic ``projects/vivit/model.py``, EncoderBlock.get_drop_pattern.
    """
    return branch * keep, {"keep": keep}


def stochastic_depth_backward(dy: Array, cache: dict) -> Array:
    r"""y is x times a constant: :math:`dx = k \, dy`."""
    return dy * cache["keep"]
