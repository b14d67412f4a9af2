"""Checks of the factorised encoder, Model 2: first within each frame, then among the frames (section 3.3)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy

from minivivit.checks.case import Case, with_the_first_once_more
from minivivit.checks.draws import distinct, encoder_parameters, layer_parameters, log_uniform, normal
from minivivit.checks.report import Report
from minivivit.checks.run_check import Task, run_check
from minivivit.layers.mlp import mlp_forward
from minivivit.layers.multi_head_attention import multi_head_attention_forward
from minivivit.layers.transformer_layer import transformer_layer_forward
from minivivit.ops.cls_token import cls_token_forward
from minivivit.ops.layer_norm import layer_norm_forward

Rng = numpy.random.Generator
Array = numpy.ndarray

_PARTS = (
    "minivivit.ops.layer_norm.layer_norm_forward",
    "minivivit.ops.gelu.gelu_forward",
    "minivivit.ops.linear.linear_forward",
    "minivivit.layers.multi_head_attention.multi_head_attention_forward",
    "minivivit.layers.mlp.mlp_forward",
)
_LAYER = "minivivit.layers.transformer_layer.transformer_layer_forward"


def separate_frames(student: Callable, **options: Any) -> Report:
    """Check ``separate_frames(tokens, num_times) -> frames``.

    From (batch, num_times * places, hidden), time slowest, to (batch * num_times, places, hidden): every temporal index
    a sample of its own. The options are those of `minivivit.checks.run_check.run_check`.
    """
    return run_check(_SEPARATE_FRAMES, student, **options)


def transformer_layer(student: Callable, **options: Any) -> Report:
    """Check ``transformer_layer(x, params, num_heads, eps) -> z``: y = x + MSA(LN(x)), z = y + MLP(LN(y)).

    `x` is (batch, tokens, hidden), as is the answer; `params` is spelled as in `minivivit.layers.transformer_layer`.
    ``layer_norm_forward``, ``gelu_forward``, ``linear_forward``, ``multi_head_attention_forward`` and ``mlp_forward``
    of the package may be called. The options are those of `minivivit.checks.run_check.run_check`.
    """
    return run_check(_TRANSFORMER_LAYER, student, **options)


def encoder(student: Callable, **options: Any) -> Report:
    """Check ``encoder(tokens, params, num_heads, eps) -> z``: CLS token, positions, layers, layer norm.

    `tokens` is (batch, tokens, hidden), the answer (batch, 1 + tokens, hidden). `params` has ``cls_token``,
    ``position_embeddings``, ``layer`` (``{"0": ..., "1": ...}``) and ``layernorm``. What `transformer_layer` may call
    may be called here, and ``transformer_layer_forward`` too. The options are those of
    `minivivit.checks.run_check.run_check`.
    """
    return run_check(_ENCODER, student, **options)


def factorised_encoder(student: Callable, **options: Any) -> Report:
    """Check ``factorised_encoder(tokens, params, num_times, num_heads, eps) -> y``.

    `tokens` is (batch, num_times * places, hidden), `params` has ``spatial_encoder`` and ``temporal_encoder``, each as
    in `encoder`. The answer is the temporal encoder's CLS token, (batch, hidden). The package's functions allowed are
    those of `encoder`. The options are those of `minivivit.checks.run_check.run_check`.
    """
    return run_check(_FACTORISED_ENCODER, student, **options)


# --------------------------------------------------------------------------------------------------------------------
# Frames
# --------------------------------------------------------------------------------------------------------------------


def _separate(tokens: Array, num_times: int) -> Array:
    batch, count, hidden = tokens.shape
    return tokens.reshape(batch * num_times, count // num_times, hidden)


def _separate_places_first(tokens: Array, num_times: int) -> Array:
    """As if place varied slowest."""
    batch, count, hidden = tokens.shape
    apart = tokens.reshape(batch, count // num_times, num_times, hidden).swapaxes(1, 2)
    return apart.reshape(batch * num_times, count // num_times, hidden)


def _separate_times_slowest(tokens: Array, num_times: int) -> Array:
    """The samples of the first time, then those of the second."""
    batch, count, hidden = tokens.shape
    apart = tokens.reshape(batch, num_times, count // num_times, hidden).swapaxes(0, 1)
    return apart.reshape(batch * num_times, count // num_times, hidden)


def _separate_cases(rng: Rng) -> list[Case]:
    shapes = [(tuple(distinct(rng, 4, 2, 6)), dtype) for dtype in ("float64", "float64", "float32")]
    batch, times, places, hidden = distinct(rng, 4, 2, 6)
    ends = [(1, times, places, hidden), (batch, 1, places, hidden), (batch, times, 1, hidden)]
    cases = []
    for (batch, times, places, hidden), dtype in [*shapes[:2], *((end, "float64") for end in ends), shapes[2]]:
        tokens = normal(rng, batch, times * places, hidden, dtype=dtype)
        cases.append(Case(f"tokens of shape {tokens.shape}, {times} times", {"tokens": tokens, "num_times": times}))
    return with_the_first_once_more(cases)


_SEPARATE_FRAMES = Task(
    "separate_frames",
    ("frames",),
    _separate,
    _separate_cases,
    [
        ("the tokens are taken as if place varied slowest; time does", _separate_places_first),
        ("the times are in front of the samples; a sample's times stay together", _separate_times_slowest),
        (
            "places and times are exchanged: this makes a sample of each place",
            lambda tokens, num_times: tokens.reshape(-1, num_times, tokens.shape[-1]),
        ),
        (
            "times and places are still axes of their own; join batch and times",
            lambda tokens, num_times: tokens.reshape(len(tokens), num_times, -1, tokens.shape[-1]),
        ),
    ],
)


# --------------------------------------------------------------------------------------------------------------------
# Layer
# --------------------------------------------------------------------------------------------------------------------


def _norm(x: Array, params: dict, eps: float) -> Array:
    return layer_norm_forward(x, params["weight"], params["bias"], eps)[0]


def _attend(x: Array, params: dict, num_heads: int) -> Array:
    return multi_head_attention_forward(x, params["attention"], num_heads, explicit=True)[0]


def _widen(x: Array, params: dict, activation: str = "gelu") -> Array:
    return mlp_forward(x, params, activation, keep_cache=False)[0]


def _layer(x: Array, params: dict, num_heads: int, eps: float) -> Array:
    return transformer_layer_forward(
        x, params, num_heads=num_heads, activation="gelu", eps=eps, explicit=True, keep_cache=False
    )[0]


def _layer_with(
    *,
    before: str | None = "layernorm_before",
    after: str | None = "layernorm_after",
    residuals: tuple[bool, bool] = (True, True),
    activation: str = "gelu",
    of_normalised: bool = False,
    from_input: bool = False,
) -> Callable:
    """The transformer layer with one of its parts exchanged."""

    def layer(x: Array, params: dict, num_heads: int, eps: float) -> Array:
        normalised = _norm(x, params[before], eps) if before else x
        start = normalised if of_normalised else x
        y = residuals[0] * start + _attend(normalised, params, num_heads)
        inner = x if from_input else y
        normalised = _norm(inner, params[after], eps) if after else inner
        start = normalised if of_normalised else y
        return residuals[1] * start + _widen(normalised, params, activation)

    return layer


def _post_norm_layer(x: Array, params: dict, num_heads: int, eps: float) -> Array:
    y = _norm(x + _attend(x, params, num_heads), params["layernorm_before"], eps)
    return _norm(y + _widen(y, params), params["layernorm_after"], eps)


def _mlp_first(x: Array, params: dict, num_heads: int, eps: float) -> Array:
    y = x + _widen(_norm(x, params["layernorm_after"], eps), params)
    return y + _attend(_norm(y, params["layernorm_before"], eps), params, num_heads)


def _drawn_eps(rng: Rng, number: int) -> float:
    """In turn an eps too large to be overlooked, and one of any size."""
    return float(rng.uniform(0.1, 0.5)) if number % 2 == 0 else log_uniform(rng, 1e-12, 1e-2)


def _layer_cases(rng: Rng) -> list[Case]:
    kinds = [(tuple(distinct(rng, 4, 2, 5)), "") for _ in range(4)]
    kinds[1] = ((1, 1, *kinds[1][0][2:]), "")
    kinds[2] = ((*kinds[2][0][:2], 1, kinds[2][0][3]), "")
    kinds[3] = (kinds[3][0], ", scores spread over 1e4")
    cases = []
    for number, ((batch, num_heads, tokens, size), about) in enumerate(kinds):
        hidden, eps = num_heads * size, _drawn_eps(rng, number)
        params = layer_parameters(rng, hidden, int(rng.integers(2, 2 * hidden + 2)))
        if about:
            params["attention"]["attention"]["query"]["weight"] *= 1e4
        x = normal(rng, batch, tokens, hidden)
        arguments = {"x": x, "params": params, "num_heads": num_heads, "eps": eps}
        cases.append(Case(f"x of shape {x.shape}, heads: {num_heads}, eps {eps:.2g}{about}", arguments))
    return with_the_first_once_more(cases)


_TRANSFORMER_LAYER = Task(
    "transformer_layer",
    ("z",),
    _layer,
    _layer_cases,
    [
        ("the norms come after the sums (post-norm); in ViT they come before attention and MLP", _post_norm_layer),
        ("the first residual connection is missing: y = x + MSA(LN(x))", _layer_with(residuals=(False, True))),
        ("the second residual connection is missing: z = y + MLP(LN(y))", _layer_with(residuals=(True, False))),
        ("both residual connections are missing", _layer_with(residuals=(False, False))),
        ("the normalised x is added; the residual connection passes x itself", _layer_with(of_normalised=True)),
        ("layernorm_before is used twice; layernorm_after is before the MLP", _layer_with(after="layernorm_before")),
        ("the two norms are exchanged", _layer_with(before="layernorm_after", after="layernorm_before")),
        ("the norm before attention is missing", _layer_with(before=None)),
        ("the norm before the MLP is missing", _layer_with(after=None)),
        ("the norms are missing", _layer_with(before=None, after=None)),
        ("the MLP sees x; it sees y, what attention added to", _layer_with(from_input=True)),
        ("the MLP comes before attention", _mlp_first),
        ("the activation is ReLU; GELU", _layer_with(activation="relu")),
        ("the activation is the approximation of GELU with tanh; the exact one", _layer_with(activation="gelu_new")),
        ("there is one head", lambda x, params, num_heads, eps: _layer(x, params, 1, eps)),
        (
            "eps is a fixed 1e-6; take the one given",
            lambda x, params, num_heads, eps: _layer(x, params, num_heads, 1e-6),
        ),
    ],
    may_use=_PARTS,
)


# --------------------------------------------------------------------------------------------------------------------
# Encoders
# --------------------------------------------------------------------------------------------------------------------


def _encode(
    tokens: Array,
    params: dict,
    num_heads: int,
    eps: float,
    *,
    positions: Callable = lambda z, p: z + p,
    layers: Callable = list,
    norm: bool = True,
) -> Array:
    """An encoder; `positions` places the tokens, `layers` chooses the layers and their order."""
    z = positions(cls_token_forward(tokens, params["cls_token"])[0], params["position_embeddings"])
    for layer in layers(params["layer"].values()):
        z = _layer(z, layer, num_heads, eps)
    return _norm(z, params["layernorm"], eps) if norm else z


def _cls_without_position(z: Array, p: Array) -> Array:
    return numpy.concatenate([z[:, :1], z[:, 1:] + p[:, 1:]], axis=1)


def _cls_behind(tokens: Array, params: dict, num_heads: int, eps: float) -> Array:
    return _encode(tokens, params, num_heads, eps, positions=lambda z, p: numpy.roll(z, -1, axis=1) + p)


def _as_text(layers: Any) -> list:
    """The layers sorted by their names as text: 0, 1, 10, 11, 2, ..."""
    layers = list(layers)
    return [layers[int(name)] for name in sorted(map(str, range(len(layers))))]


def _encoder_cases(rng: Rng) -> list[Case]:
    cases = []
    for number, layers in enumerate((2, 1, 3, 1, 11 + int(rng.integers(3)))):
        batch, num_heads, tokens, size = distinct(rng, 4, 2, 5)
        if layers == 1:
            batch, num_heads = (1, num_heads) if number == 1 else (batch, 1)
        if layers > 3 or number == 3:
            tokens = 1
        eps = _drawn_eps(rng, number)
        params = encoder_parameters(rng, num_heads * size, tokens, layers)
        embedded = normal(rng, batch, tokens, num_heads * size)
        arguments = {"tokens": embedded, "params": params, "num_heads": num_heads, "eps": eps}
        about = f"tokens of shape {embedded.shape}, layers: {layers}, heads: {num_heads}, eps {eps:.2g}"
        cases.append(Case(about, arguments))
    return with_the_first_once_more(cases)


_ENCODER = Task(
    "encoder",
    ("z",),
    _encode,
    _encoder_cases,
    [
        ("the position embeddings are left out", partial(_encode, positions=lambda z, p: z)),
        ("the CLS token gets no position embedding; it has one too", partial(_encode, positions=_cls_without_position)),
        ("the last layer norm is left out", partial(_encode, norm=False)),
        ("the layers are applied in reverse order", partial(_encode, layers=lambda layers: reversed(list(layers)))),
        (
            "the layers are sorted by their names as text, where 10 comes before 2; go through the dict as it is",
            partial(_encode, layers=_as_text),
        ),
        ("only the first layer is applied", partial(_encode, layers=lambda layers: list(layers)[:1])),
        ("the last layer is left out", partial(_encode, layers=lambda layers: list(layers)[:-1])),
        ("no layer is applied", partial(_encode, layers=lambda layers: [])),
        (
            "the first layer is applied again and again",
            partial(_encode, layers=lambda layers: [next(iter(layers))] * len(layers)),
        ),
        (
            "each layer starts again from the embedded tokens; it takes what the layer before gave",
            partial(_encode, layers=lambda layers: list(layers)[-1:]),
        ),
        ("the CLS token is behind the others; it comes first", _cls_behind),
        (
            "the CLS token is dropped; the encoder returns all tokens",
            lambda tokens, params, num_heads, eps: _encode(tokens, params, num_heads, eps)[:, 1:],
        ),
    ],
    may_use=(*_PARTS, _LAYER),
)


def _factorised(
    tokens: Array,
    params: dict,
    num_times: int,
    num_heads: int,
    eps: float,
    *,
    separate: Callable = _separate,
    pool: Callable = lambda z: z[:, 0],
    pool_last: Callable = lambda z: z[:, 0],
    join: Callable = lambda h, batch: h.reshape(batch, -1, h.shape[-1]),
) -> Array:
    """Model 2 from its tokens to its CLS token."""
    frames = _encode(separate(tokens, num_times), params["spatial_encoder"], num_heads, eps)
    h = join(pool(frames), len(tokens))  # (batch, times, hidden)
    return pool_last(_encode(h, params["temporal_encoder"], num_heads, eps))


def _mean_over_times(tokens: Array, params: dict, num_times: int, num_heads: int, eps: float) -> Array:
    frames = _encode(_separate(tokens, num_times), params["spatial_encoder"], num_heads, eps)
    return frames[:, 0].reshape(len(tokens), num_times, -1).mean(axis=1)


def _mean(z: Array) -> Array:
    return z.mean(axis=1)


def _join_times_first(h: Array, batch: int) -> Array:
    return h.reshape(-1, batch, h.shape[-1]).swapaxes(0, 1)


def _factorised_cases(rng: Rng) -> list[Case]:
    cases = []
    for number, (spatial_layers, temporal_layers) in enumerate(((1, 1), (2, 1), (1, 2), (1, 1), (1, 1), (11, 1))):
        batch, times, places = distinct(rng, 3, 2, 4)
        num_heads, size = distinct(rng, 2, 2, 4)
        batch = 1 if number == 2 else batch
        places = 1 if number == 3 else places
        times, num_heads = (1, 1) if number == 4 else (times, num_heads)
        hidden, eps = num_heads * size, _drawn_eps(rng, number)
        params = {
            "spatial_encoder": encoder_parameters(rng, hidden, places, spatial_layers),
            "temporal_encoder": encoder_parameters(rng, hidden, times, temporal_layers),
        }
        tokens = normal(rng, batch, times * places, hidden)
        arguments = {"tokens": tokens, "params": params, "num_times": times, "num_heads": num_heads, "eps": eps}
        about = f"tokens of shape {tokens.shape}, {times} times of {places} places, eps {eps:.2g}"
        cases.append(Case(about, arguments))
    return with_the_first_once_more(cases)


_FACTORISED_ENCODER = Task(
    "factorised_encoder",
    ("y",),
    _factorised,
    _factorised_cases,
    [
        (
            "the frames are taken as if place varied slowest; time does",
            partial(_factorised, separate=_separate_places_first),
        ),
        (
            "the times stand in front of the samples in one reshape and behind them in the other",
            partial(_factorised, join=_join_times_first),
        ),
        (
            "the times stand in front of the samples in one reshape and behind them in the other",
            partial(_factorised, separate=_separate_times_slowest),
        ),
        (
            "a frame is the mean of its tokens; it is its CLS token",
            partial(_factorised, pool=lambda z: z[:, 1:].mean(axis=1)),
        ),
        ("a frame is the mean of its tokens; it is its CLS token", partial(_factorised, pool=_mean)),
        ("a frame is its last token; the CLS token is the first", partial(_factorised, pool=lambda z: z[:, -1])),
        ("the answer is the mean of the temporal tokens; it is their CLS token", partial(_factorised, pool_last=_mean)),
        (
            "the answer is the mean of the temporal tokens; it is their CLS token",
            partial(_factorised, pool_last=lambda z: z[:, 1:].mean(axis=1)),
        ),
        (
            "the answer is the last temporal token; the CLS token is the first",
            partial(_factorised, pool_last=lambda z: z[:, -1]),
        ),
        ("the answer has all temporal tokens; return the CLS token", partial(_factorised, pool_last=lambda z: z)),
        ("the temporal encoder is left out: this is a mean over time, which forgets the order", _mean_over_times),
    ],
    may_use=(*_PARTS, _LAYER),
)
