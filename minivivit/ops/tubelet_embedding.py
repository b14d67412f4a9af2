"""Tubelet embedding: cut the clip into small boxes of pixels and map each to a token (the paper's section 3.2)."""

from minivivit.backend import Array, array_namespace
from minivivit.ops.linear import linear_backward, linear_forward


def tubelet_embedding_forward(pixel_values: Array, weight: Array, bias: Array) -> tuple[Array, dict]:
    r"""Embed non-overlapping tubelets of t x h x w pixels linearly.

    The grid has :math:`n_t = \lfloor T/t \rfloor`, :math:`n_h = \lfloor H/h \rfloor`, :math:`n_w = \lfloor W/w \rfloor`
    tubelets; a remainder is dropped. With :math:`p_i` the pixels of tubelet i as one row,

    .. math:: x_i = E\, p_i + b, \qquad E \in \mathbb{R}^{d \times (c \cdot t \cdot h \cdot w)}

    which is a 3D convolution whose stride equals its kernel: no pixel is seen twice, so the convolution is a reshape
    and one matrix product.

    Parameters
    ----------
    pixel_values : array, shape (batch, frames, channels, height, width)
    weight : array, shape (hidden, channels, t, h, w)
        As a 3D convolution stores its kernels.
    bias : array, shape (hidden,)

    Returns
    -------
    tokens : array, shape (batch, n_t * n_h * n_w, hidden)
        Time varies slowest, then rows, then columns.
    cache : dict

    References
    ----------
    The paper's section 3.2 and figure 3; transformers' ``VivitTubeletEmbeddings``.
    """
    hidden_size = weight.shape[0]
    tubelets = cut_tubelets(pixel_values, weight.shape[2:])  # (batch, n_t, n_h, n_w, channels * t * h * w)
    batch, num_pixels = tubelets.shape[0], tubelets.shape[-1]
    tokens, linear_cache = linear_forward(tubelets, weight.reshape(hidden_size, num_pixels), bias)
    cache = {"linear": linear_cache, "pixels_shape": pixel_values.shape, "weight_shape": weight.shape}
    return tokens.reshape(batch, -1, hidden_size), cache


def tubelet_embedding_backward(dtokens: Array, cache: dict) -> tuple[Array, Array, Array]:
    """Gradients of `tubelet_embedding_forward`.

    The matrix product differentiates as in `linear_backward`. Cutting only moves pixels, so its gradient moves them
    back; pixels in the dropped remainder get 0.

    Returns
    -------
    dpixel_values, dweight, dbias : arrays of the shapes of the forward pass's inputs
    """
    batch, frames, _, height, width = cache["pixels_shape"]
    hidden_size, _, *tubelet_size = cache["weight_shape"]
    grid = [extent // size for extent, size in zip((frames, height, width), tubelet_size, strict=True)]
    dtokens = dtokens.reshape(batch, *grid, hidden_size)
    dtubelets, dweight, dbias = linear_backward(dtokens, cache["linear"])
    dpixel_values = join_tubelets(dtubelets, tubelet_size, cache["pixels_shape"])
    return dpixel_values, dweight.reshape(cache["weight_shape"]), dbias


def cut_tubelets(pixel_values: Array, tubelet_size: tuple[int, ...]) -> Array:
    """Cut a clip into tubelets, each a row of its pixels.

    Parameters
    ----------
    pixel_values : array, shape (batch, frames, channels, height, width)
    tubelet_size : (t, h, w)

    Returns
    -------
    tubelets : array, shape (batch, n_t, n_h, n_w, channels * t * h * w)
        Within a row: channels slowest, then frames, rows, columns, as a convolution kernel is laid out.
    """
    t, h, w = tubelet_size
    batch, frames, channels, height, width = pixel_values.shape
    n_t, n_h, n_w = frames // t, height // h, width // w
    whole = pixel_values[:, : n_t * t, :, : n_h * h, : n_w * w]
    boxes = whole.reshape(batch, n_t, t, channels, n_h, h, n_w, w)
    boxes = boxes.transpose(0, 1, 4, 6, 3, 2, 5, 7)  # (batch, n_t, n_h, n_w, channels, t, h, w)
    return boxes.reshape(batch, n_t, n_h, n_w, channels * t * h * w)


def join_tubelets(tubelets: Array, tubelet_size: tuple[int, ...] | list[int], pixels_shape: tuple[int, ...]) -> Array:
    """Undo `cut_tubelets`; what it dropped becomes 0."""
    xp = array_namespace(tubelets)
    t, h, w = tubelet_size
    batch, n_t, n_h, n_w, _ = tubelets.shape
    channels = pixels_shape[2]
    boxes = tubelets.reshape(batch, n_t, n_h, n_w, channels, t, h, w)
    boxes = boxes.transpose(0, 1, 5, 4, 2, 6, 3, 7)  # (batch, n_t, t, channels, n_h, h, n_w, w)
    whole = boxes.reshape(batch, n_t * t, channels, n_h * h, n_w * w)
    if whole.shape == tuple(pixels_shape):
        return whole
    pixel_values = xp.zeros(pixels_shape, dtype=tubelets.dtype)
    pixel_values[:, : n_t * t, :, : n_h * h, : n_w * w] = whole
    return pixel_values
