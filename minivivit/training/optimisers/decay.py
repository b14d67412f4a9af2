"""Which parameters weight decay pulls towards zero."""

from collections.abc import Callable

from minivivit.backend import Array

DecayRule = Callable[[str, Array], bool]

# Learned vectors that are stored with leading axes of length one, and so look like matrices.
_TOKENS_AND_POSITIONS = ("cls_token", "position_embeddings")


def decays(name: str, parameter: Array) -> bool:
    """Whether a parameter decays: matrices and convolution kernels do; everything else does not.

    Decay keeps the weights that multiply activations small. A bias, or the scale and shift of a layer norm, multiplies
    no sum of inputs, and pulling it to zero only costs accuracy; the class token and the position embeddings are inputs
    of the network, not weights of it. So a parameter decays when it has at least two axes and is neither of these two.

    Parameters
    ----------
    name : str
        The flat name, such as ``"vivit.encoder.layer.0.attention.attention.query.weight"``.
    parameter : array
        Only its number of axes is looked at.

    Notes
    -----
    scenic's `skip_scale_and_bias_regularization` exempts what has exactly one axis, and so lets the class token and
    the position embeddings decay. Pass ``lambda name, parameter: parameter.ndim != 1`` to an optimiser for that rule.
    """
    return parameter.ndim >= 2 and name.rpartition(".")[2] not in _TOKENS_AND_POSITIONS
