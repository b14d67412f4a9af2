"""Right ports, computed in other ways: of none may anything be reported."""

import contextlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from threadpoolctl import threadpool_limits

from minivivit.verification.comparison.verdict import compare
from minivivit.verification.tracing.recording import record_pass

from .measure import Column, compare_port, exit_code
from .models import LABELS, PRECISIONS, Copies, Setting, our_model, our_trace, pixel_values
from .planting import Plant, both, replace
from .recording import make_port, record

ATTENTIONS, NORMS, GELUS = r".*attn(_[ts])?", r".*norm(\d|_[ts])?", r".*mlp\.act"
OURS = "ours"


@dataclass(frozen=True)
class RightPair:
    """A port without a mistake.

    Attributes
    ----------
    how : str
        A key of `WAYS`, or "ours" for our own model.
    setting : Setting
    column : Column
    gradients : bool
    threads : int
    """

    how: str
    setting: Setting
    column: Column
    gradients: bool = True
    threads: int = 1

    @property
    def name(self) -> str:
        """What the table calls it."""
        setting, column = self.setting, self.column
        words = [
            self.how, setting.kind, "coarse" if column.coarse else "full", column.dtype, f"by {column.pairing}",
            "fresh" * setting.fresh, f"weights x {setting.weights:g}" * (setting.weights != 1),
            f"outliers x {setting.outliers:g}" * (setting.outliers != 1),
            setting.clips * (setting.clips != "moving"), f"config {setting.seed}" * bool(setting.changes),
            "gradients" * self.gradients, f"{self.threads} threads" * (self.threads > 1),
        ]  # fmt: skip
        return ", ".join(word for word in words if word)


def fused(self: Any, original: Any, query: Any, key: Any, value: Any) -> Any:
    """PyTorch's own attention; scores and probabilities leave no module."""
    return torch.nn.functional.scaled_dot_product_attention(query, key, value)


def scale_first(self: Any, original: Any, query: Any, key: Any) -> Any:
    """The query scaled, not the scores."""
    return query * self.scale @ key.transpose(-1, -2)


def tiled(self: Any, original: Any, query: Any, key: Any, value: Any) -> Any:
    """The keys in tiles of 16, softmax with a running maximum."""
    total, weight = 0, 0
    largest = torch.full((*query.shape[:-1], 1), -torch.inf, dtype=query.dtype)
    for keys, values in zip(key.split(16, -2), value.split(16, -2), strict=True):
        scores = self.score(query, keys)
        new = torch.maximum(largest, scores.amax(-1, keepdim=True))
        part, kept = (scores - new).exp(), (largest - new).exp()
        total, weight = total * kept + part @ values, weight * kept + part.sum(-1, keepdim=True)
        largest = new
    return total / weight


def written_norm(self: Any, original: Any, x: Any) -> Any:
    """A layer norm step by step."""
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + self.eps).sqrt() * self.weight + self.bias


def written_gelu(self: Any, original: Any, x: Any) -> Any:
    """The tanh approximation written out."""
    return 0.5 * x * (1 + torch.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))


def as_matrix(self: Any, original: Any, video: Any) -> Any:
    """The convolution as a matrix product."""
    depth, height, width = self.kernel_size
    tubelets = video.unfold(2, depth, depth).unfold(3, height, height).unfold(4, width, width)
    rows = tubelets.permute(0, 2, 3, 4, 1, 5, 6, 7).flatten(4)
    return (rows @ self.weight.flatten(1).T + self.bias).permute(0, 4, 1, 2, 3)


WAYS: dict[str, Plant] = {
    "eager": lambda port: None,
    "autocast": lambda port: None,
    "SDPA": replace(ATTENTIONS, "attend", fused),
    "scale first": replace(ATTENTIONS, "score", scale_first),
    "tiles": replace(ATTENTIONS, "attend", tiled),
    "written out": both(replace(NORMS, "forward", written_norm), replace(GELUS, "forward", written_gelu)),
    "convolution as a product": replace(r"embed\.proj", "forward", as_matrix),
}


def random_changes(seed: int) -> tuple[tuple[str, Any], ...]:
    """Another small config."""
    rng = numpy.random.default_rng(seed)
    heads, tubelet = int(rng.integers(1, 5)), (int(rng.choice([1, 2])), *map(int, rng.choice([4, 8], 2)))
    return (
        ("image_size", tuple(size * int(rng.integers(2, 4)) for size in tubelet[1:])),
        ("num_frames", tubelet[0] * int(rng.integers(2, 6))),
        ("tubelet_size", tubelet),
        ("num_attention_heads", heads),
        ("hidden_size", heads * int(rng.integers(3, 10)) * 2),
        ("intermediate_size", int(rng.integers(20, 90))),
        ("num_hidden_layers", int(rng.integers(1, 5))),
        ("num_temporal_layers", int(rng.integers(1, 4))),
        ("num_labels", int(rng.integers(8, 40))),
        ("layer_norm_eps", float(rng.choice([1e-6, 1e-12, 1e-5]))),
    )


def _without_overflow(changes: dict[str, Any], dtype: str) -> str:
    """Of outliers the product of query and key passes 65504 before it is scaled."""
    return "scale first" if dtype == "float16" and changes.get("outliers", 1.0) >= 100 else "eager"


