"""Uniform frame sampling: take some frames of a clip and leave the others (the paper's section 3.2)."""

from collections.abc import Sequence

from minivivit.backend import Array, array_namespace


def frame_sampling_forward(pixel_values: Array, indices: Sequence[int]) -> tuple[Array, dict]:
    r"""Take frames by index: :math:`y_k = x_{i_k}`.

    Parameters
    ----------
    pixel_values : array, shape (batch, frames, channels, height, width)
    indices : sequence of int
        As `minivivit.config.uniform_frame_indices` gives them.

    Returns
    -------
    y : array, shape (batch, len(indices), channels, height, width)
    cache : dict
    """
    return pixel_values[:, list(indices)], {"shape": pixel_values.shape, "indices": list(indices)}


def frame_sampling_backward(dy: Array, cache: dict) -> Array:
    """A frame's gradient is the sum over the places it was taken to; a frame that was not taken gets 0."""
    xp = array_namespace(dy)
    dpixel_values = xp.zeros(cache["shape"], dtype=dy.dtype)
    for place, index in enumerate(cache["indices"]):
        dpixel_values[:, index] += dy[:, place]
    return dpixel_values
