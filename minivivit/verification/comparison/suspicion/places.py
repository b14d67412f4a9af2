"""Which operator makes which tensor, from which others."""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy

from minivivit.config import VivitConfig
from minivivit.ops.tubelet_embedding import cut_tubelets
from minivivit.verification.comparison.causes.places import LAYER, layer_input
from minivivit.verification.comparison.evidence.axes import attention_axes
from minivivit.verification.comparison.suspicion import gradients, operators
from minivivit.verification.comparison.suspicion.activations import other_gelu_words, other_slope_words
from minivivit.verification.comparison.suspicion.operators import Array, Expected, Unit
from minivivit.verification.comparison.suspicion.reading import Rows

# Of an attention, so many keys at most, and so many scores a head.
KEYS, SCORES = 1 << 12, 1 << 16


class Place:
    """What a tensor is made of, as theirs were recorded.

    Parameters
    ----------
    name : str
        Of ours.
    rows : Rows
        Of theirs.
    parameter : callable
        From a published name to our parameter as the precision stores it; None where it is not known.
    config : VivitConfig
    unit : callable
    """

    def __init__(
        self, name: str, rows: Rows, parameter: Callable[[str], Array | None], config: VivitConfig, unit: Unit
    ):
        self.name, self.rows, self.parameter, self.config, self.unit = name, rows, parameter, config, unit

    def inputs(self, *names: str) -> list[Array] | None:
        """The same rows of each; None where one was not recorded, or is laid out in other rows."""
        here = self.rows.shapes[self.name][:-1]
        return _all(self.rows.of(each) if self.rows.shapes.get(each, ())[:-1] == here else None for each in names)

    def folded(self, name: str) -> Array | None:
        """The rows of `name` that ours are made of, one for one: in Model 3, one of them may count places first."""
        shape, here = self.rows.shapes.get(name, ()), self.rows.shapes[self.name]
        if shape[:-1] == here[:-1]:
            return self.rows.of(name)
        times, rows, columns = self.config.grid_size
        number, places = math.prod(shape[:-1]), rows * columns
        if len(shape) != 3 or number != math.prod(here[:-1]) or number % (times * places):
            return None
        order = numpy.arange(number)
        if ".temporal_attention." in self.name:  # (clips, places, times), of (clips, times, places)
            order = order.reshape(-1, times, places).swapaxes(1, 2).reshape(-1)
        elif ".temporal_attention." in name:
            order = order.reshape(-1, places, times).swapaxes(1, 2).reshape(-1)
        return self.rows.of(name, order[self.rows.indices(self.name)])

    # ------------------------------------------------------------------------------------------------ forward

    def linear(self, x: Array | None, parameters: str) -> Expected | None:
        """y = x W^T + b"""
        weight, bias = self.parameter(f"{parameters}.weight"), self.parameter(f"{parameters}.bias")
        if x is None or weight is None or x.shape[-1] != weight[0].size:
            return None
        return operators.linear(self.unit, x, weight.reshape(len(weight), -1), bias)

    def patches(self) -> Expected | None:
        """A linear map of tubelets."""
        shape, weight = self.rows.shapes.get("pixel_values", ()), self.parameter(f"{self.name}.projection.weight")
        if weight is None or len(shape) != 5 or self.config.temporal_encoding == "frame_sampling":
            return None
        number = math.prod(shape[:-1])
        pixels = self.rows.of("pixel_values", numpy.arange(number))
        if pixels is None:
            return None
        tubelets = cut_tubelets(pixels.reshape(shape), weight.shape[2:])
        tubelets = tubelets.reshape(-1, tubelets.shape[-1])
        if len(tubelets) != math.prod(self.rows.shapes[self.name][:-1]):
            return None
        return self.linear(tubelets[self.rows.indices(self.name)], f"{self.name}.projection")

    def layer_norm(self, inputs: str) -> Expected | None:
        """Of the stream."""
        x, parameters = self.inputs(inputs), _all(self.parameter(f"{self.name}.{kind}") for kind in ("weight", "bias"))
        if x is None or parameters is None:
            return None
        weight, bias = parameters
        return operators.layer_norm(self.unit, x[0], weight, bias, self.config.layer_norm_eps)

    def activation(self, inputs: str) -> Expected | None:
        """Of the MLP."""
        x, name = self.inputs(inputs), self.config.hidden_act
        if x is None:
            return None
        found = operators.activation(self.unit, name, x[0])
        return replace(found, mistake=lambda theirs: other_gelu_words(self.unit, name, x[0], theirs))

    def total(self, stream: str, branch: str) -> Expected | None:
        """The stream with a branch added."""
        terms = _all(self.folded(name) for name in (stream, branch))
        return None if terms is None else operators.total(self.unit, *terms)

    # ------------------------------------------------------------------------------------------------ backward

    def linear_backward(self, outputs: list[str]) -> Expected | None:
        """The gradient of what several linear maps take."""
        dys = _all(self.folded(f"gradient.{output}") for output in outputs)
        weights = _all(self.parameter(f"{output}.weight") for output in outputs)
        return None if dys is None or weights is None else gradients.linear_backward(self.unit, dys, weights)

    def activation_backward(self, forward: str, output: str) -> Expected | None:
        """The gradient of the activation's input."""
        found, weight = self.inputs(forward, f"gradient.{output}"), self.parameter(f"{output}.weight")
        if found is None or weight is None:
            return None
        (x, dy), name = found, self.config.hidden_act
        right = gradients.activation_backward(self.unit, name, x, dy, weight)
        return replace(right, mistake=lambda theirs: other_slope_words(name, x, dy @ weight, theirs, right))

    def norm_backward(self, stream: str | None, norm: str, forward: str) -> Expected | None:
        """The gradient of what a norm takes, and of the stream past its branch."""
        found = self.inputs(f"gradient.{norm}", forward, *([] if stream is None else [stream]))
        weight = self.parameter(f"{norm}.weight")
        if found is None or weight is None:
            return None
        dy, x, *past = found
        eps = self.config.layer_norm_eps
        return gradients.layer_norm_backward(self.unit, past[0] if past else None, dy, x, weight, eps)