def _right_pairs() -> list[RightPair]:
    kinds, product = ("m1", "m2", "m3"), itertools.product
    pairs = [
        RightPair("eager", Setting(kind, fresh), Column(coarse, dtype, "map", fresh))
        for kind, fresh, dtype, coarse in product(kinds, (False, True), PRECISIONS, (False, True))
    ]
    pairs += [
        RightPair("eager", Setting(kind), Column(coarse, dtype, "order"), gradients=False)
        for kind, dtype, coarse in product(kinds, PRECISIONS, (False, True))
    ]
    pairs += [
        RightPair("eager", Setting(kind), Column(coarse, "float32", pairing))
        for kind, coarse, pairing in product(kinds, (False, True), ("order", "sorted"))
    ]
    pairs += [RightPair("eager", Setting(kind), Column(True, pairing="whole map")) for kind in kinds]
    for how, dtypes in (
        ("SDPA", PRECISIONS), ("scale first", PRECISIONS), ("tiles", ("float32",)), ("autocast", ("float32",)),
        ("written out", ("float32", "bfloat16")), ("convolution as a product", ("float32", "float16")),
    ):  # fmt: skip
        pairs += [RightPair(how, Setting(kind), Column(dtype=dtype)) for kind, dtype in product(kinds, dtypes)]
    pairs += [RightPair("autocast", Setting(kind), Column(True, "float32")) for kind in kinds]
    pairs += [RightPair("eager", Setting(kind), Column(dtype="float32"), threads=2) for kind in kinds]
    for changes in ({"weights": 8.0}, {"weights": 0.01}, {"clips": "black"}, {"clips": "still"}, {"outliers": 100.0}):
        pairs += [
            RightPair(_without_overflow(changes, dtype), Setting(kind, **changes), Column(dtype=dtype))
            for kind, dtype in product(kinds, PRECISIONS)
        ]
    pairs += [  # the product itself would overflow
        RightPair("scale first", Setting(kind, weights=60.0), Column(dtype="float16"), gradients=False)
        for kind in kinds
    ]
    for seed in range(20, 32):
        setting = Setting(kinds[seed % 3], outliers=(1.0, 60.0)[seed % 2], changes=random_changes(seed), seed=seed)
        pairs += [RightPair("eager", setting, Column(dtype=dtype)) for dtype in ("float32", PRECISIONS[1 + seed % 2])]
    pairs += [
        RightPair(OURS, Setting(kind, fresh), Column(), threads=threads)
        for kind, fresh, threads in product((*kinds, "m4"), (False, True), (1, 2))
    ]
    return pairs


RIGHT_PAIRS = _right_pairs()


def drawn_pairs(seed: int, number: int) -> list[RightPair]:
    """Pairs that no limit was set by: ways, configs, weights and clips drawn at random."""
    rng, found = numpy.random.default_rng(seed), []
    for index in range(number):
        kind, clips = str(rng.choice(["m1", "m2", "m3"])), str(rng.choice(["moving", "moving", "black", "still"]))
        # Not both: in half precision nothing but chaos would be left of the gradients.
        weights, outliers = ((1, 1), (3, 1), (8, 1), (0.01, 1), (1, 20), (1, 60), (1, 100))[rng.integers(7)]
        own = seed * 1000 + index
        changes = random_changes(own) if rng.random() < 0.6 else ()
        setting = Setting(kind, bool(rng.random() < 0.1), weights, outliers, clips, changes, own)
        dtype, how = str(rng.choice(PRECISIONS)), str(rng.choice(list(WAYS)))
        if how == "autocast":
            dtype = "float32"
        if dtype == "float16" and max(weights, outliers) > 1:
            how = "scale first"
        column = Column(bool(rng.random() < 0.2), dtype, "map", setting.fresh)
        found.append(RightPair(how, setting, column, bool(rng.random() < 0.7), int(rng.choice([1, 1, 2]))))
    return found


def false_alarm(pair: RightPair) -> str:
    """What is reported of it; "" for nothing, and where its own precision overflows: then it is no right port."""
    before = torch.get_num_threads()
    torch.set_num_threads(pair.threads)
    try:
        with threadpool_limits(pair.threads):
            comparison = _ours(pair) if pair.how == OURS else _theirs(pair)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        torch.set_num_threads(before)
    if comparison is None:
        return ""
    if pair.column.pairing == "sorted" and "alphabetical" in " ".join(comparison.notes):
        return ""  # which says that the order is not that of execution
    return "" if exit_code(comparison) == 0 and not comparison.hints else comparison.verdict


def _theirs(pair: RightPair) -> Any:
    """The comparison; None where theirs overflows."""
    port = make_port(pair.setting, pair.column.dtype)
    WAYS[pair.how](port)
    casting: Callable[[], Any] = contextlib.nullcontext
    if pair.how == "autocast":
        casting = lambda: torch.autocast("cpu", torch.bfloat16)  # noqa: E731
    with casting():
        values = record(port, pair.column.coarse, pair.gradients)
    if not all(value.isfinite().all() for value in values.values()):
        return None
    return compare_port(port, pair.column, pair.gradients, values)[0]


def _ours(pair: RightPair) -> Any:
    store, model = Copies(), our_model(pair.setting, "float32")
    pixels = model.checked_pixels(pixel_values(pair.setting))
    record_pass(model, pixels, store, labels=numpy.array(LABELS), gradients=True)
    return compare(our_trace(pair.setting), store, model=our_model(pair.setting))
