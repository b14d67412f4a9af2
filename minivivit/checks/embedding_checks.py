"""Checks of the embedding: from a clip to tokens that know their place (the paper's section 3.2 and equation 1)."""

from collections.abc import Callable
from typing import Any

import numpy

from minivivit.checks.case import Case, with_the_first_once_more
from minivivit.checks.draws import distinct, normal
from minivivit.checks.report import Report
from minivivit.checks.run_check import Task, run_check
from minivivit.ops import tubelet_embedding as package
from minivivit.ops.cls_token import cls_token_forward
from minivivit.ops.position_embedding import position_embedding_forward

Rng = numpy.random.Generator
Array = numpy.ndarray


def cut_tubelets(student: Callable, **options: Any) -> Report:
    """Check ``cut_tubelets(video, tubelet_size) -> tubelets``.

    `video` is (batch, frames, channels, height, width) and `tubelet_size` (t, h, w). The answer is
    (batch, n_t * n_h * n_w, channels * t * h * w): tubelets with time slowest, then rows, then columns; within a
    tubelet channels slowest, then frames, rows, columns. A remainder at the end of an axis is dropped. The options are
    those of `minivivit.checks.run_check.run_check`.
    """
    return run_check(_CUT_TUBELETS, student, **options)


def tubelet_embedding(student: Callable, **options: Any) -> Report:
    """Check ``tubelet_embedding(video, weight, bias) -> tokens``.

    `video` is (batch, frames, channels, height, width), `weight` (hidden, channels, t, h, w) and `bias` (hidden,). The
    answer is (batch, n_t * n_h * n_w, hidden). ``cut_tubelets`` of the package may be called. The options
    are those of `minivivit.checks.run_check.run_check`.
    """
    return run_check(_TUBELET_EMBEDDING, student, **options)


def cls_token(student: Callable, **options: Any) -> Report:
    """Check ``cls_token(tokens, cls) -> z``: the learned token `cls`, (1, 1, hidden), in front of every sample's.

    `tokens` is (batch, tokens, hidden); the answer (batch, 1 + tokens, hidden). The options are those of
    `minivivit.checks.run_check.run_check`.
    """
    return run_check(_CLS_TOKEN, student, **options)


def position_embedding(student: Callable, **options: Any) -> Report:
    """Check ``position_embedding(tokens, positions) -> z``: `positions`, (1, tokens, hidden), added to every sample.

    `tokens` is (batch, tokens, hidden), as is the answer. The options are those of
    `minivivit.checks.run_check.run_check`.
    """
    return run_check(_POSITION_EMBEDDING, student, **options)


# --------------------------------------------------------------------------------------------------------------------
# Cutting
# --------------------------------------------------------------------------------------------------------------------


def _cut(video: Array, tubelet_size: tuple[int, int, int]) -> Array:
    tubelets = package.cut_tubelets(video, tubelet_size)
    return tubelets.reshape(len(video), -1, tubelets.shape[-1])


def _boxes(video: Array, tubelet_size: tuple[int, int, int]) -> Array:
    """(batch, n_t, t, channels, n_h, h, n_w, w)"""
    t, h, w = tubelet_size
    batch, frames, channels, height, width = video.shape
    n_t, n_h, n_w = frames // t, height // h, width // w
    whole = video[:, : n_t * t, :, : n_h * h, : n_w * w]
    return whole.reshape(batch, n_t, t, channels, n_h, h, n_w, w)


def _cut_in_order(*axes: int) -> Callable:
    """Cut with the axes of `_boxes` in another order; the right one is 0, 1, 4, 6, 3, 2, 5, 7."""

    def cut(video: Array, tubelet_size: tuple[int, int, int]) -> Array:
        boxes = _boxes(video, tubelet_size)
        return boxes.transpose(axes).reshape(_cut(video, tubelet_size).shape)

    return cut


def _cut_from_the_end(video: Array, tubelet_size: tuple[int, int, int]) -> Array:
    t, h, w = tubelet_size
    frames, height, width = video.shape[1], video.shape[3], video.shape[4]
    return _cut(video[:, frames % t :, :, height % h :, width % w :], tubelet_size)