def _all(found: Iterable[Array | None]) -> list[Array] | None:
    """All of them; None where one is missing."""
    arrays = list(found)
    known = [array for array in arrays if array is not None]
    return known if len(known) == len(arrays) else None


def expected(place: Place) -> Expected | None:
    """What rounding their inputs' operator once allows; None where the operator, or an input, is not known."""
    for pattern, compute in PLACES.items():
        match = re.fullmatch(pattern, place.name)
        if match:
            return compute(place, match)
    return None


def _final_norm(place: Place, match: re.Match) -> Expected | None:
    last = _last_layer(place, match["E"])
    return None if last is None else place.layer_norm(last)


def _last_layer(place: Place, encoder: str) -> str | None:
    stem = re.escape(encoder)
    layers = [name for name in place.rows.shapes if re.fullmatch(rf"{stem}(?:encoder\.)?layer\.\d+", name)]
    return layers[-1] if layers else None


def _norm_after(place: Place, match: re.Match) -> Expected | None:
    return place.layer_norm(_sum_before(place, match["L"]))


def _sum_before(place: Place, layer: str) -> str:
    """What the MLP's norm takes."""
    kinds = ("", f"{attention_axes(place.config)[1]}_")
    names = (f"{layer}.{kind}attention_residual" for kind in kinds)
    return next((name for name in names if name in place.rows.shapes), "")


def _branch_input(place: Place, match: re.Match) -> str:
    """What the norm before an attention takes."""
    first, second = attention_axes(place.config)
    return f"{match['L']}.{first}_attention_residual" if match["A"] == second else layer_input(match)


