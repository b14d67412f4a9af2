"""What training does to a residual branch before it is added: dropout, then stochastic depth."""

from typing import Any

import numpy

from minivivit.backend import Array
from minivivit.ops.dropout import dropout_backward, dropout_forward, dropout_mask
from minivivit.ops.stochastic_depth import (
    stochastic_depth_backward,
    stochastic_depth_forward,
    stochastic_depth_mask,
)


def draw_branch(
    rng: numpy.random.Generator, shape: tuple[int, ...], dropout_rate: float, drop_rate: float, copies: int, xp: Any
) -> dict:
    """Draw the masks of one branch; a rate of 0 draws nothing.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (batch, tokens, hidden)
    dropout_rate : float
        Probability of dropping an entry.
    drop_rate : float
        Probability of dropping a sample's whole branch.
    copies : int
        How many sequences in a row belong to one sample, and are dropped together.
    xp : module
        The array library that the masks are for.
    """
    dropout = depth = None
    if dropout_rate:
        dropout = (xp.asarray(dropout_mask(rng, shape, dropout_rate)), dropout_rate)
    if drop_rate:
        depth = xp.asarray(stochastic_depth_mask(rng, shape[0] // copies, len(shape), drop_rate).repeat(copies, axis=0))
    return {"dropout": dropout, "depth": depth}


def residual_branch_forward(branch: Array, draws: dict | None) -> tuple[Array, dict]:
    """Apply the masks of `draw_branch` to a branch's output; without draws, nothing happens."""
    cache = {}
    if draws is not None and draws["dropout"] is not None:
        branch, cache["dropout"] = dropout_forward(branch, *draws["dropout"])
    if draws is not None and draws["depth"] is not None:
        branch, cache["depth"] = stochastic_depth_forward(branch, draws["depth"])
    return branch, cache


def residual_branch_backward(dy: Array, cache: dict) -> Array:
    """Gradient of `residual_branch_forward`, from the bottom up."""
    if "depth" in cache:
        dy = stochastic_depth_backward(dy, cache["depth"])
    if "dropout" in cache:
        dy = dropout_backward(dy, cache["dropout"])
    return dy
