"""What goes wrong after the last layer: pooling, classes, loss."""

import math
import re
from collections.abc import Iterator

import numpy

from minivivit.ops.cross_entropy import cross_entropy_forward
from minivivit.ops.softmax import softmax_forward
from minivivit.verification.comparison.evidence.evidence import LARGEST_SAMPLE, Evidence, Hypothesis
from minivivit.verification.comparison.mistakes.norms import layer_norm

SAME_COLUMN = 1e-3


def pooling_hypotheses(evidence: Evidence, last_hidden_state: str) -> Iterator[Hypothesis]:
    """What could be wrong with the one vector that the classifier sees, given tokens that agree.

    Parameters
    ----------
    last_hidden_state : str
        The name of the tokens after the final layer norm.
    """
    tokens, config = evidence.sample(last_hidden_state), evidence.config
    pooled = evidence.sample(evidence.name)
    if tokens is None or pooled is None or config is None or tokens.ndim != 3 or tokens.shape[-1] != pooled.shape[-1]:
        return
    rules = {
        "token": ("the first token", tokens[:, 0]),
        "gap": ("the mean of all tokens", tokens.mean(axis=1)),
        "gmp": ("the maximum of all tokens", tokens.max(axis=1)),
        "gsp": ("the sum of all tokens", tokens.sum(axis=1)),
        "": ("the mean of all tokens but the first", tokens[:, 1:].mean(axis=1)),
        "second": ("the second token", tokens[:, 1]),
        "last": ("the last token", tokens[:, -1]),
    }
    right, tensor = rules.pop(config.classifier)
    if not evidence.is_ours(tensor):
        return
    before = evidence.sample(_last_layer(evidence, last_hidden_state))
    if before is not None and before.shape == tokens.shape:
        wrong = {"token": before[:, 0], "gap": before.mean(axis=1)}.get(config.classifier)
        if wrong is not None:
            advice = f"pool {last_hidden_state}"
            yield Hypothesis("pooling before the norm", "taken before the final layer norm", advice, wrong)
            weight, bias = (evidence.parameter(f"{last_hidden_state}.{kind}") for kind in ("weight", "bias"))
            if weight is not None and bias is not None and config.classifier == "gap":
                mistake = "with the final layer norm applied to the mean, and not the mean taken of what it makes"
                normalised = layer_norm(wrong, weight, bias, config.layer_norm_eps)
                yield Hypothesis("pooling before the norm", mistake, advice, normalised)
    for words, tensor in rules.values():
        yield Hypothesis("pooling", f"with {words} in place of {right}", f"take {right} of {last_hidden_state}", tensor)


def _last_layer(evidence: Evidence, last_hidden_state: str) -> str:
    """The name of what goes into the final norm."""
    stem = last_hidden_state.removesuffix("layernorm")
    layers = [
        name for name in evidence.ours.shapes if re.fullmatch(rf"{re.escape(stem)}(?:encoder\.)?layer\.\d+", name)
    ]
    return layers[-1] if layers else ""


def pooled_places_hypotheses(evidence: Evidence) -> Iterator[Hypothesis]:
    """What could be wrong with the one vector for each time that Model 2's spatial encoder gives."""
    shape = evidence.ours.shapes[evidence.name]
    tokens = evidence.ours.shapes.get(f"{evidence.name}.layernorm", ())
    if len(shape) != 3 or tokens[:1] != (shape[0] * shape[1],) or numpy.prod(tokens) > LARGEST_SAMPLE:
        return
    whole = evidence.shared.whole(evidence.ours, f"{evidence.name}.layernorm")
    whole = whole[evidence.index * shape[1] :][: shape[1]]  # (times, tokens, hidden)
    if not evidence.is_ours(whole[None, :, 0]):
        return
    for words, wrong in (
        ("the last token", whole[:, -1]),
        ("the second token", whole[:, 1]),
        ("the mean of all tokens", whole.mean(axis=1)),
        ("the mean of all tokens but the first", whole[:, 1:].mean(axis=1)),
        ("the maximum of all tokens", whole.max(axis=1)),
    ):
        advice = f"take the first token of {evidence.name}.layernorm"
        yield Hypothesis("pooling", f"with {words} of each time in place of the first token", advice, wrong[None])


