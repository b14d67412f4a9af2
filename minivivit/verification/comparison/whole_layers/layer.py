"""A layer of ours, step by step: any step can be another, and so can the parameters."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy

from minivivit.config import VivitConfig
from minivivit.layers.factorised_dot_product_attention import factorised_dot_product_attention_forward
from minivivit.layers.multi_head_attention import merge_heads, split_heads
from minivivit.ops.activation import ACTIVATIONS
from minivivit.ops.linear import linear_forward
from minivivit.verification.comparison.mistakes.norms import layer_norm
from minivivit.verification.comparison.mistakes.softmaxes import softmax

Array = numpy.ndarray
Parameters = Mapping[str, Array]  # by their names inside the layer
# "attention.softmax" -> what is computed there in place of ours
Steps = Mapping[str, Callable[..., Any]]


@dataclass(frozen=True)
class Branch:
    """An attention of a layer.

    Attributes
    ----------
    name, norm, total : str
        Of the attention, of the layer norm before it, and of the sum after it, inside the layer.
    axis : {"", "temporal", "spatial"}
        Over what a sequence runs; "" for all tokens.
    """

    name: str
    norm: str
    total: str
    axis: str = ""


@dataclass(frozen=True)
class Layer:
    """How the layers of a model compute.

    Attributes
    ----------
    config : VivitConfig
    branches : tuple of Branch
        The attentions, in their order.
    kept : dict
        What most mistakes leave as it is: norms, keys and values, sums.
    """

    config: VivitConfig
    branches: tuple[Branch, ...]
    kept: dict = field(default_factory=dict, compare=False)

    @property
    def heads(self) -> int:
        """Of the attention."""
        return self.config.num_attention_heads

    @property
    def grid(self) -> tuple[int, int]:
        """(times, places)"""
        times, rows, columns = self.config.grid_size
        return times, rows * columns

    @property
    def scores_are_known(self) -> bool:
        """Whether every query sees every key of its sequence: not where half of the heads see times."""
        return self.config.attention_type != "factorised_dot_product"

    def rows(self, most: int) -> int | None:
        """How many tokens can be had, the first ones, without the others' output; None where they need all of it.

        Over time first, those of the first time: it takes the keys of the others, and then no more of them.
        """
        if not self.scores_are_known or self.branches[0].axis == "spatial":
            return None
        return self.grid[1] if self.branches[0].axis else most

    def run(
        self,
        x: Array,
        parameters: Parameters,
        steps: Steps | None = None,
        changed: Parameters | None = None,
        target: str = "",
        rows: int | None = None,
    ) -> Array:
        """What it computes, (batch, tokens, hidden), at `target`, a name inside the layer; "" for its output.

        `steps` and `changed` parameters are in place of ours; `rows` is the number of tokens whose output is wanted,
        the first ones, as many as `rows` says.
        """
        for name, value in self._values(x, parameters, steps or {}, changed or {}, target, rows):
            if name == target:
                return value
        raise ValueError(f"a layer has no {target}")

    def _values(
        self, x: Array, parameters: Parameters, steps: Steps, changed: Parameters, target: str, rows: int | None
    ) -> Iterator[tuple[str, Array]]:
        """All of it, by the names of the trace."""
        right, given, parameters = "layer.input" not in steps, x, {**parameters, **changed}
        stream = first = x if right else steps["layer.input"](x)
        for branch in self.branches:
            right_norm = right and not _touched(
                steps, changed, f"{branch.name}.norm", f"{branch.name}.norm_input", branch.norm
            )
            right = right and not _touched(steps, changed, branch.name, branch.norm)
            kept = self.kept.get((branch.total, rows)) if right else None
            if kept and kept[0] is given and not target.startswith((branch.name, branch.norm)):
                stream, first = kept[1]
                yield branch.total, stream
                continue
            normalised = self._kept(
                right_norm,
                branch.norm,
                stream,
                partial(self._normalise, branch.name, branch.norm, stream, first, parameters, steps),
            )
            yield branch.norm, normalised
            if rows is not None:
                stream, first = stream[:, :rows], first[:, :rows]
            added = normalised
            for name, added in self._attention(branch, normalised, parameters, steps, changed, rows):
                yield name, added
            add = steps.get(f"{branch.name}.add", _add)
            stream = add(stream, added, normalised[:, : stream.shape[1]], first)
            if right:
                self.kept[branch.total, rows] = given, (stream, first)
            yield branch.total, stream
        yield from self._mlp(stream, first, parameters, steps)

    def _kept(self, is_right: bool, key: str, source: Array, compute: Callable[[], Array]) -> Array:
        """What is computed of `source` without a mistake is computed once."""
        if not is_right:
            return compute()
        if key not in self.kept or self.kept[key][0] is not source:
            self.kept[key] = source, compute()
        return self.kept[key][1]

    def _mlp(self, stream: Array, first: Array, parameters: Parameters, steps: Steps) -> Iterator[tuple[str, Array]]:
        normalised = self._normalise("mlp", "layernorm_after", stream, first, parameters, steps)
        yield "layernorm_after", normalised
        wide = _linear(normalised, parameters, "intermediate.dense")
        yield "intermediate.dense", wide
        activated = steps.get("mlp.activation", self._activation)(wide)
        yield "intermediate", activated
        narrow = _linear(activated, parameters, "output.dense")
        narrow = steps["mlp.output"](narrow) if "mlp.output" in steps else narrow
        yield "output.dense", narrow
        total = steps.get("mlp.add", _add)(stream, narrow, normalised, first)
        yield "", steps["layer.output"](total) if "layer.output" in steps else total

    def _activation(self, x: Array) -> Array:
        return ACTIVATIONS[self.config.hidden_act][0](x)[0]

    def _normalise(
        self, branch: str, norm: str, stream: Array, first: Array, parameters: Parameters, steps: Steps
    ) -> Array:
        if f"{branch}.norm_input" in steps:
            stream = steps[f"{branch}.norm_input"](stream, first)
        weight, bias = parameters[f"{norm}.weight"], parameters[f"{norm}.bias"]
        return steps.get(f"{branch}.norm", layer_norm)(stream, weight, bias, self.config.layer_norm_eps)

    def _attention(
        self, branch: Branch, x: Array, parameters: Parameters, steps: Steps, changed: Parameters, rows: int | None
    ) -> Iterator[tuple[str, Array]]:
        name = branch.name
        to, back = (steps.get(f"{name}.{step}") for step in ("sequences", "unfold"))
        tokens, places = x.shape[1], self.grid[1]
        folded = partial(to_sequences, x, (tokens // places, places), branch.axis)
        x = to(x) if to else self._kept(True, f"{name}.sequences", x, folded)  # (sequences, tokens, hidden)
        tokens = tokens if rows is None else min(rows, tokens)  # whose output is wanted
        queries = {"": tokens, "temporal": tokens // places}.get(branch.axis, x.shape[1])
        query = _linear(x if to else x[:, :queries], parameters, f"{name}.attention.query")
        key, value = (
            self._kept(
                not _touched({}, changed, f"{name}.attention.{part}"),
                f"{name}.{part}",
                x,
                partial(_linear, x, parameters, f"{name}.attention.{part}"),
            )
            for part in ("key", "value")
        )
        yield from ((f"{name}.attention.{part}", y) for part, y in (("query", query), ("key", key), ("value", value)))
        split = steps.get(f"{name}.split", _split)
        context = self._attend(branch, split(query, key, value, self.heads), steps)
        merged = steps.get(f"{name}.merge", merge_heads)(context)
        yield f"{name}.attention", merged
        attended = _linear(merged, parameters, f"{name}.output.dense")
        yield (
            f"{name}.output.dense",
            (back(attended) if back else from_sequences(attended, (tokens // places, places), branch.axis)),
        )

    def _attend(self, branch: Branch, parts: tuple[Array, Array, Array], steps: Steps) -> Array:
        """(sequences, heads, tokens, head size)"""
        query, key, value = parts
        if not self.scores_are_known:
            return factorised_dot_product_attention_forward(query, key, value, self.grid)[0]
        scores = query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1])
        for step in ("scores", "softmax"):
            default = softmax if step == "softmax" else None
            compute = steps.get(f"{branch.name}.{step}", default)
            scores = compute(scores) if compute else scores
        context = scores @ value
        context_step = steps.get(f"{branch.name}.context")
        return context_step(context) if context_step else context


def _touched(steps: Steps, changed: Parameters, *names: str) -> bool:
    """Whether a part of the layer is another than ours."""
    return any(f"{key}.".startswith(tuple(f"{name}." for name in names)) for key in (*steps, *changed))


def to_sequences(tokens: Array, grid: tuple[int, int], axis: str) -> Array:
    """(batch, times * places, hidden) -> a sequence for each place or each time; "" leaves them as they are."""
    if not axis:
        return tokens
    by_time = tokens.reshape(len(tokens), *grid, -1)
    by_axis = by_time if axis == "spatial" else by_time.swapaxes(1, 2)
    return by_axis.reshape(-1, *by_axis.shape[2:])


def from_sequences(sequences: Array, grid: tuple[int, int], axis: str) -> Array:
    """Undo `to_sequences`."""
    if not axis:
        return sequences
    times, places = grid
    shape = (-1, times, places) if axis == "spatial" else (-1, places, times)
    by_axis = sequences.reshape(*shape, sequences.shape[-1])
    by_time = by_axis if axis == "spatial" else by_axis.swapaxes(1, 2)
    return by_time.reshape(len(by_time), times * places, -1)


def _add(stream: Array, branch: Array, normalised: Array, first: Array) -> Array:
    """`first` is what entered the layer."""
    return stream + branch


def _split(query: Array, key: Array, value: Array, heads: int) -> tuple[Array, Array, Array]:
    return split_heads(query, heads), split_heads(key, heads), split_heads(value, heads)


def _linear(x: Array, parameters: Parameters, name: str) -> Array:
    return linear_forward(x, parameters[f"{name}.weight"], parameters.get(f"{name}.bias"))[0]
