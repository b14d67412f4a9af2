"""What the cases of the checks are made of: arrays of random shapes whose axes all differ, so that no mix-up fits."""

from typing import Any

import numpy


def normal(rng: numpy.random.Generator, *shape: int, dtype: str = "float64", scale: float = 1.0) -> numpy.ndarray:
    """Normal numbers with mean 0 and standard deviation `scale`."""
    return (scale * rng.standard_normal(shape)).astype(dtype)


def distinct(rng: numpy.random.Generator, count: int, low: int = 2, high: int = 9) -> list[int]:
    """`count` different lengths of axes, from `low` to `high`."""
    return [int(length) for length in rng.permutation(numpy.arange(low, high + 1))[:count]]


def log_uniform(rng: numpy.random.Generator, low: float, high: float) -> float:
    """A number between `low` and `high`, of any order of magnitude alike."""
    return float(numpy.exp(rng.uniform(numpy.log(low), numpy.log(high))))


def spread(rng: numpy.random.Generator, *shape: int) -> numpy.ndarray:
    """Rows, some of which spread over 1e4 and more, others over less; they rise in one row and fall in the next.

    Of a softmax that shifts by a row's least, mean, first or last entry, exp overflows.
    """
    rows = normal(rng, *shape).reshape(-1, shape[-1])
    rows *= 10 ** rng.uniform(-1, 4, (len(rows), 1))
    rows[0] = numpy.sort(rows[0] / abs(rows[0]).max() * 2e4)
    rows[-1] = -numpy.sort(rows[-1] / abs(rows[-1]).max() * 2e4)
    return rows.reshape(shape)


def far_keys(rng: numpy.random.Generator, *shape: int) -> numpy.ndarray:
    """Keys (..., keys, head_size) that share a long vector: it adds to all scores of a query one number, up to 1e4.

    No softmax sees it, but exp does.
    """
    return normal(rng, *shape) + 3e3 * normal(rng, shape[-1])


def spread_queries(rng: numpy.random.Generator, *shape: int) -> numpy.ndarray:
    """Queries (..., queries, head_size) of lengths from 0.3 to 1e4: the scores of some spread over 1e4."""
    lengths = 10 ** numpy.linspace(-0.5, 4, shape[-2])
    return normal(rng, *shape) * rng.permutation(lengths)[:, None]


def attention_sizes(
    rng: numpy.random.Generator, *, one_token: bool = True
) -> list[tuple[str, tuple[int, int, int, int, int], str]]:
    """(words, (batch, heads, queries, keys, head_size), dtype) of cases of attention, ordinary ones and ends of ranges.

    The words "1e4" and "spread" ask for `far_keys` and `spread_queries`; "as many keys" where a forgotten transpose
    raises no error.
    """
    kinds = [("", "float64"), (", scores near 1e4", "float64"), (", scores spread over 1e4", "float64")]
    kinds += [(", as many keys", "float64"), (", float32", "float32")]
    sizes: list[tuple[str, tuple[int, int, int, int, int], str]] = []
    for about, dtype in kinds:
        batch, heads = distinct(rng, 2, 2, 4)
        queries, keys, size = distinct(rng, 3, 5, 9)
        keys = queries if "as many" in about else keys
        sizes.append((about, (batch, heads, queries, keys, size), dtype))
    batch, heads, keys, size = distinct(rng, 4, 2, 5)
    sizes.insert(1, (", one sample, one head", (1, 1, size, keys, batch), "float64"))
    sizes.insert(2, (", one query, one feature a head", (batch, heads, 1, keys, 1), "float64"))
    if one_token:
        sizes.insert(3, (", one token", (batch, heads, 1, 1, size), "float64"))
    return sizes


def head_sizes(rng: numpy.random.Generator) -> list[tuple[tuple[int, int, int, int], str]]:
    """((batch, heads, tokens, head_size), dtype) of cases with heads: all different, and each of them 1 in turn."""
    sizes = [(tuple(distinct(rng, 4, 2, 6)), dtype) for dtype in ("float64", "float64", "float32")]
    batch, heads, tokens, size = distinct(rng, 4, 2, 6)
    ends = [(1, 1, tokens, size), (batch, heads, 1, size), (batch, heads, tokens, 1)]
    return [*sizes[:2], *((end, "float64") for end in ends), sizes[2]]  # type: ignore[list-item]


def multi_head_arguments(
    rng: numpy.random.Generator, sizes: tuple[int, int, int, int], dtype: str, about: str
) -> dict[str, Any]:
    """x, params and num_heads; for "1e4" a key's bias adds as much to all scores of a query, for "spread" they differ.

    Parameters
    ----------
    sizes : (batch, heads, tokens, head_size)
    """
    batch, num_heads, tokens, size = sizes
    params = attention_parameters(rng, num_heads * size, dtype)
    if "1e4" in about:
        params["attention"]["key"]["bias"] *= 3e3
    if "spread" in about:
        for part in params["attention"]["query"].values():
            part *= 3e3
    return {"x": normal(rng, batch, tokens, num_heads * size, dtype=dtype), "params": params, "num_heads": num_heads}


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
    """The parameters of an encoder over `tokens` tokens: CLS token, positions, layers and the last norm.

    The MLP is wider than its input, or narrower.
    """
    width = int(rng.integers(2, 2 * hidden + 2))
    return {
        "cls_token": normal(rng, 1, 1, hidden),
        "position_embeddings": normal(rng, 1, 1 + tokens, hidden),
        "layer": {str(layer): layer_parameters(rng, hidden, width) for layer in range(layers)},
        "layernorm": norm_parameters(rng, hidden),
    }
