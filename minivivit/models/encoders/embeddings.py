"""From pixels to tokens that know their places (the paper's section 3.2 and equation 1)."""

from typing import Any

import numpy

from minivivit.backend import Array, array_namespace
from minivivit.config import VivitConfig, uniform_frame_indices
from minivivit.errors import InputError
from minivivit.layers.trace import Trace, record
from minivivit.ops.cls_token import cls_token_backward, cls_token_forward
from minivivit.ops.dropout import dropout_backward, dropout_forward, dropout_mask
from minivivit.ops.frame_sampling import frame_sampling_backward, frame_sampling_forward
from minivivit.ops.interpolate_position_embeddings import (
    interpolate_position_embeddings_backward,
    interpolate_position_embeddings_forward,
)
from minivivit.ops.position_embedding import position_embedding_backward, position_embedding_forward
from minivivit.ops.tubelet_embedding import tubelet_embedding_backward, tubelet_embedding_forward


def token_grid(pixels_shape: tuple[int, ...], config: VivitConfig, interpolate: bool) -> tuple[int, int, int]:
    """(times, rows, columns) of the tokens that a clip becomes.

    Parameters
    ----------
    pixels_shape : (batch, frames, channels, height, width)
    interpolate : bool
        Whether another size than the configured one is welcome.

    Returns
    -------
    (times, rows, columns) : tuple of int

    Raises
    ------
    InputError
        When the clip is smaller than one tubelet, or is not of the configured size without `interpolate`.
    """
    _, frames, _, height, width = pixels_shape
    if config.temporal_encoding == "frame_sampling":
        frames = len(uniform_frame_indices(frames, config.num_sampled_frames or frames))
    t, h, w = config.tubelet_size
    grid = (frames // t, height // h, width // w)
    if not interpolate and _is_of_another_size(pixels_shape, grid, config):
        raise InputError(
            f"pixel_values has {pixels_shape[1]} frames of {height} x {width}, but the model is made for "
            f"{config.num_frames} of {config.frame_size[0]} x {config.frame_size[1]}: resize the clip, or pass "
            "interpolate_pos_encoding=True"
        )
    if 0 in grid:
        raise InputError(
            f"pixel_values has {pixels_shape[1]} frames of {height} x {width}: not one tubelet of {t} x {h} x {w} fits"
        )
    return grid


def needs_interpolation(pixels_shape: tuple[int, ...], config: VivitConfig) -> bool:
    """Whether a clip (batch, frames, channels, height, width) is of another size than the model; see `token_grid`."""
    return _is_of_another_size(pixels_shape, token_grid(pixels_shape, config, interpolate=True), config)


def _is_of_another_size(pixels_shape: tuple[int, ...], grid: tuple[int, int, int], config: VivitConfig) -> bool:
    return pixels_shape[3:] != config.frame_size or grid[0] != config.grid_size[0]


def patch_embeddings_forward(
    pixel_values: Array, params: dict, config: VivitConfig, trace: Trace | None = None
) -> tuple[Array, dict]:
    """Embed the tubelets of a clip, of all its frames or of those that frame sampling takes.

    Parameters
    ----------
    pixel_values : array, shape (batch, frames, channels, height, width)
    params : dict
        ``{"projection": {"weight", "bias"}}``

    Returns
    -------
    tokens : array, shape (batch, times * rows * columns, hidden)
    cache : dict
    """
    cache: dict[str, Any] = {}
    if config.temporal_encoding == "frame_sampling":
        num_frames = pixel_values.shape[1]
        indices = uniform_frame_indices(num_frames, config.num_sampled_frames or num_frames)
        pixel_values, cache["sampling"] = frame_sampling_forward(pixel_values, indices)
        record(trace, "frame_sampling", pixel_values)
    projection = params["projection"]
    tokens, cache["tubelets"] = tubelet_embedding_forward(pixel_values, projection["weight"], projection["bias"])
    record(trace, "patch_embeddings", tokens)
    return tokens, cache


def patch_embeddings_backward(dtokens: Array, cache: dict) -> tuple[Array, dict]:
    """Gradients of `patch_embeddings_forward`: to the pixels, and as params."""
    dpixel_values, dweight, dbias = tubelet_embedding_backward(dtokens, cache["tubelets"])
    if "sampling" in cache:
        dpixel_values = frame_sampling_backward(dpixel_values, cache["sampling"])
    return dpixel_values, {"projection": {"weight": dweight, "bias": dbias}}


def place_embeddings_forward(
    tokens: Array,
    params: dict,
    config: VivitConfig,
    old_grid: tuple[int, int, int],
    new_grid: tuple[int, int, int],
    rng: numpy.random.Generator | None,
    trace: Trace | None = None,
) -> tuple[Array, dict]:
    r"""Put the CLS token in front, if there is one, and add the position embeddings.

    .. math:: z_0 = [z_{cls}, x_1, \dots, x_N] + p

    Parameters
    ----------
    tokens : array, shape (batch, times * rows * columns, hidden)
    params : dict
        ``position_embeddings`` and, where the classifier is "token", ``cls_token``.
    old_grid, new_grid : (times, rows, columns)
        The grid that the position embeddings were made for, and that of the tokens. Where they differ, the embeddings
        are resampled (`minivivit.ops.interpolate_position_embeddings`); the CLS token's is not a place and stays.
    rng : numpy.random.Generator, optional
        While training: dropout.

    Returns
    -------
    z : array, shape (batch, [1 +] times * rows * columns, hidden)
    cache : dict
    """
    xp = array_namespace(tokens)
    cache: dict[str, Any] = {"use_cls_token": "cls_token" in params, "new_grid": new_grid}
    num_cls = int(cache["use_cls_token"])
    positions = params["position_embeddings"]  # (1, [1 +] tokens, hidden)
    if old_grid != new_grid:
        hidden = positions.shape[-1]
        grid = positions[0, num_cls:].reshape(*old_grid, hidden)
        grid, cache["interpolation"] = interpolate_position_embeddings_forward(grid, new_grid)
        positions = xp.concatenate([positions[:, :num_cls], grid.reshape(1, -1, hidden)], axis=1)
        record(trace, "embeddings.interpolated_positions", positions)
    if cache["use_cls_token"]:
        tokens, cache["cls_token"] = cls_token_forward(tokens, params["cls_token"])
        record(trace, "embeddings.with_cls_token", tokens)
    z, cache["positions"] = position_embedding_forward(tokens, positions)
    if rng is not None and config.hidden_dropout_prob:
        keep = xp.asarray(dropout_mask(rng, z.shape, config.hidden_dropout_prob))
        z, cache["dropout"] = dropout_forward(z, keep, config.hidden_dropout_prob)
    record(trace, "embeddings", z)
    return z, cache


def place_embeddings_backward(dz: Array, cache: dict) -> tuple[Array, dict]:
    """Gradients of `place_embeddings_forward`, from the bottom up: to the tokens, and as params."""
    xp = array_namespace(dz)
    num_cls = int(cache["use_cls_token"])
    if "dropout" in cache:
        dz = dropout_backward(dz, cache["dropout"])
    dtokens, dpositions = position_embedding_backward(dz, cache["positions"])
    gradients = {}
    if cache["use_cls_token"]:
        dtokens, gradients["cls_token"] = cls_token_backward(dtokens, cache["cls_token"])
    if "interpolation" in cache:
        hidden = dpositions.shape[-1]
        dgrid = dpositions[0, num_cls:].reshape(*cache["new_grid"], hidden)
        dgrid = interpolate_position_embeddings_backward(dgrid, cache["interpolation"])
        dpositions = xp.concatenate([dpositions[:, :num_cls], dgrid.reshape(1, -1, hidden)], axis=1)
    return dtokens, {**gradients, "position_embeddings": dpositions}
