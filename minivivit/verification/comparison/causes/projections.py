"""What goes wrong with query, key and value, beyond what goes wrong with any linear map."""

import math
from collections.abc import Iterator

import numpy

from minivivit.verification.comparison.evidence.evidence import Evidence, Hypothesis

PROJECTIONS = ("query", "key", "value")


def projection_hypotheses(evidence: Evidence, attention: str) -> Iterator[Hypothesis]:
    """Projections exchanged, merged and cut wrongly, or with another order of features.

    Parameters
    ----------
    attention : str
        The attention's name, as in ``vivit.encoder.layer.0.attention.attention``.
    """
    parts = evidence.samples(*(f"{attention}.{name}" for name in PROJECTIONS))
    if parts is None or evidence.config is None or parts[0].shape[-1] % evidence.config.num_attention_heads:
        return
    own = evidence.name.rpartition(".")[2]
    index = PROJECTIONS.index(own)
    for other, part in zip(PROJECTIONS, parts, strict=True):
        if other != own and part.shape == parts[index].shape:
            yield Hypothesis(
                f"{' and '.join(sorted((own, other), key=PROJECTIONS.index))} swapped",
                f"in {attention}.{other}",
                "the parameters of the two are swapped; check the conversion's names, or the order in a merged QKV",
                part,
            )
    if len({part.shape for part in parts}) == 1:
        yield from _merged(parts, index, evidence.config.num_attention_heads)
    batch, tokens, hidden = parts[index].shape
    num_heads = evidence.config.num_attention_heads
    yield Hypothesis(
        "heads interleaved",
        "with the features ordered (head size, heads) instead of (heads, head size)",
        "reorder the rows of the weight and of the bias when converting them",
        parts[index]
        .reshape(batch, tokens, num_heads, hidden // num_heads)
        .swapaxes(2, 3)
        .reshape(batch, tokens, hidden),
    )
    if own in ("query", "key"):
        root = math.sqrt(hidden // num_heads)
        yield Hypothesis(
            "scale folded into a projection",
            f"divided by sqrt(head size) = {root:.4g}",
            "harmless where the scores are then not divided: compare the scores, or the attention's output",
            parts[index] / root,
        )


def _merged(parts: list[numpy.ndarray], index: int, num_heads: int) -> Iterator[Hypothesis]:
    """One matrix for all three, whose rows are stacked in one order and cut in another."""
    batch, tokens, hidden = parts[0].shape
    stacked = numpy.stack(parts, axis=2).reshape(batch, tokens, 3, num_heads, -1)  # (.., 3, heads, head size)
    names = ("query, key, value", "heads", "head size")
    for axes in ((1, 0, 2), (1, 2, 0), (2, 1, 0), (2, 0, 1), (0, 2, 1)):
        stored = stacked.transpose(0, 1, *(2 + axis for axis in axes)).reshape(batch, tokens, 3, hidden)
        order = "; ".join(names[axis] for axis in axes)
        if axes[0] != 0:
            yield Hypothesis(
                "merged QKV cut in another order",
                f"with a merged QKV stacked as ({order}) but cut as ({'; '.join(names)})",
                "cut the merged matrix in the order in which it was stacked",
                stored[:, :, index],
            )
        other = stacked.reshape(batch, tokens, *(stacked.shape[2 + axis] for axis in axes))
        cut = other.transpose(0, 1, *(2 + axes.index(axis) for axis in range(3))).reshape(batch, tokens, 3, hidden)
        if axes[0] != 0:
            yield Hypothesis(
                "merged QKV cut in another order",
                f"with a merged QKV stacked as ({'; '.join(names)}) but cut as ({order})",
                "cut the merged matrix in the order in which it was stacked",
                cut[:, :, index],
            )
