"""What goes wrong where CLS token, tokens and position embeddings come together."""

from collections.abc import Iterator
from itertools import permutations

import numpy

from minivivit.verification.comparison.causes.dropout import dropout_hypotheses
from minivivit.verification.comparison.evidence.evidence import LARGEST_SAMPLE, Evidence, Hypothesis
from minivivit.verification.comparison.mistakes.norms import plain_layer_norm


def embedding_hypotheses(evidence: Evidence) -> Iterator[Hypothesis]:
    """What could be wrong with the embeddings, given tokens that agree."""
    z = evidence.sample(evidence.name)
    if z is None:
        return
    yield from dropout_hypotheses(evidence, z)
    yield from _normalised(evidence, z)
    tokens = evidence.sample(f"{evidence.name}.patch_embeddings")
    positions = evidence.parameter(f"{evidence.name}.position_embeddings")
    cls_token = evidence.parameter(f"{evidence.name}.cls_token")
    if tokens is None and evidence.name.endswith("_encoder.embeddings"):
        yield from _encoder_positions(evidence, evidence.name.removesuffix(".embeddings"))
    if tokens is None or positions is None:
        return
    num_cls = 0 if cls_token is None else 1
    sequence = tokens if cls_token is None else numpy.concatenate([cls_token, tokens], axis=1)
    if sequence.shape != positions.shape or not evidence.is_ours(sequence + positions):
        return  # interpolated positions, or other weights
    yield Hypothesis(
        "position embeddings left out", "without the position embeddings", "add position_embeddings", sequence
    )
    yield Hypothesis(
        "position embeddings twice", "with the position embeddings added twice", "add them once", z + positions
    )
    if cls_token is not None:
        yield from _with_cls_token(cls_token, tokens, positions)
    yield Hypothesis(
        "position order",
        "with the position embeddings in reverse",
        "take them from the beginning",
        sequence + positions[:, ::-1],
    )
    yield Hypothesis(
        "position order",
        "with the position embeddings of the tokens in reverse",
        "take them from the beginning",
        sequence + numpy.concatenate([positions[:, :num_cls], positions[:, num_cls:][:, ::-1]], axis=1),
    )
    for shift in (1, -1):
        yield Hypothesis(
            "position embeddings shifted",
            f"with the position embeddings moved on by {shift} in a circle",
            "the CLS token has the first of them, the tokens the others",
            sequence + numpy.roll(positions, shift, 1),
        )
    yield from _other_grids(evidence, sequence, positions, num_cls)


def _normalised(evidence: Evidence, z: numpy.ndarray) -> Iterator[Hypothesis]:
    """A norm before the layers."""
    if evidence.config is not None:
        yield Hypothesis(
            "extra layer norm",
            "with a norm without weight and bias applied to it",
            "ViViT normalises what goes into each branch, and not the embeddings",
            plain_layer_norm(z, evidence.config.layer_norm_eps),
        )


def _encoder_positions(evidence: Evidence, encoder: str) -> Iterator[Hypothesis]:
    """Positions of Model 2's encoders, each of which has its own."""
    positions = evidence.parameter(f"{encoder}.position_embeddings")
    sequence = evidence.sample(f"{evidence.name}.with_cls_token")
    if (
        positions is None
        or sequence is None
        or sequence.shape != positions.shape
        or not evidence.is_ours(sequence + positions)
    ):
        return
    own = f"{encoder}.position_embeddings"
    yield Hypothesis("position embeddings left out", f"without {own}", f"add {own}", sequence)
    yield Hypothesis("position embeddings twice", f"with {own} added twice", "add them once", sequence + 2 * positions)
    tokens = positions[:, 1:]
    orders = [
        ("position order", "in reverse", positions[:, ::-1]),
        ("position order", "of the tokens in reverse", numpy.concatenate([positions[:, :1], tokens[:, ::-1]], axis=1)),
    ]
    rows, columns = evidence.config.grid_size[1:] if evidence.config else (0, 0)
    if rows * columns == tokens.shape[1]:
        turned = tokens.reshape(1, rows, columns, -1).swapaxes(1, 2).reshape(tokens.shape)
        turned = numpy.concatenate([positions[:, :1], turned], axis=1)
        orders.append(("height and width swapped", "with columns before rows", turned))
    for cause, words, moved in orders:
        yield Hypothesis(cause, f"with {own} {words}", "take them in the order in which they lie", sequence + moved)