def class_hypotheses(evidence: Evidence) -> Iterator[Hypothesis]:
    """What could be wrong with the logits, given a pooled vector that agrees."""
    logits, theirs = evidence.sample(evidence.name), evidence.read_theirs(evidence.name)
    if logits is None or logits.ndim != 2:
        return
    classes = logits.shape[-1]
    yield Hypothesis(
        "softmax applied to the logits",
        "after softmax",
        "these are probabilities; compare what goes into the last softmax",
        softmax_forward(logits)[0],
    )
    with_log = logits - logits.max() - numpy.log(numpy.exp(logits - logits.max()).sum(axis=-1, keepdims=True))
    advice = "compare what goes into it"
    yield Hypothesis("log-softmax applied to the logits", "after log-softmax", advice, with_log)
    yield Hypothesis("sigmoid applied to the logits", "after a sigmoid", advice, 1 / (1 + numpy.exp(-logits)))
    alphabetical = sorted(range(classes), key=str)
    orders = [
        (alphabetical, "with the classes in alphabetical order of their numbers (0, 1, 10, 11, ..., 2)"),
        (list(range(classes))[::-1], "with the classes in reverse"),
        (numpy.roll(range(classes), 1).tolist(), "with the classes moved on by 1 in a circle"),
        (numpy.roll(range(classes), -1).tolist(), "with the classes moved back by 1 in a circle"),
    ]
    advice = "check label2id, and the order of the classifier's rows"
    for order, mistake in orders:
        yield Hypothesis("class order", mistake, advice, logits[:, order])
    if theirs is None or theirs[:1].shape != logits.shape or classes < 3:
        return
    distances = numpy.abs(theirs[:1, :, None] - logits[:, None, :])[0]  # (theirs, ours)
    matched = distances.argmin(axis=1).tolist()
    scale = float(numpy.abs(logits).max()) or 1.0
    if sorted(matched) != list(range(classes)) or distances.min(axis=1).max() > SAME_COLUMN * scale / classes:
        return
    matched = evidence.fitted("classes", matched)
    if matched not in [order for order, _ in orders]:
        shown = ", ".join(map(str, matched[:12])) + (", ..." if classes > 12 else "")
        yield Hypothesis("class order", f"with the classes {shown}", advice, logits[:, matched])


def loss_hypotheses(evidence: Evidence, logits_name: str) -> Iterator[Hypothesis]:
    """What could be wrong with a cross-entropy, given logits that agree.

    The logits of the whole batch are read: the loss is a mean over it.
    """
    labels = evidence.ours.metadata.get("labels")
    if labels is None or logits_name not in evidence.ours or len(evidence.ours.shapes[logits_name]) != 2:
        return
    logits, labels = evidence.ours.read(logits_name), numpy.asarray(labels)
    batch, classes = logits.shape
    if labels.shape != (batch,) or labels.dtype.kind not in "iu" or not ((labels >= 0) & (labels < classes)).all():
        return
    loss = float(cross_entropy_forward(logits, labels)[0])
    if not evidence.is_ours(numpy.array(loss)):
        return

    def guess(cause: str, mistake: str, advice: str, value: float) -> Hypothesis:
        return Hypothesis(cause, mistake, advice, numpy.array(value))

    for shift, words in ((1, "one too high"), (-1, "one too low")):
        moved = labels + shift
        if ((moved >= 0) & (moved < classes)).all():
            value = float(cross_entropy_forward(logits, moved)[0])
            yield guess("labels off by one", f"with labels that are {words}", "classes count from 0", value)
    if batch > 1:
        yield guess("loss summed", "summed over the batch", "take the mean: reduction='mean'", loss * batch)
    yield guess("loss with base 2", "in bits", "use natural logarithms", loss / math.log(2))
    probs = softmax_forward(logits)[0]
    value = float(cross_entropy_forward(probs, labels)[0])
    yield guess("softmax before the loss", "of probabilities", "the cross-entropy takes logits", value)
    for smoothing in (0.05, 0.1, 0.2):
        value = float(cross_entropy_forward(logits, labels, smoothing)[0])
        yield guess("label smoothing", f"with label smoothing {smoothing}", "switch label smoothing off", value)
