"""The activations by the names that a config gives them."""

from collections.abc import Callable

from minivivit.ops.gelu import gelu_backward, gelu_forward
from minivivit.ops.gelu_tanh import gelu_fast_backward, gelu_fast_forward, gelu_tanh_backward, gelu_tanh_forward
from minivivit.ops.quick_gelu import quick_gelu_backward, quick_gelu_forward
from minivivit.ops.relu import relu_backward, relu_forward
from minivivit.ops.silu import silu_backward, silu_forward
from minivivit.ops.tanh import tanh_backward, tanh_forward

# name -> (forward, backward). Each forward takes (x, out=None).
ACTIVATIONS: dict[str, tuple[Callable, Callable]] = {
    "gelu": (gelu_forward, gelu_backward),
    "gelu_fast": (gelu_fast_forward, gelu_fast_backward),
    "gelu_new": (gelu_tanh_forward, gelu_tanh_backward),
    "gelu_pytorch_tanh": (gelu_tanh_forward, gelu_tanh_backward),
    "quick_gelu": (quick_gelu_forward, quick_gelu_backward),
    "relu": (relu_forward, relu_backward),
    "silu": (silu_forward, silu_backward),
    "tanh": (tanh_forward, tanh_backward),
}