def cls_token_hypotheses(evidence: Evidence) -> Iterator[Hypothesis]:
    """What could be wrong with the sequence of CLS token and tokens, given tokens that agree."""
    embeddings = evidence.name.removesuffix(".with_cls_token")
    encoder = embeddings.removesuffix(".embeddings") if embeddings.endswith("_encoder.embeddings") else embeddings
    sequence, cls_token = evidence.sample(evidence.name), evidence.parameter(f"{encoder}.cls_token")
    if sequence is None or cls_token is None or not numpy.array_equal(sequence[:, :1], cls_token):
        return
    tokens = sequence[:, 1:]
    yield Hypothesis(
        "CLS token at the end",
        "with the CLS token at the end",
        "the CLS token comes first",
        numpy.concatenate([tokens, cls_token], axis=1),
    )
    yield Hypothesis(
        "CLS token left at zero",
        "with a CLS token of zeros",
        "load cls_token",
        numpy.concatenate([numpy.zeros_like(cls_token), tokens], axis=1),
    )
    yield from _other_folds(evidence, encoder, cls_token)
    for other in evidence.parameter_names(r".*cls_token"):
        theirs = evidence.parameter(other)
        if theirs is not None and theirs.shape == cls_token.shape and not numpy.array_equal(theirs, cls_token):
            yield Hypothesis(
                "another layer's parameters",
                f"with {other} in place of {encoder}.cls_token",
                "check the names under which the parameters are loaded",
                numpy.concatenate([theirs, tokens], axis=1),
            )


def _other_folds(evidence: Evidence, encoder: str, cls_token: numpy.ndarray) -> Iterator[Hypothesis]:
    """What Model 2's spatial encoder gives, (clips, times, hidden), folded as if times came first."""
    source = encoder.replace("temporal_encoder", "spatial_encoder")
    shape = evidence.ours.shapes.get(source, ())
    if source == encoder or len(shape) != 3 or numpy.prod(shape) > LARGEST_SAMPLE or evidence.index >= shape[0]:
        return
    whole = evidence.shared.whole(evidence.ours, source)
    for words, folded in (
        ("folded as (times, clips)", whole.swapaxes(0, 1).reshape(shape)),
        ("taken for (times, clips)", whole.reshape(shape[1], shape[0], -1).swapaxes(0, 1)),
    ):
        yield Hypothesis(
            "times folded in another order",
            f"with the times and clips of {source} {words}",
            "fold clips and times with the clips slowest",
            numpy.concatenate([cls_token, folded[evidence.index][None]], axis=1),
        )


def _with_cls_token(cls_token: numpy.ndarray, tokens: numpy.ndarray, positions: numpy.ndarray) -> Iterator[Hypothesis]:
    """The CLS token in another place, or without its own position."""
    nowhere = numpy.zeros_like(cls_token)
    at_end = numpy.concatenate([tokens, cls_token], axis=1)
    own_at_end = numpy.concatenate([positions[:, 1:], positions[:, :1]], axis=1)
    advice = "the CLS token comes first, and so does its position embedding"
    yield Hypothesis("CLS token at the end", "with the CLS token at the end", advice, at_end + positions)
    yield Hypothesis(
        "CLS token at the end", "with the CLS token and its position at the end", advice, at_end + own_at_end
    )
    sequence = numpy.concatenate([cls_token, tokens], axis=1)
    yield Hypothesis(
        "CLS token left at zero",
        "with a CLS token of zeros",
        "load cls_token",
        numpy.concatenate([nowhere, tokens], axis=1) + positions,
    )
    yield Hypothesis(
        "position embeddings shifted",
        "with the position embeddings of the tokens taken from the first on, and none for the CLS token",
        "the CLS token has the first position embedding, the tokens the others",
        sequence + numpy.concatenate([nowhere, positions[:, :-1]], axis=1),
    )
    yield Hypothesis(
        "position embeddings left out",
        "without a position embedding for the CLS token",
        "put the CLS token in front before the position embeddings are added",
        sequence + numpy.concatenate([nowhere, positions[:, 1:]], axis=1),
    )


def _other_grids(
    evidence: Evidence, sequence: numpy.ndarray, positions: numpy.ndarray, num_cls: int
) -> Iterator[Hypothesis]:
    """The position embeddings of the right places, in the order of another grid."""
    config = evidence.config
    if config is None or numpy.prod(config.grid_size) != positions.shape[1] - num_cls:
        return
    names = ("time", "rows", "columns")
    grid = positions[:, num_cls:].reshape(1, *config.grid_size, -1)
    for axes in permutations(range(3)):
        if axes == (0, 1, 2):
            continue
        moved = grid.transpose(0, *(1 + axis for axis in axes), 4).reshape(1, -1, positions.shape[-1])
        order = ", ".join(names[axis] for axis in axes)
        yield Hypothesis(
            "height and width swapped" if axes == (0, 2, 1) else "position order",
            f"with the position embeddings in the order ({order})",
            "position embeddings lie in the order (time, rows, columns), time slowest",
            sequence + numpy.concatenate([positions[:, :num_cls], moved], axis=1),
        )
