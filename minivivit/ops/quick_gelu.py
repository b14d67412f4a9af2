"""The sigmoid approximation of GELU: x sigmoid(1.702 x)."""

from minivivit.backend import Array, floating_namespace
from minivivit.ops.sigmoid import sigmoid


def quick_gelu_forward(x: Array, out: Array | None = None) -> tuple[Array, dict]:
    r""":math:`y = x \, s(1.702 x)` with the logistic function s. `out` may receive the result.

    References
    ----------
    Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2; transformers' ``QuickGELUActivation``.
    """
    xp = floating_namespace(x, "x")
    return xp.multiply(x, sigmoid(1.702 * x), out=out), {"x": x}


def quick_gelu_backward(dy: Array, cache: dict) -> Array:
    r"""The product rule, with s' = s (1 - s): :math:`dx = dy \, s (1 + 1.702 x (1 - s))`."""
    x = cache["x"]
    gate = sigmoid(1.702 * x)
    return dy * gate * (1 + 1.702 * x * (1 - gate))
