"""What a page about one clip and one model holds: every value and gradient, or a sample of them, by name."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy

from minivivit.backend import Array, to_numpy
from minivivit.errors import InputError
from minivivit.explore.attention_rollout import attention_rollout
from minivivit.explore.head_shares import HeadShare, head_shares
from minivivit.explore.network_steps import Step, attentions, stages
from minivivit.explore.occlusion import occlusion
from minivivit.layers.trace import Trace
from minivivit.models.classification import VivitForVideoClassification
from minivivit.models.encoders.embeddings import token_grid
from minivivit.models.top_classes import class_probabilities
from minivivit.ops.softmax import softmax_forward
from minivivit.ops.tubelet_embedding import cut_tubelets

WHOLE_NUMBERS = 1_000_000  # so many values, gradients and weights are kept whole: 4 MB of text
MOST_OCCLUSIONS = 64  # forward passes
SAMPLED_TOKENS, SAMPLED_HEADS, SAMPLED_FEATURES = 3, 4, 4
MOST_CLASSES = 8  # that are kept where there are more than twice as many
ROWS = 512  # queries whose attention is computed at a time


@dataclass(frozen=True)
class Kept:
    """What of a network is kept: all of it, or rows of some tokens, of some heads, and weights of some features.

    Attributes
    ----------
    whole : bool
    tubelets : list of int
        Indices of the tubelets that are kept.
    heads : list of int
        Heads whose attention is kept.
    """

    whole: bool
    tubelets: list[int]
    heads: list[int]


@dataclass
class Recording:
    """One clip in one model.

    Attributes
    ----------
    config, grid, label, loss : of the model and the pass
    kept : Kept
    stages : list of dict
        Of `minivivit.explore.network_steps.stages`.
    tensors : dict
        Name -> (array, rows): values, ``"gradient."`` before them their gradients, and parameters. rows are the
        indices along the first axis that are kept, or None for all.
    probabilities : numpy.ndarray, shape (classes,)
    rollout, occlusion : numpy.ndarray, shape (times, rows, columns), or None
    shares : list of HeadShare
    """

    config: Any
    grid: tuple[int, int, int]
    label: int
    loss: float
    kept: Kept
    stages: list[dict[str, Any]]
    probabilities: numpy.ndarray
    rollout: numpy.ndarray | None
    occlusion: numpy.ndarray | None = None
    tensors: dict[str, tuple[numpy.ndarray, list[int] | None]] = field(default_factory=dict)
    shares: list[HeadShare] = field(default_factory=list)


def record_network(
    model: VivitForVideoClassification,
    pixel_values: Array,
    *,
    label: int | None = None,
    interpolate_pos_encoding: bool = False,
    occlude: bool = True,
    on_record: Callable[[str], Any] | None = None,
) -> Recording:
    """Run one clip forward and backward, and keep what a page shows.

    A network of up to `WHOLE_NUMBERS` numbers is kept whole. Of a larger one are kept the CLS token and the
    `SAMPLED_TOKENS` tubelets that weigh most in the rollout, with all features; the attention of `SAMPLED_HEADS` heads
    from and to these tokens; and the weights that lead to `SAMPLED_FEATURES` outputs of each linear map.

    Parameters
    ----------
    model : VivitForVideoClassification
        float64 gives the numbers that others can be held against.
    pixel_values : array, shape (1, frames, channels, height, width)
    label : int, optional
        The class of which the loss is taken; left out, the most probable.
    interpolate_pos_encoding : bool
        As in ``model.forward``.
    occlude : bool
        Whether to cover one tubelet after the other, too, where there are at most `MOST_OCCLUSIONS`.
    on_record : callable, optional
        Called with each name as it is made: a progress bar listens here.

    Raises
    ------
    InputError
        For a model that does not choose one class of several, a class that there is not, and more than one clip.
    """
    pixels = model.checked_pixels(pixel_values)
    config = model.config
    _check(config, len(pixels))
    grid = token_grid(tuple(pixels.shape), config, interpolate_pos_encoding)
    if config.num_hidden_layers and not (config.attention_type == "factorised_encoder" and not _temporal(config)):
        outputs, weights = attention_rollout(model, pixels, interpolate_pos_encoding=interpolate_pos_encoding)
        rollout, logits = weights[0], to_numpy(outputs.logits)[0]
    else:
        rollout = None
        logits = to_numpy(model.forward(pixels, interpolate_pos_encoding=interpolate_pos_encoding).logits)[0]
    probabilities = class_probabilities(logits, config)
    label = int(numpy.argmax(probabilities)) if label is None else label
    if not 0 <= label < config.num_labels:
        raise InputError(f"the class {label} is none of the model's; expected 0 to {config.num_labels - 1}")
    kept = choose(model, grid, rollout)
    of = stages(config, grid, interpolate_pos_encoding)
    store = _Store(kept, of, grid, config, on_record)
    loss, gradients = model.loss_and_gradients(
        pixels,
        numpy.array([label]),
        interpolate_pos_encoding=interpolate_pos_encoding,
        gradient_checkpointing=True,
        trace=Trace(store),
    )
    result = Recording(config, grid, label, float(loss), kept, of, probabilities, rollout)
    result.tensors = store.tensors
    seen = store.frames if store.frames is not None else to_numpy(pixels)
    _add_tubelets(result, "tubelets", seen)
    if store.frames is None:
        _add_tubelets(result, "gradient.tubelets", to_numpy(gradients["pixel_values"]))
    del gradients
    if not kept.whole:
        _add_attention(result, store)
    _add_parameters(result, model.state_dict())
    if occlude and result.rollout is not None and can_occlude(grid, config):
        result.occlusion = occlusion(model, pixels, label, interpolate_pos_encoding=interpolate_pos_encoding)
    result.shares = head_shares(result.tensors, {n: to_numpy(a) for n, a in model.state_dict().items()}, of, config)
    return result


def can_occlude(grid: tuple[int, int, int], config: Any) -> bool:
    """Whether the tubelets of a clip are covered one by one: where there are few, and each frame lies in one."""
    return bool(numpy.prod(grid) <= MOST_OCCLUSIONS) and config.temporal_encoding == "tubelet"


def choose(model: VivitForVideoClassification, grid: tuple[int, int, int], rollout: numpy.ndarray | None) -> Kept:
    """What to keep of a network for this grid of tokens, see `record_network`."""
    config = model.config
    tokens = int(numpy.prod(grid))
    depth = config.num_hidden_layers + (config.num_temporal_layers if _temporal(config) else 0)
    of_token = 2 * depth * (9 * config.hidden_size + config.intermediate_size)
    heads = list(range(config.num_attention_heads))
    if model.num_parameters() + tokens * of_token <= WHOLE_NUMBERS:
        return Kept(True, list(range(tokens)), heads)
    weights = numpy.ones(tokens) if rollout is None else rollout.reshape(-1)
    best = numpy.argsort(-weights, kind="stable")[:SAMPLED_TOKENS]
    spread = numpy.linspace(0, len(heads) - 1, min(SAMPLED_HEADS, len(heads))).round().astype(int)
    return Kept(False, sorted(best.tolist()), sorted(set(spread.tolist())))


def space_rows(kept: Kept, space: str, grid: tuple[int, int, int], cls: int) -> list[int]:
    """Which rows of a stage's arrays are kept; the spaces are those of `minivivit.explore.network_steps.stages`."""
    times, places = grid[0], grid[1] * grid[2]
    moments = sorted({token // places for token in kept.tubelets})
    if space == "tubelets":
        return list(kept.tubelets)
    if space == "clip":
        return [*range(cls), *(cls + token for token in kept.tubelets)]
    if space == "frames":
        first = [time * (places + cls) for time in moments] if cls else []
        return sorted([*first, *(token // places * (places + cls) + cls + token % places for token in kept.tubelets)])
    if space == "moments":
        return [*range(cls), *(cls + time for time in range(times))]
    return list(range(times if space == "times" else 1))


def partners(space: str, axis: str, token: int, grid: tuple[int, int, int], cls: int) -> numpy.ndarray:
    """The tokens that `token` attends to in a space, along an axis: ``"all"``, ``"temporal"`` or ``"spatial"``."""
    times, places = grid[0], grid[1] * grid[2]
    if space == "frames":
        start = token // (places + cls) * (places + cls)
        return numpy.arange(start, start + places + cls)
    if axis == "temporal":
        return numpy.arange(times) * places + token % places
    if axis == "spatial":
        return numpy.arange(places) + token // places * places
    return numpy.arange(cls + (times if space == "moments" else times * places))


def axis_of_head(step: Step, head: int) -> str:
    """The axis along which a head attends: in Model 4 the first half of them over time, the others over space."""
    if step["axis"] == "halves":
        return "temporal" if head < step["heads"] // 2 else "spatial"
    return step["axis"]


def _temporal(config: Any) -> bool:
    return config.attention_type == "factorised_encoder" and not config.spatial_only_baseline


def _check(config: Any, batch: int) -> None:
    if batch != 1:
        raise InputError(f"there are {batch} clips; expected one: a page is about one clip")
    if config.class_splits or config.problem_type not in (None, "single_label_classification"):
        what = "several heads" if config.class_splits else f"problem_type {config.problem_type!r}"
        raise InputError(f"the model has {what}; expected one that chooses one class, with a softmax over them")


class _Store(dict):
    """A store for `Trace` that keeps the rows that are wanted, and the queries, keys and values whole where not all."""

    def __init__(
        self,
        kept: Kept,
        of: list[dict[str, Any]],
        grid: tuple[int, int, int],
        config: Any,
        on_record: Callable[[str], Any] | None,
    ):
        super().__init__()
        self.kept, self.on_record = kept, on_record
        self.tensors: dict[str, tuple[numpy.ndarray, list[int] | None]] = {}
        self.attended: dict[str, numpy.ndarray] = {}
        self.frames: numpy.ndarray | None = None
        cls = int(config.use_cls_token)
        self.rows: dict[str, list[int] | None] = {"vivit.embeddings.interpolated_positions": None}
        for stage in of:
            rows = None if kept.whole else space_rows(kept, stage["space"], grid, cls)
            for step in stage["steps"]:
                # what follows from other arrays the page computes itself
                if step["kind"] not in ("scores", "softmax"):
                    self.rows[step["out"]] = rows
        self.recomputed = {s["out"] for stage in of for s in stage["steps"] if s["kind"] in ("norm", "activation")}
        self.names = {*self.rows}
        self.times_first = config.attention_type != "factorised_self_attention"

    def wants(self, name: str) -> bool:
        """Neither scores nor probabilities."""
        return False

    def __setitem__(self, name: str, array: Array) -> None:
        if self.on_record is not None:
            self.on_record(name)
        plain = name.removeprefix("gradient.")
        if plain.endswith("embeddings.frame_sampling"):
            self.frames = to_numpy(array)
        if plain not in self.names or (plain == name and name in self.recomputed):
            return
        values = to_numpy(array)
        if not self.times_first and ".temporal_attention." in plain:
            values = values.swapaxes(0, 1)  # (places, times, features) -> (times, places, features)
        values = values.reshape(-1, values.shape[-1])  # (tokens, features)
        rows = self.rows.get(plain)
        if rows is not None and plain.endswith((".query", ".key", ".value", "attention.attention")):
            self.attended[name] = numpy.array(values, numpy.float32)
        self.tensors[name] = (numpy.array(values if rows is None else values[rows]), rows)


def _add_tubelets(result: Recording, name: str, pixels: numpy.ndarray) -> None:
    """The pixels of each tubelet as a row: (kept tubelets, channels * t * h * w)."""
    rows = cut_tubelets(pixels, result.config.tubelet_size)
    rows = rows.reshape(-1, rows.shape[-1])
    kept = None if result.kept.whole else result.kept.tubelets
    result.tensors[name] = (numpy.array(rows if kept is None else rows[kept]), kept)


def _add_parameters(result: Recording, parameters: dict[str, Array]) -> None:
    """All parameters; of a sampled network the rows that lead to the features that are kept."""
    used: dict[str | None, list[int] | None] = {}
    cls = int(result.config.use_cls_token)
    for stage in result.stages:
        for step in stage["steps"]:
            if "positions" in step:
                rows = None if result.kept.whole else _position_rows(result, stage["space"], cls)
                used |= {step["positions"]: rows, step.get("cls"): None}
            elif "weight" in step:
                used |= {step["weight"]: None, step["bias"]: None}
                if not result.kept.whole:
                    outputs = len(parameters[step["weight"]])
                    if step["role"] == "logits":
                        used[step["weight"]] = shown_classes(result)
                    elif step["kind"] == "linear":
                        used[step["weight"]] = kept_features(outputs, step.get("heads"), result.kept)
    for name, rows in used.items():
        if name is not None and name in parameters:
            array = to_numpy(parameters[name])
            if name.endswith("position_embeddings"):
                array = array[0]
            array = array.reshape(len(array), -1) if array.ndim > 1 else array
            result.tensors[name] = (array if rows is None else array[rows], rows)


def shown_classes(recording: Recording) -> list[int]:
    """The classes whose weights and shares are kept: all, or of many the most probable ones and that of the loss."""
    order = numpy.argsort(-recording.probabilities, kind="stable").tolist()
    if len(order) <= 2 * MOST_CLASSES:
        return sorted(order)
    return sorted({*order[:MOST_CLASSES], recording.label})


def _position_rows(result: Recording, space: str, cls: int) -> list[int]:
    rows = space_rows(result.kept, space, result.grid, cls)
    places = result.grid[1] * result.grid[2] + cls
    return sorted({row % places for row in rows}) if space == "frames" else rows


def kept_features(outputs: int, heads: int | None, kept: Kept) -> list[int]:
    """Which outputs of a linear map have their weights kept: spread evenly over all of them, or over the kept heads."""
    count = min(SAMPLED_FEATURES, outputs)
    if heads is None:
        return sorted(set(numpy.linspace(0, outputs - 1, count).round().astype(int).tolist()))
    size = outputs // heads
    chosen = [head * size + number for number in range(size) for head in kept.heads]  # one of each head, then the next
    return sorted(chosen[:count])


def _add_attention(result: Recording, store: _Store) -> None:
    """Attention from the kept tokens and to them, (heads, kept, tokens), where the page cannot compute it.

    Under ``NAME.from`` and ``NAME.to``, and ``gradient.NAME.from``: how the loss changes with the probabilities.
    Tokens that are not attended to have 0.
    """
    cls, kept = int(result.config.use_cls_token), result.kept
    for stage, step in attentions(result.stages):
        name = step["out"]
        query, key = (store.attended[f"{name.removesuffix('probs')}{part}"] for part in ("query", "key"))
        inner = name.removesuffix(".probs")
        value, doutput = store.attended[f"{inner}.value"], store.attended.get(f"gradient.{inner}")
        rows = space_rows(kept, stage["space"], result.grid, cls)
        size = query.shape[1] // step["heads"]
        shape = (len(kept.heads), len(rows), len(query))
        outgoing, incoming, dprobs = (numpy.zeros(shape, numpy.float32) for _ in range(3))
        for number, head in enumerate(kept.heads):
            of_head = slice(head * size, (head + 1) * size)
            axis = axis_of_head(step, head)
            for place, token in enumerate(rows):
                group = partners(stage["space"], axis, token, result.grid, cls)
                probs = attention_of(query[[token]], key[group], of_head)
                outgoing[number, place, group] = probs[0]
                for start in range(0, len(group), ROWS):
                    some = group[start : start + ROWS]
                    probs = attention_of(query[some], key[group], of_head)
                    incoming[number, place, some] = probs[:, numpy.flatnonzero(group == token)[0]]
                if doutput is not None:
                    dprobs[number, place, group] = value[group][:, of_head] @ doutput[token, of_head]
        result.tensors |= {f"{name}.from": (outgoing, rows), f"{name}.to": (incoming, rows)}
        if doutput is not None:
            result.tensors[f"gradient.{name}.from"] = (dprobs, rows)


def attention_of(query: numpy.ndarray, key: numpy.ndarray, of_head: slice) -> numpy.ndarray:
    """Probabilities (queries, keys) of one head, which has the columns `of_head`."""
    scores = query[:, of_head] @ key[:, of_head].T / (of_head.stop - of_head.start) ** 0.5
    return softmax_forward(scores)[0]
