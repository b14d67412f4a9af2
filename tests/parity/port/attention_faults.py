"""Mistakes inside the attention."""

from typing import Any

import torch

from .fault import L0, L1, S0, T0, Fault
from .planting import after, change_weights, load_as, only, replace

A = r"body\.blocks\.\d\.attn"
SCORES, PROBS, CONTEXT = (f"{L0}.attention.attention{part}" for part in (".scores", ".probs", ""))


def keep_keys(first: int, last: int) -> Any:
    """Softmax without the keys from `first` to before `last`: their probability is 0."""

    def normalise(self: Any, original: Any, scores: Any) -> Any:
        hidden = torch.zeros(scores.shape[-1], dtype=torch.bool)
        hidden[first:last] = True
        return original(scores.masked_fill(hidden, -torch.inf))

    return normalise


def padded(multiple: int) -> Any:
    """Keys padded with zeros, which softmax takes for scores."""

    def normalise(self: Any, original: Any, scores: Any) -> Any:
        tokens = scores.shape[-1]
        return original(torch.nn.functional.pad(scores, (0, -tokens % multiple)))[..., :tokens]

    return normalise


def masked(mask: Any) -> Any:
    """Scores with a mask, before they are recorded; `mask` makes one, True where hidden, of a number of tokens."""
    return lambda self, original, query, key: original(query, key).masked_fill(
        mask(key.shape[-2]), torch.finfo(query.dtype).min
    )


def causal(tokens: int) -> Any:
    """Each token sees those before it."""
    return torch.ones(tokens, tokens, dtype=torch.bool).triu(1)


def batch_first(self: Any, original: Any, x: Any) -> Any:
    """nn.MultiheadAttention without batch_first=True: attention among the clips, token by token."""
    return original(x.transpose(0, 1)).transpose(0, 1)


def softmax_one(self: Any, original: Any, scores: Any) -> Any:
    """exp(s) / (1 + sum exp(s))."""
    return original(torch.nn.functional.pad(scores, (0, 1)))[..., :-1]


def one_head(part: int) -> Any:
    """One key or value head for all, as in multi-query attention."""

    def parts(self: Any, original: Any, x: Any) -> Any:
        found = list(original(x))
        found[part] = found[part][..., :1, :, :].expand_as(found[part])
        return tuple(found)

    return parts


def rotary(self: Any, original: Any, query: Any, key: Any) -> Any:
    """Rotary positions on top of the learned ones."""

    def turned(x: Any) -> Any:
        half = x.shape[-1] // 2
        angles = torch.arange(x.shape[-2])[:, None] * 0.1 ** torch.arange(half)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)

    return original(turned(query), turned(key))


def scaled(factor: Any) -> Any:
    """Scores times a factor that may hang on the module."""
    return lambda self, original, *given: original(*given) * factor(self)


def exchange_heads(order: list[int]) -> Any:
    """(..., heads, tokens, head size) in another order."""
    return lambda x: x.index_select(-3, torch.tensor(order))


def temporal_of_clip_tokens(tokens: int) -> Any:
    """True where two tokens of Model 1 are of different times."""
    time = (torch.arange(tokens) - 1).div(16, rounding_mode="floor")
    return (time[:, None] != time[None]) & (time[None] >= 0) & (time[:, None] >= 0)


