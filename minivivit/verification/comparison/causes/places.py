"""Which mistakes are tried where: by the name of the tensor."""

import re
from collections.abc import Callable, Iterator

from minivivit.verification.comparison.causes.attention import (
    context_hypotheses,
    probability_hypotheses,
    score_hypotheses,
)
from minivivit.verification.comparison.causes.backward import (
    activation_backward_hypotheses,
    layer_backward_hypotheses,
    sum_backward_hypotheses,
)
from minivivit.verification.comparison.causes.embeddings import cls_token_hypotheses, embedding_hypotheses
from minivivit.verification.comparison.causes.head import (
    class_hypotheses,
    loss_hypotheses,
    pooled_places_hypotheses,
    pooling_hypotheses,
)
from minivivit.verification.comparison.causes.layer_norm import (
    layer_norm_hypotheses,
    norm_elsewhere_hypotheses,
    norm_skipped_hypotheses,
    post_norm_hypotheses,
)
from minivivit.verification.comparison.causes.linear import linear_hypotheses
from minivivit.verification.comparison.causes.mlp import activated_output_hypotheses, activation_hypotheses
from minivivit.verification.comparison.causes.patch_embeddings import patch_hypotheses
from minivivit.verification.comparison.causes.pixels import pixel_hypotheses
from minivivit.verification.comparison.causes.projections import projection_hypotheses
from minivivit.verification.comparison.causes.residual import residual_hypotheses
from minivivit.verification.comparison.evidence.evidence import Evidence, Hypothesis
from minivivit.verification.comparison.whole_layers.hypotheses import first_norm_hypotheses, layer_hypotheses

# A layer is L, as in "vivit.encoder.layer.3", and its number N.
LAYER = r"(?P<L>(?:.*\.)?layer\.(?P<N>\d+))"


def hypotheses(evidence: Evidence) -> Iterator[Hypothesis]:
    """The mistakes that belong to the place of the tensor that differs."""
    for pattern, function in PLACES.items():
        match = re.fullmatch(pattern, evidence.name)
        if match:
            yield from function(evidence, match)
            if "L" in match.groupdict() and not evidence.name.startswith("gradient."):
                yield from layer_hypotheses(evidence, match["L"], layer_input(match))
            return


def layer_input(match: re.Match) -> str:
    """The name of what goes into a layer: the layer before, or the embeddings."""
    stem, number = match["L"].removesuffix(match["N"]), int(match["N"])
    if number:
        return f"{stem}{number - 1}"
    stem = stem.removesuffix("layer.")  # "vivit.encoder.", "vivit.spatial_encoder." or, in a bare model, "encoder."
    return re.sub(r"(^|\.)encoder\.$", r"\1", stem) + "embeddings"