_WRONG_CUTS = [
    (
        "reshape without transpose: it cuts memory into pieces, not the clip into boxes",
        lambda video, size: _boxes(video, size).reshape(_cut(video, size).shape),
    ),
    (
        "the pixels of a tubelet are in the order frames, channels, rows, columns; the channels come first",
        _cut_in_order(0, 1, 4, 6, 2, 3, 5, 7),
    ),
    (
        "the pixels of a tubelet are in the order frames, rows, columns, channels; the channels come first",
        _cut_in_order(0, 1, 4, 6, 2, 5, 7, 3),
    ),
    ("the tubelets are ordered rows, columns, time; time varies slowest", _cut_in_order(0, 4, 6, 1, 3, 2, 5, 7)),
    ("the tubelets are ordered columns before rows; rows come first", _cut_in_order(0, 1, 6, 4, 3, 2, 5, 7)),
    ("rows and columns within a tubelet are exchanged", _cut_in_order(0, 1, 4, 6, 3, 2, 7, 5)),
    ("the remainder is dropped at the beginning of an axis; drop it at the end", _cut_from_the_end),
]


def _video_cases(rng: Rng, extra: Callable[..., dict[str, Any]]) -> list[Case]:
    """Clips of several shapes; `extra(size, channels, dtype)` makes the other arguments."""
    kinds = [("", 2, "float64"), ("", 1, "float64"), ("remainder", 3, "float64"), ("remainder", 2, "float64")]
    kinds += [("one tubelet", 2, "float64"), ("one pixel", 1, "float64"), ("", 2, "float32")]
    cases = []
    for number, (kind, batch, dtype) in enumerate(kinds):
        size = (1, 1, 1) if kind == "one pixel" else tuple(distinct(rng, 3, 2, 4))
        n_t, n_h, n_w = (1, 1, 1) if kind == "one tubelet" else distinct(rng, 3, 2, 4)
        channels = (3, 1)[number] if number < 2 else int(rng.integers(2, 6))
        rest = [int(rng.integers(1, length)) if kind == "remainder" else 0 for length in size]
        frames, height, width = (
            count * length + r for count, length, r in zip((n_t, n_h, n_w), size, rest, strict=True)
        )
        video = normal(rng, batch, frames, channels, height, width, dtype=dtype)
        about = f"video of shape {video.shape}, tubelets of {size}" + ", with a remainder" * (kind == "remainder")
        cases.append(
            Case(about + f", {dtype}" * (dtype != "float64"), {"video": video, **extra(size, channels, dtype)})
        )
    return with_the_first_once_more(cases)


def _cut_cases(rng: Rng) -> list[Case]:
    return _video_cases(rng, lambda size, channels, dtype: {"tubelet_size": size})


_CUT_TUBELETS = Task("cut_tubelets", ("tubelets",), _cut, _cut_cases, _WRONG_CUTS)


# --------------------------------------------------------------------------------------------------------------------
# Embedding
# --------------------------------------------------------------------------------------------------------------------


def _embed(video: Array, weight: Array, bias: Array) -> Array:
    return package.tubelet_embedding_forward(video, weight, bias)[0]


def _embed_with(cut: Callable) -> Callable:
    def embed(video: Array, weight: Array, bias: Array) -> Array:
        return cut(video, weight.shape[2:]) @ weight.reshape(len(weight), -1).T + bias

    return embed


def _embed_with_reshaped_weight(video: Array, weight: Array, bias: Array) -> Array:
    return _cut(video, weight.shape[2:]) @ weight.reshape(-1, len(weight)) + bias


def _embedding_cases(rng: Rng) -> list[Case]:
    def kernels(size: tuple[int, ...], channels: int, dtype: str) -> dict[str, Any]:
        hidden = int(rng.integers(5, 9))
        weight = normal(rng, hidden, channels, *size, dtype=dtype, scale=0.3)
        return {"weight": weight, "bias": normal(rng, hidden, dtype=dtype)}

    return _video_cases(rng, kernels)


_TUBELET_EMBEDDING = Task(
    "tubelet_embedding",
    ("tokens",),
    _embed,
    _embedding_cases,
    [
        ("the bias is missing", lambda video, weight, bias: _embed(video, weight, 0 * bias)),
        (
            "weight.reshape(pixels, hidden) mixes the kernels: reshape to (hidden, pixels), then transpose",
            _embed_with_reshaped_weight,
        ),
        (
            "each kernel is divided by its number of pixels: the embedding is a sum, no mean",
            lambda video, weight, bias: _embed(video, weight / weight[0].size, bias),
        ),
        *((cause, _embed_with(cut)) for cause, cut in _WRONG_CUTS),
    ],
    may_use=("minivivit.ops.tubelet_embedding.cut_tubelets",),
)