ATTENTION_FAULTS = [
    Fault("a tile of keys dropped", replace(A, "normalise", keep_keys(48, 64)), PROBS, "keys cut off",
          where=("keys 48 to 63",)),
    Fault("the last key lost", replace(A, "normalise", keep_keys(64, 65)), PROBS, "keys cut off",
          where=("key 64", "the last key")),
    Fault("the CLS token's column masked", replace(A, "normalise", keep_keys(0, 1)), PROBS, "keys cut off",
          ("a key masked",), where=("key 0", "the first key")),
    Fault("padding without a mask", replace(A, "normalise", padded(16)), PROBS, "padding without a mask"),
    Fault("scores masked to one time", replace(A, "score", masked(temporal_of_clip_tokens)), SCORES, "attention mask"),
    Fault("a causal mask in layer 1", replace(r"body\.blocks\.1\.attn", "score", masked(causal)),
          f"{L1}.attention.attention.scores", "causal mask"),
    Fault("batch_first forgotten", replace(A, "forward", batch_first), f"{L0}.attention.attention.query",
          "batch_first"),
    Fault("softmax over the heads", replace(A, "normalise", lambda self, original, s: s.softmax(-3)), PROBS,
          "softmax over the wrong axis"),
    Fault("softmax-one", replace(A, "normalise", softmax_one), PROBS, "softmax with 1 added", ("softmax-one",)),
    Fault("sigmoid for softmax", replace(A, "normalise", lambda self, original, s: s.sigmoid()), PROBS,
          "sigmoid in place of softmax"),
    Fault("base-2 exponential", replace(A, "normalise", lambda self, original, s: (s * 0.6931471805599453).softmax(-1)),
          PROBS, "exponential with base 2"),
    Fault("heads 0 and 1 exchanged", after(A, exchange_heads([1, 0, 2, 3]), "attend"), CONTEXT, "head order",
          where=("heads 0 and 1",)),
    Fault("heads in reverse", after(A, exchange_heads([3, 2, 1, 0]), "attend"), CONTEXT, "head order"),
    Fault("one value head for all", replace(A, "parts", one_head(2)), CONTEXT, "one value head for all"),
    Fault("one key head for all", replace(A, "parts", one_head(1)), SCORES, "one key head for all"),
    Fault("only one key column", after(A, only(-1, 64, lambda s: s + 1), "score"), SCORES, None,
          where=("key 64", "the last key")),
    Fault("head 2 alone", after(A, only(-3, 2, lambda c: c * 0.5), "attend"), CONTEXT, None,
          ("a constant factor",), where=("head 2",)),
    Fault("scale twice", after(A, lambda s: s / 12**0.5, "score"), SCORES, "scaled by d"),
    Fault("scale of another number of heads", after(A, lambda s: s * 2**0.5, "score"), SCORES, "a constant factor",
          ("scaled by another head size",)),
    Fault("rotary positions", replace(A, "score", rotary), SCORES, None),
    Fault("probabilities cut at 1e-2", after(A, lambda p: p * (p > 1e-2), "normalise"), PROBS, None),
    Fault("merged without transpose", replace(A, "merge", lambda self, original, c: c.reshape(*c.shape[:-3], -1, 48)),
          f"{L0}.attention.output.dense", "heads merged without a transpose"),
    Fault("query and key exchanged", replace(A, "parts", lambda self, original, x: (
        lambda q, k, v: (k, q, v))(*original(x))), SCORES, "query and key swapped"),
    Fault("the projection's bias lost", change_weights(r"body\.blocks\.0\.attn\.proj\.bias", torch.zeros_like),
          f"{L0}.attention.output.dense", "bias left out"),
    Fault("projection of layer 1 in layer 0", load_as({"body.blocks.0.attn.proj": "body.blocks.1.attn.proj"}),
          f"{L0}.attention.output.dense", "another layer's parameters"),
    Fault("output columns permuted", change_weights(r"body\.blocks\.0\.attn\.proj\.(weight|bias)",
          lambda w: w.roll(12, 0)), f"{L0}.attention.output.dense", "feature order", ("output columns permuted",)),
    Fault("a causal mask in the temporal encoder", replace(r"time\.blocks\.\d\.attn", "score", masked(causal)),
          f"{T0}.attention.attention.scores", "causal mask", model="m2"),
    Fault("value transposed, spatial encoder",
          change_weights(r"space\.blocks\.0\.attn\.qkv\.weight", lambda w: torch.cat([w[:96], w[96:].T])),
          f"{S0}.attention.attention.value", "transposed weight", model="m2"),
    Fault("the last place lost, spatial encoder", replace(r"space\.blocks\.\d\.attn", "normalise", keep_keys(16, 17)),
          f"{S0}.attention.attention.probs", "keys cut off", model="m2", where=("key 16", "the last key")),
    Fault("softmax over the queries, spatial attention",
          replace(r"blocks\.\d\.attn_s", "normalise", lambda self, original, s: s.softmax(-2)),
          f"{L0}.spatial_attention.attention.probs", "softmax over the wrong axis", model="m3"),
    Fault("a causal mask over time", replace(r"blocks\.\d\.attn_t", "score", masked(causal)),
          f"{L0}.temporal_attention.attention.scores", "causal mask", model="m3"),
    Fault("no scale over time", after(r"blocks\.\d\.attn_t", lambda s: s * 12**0.5, "score"),
          f"{L0}.temporal_attention.attention.scores", "missing 1/sqrt(d)", vague=("a constant factor",), model="m3"),
    Fault("query without bias, spatial attention",
          change_weights(r"blocks\.0\.attn_s\.qkv\.bias", lambda b: torch.cat([0 * b[:48], b[48:]])),
          f"{L0}.spatial_attention.attention.query", "bias left out", vague=("bias differs",), model="m3"),
    Fault("output projection transposed, temporal attention",
          change_weights(r"blocks\.0\.attn_t\.proj\.weight", lambda w: w.T),
          f"{L0}.temporal_attention.output.dense", "transposed weight", model="m3"),
    Fault("key and value exchanged, temporal attention",
          change_weights(r"blocks\.\d\.attn_t\.qkv\.(weight|bias)",
                         lambda w: torch.cat([w[:48], w[96:], w[48:96]])),
          f"{L0}.temporal_attention.attention.key", "key and value swapped", vague=("another tensor",), model="m3"),
]  # fmt: skip
