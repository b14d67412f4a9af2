"""What goes wrong in the residual stream: at the two sums of a layer."""

from collections.abc import Iterator

from minivivit.ops.layer_norm import layer_norm_forward
from minivivit.verification.comparison.causes.dropout import dropout_hypotheses
from minivivit.verification.comparison.evidence.evidence import Evidence, Hypothesis


def residual_hypotheses(evidence: Evidence, stream: str, normalised: str, branch: str) -> Iterator[Hypothesis]:
    """What could be wrong with y = x + branch(LN(x)), given a branch that agrees.

    Parameters
    ----------
    stream, normalised, branch : str
        Names in the trace of x, of LN(x), and of what is added to x.
    """
    found = evidence.samples(stream, branch)
    if found is None or found[0].shape != found[1].shape:
        return
    x, added = found
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
    yield from _post_norm(evidence, x + added)
    yield from dropout_hypotheses(evidence, added, x)


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