def _attention(place: Place, match: re.Match) -> Expected | None:
    """Some queries of some sequences, and all keys of those."""
    name, heads = match[0], place.config.num_attention_heads
    shape, query = place.rows.shapes[name], place.inputs(f"{name}.query")
    if len(shape) != 3 or query is None or place.config.attention_type == "factorised_dot_product":
        return None
    sequences = place.rows.indices(name) // shape[1]
    chosen = _spread(numpy.unique(sequences), max(1, KEYS // shape[1]))
    picked = _spread(numpy.flatnonzero(numpy.isin(sequences, chosen)), max(1, SCORES // shape[1]))
    tokens = (chosen[:, None] * shape[1] + numpy.arange(shape[1])).reshape(-1)
    key, value = (place.rows.of(f"{name}.{part}", tokens) for part in ("key", "value"))
    if key is None or value is None:
        return None
    values, variance = numpy.empty((len(picked), shape[2])), numpy.empty((len(picked), shape[2]))
    for index, sequence in enumerate(chosen):
        here, keys = sequences[picked] == sequence, slice(index * shape[1], (index + 1) * shape[1])
        apart = (_split(part, heads) for part in (query[0][picked[here]], key[keys], value[keys]))
        found = operators.attention(place.unit, *apart)
        values[here], variance[here] = _merge(found.values), _merge(found.variance)
    return Expected(values, variance, picked=picked)


def _spread(values: Array, most: int) -> Array:
    """At most so many of them, evenly spread."""
    return values[numpy.unique(numpy.linspace(0, len(values) - 1, min(len(values), most)).round().astype(int))]


def _split(rows: Array, heads: int) -> Array:
    """(tokens, hidden) -> (heads, tokens, head size)"""
    return rows.reshape(len(rows), heads, -1).swapaxes(0, 1)


def _merge(heads: Array) -> Array:
    return heads.swapaxes(0, 1).reshape(heads.shape[1], -1)


def _residual(place: Place, match: re.Match) -> Expected | None:
    return place.total(layer_input(match), f"{match['L']}.attention.output.dense")


def _axis_residual(place: Place, match: re.Match) -> Expected | None:
    return place.total(_branch_input(place, match), f"{match['L']}.{match['A']}_attention.output.dense")


def _layer(place: Place, match: re.Match) -> Expected | None:
    return place.total(_sum_before(place, match["L"]), f"{match['L']}.output.dense")


def _sum_backward(place: Place, match: re.Match) -> Expected | None:
    """Of the sum after an attention: what comes past the next branch, and back through it."""
    layer, (first, second) = match["L"], attention_axes(place.config)
    name = place.name.removeprefix("gradient.")
    if match["A"] == f"{first}_":
        stream, norm = f"gradient.{layer}.{second}_attention_residual", f"{layer}.layernorm_{second}"
    else:
        stream, norm = f"gradient.{layer}", f"{layer}.layernorm_after"
    return place.norm_backward(stream, norm, name)


def _layer_backward(place: Place, match: re.Match) -> Expected | None:
    """Of a layer's output: as above, of the next layer; or of the final norm."""
    name, number = place.name.removeprefix("gradient."), int(match["N"])
    stem = match["L"].removesuffix(match["N"])
    return _before_layer(place, name, f"{stem}{number + 1}") or _before_final_norm(place, name, stem)


def _before_final_norm(place: Place, name: str, stem: str) -> Expected | None:
    encoder = stem.removesuffix("layer.")
    norm = re.sub(r"(^|[.])encoder[.]$", r"\1", encoder) + "layernorm"
    if _last_layer(place, norm.removesuffix("layernorm")) != name:
        return None
    return place.norm_backward(None, norm, name)


def _before_layer(place: Place, name: str, layer: str) -> Expected | None:
    norm, total = f"{layer}.layernorm_before", f"{layer}.attention_residual"
    if f"gradient.{norm}" not in place.rows.shapes:
        first = attention_axes(place.config)[0]
        norm, total = f"{layer}.layernorm_{first}", f"{layer}.{first}_attention_residual"
    return place.norm_backward(f"gradient.{total}", norm, name)


def _embeddings_backward(place: Place, match: re.Match) -> Expected | None:
    """Of what enters layer 0."""
    names = (f"{match['E']}encoder.layer.0", f"{match['E']}layer.0")
    first = next((name for name in names if name in place.rows.shapes), None)
    return None if first is None else _before_layer(place, place.name.removeprefix("gradient."), first)


AXIS = r"(?P<A>temporal|spatial)"
ENCODER = r"(?P<E>(?:vivit\.)?(?:\w+_encoder\.)?)"
PLACES: dict[str, Callable[[Place, re.Match], Expected | None]] = {
    rf"gradient\.{LAYER}\.intermediate\.dense": lambda place, match: place.activation_backward(
        f"{match['L']}.intermediate.dense", f"{match['L']}.output.dense"
    ),
    rf"gradient\.{LAYER}\.layernorm_after": lambda place, match: place.linear_backward(
        [f"{match['L']}.intermediate.dense"]
    ),
    rf"gradient\.(?P<C>{LAYER}\.(?:{AXIS}_)?attention)\.attention": lambda place, match: place.linear_backward(
        [f"{match['C']}.output.dense"]
    ),
    rf"gradient\.{LAYER}\.layernorm_before": lambda place, match: place.linear_backward(
        [f"{match['L']}.attention.attention.{part}" for part in ("query", "key", "value")]
    ),
    rf"gradient\.{LAYER}\.layernorm_{AXIS}": lambda place, match: place.linear_backward(
        [f"{match['L']}.{match['A']}_attention.attention.{part}" for part in ("query", "key", "value")]
    ),
    rf"gradient\.{LAYER}\.(?P<A>(?:spatial_|temporal_)?)attention_residual": _sum_backward,
    rf"gradient\.{LAYER}": _layer_backward,
    rf"gradient\.{ENCODER}embeddings": _embeddings_backward,
    r"gradient\..*": lambda place, match: None,
    r"(?:vivit\.)?embeddings\.patch_embeddings": lambda place, match: place.patches(),
    rf"{LAYER}\.layernorm_before": lambda place, match: place.layer_norm(layer_input(match)),
    rf"{LAYER}\.layernorm_{AXIS}": lambda place, match: place.layer_norm(_branch_input(place, match)),
    rf"{LAYER}\.layernorm_after": _norm_after,
    rf"{ENCODER}layernorm": _final_norm,
    rf"{LAYER}\.attention\.attention\.(?:query|key|value)": lambda place, match: place.linear(
        place.folded(f"{match['L']}.layernorm_before"), place.name
    ),
    rf"{LAYER}\.{AXIS}_attention\.attention\.(?:query|key|value)": lambda place, match: place.linear(
        place.folded(f"{match['L']}.layernorm_{match['A']}"), place.name
    ),
    rf"{LAYER}\.(?:{AXIS}_)?attention\.attention": _attention,
    rf"(?P<C>{LAYER}\.(?:{AXIS}_)?attention)\.output\.dense": lambda place, match: place.linear(
        place.folded(f"{match['C']}.attention"), place.name
    ),
    rf"{LAYER}\.attention_residual": _residual,
    rf"{LAYER}\.{AXIS}_attention_residual": _axis_residual,
    rf"{LAYER}\.intermediate\.dense": lambda place, match: place.linear(
        place.folded(f"{match['L']}.layernorm_after"), place.name
    ),
    rf"{LAYER}\.intermediate": lambda place, match: place.activation(f"{place.name}.dense"),
    rf"{LAYER}\.output\.dense": lambda place, match: place.linear(
        place.folded(f"{match['L']}.intermediate"), place.name
    ),
    LAYER: _layer,
    r"classifier": lambda place, match: place.linear(place.folded("pre_logits"), "classifier"),
}
