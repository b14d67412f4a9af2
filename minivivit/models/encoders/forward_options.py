"""What one forward pass is asked for, beside its input."""

from dataclasses import dataclass
from typing import Any

import numpy

from minivivit.backend import Array
from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.layers.trace import Trace, scope


@dataclass(frozen=True)
class ForwardOptions:
    """How to run an encoder.

    Attributes
    ----------
    explicit : bool
        Hold attention probabilities and return them.
    output_hidden_states : bool
        Return what goes into each layer and what comes out of the last.
    interpolate : bool
        Resample the position embeddings to the size of the clip.
    attention_bias : array that broadcasts to (batch, heads, tokens, tokens), optional
        Added to the attention scores of Model 1.
    rng : numpy.random.Generator, optional
        Given, this is a training pass: dropout and stochastic depth draw from it.
    keep_cache : bool
        Keep what the backward pass needs.
    gradient_checkpointing : bool
        Keep only the layers' inputs, and compute the layers again on the way back.
    trace : Trace, optional
        Records every intermediate value by name.
    """

    explicit: bool = False
    output_hidden_states: bool = False
    interpolate: bool = False
    attention_bias: Array | None = None
    rng: numpy.random.Generator | None = None
    keep_cache: bool = False
    gradient_checkpointing: bool = False
    trace: Trace | None = None

    def stack(self, name: str) -> dict[str, Any]:
        """The arguments that a stack of layers takes, its trace under `name`."""
        return {
            "keep_cache": self.keep_cache,
            "gradient_checkpointing": self.gradient_checkpointing,
            "output_hidden_states": self.output_hidden_states,
            "trace": scope(self.trace, name),
            # what the layers are asked for beside that is for the whole batch
            "in_parts": not self.explicit and self.attention_bias is None,
        }


def inference_options(
    config: VivitConfig,
    interpolate: bool,
    output_attentions: bool | None,
    output_hidden_states: bool | None,
    trace: Trace | None,
) -> ForwardOptions:
    """Options of a pass without gradients; where an argument is None, the config decides."""
    return ForwardOptions(
        explicit=config.output_attentions if output_attentions is None else output_attentions,
        output_hidden_states=config.output_hidden_states if output_hidden_states is None else output_hidden_states,
        interpolate=interpolate,
        trace=trace,
    )


def training_options(
    interpolate: bool, rng: numpy.random.Generator | None, gradient_checkpointing: bool, trace: Trace | None = None
) -> ForwardOptions:
    """Options of a pass that will be differentiated."""
    if rng is not None and not isinstance(rng, numpy.random.Generator):
        raise InputError(f"rng is {rng!r}; expected a numpy.random.Generator, as numpy.random.default_rng(0)")
    return ForwardOptions(
        interpolate=interpolate, rng=rng, keep_cache=True, gradient_checkpointing=gradient_checkpointing, trace=trace
    )
