"""What the cases of the checks are made of: arrays of random shapes whose axes all differ, so that no mix-up fits."""

from typing import Any

import numpy


def normal(rng: numpy.random.Generator, *shape: int, dtype: str = "float64", scale: float = 1.0) -> numpy.ndarray:
    """Normal numbers with mean 0 and standard deviation `scale`."""
    return (scale * rng.standard_normal(shape)).astype(dtype)


def distinct(rng: numpy.random.Generator, count: int, low: int = 2, high: int = 9) -> list[int]:
    """`count` different lengths of axes, from `low` to `high`."""
    return [int(length) for length in rng.permutation(numpy.arange(low, high + 1))[:count]]


def far_keys(rng: numpy.random.Generator, *shape: int) -> numpy.ndarray:
    """Keys (..., keys, head_size) that share a long vector: it adds to all scores of a query one number, up to 1e4.

    No softmax sees it, but exp does.
    """
    return normal(rng, *shape) + 3e3 * normal(rng, shape[-1])


def linear_parameters(rng: numpy.random.Generator, outputs: int, inputs: int, dtype: str = "float64") -> dict[str, Any]:
    """Weight (outputs, inputs) and bias (outputs,) of a linear map."""
    return {"weight": normal(rng, outputs, inputs, dtype=dtype, scale=0.5), "bias": normal(rng, outputs, dtype=dtype)}


def attention_parameters(rng: numpy.random.Generator, hidden: int, dtype: str = "float64") -> dict[str, Any]:
    """The parameters of multi-head attention, as the published checkpoint spells them."""
    projections = {name: linear_parameters(rng, hidden, hidden, dtype) for name in ("query", "key", "value")}
    return {"attention": projections, "output": {"dense": linear_parameters(rng, hidden, hidden, dtype)}}


def norm_parameters(rng: numpy.random.Generator, hidden: int, dtype: str = "float64") -> dict[str, Any]:
    """Weight and bias of a layer norm, away from their first values 1 and 0."""
    return {"weight": 1 + normal(rng, hidden, dtype=dtype, scale=0.3), "bias": normal(rng, hidden, dtype=dtype)}


def layer_parameters(rng: numpy.random.Generator, hidden: int, intermediate: int) -> dict[str, Any]:
    """The parameters of a transformer layer, as the published checkpoint spells them."""
    return {
        "layernorm_before": norm_parameters(rng, hidden),
        "attention": attention_parameters(rng, hidden),
        "layernorm_after": norm_parameters(rng, hidden),
        "intermediate": {"dense": linear_parameters(rng, intermediate, hidden)},
        "output": {"dense": linear_parameters(rng, hidden, intermediate)},
    }


def encoder_parameters(rng: numpy.random.Generator, hidden: int, tokens: int, layers: int) -> dict[str, Any]:
    """The parameters of an encoder over `tokens` tokens: CLS token, positions, layers and the last norm."""
    return {
        "cls_token": normal(rng, 1, 1, hidden),
        "position_embeddings": normal(rng, 1, 1 + tokens, hidden),
        "layer": {str(layer): layer_parameters(rng, hidden, 2 * hidden + 1) for layer in range(layers)},
        "layernorm": norm_parameters(rng, hidden),
    }