def _nothing(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    """Of other gradients nothing is known that belongs to the place."""
    yield from ()


def _patches(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    yield from patch_hypotheses(evidence)


def _embeddings(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    yield from embedding_hypotheses(evidence)


def _cls_token(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    yield from cls_token_hypotheses(evidence)


def _pixels(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    yield from pixel_hypotheses(evidence)


def _norm_before(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    yield from layer_norm_hypotheses(evidence, layer_input(match))
    yield from post_norm_hypotheses(evidence, layer_input(match), f"{match['L']}.attention")
    yield from first_norm_hypotheses(evidence, match["L"], layer_input(match))


def _norm_after(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    layer = match["L"]
    if f"{layer}.attention_residual" in evidence.ours:
        yield from layer_norm_hypotheses(evidence, f"{layer}.attention_residual")
        yield from norm_elsewhere_hypotheses(evidence, layer_input(match))
    else:
        yield from layer_norm_hypotheses(evidence, f"{layer}.spatial_attention_residual")
        yield from norm_elsewhere_hypotheses(evidence, f"{layer}.temporal_attention_residual")


def _final_norm(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    stem = re.escape(evidence.name.removesuffix("layernorm"))
    layers = [name for name in evidence.ours.shapes if re.fullmatch(rf"{stem}(?:encoder\.)?layer\.\d+", name)]
    if layers:
        yield from layer_norm_hypotheses(evidence, layers[-1])


def _projection(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    norm = f"{match['L']}.layernorm_before"
    yield from projection_hypotheses(evidence, evidence.name.rpartition(".")[0])
    yield from linear_hypotheses(evidence, norm, evidence.name)
    if evidence.read_theirs(norm) is None:
        yield from norm_skipped_hypotheses(evidence, layer_input(match), evidence.name)


def _scores(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    yield from score_hypotheses(evidence, evidence.name.rpartition(".")[0])


def _probabilities(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    yield from probability_hypotheses(evidence, evidence.name.rpartition(".")[0])


def _context(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    yield from context_hypotheses(evidence, evidence.name)


def _attention_output(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    context = f"{match['L']}.attention.attention"
    yield from linear_hypotheses(evidence, context, evidence.name)


def _attention_residual(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    layer = match["L"]
    yield from residual_hypotheses(
        evidence, layer_input(match), f"{layer}.layernorm_before", f"{layer}.attention.output.dense"
    )


def _wide(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    layer = match["L"]
    yield from linear_hypotheses(evidence, f"{layer}.layernorm_after", evidence.name)
    if evidence.read_theirs(f"{layer}.layernorm_after") is None:
        yield from norm_skipped_hypotheses(evidence, f"{layer}.attention_residual", evidence.name)


def _activation(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    yield from activation_hypotheses(evidence, f"{evidence.name}.dense")


def _narrow(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    yield from linear_hypotheses(evidence, f"{match['L']}.intermediate", evidence.name)
    yield from activated_output_hypotheses(evidence)


def _layer(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    layer = match["L"]
    kind = "attention_residual" if f"{layer}.attention_residual" in evidence.ours else "spatial_attention_residual"
    yield from residual_hypotheses(
        evidence, f"{layer}.{kind}", f"{layer}.layernorm_after", f"{layer}.output.dense", layer_input(match)
    )


def _temporal_norm(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    yield from layer_norm_hypotheses(evidence, layer_input(match))
    yield from first_norm_hypotheses(evidence, match["L"], layer_input(match))


def _spatial_norm(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    yield from layer_norm_hypotheses(evidence, f"{match['L']}.temporal_attention_residual")
    yield from norm_elsewhere_hypotheses(evidence, layer_input(match))


def _factorised_projection(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    yield from projection_hypotheses(evidence, evidence.name.rpartition(".")[0])
    yield from linear_hypotheses(evidence, f"{match['L']}.layernorm_{match['A']}", evidence.name)


def _factorised_output(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    yield from linear_hypotheses(evidence, f"{match['L']}.{match['A']}_attention.attention", evidence.name)


def _factorised_residual(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    layer, kind = match["L"], match["A"]
    stream = layer_input(match) if kind == "temporal" else f"{layer}.temporal_attention_residual"
    branch = f"{layer}.{kind}_attention.output.dense"
    yield from residual_hypotheses(evidence, stream, f"{layer}.layernorm_{kind}", branch)


def _sum_backward(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    layer, kind = match["L"], match["K"]
    later, norm = {
        "attention_residual": ("", "layernorm_after"),
        "spatial_attention_residual": ("", "layernorm_after"),
        "temporal_attention_residual": (".spatial_attention_residual", "layernorm_spatial"),
    }[kind]
    yield from sum_backward_hypotheses(evidence, f"gradient.{layer}{later}", f"{layer}.{norm}", f"{layer}.{kind}")


def _activation_backward(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    layer = match["L"]
    yield from activation_backward_hypotheses(evidence, f"{layer}.intermediate.dense", f"{layer}.output.dense")


def _pooled(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    norms = ("vivit.layernorm", "vivit.temporal_encoder.layernorm")
    yield from pooling_hypotheses(evidence, next((name for name in norms if name in evidence.ours), norms[0]))


def _pooled_places(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    yield from pooled_places_hypotheses(evidence)


def _classes(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    yield from class_hypotheses(evidence)
    yield from linear_hypotheses(evidence, "pre_logits", "classifier")


def _loss(evidence: Evidence, match: re.Match) -> Iterator[Hypothesis]:
    yield from loss_hypotheses(evidence, "classifier")


ATTENTION = rf"{LAYER}\.(?P<A>temporal|spatial)_attention"
PLACES: dict[str, Callable[[Evidence, re.Match], Iterator[Hypothesis]]] = {
    rf"gradient\.{LAYER}": layer_backward_hypotheses,
    rf"gradient\.{LAYER}\.(?P<K>(?:(?:spatial|temporal)_)?attention_residual)": _sum_backward,
    rf"gradient\.{LAYER}\.intermediate\.dense": _activation_backward,
    r"gradient\..*": _nothing,
    rf"{LAYER}\.layernorm_temporal": _temporal_norm,
    rf"{LAYER}\.layernorm_spatial": _spatial_norm,
    rf"{ATTENTION}\.attention\.(?:query|key|value)": _factorised_projection,
    rf"{ATTENTION}\.attention\.scores": _scores,
    rf"{ATTENTION}\.attention\.probs": _probabilities,
    rf"{ATTENTION}\.attention": _context,
    rf"{ATTENTION}\.output\.dense": _factorised_output,
    rf"{ATTENTION}_residual": _factorised_residual,
    r"pixel_values": _pixels,
    r"(?:vivit\.)?embeddings\.patch_embeddings": _patches,
    r"(?:vivit\.)?(?:\w+_encoder\.)?embeddings\.with_cls_token": _cls_token,
    r"(?:vivit\.)?(?:\w+_encoder\.)?embeddings": _embeddings,
    rf"{LAYER}\.layernorm_before": _norm_before,
    rf"{LAYER}\.attention\.attention\.(?:query|key|value)": _projection,
    rf"{LAYER}\.attention\.attention\.scores": _scores,
    rf"{LAYER}\.attention\.attention\.probs": _probabilities,
    rf"{LAYER}\.attention\.attention": _context,
    rf"{LAYER}\.attention\.output\.dense": _attention_output,
    rf"{LAYER}\.attention_residual": _attention_residual,
    rf"{LAYER}\.layernorm_after": _norm_after,
    rf"{LAYER}\.intermediate\.dense": _wide,
    rf"{LAYER}\.intermediate": _activation,
    rf"{LAYER}\.output\.dense": _narrow,
    LAYER: _layer,
    r"(?:vivit\.)?(?:\w+_encoder\.)?layernorm": _final_norm,
    r"(?:vivit\.)?spatial_encoder": _pooled_places,
    r"pre_logits": _pooled,
    r"classifier": _classes,
    r"loss": _loss,
}
