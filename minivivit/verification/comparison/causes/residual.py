"""What goes wrong in the residual stream: at the two sums of a layer."""

from collections.abc import Iterator

import numpy

from minivivit.ops.layer_norm import layer_norm_forward
from minivivit.verification.comparison.causes.dropout import dropout_hypotheses
from minivivit.verification.comparison.evidence.evidence import Evidence, Hypothesis
from minivivit.verification.comparison.evidence.folding import branch_of

# Factors closer than this are one.
SAME_FACTOR = 1e-4


def residual_hypotheses(
    evidence: Evidence, stream: str, normalised: str, branch: str, earlier: str = ""
) -> Iterator[Hypothesis]:
    """What could be wrong with y = x + branch(LN(x)), given a branch that agrees.

    Parameters
    ----------
    stream, normalised, branch : str
        Names in the trace of x, of LN(x), and of what is added to x.
    earlier : str
        Of the stream before the branch before this one was added, where there was one.
    """
    x, added = evidence.sample(stream), branch_of(evidence, branch)
    if x is None or added is None or x.shape != added.shape:
        return
    if not evidence.is_ours(x + added):
        return
    sum_of = f"{evidence.name} is {stream} + {branch}"
    yield Hypothesis("residual left out", f"without {stream}", sum_of, added)
    yield Hypothesis("branch left out", f"without {branch}", sum_of, x)
    yield Hypothesis("branch added twice", f"with {branch} added twice", sum_of, x + 2 * added)
    yield Hypothesis("residual added twice", f"with {stream} added twice", sum_of, 2 * x + added)
    yield Hypothesis("residual subtracted", f"with {branch} subtracted", sum_of, x - added)
    before = evidence.sample(normalised)
    if before is not None and before.shape == x.shape:
        yield Hypothesis(
            "residual of the normalised input",
            f"with {normalised} in place of {stream}",
            "the residual stream skips the layer norm: keep x before it is normalised",
            before + added,
        )
    other = evidence.sample(earlier) if earlier else None
    if other is not None and other.shape == x.shape:
        yield Hypothesis("residual from the wrong place", f"with {earlier} in place of {stream}", sum_of, other + added)
    yield from _scaled_branch(evidence, x, added, sum_of)
    yield from _post_norm(evidence, x + added)
    yield from dropout_hypotheses(evidence, added, x)


def _scaled_branch(evidence: Evidence, x: numpy.ndarray, added: numpy.ndarray, advice: str) -> Iterator[Hypothesis]:
    """The branch times a number, which is solved for."""
    theirs, square = evidence.read_theirs(evidence.name), float(numpy.square(added).sum())
    if theirs is None or theirs.shape != x.shape or square == 0:
        return
    factor = evidence.fitted("branch", float(((theirs - x) * added).sum()) / square)
    if min(abs(factor - own) for own in (-1, 0, 1, 2)) < SAME_FACTOR:
        return  # those have names of their own
    yield Hypothesis(
        "branch scaled", f"with the branch times {factor:.5g}", f"{advice}, unscaled", x + factor * added, is_fit=True
    )


def _post_norm(evidence: Evidence, total: object) -> Iterator[Hypothesis]:
    """The sum normalised once more."""
    config = evidence.config
    names = [evidence.name.replace("attention_residual", kind) for kind in ("layernorm_before", "layernorm_after")]
    for name in names:
        weight, bias = evidence.parameter(f"{name}.weight"), evidence.parameter(f"{name}.bias")
        if config is None or weight is None or bias is None:
            continue
        yield Hypothesis(
            "post-norm instead of pre-norm",
            f"with {name} applied to the sum",
            "ViViT normalises what goes into each branch, not the sum",
            layer_norm_forward(total, weight, bias, config.layer_norm_eps)[0],
        )