# --------------------------------------------------------------------------------------------------------------------
# CLS token and places
# --------------------------------------------------------------------------------------------------------------------


def _token_shapes(rng: Rng) -> list[tuple[tuple[int, int, int], str]]:
    """((batch, tokens, hidden), dtype) of some cases, with one sample, one token and one feature among them."""
    shapes = []
    for batch, dtype in ((2, "float64"), (1, "float64"), (5, "float64"), (3, "float32")):
        tokens, hidden = distinct(rng, 2, 6, 9)
        shapes.append(((batch, tokens, hidden), dtype))
    batch, tokens, hidden = distinct(rng, 3, 2, 6)
    return [*shapes[:3], ((batch, 1, hidden), "float64"), ((batch, tokens, 1), "float64"), shapes[3]]


def _cls_cases(rng: Rng) -> list[Case]:
    cases = []
    for shape, dtype in _token_shapes(rng):
        arguments = {"tokens": normal(rng, *shape, dtype=dtype), "cls": normal(rng, 1, 1, shape[-1], dtype=dtype)}
        cases.append(Case(f"tokens of shape {shape}", arguments))
    return with_the_first_once_more(cases)


def _repeated(cls: Array, tokens: Array) -> Array:
    return numpy.repeat(cls, len(tokens), axis=0)


_CLS_TOKEN = Task(
    "cls_token",
    ("z",),
    lambda tokens, cls: cls_token_forward(tokens, cls)[0],
    _cls_cases,
    [
        (
            "the CLS token is behind the others; it comes first",
            lambda tokens, cls: numpy.concatenate([tokens, _repeated(cls, tokens)], axis=1),
        ),
        (
            "the CLS token replaces the first token; the clip's tokens all stay",
            lambda tokens, cls: numpy.concatenate([_repeated(cls, tokens), tokens[:, 1:]], axis=1),
        ),
        ("the CLS token is added to the tokens; it is a token of its own", lambda tokens, cls: tokens + cls),
        (
            "zeros are put in front; it is the learned token that comes first",
            lambda tokens, cls: numpy.concatenate([0 * _repeated(cls, tokens), tokens], axis=1),
        ),
        (
            "the CLS token is a sample of its own: concatenate along the axis of tokens",
            lambda tokens, cls: numpy.concatenate([numpy.repeat(cls, tokens.shape[1], axis=1), tokens], axis=0),
        ),
    ],
)


def _position_cases(rng: Rng) -> list[Case]:
    cases = []
    for shape, dtype in _token_shapes(rng):
        arguments = {"tokens": normal(rng, *shape, dtype=dtype), "positions": normal(rng, 1, *shape[1:], dtype=dtype)}
        cases.append(Case(f"tokens of shape {shape}", arguments))
    return with_the_first_once_more(cases)


_POSITION_EMBEDDING = Task(
    "position_embedding",
    ("z",),
    lambda tokens, positions: position_embedding_forward(tokens, positions)[0],
    _position_cases,
    [
        ("the positions are multiplied; they are added", lambda tokens, positions: tokens * positions),
        ("the positions are left out", lambda tokens, positions: tokens),
        (
            "the CLS token (the first) gets no position; it has one too",
            lambda tokens, positions: numpy.concatenate([tokens[:, :1], (tokens + positions)[:, 1:]], axis=1),
        ),
        (
            "the positions are appended; they are added",
            lambda tokens, positions: numpy.concatenate([tokens, numpy.repeat(positions, len(tokens), axis=0)], axis=1),
        ),
        ("every token gets the position of the first", lambda tokens, positions: tokens + positions[:, :1]),
        ("the positions are shifted by one", lambda tokens, positions: tokens + numpy.roll(positions, 1, axis=1)),
        (
            "the positions reach the first sample only; they are added to each",
            lambda tokens, positions: tokens + positions * (numpy.arange(len(tokens)) == 0)[:, None, None],
        ),
    ],
)
