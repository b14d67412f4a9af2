"""Clipping by global norm: a step may not be longer than the learning rate allows for, whatever the batch."""

import math
from collections.abc import Mapping

from minivivit.backend import Array, array_namespace
from minivivit.errors import InputError
from minivivit.training.optimisers.blocks import for_each_block, split_into_blocks


def global_norm(gradients: Mapping[str, Array]) -> float:
    """The Euclidean norm of all gradients, as if they were one long vector.

    ``sqrt(sum over all tensors and elements of g^2)``, squared and added up in float64 whatever the dtype, in an order
    that does not depend on the number of threads.
    """
    blocks, xp = [], None
    for gradient in gradients.values():
        xp = array_namespace(gradient)
        blocks += [block for (block,) in split_into_blocks(gradient, xp=xp)]
    if xp is None:
        return 0.0
    sums = xp.empty(len(blocks), dtype="float64")  # on the gradients' device, which is asked only once, at the end

    def add_squares(index: int, block: Array) -> None:
        sums[index] = xp.square(block, dtype="float64").sum()

    for_each_block(add_squares, list(enumerate(blocks)), xp)
    return math.sqrt(float(sums.sum()))


def clip_by_global_norm(gradients: Mapping[str, Array], max_norm: float) -> float:
    """Scale all gradients IN PLACE by one factor, so that their global norm is at most `max_norm`.

    ``g <- g min(1, max_norm / (norm + 1e-6))``: the direction of the step stays, only its length is cut. The 1e-6 is
    that of ``torch.nn.utils.clip_grad_norm_``, which this equals.

    Parameters
    ----------
    gradients : dict of str to array
        The gradients that the optimiser will be given. Leave out `pixel_values` and frozen parameters: what is in the
        dict counts towards the norm.
    max_norm : float
        Above 0. scenic's ViViT configs have ``max_grad_norm = 1``.

    Returns
    -------
    float
        The norm before clipping. When it is NaN or infinite there is no factor that would mend the gradients, and they
        are left as they are, for the caller to find the tensor at fault.

    Raises
    ------
    InputError
        When `max_norm` is not a number above 0.
    """
    if not max_norm > 0:
        raise InputError(f"max_norm is {max_norm!r}; expected a number above 0")
    norm = global_norm(gradients)
    coefficient = max_norm / (norm + 1e-6)
    if not math.isfinite(norm) or coefficient >= 1:
        return norm

    def scale(block: Array) -> None:
        block *= coefficient

    for gradient in gradients.values():
        xp = array_namespace(gradient)
        for_each_block(scale, split_into_blocks(gradient, xp=xp), xp)
    return norm
