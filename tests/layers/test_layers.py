"""Layers forward, against the paper's formulas written out with the explicit attention of one sequence at a time."""

import numpy
import pytest
from scipy import special

from minivivit.layers.factorised_dot_product_attention import factorised_dot_product_attention_forward
from minivivit.layers.factorised_self_attention_layer import factorised_self_attention_layer_forward
from minivivit.layers.layer_stack import layer_stack_forward
from minivivit.layers.mlp import mlp_forward
from minivivit.layers.multi_head_attention import merge_heads, multi_head_attention_forward, split_heads
from minivivit.layers.residual_branch import residual_branch_forward
from minivivit.layers.trace import Trace
from minivivit.layers.transformer_layer import transformer_layer_forward
from minivivit.models.parameters import unflatten

BATCH, TIMES, PLACES, HIDDEN, HEADS, WIDE = 2, 3, 4, 8, 4, 12
GRID, TOKENS, SIZE = (TIMES, PLACES), TIMES * PLACES, HIDDEN // HEADS
EPS = 1e-3
FIXED = {"num_heads": HEADS, "activation": "gelu", "eps": EPS}


@pytest.fixture
def rng():
    return numpy.random.default_rng(0)


@pytest.fixture
def x(rng):
    return rng.normal(size=(BATCH, TOKENS, HIDDEN))


def params(rng, *names):
    """A tree of random parameters; a name says by itself of what shape they are."""
    flat = {}
    wide = {"intermediate.dense": (WIDE, HIDDEN), "output.dense": (HIDDEN, WIDE)}
    for name in names:
        shape = wide.get(name, (HIDDEN, HIDDEN))
        weight = 1 + 0.3 * rng.normal(size=HIDDEN) if "norm" in name else 0.5 * rng.normal(size=shape)
        flat |= {f"{name}.weight": weight, f"{name}.bias": rng.normal(size=shape[0])}
    return unflatten(flat)


def attention_names(prefix):
    return [f"{prefix}{name}" for name in ("attention.query", "attention.key", "attention.value", "output.dense")]


MLP_NAMES = ("intermediate.dense", "output.dense")
LAYER_NAMES = ("layernorm_before", *attention_names("attention."), "layernorm_after", *MLP_NAMES)
FACTORISED_NAMES = (
    "layernorm_temporal",
    *attention_names("temporal_attention."),
    "layernorm_spatial",
    *attention_names("spatial_attention."),
    "layernorm_after",
    *MLP_NAMES,
)


# ---- the formulas


def dense(x, p):
    return numpy.einsum("...i,oi->...o", x, p["weight"]) + p["bias"]


def norm(x, p):
    return (x - x.mean(-1, keepdims=True)) / numpy.sqrt(x.var(-1, keepdims=True) + EPS) * p["weight"] + p["bias"]


def mlp(x, p):
    before = dense(x, p["intermediate"]["dense"])
    return dense(before * special.ndtr(before), p["output"]["dense"])


def attention(x, p, visible=None):
    """Attention of all tokens, where `visible` (heads, tokens, tokens) says which keys a head's queries see."""
    merged = numpy.empty_like(x)
    projected = {name: dense(x, p["attention"][name]) for name in ("query", "key", "value")}
    for sample in range(len(x)):
        for head in range(HEADS):
            part = slice(head * SIZE, (head + 1) * SIZE)
            query, key, value = (projected[name][sample, :, part] for name in ("query", "key", "value"))
            scores = query @ key.T / numpy.sqrt(SIZE)
            if visible is not None:
                scores = numpy.where(visible[head], scores, -numpy.inf)
            merged[sample, :, part] = special.softmax(scores, axis=-1) @ value
    return dense(merged, p["output"]["dense"])


def same_time():
    """(tokens, tokens): whether two tokens are of the same time; time counts slowest."""
    time = numpy.arange(TOKENS) // PLACES
    return time[:, None] == time


def same_place():
    place = numpy.arange(TOKENS) % PLACES
    return place[:, None] == place


def everywhere(mask):
    return numpy.broadcast_to(mask, (HEADS, TOKENS, TOKENS))


def transformer_layer(x, p, visible=None):
    y = x + attention(norm(x, p["layernorm_before"]), p["attention"], visible)
    return y + mlp(norm(y, p["layernorm_after"]), p)


def assert_close(ours, expected):
    assert ours.shape == expected.shape
    assert abs(ours - expected).max() <= 1e-12 * abs(expected).max()


# ---- the layers


def test_mlp(x, rng):
    p = params(rng, *MLP_NAMES)
    y, cache = mlp_forward(x, p, "gelu")
    assert_close(y, mlp(x, p))
    without_cache, nothing = mlp_forward(x, p, "gelu", keep_cache=False)
    assert nothing is None
    assert cache["before"].shape == (BATCH * TOKENS, WIDE)
    assert (without_cache == y).all()


def test_mlp_of_several_blocks(rng):
    p = params(rng, *MLP_NAMES)
    many = rng.normal(size=(1, 2001, HIDDEN))
    assert_close(mlp_forward(many, p, "gelu", keep_cache=False)[0], mlp(many, p))


def test_heads_split_and_merge(x):
    heads = split_heads(x, HEADS)
    assert heads.shape == (BATCH, HEADS, TOKENS, SIZE)
    assert (heads[1, 2, 5] == x[1, 5, 2 * SIZE : 3 * SIZE]).all()
    assert (merge_heads(heads) == x).all()


@pytest.mark.parametrize("explicit", [False, True])
def test_multi_head_attention(x, rng, explicit):
    p = params(rng, *attention_names("attention."))["attention"]
    y, probs, _ = multi_head_attention_forward(x, p, HEADS, explicit=explicit)
    assert_close(y, attention(x, p))
    assert (probs is None) is not explicit
    if explicit:
        assert probs.shape == (BATCH, HEADS, TOKENS, TOKENS)
        numpy.testing.assert_allclose(probs.sum(axis=-1), 1, rtol=1e-14)


def test_multi_head_attention_with_a_mask(x, rng):
    p = params(rng, *attention_names("attention."))["attention"]
    visible = rng.random((TOKENS, TOKENS)) < 0.6
    visible[:, 0] = True
    bias = numpy.where(visible, 0.0, numpy.finfo("float64").min)
    y, _, _ = multi_head_attention_forward(x, p, HEADS, bias=bias)
    assert_close(y, attention(x, p, everywhere(visible)))


@pytest.mark.parametrize("explicit", [False, True])
def test_transformer_layer(x, rng, explicit):
    p = params(rng, *LAYER_NAMES)
    z, _, _ = transformer_layer_forward(x, p, explicit=explicit, **FIXED)
    assert_close(z, transformer_layer(x, p))
    without_cache, _, nothing = transformer_layer_forward(x, p, explicit=explicit, keep_cache=False, **FIXED)
    assert nothing is None
    assert (without_cache == z).all()


@pytest.mark.parametrize("explicit", [False, True])
def test_factorised_dot_product_layer_is_masked_attention(x, rng, explicit):
    """Model 4: of Model 1's layer, with the first half of the heads seeing the same place, the others the same time."""
    p = params(rng, *LAYER_NAMES)
    z, probs, _ = transformer_layer_forward(x, p, explicit=explicit, grid=GRID, **FIXED)
    half = HEADS // 2
    visible = numpy.concatenate([everywhere(same_place())[:half], everywhere(same_time())[half:]])
    assert_close(z, transformer_layer(x, p, visible))
    if explicit:
        assert probs["temporal"].shape == (BATCH, PLACES, half, TIMES, TIMES)
        assert probs["spatial"].shape == (BATCH, TIMES, half, PLACES, PLACES)


def test_the_two_halves_of_the_heads_draw_different_masks():
    """With one value everywhere the output of a head is the sum of its kept probabilities."""
    ones = numpy.ones((1, 2, 9, 1))
    output, _, _ = factorised_dot_product_attention_forward(ones, ones, ones, (3, 3), dropout=(3, 0.5))
    temporal, spatial = output[0, 0].reshape(3, 3), output[0, 1].reshape(3, 3)
    assert (spatial != temporal.T).any()


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("order", ["time_space", "space_time"])
def test_factorised_self_attention_layer_is_masked_attention_twice(x, rng, order, explicit):
    """Model 3: attention to the same place, then to the same time, or the other way round."""
    p = params(rng, *FACTORISED_NAMES)
    z, probs, _ = factorised_self_attention_layer_forward(x, p, grid=GRID, order=order, explicit=explicit, **FIXED)
    steps = [("temporal", everywhere(same_place())), ("spatial", everywhere(same_time()))]
    y = x
    for axis, visible in steps if order == "time_space" else steps[::-1]:
        y = y + attention(norm(y, p[f"layernorm_{axis}"]), p[f"{axis}_attention"], visible)
    assert_close(z, y + mlp(norm(y, p["layernorm_after"]), p))
    if explicit:
        assert probs["temporal"].shape == (BATCH, PLACES, HEADS, TIMES, TIMES)
        assert probs["spatial"].shape == (BATCH, TIMES, HEADS, PLACES, PLACES)


def test_a_residual_branch_drops_entries_and_then_samples():
    branch = numpy.arange(1.0, 9.0).reshape(2, 2, 2)
    keep = numpy.array([[[1, 0], [1, 1]], [[1, 1], [0, 1]]], dtype=bool)
    depth = numpy.array([True, False]).reshape(2, 1, 1)
    y, _ = residual_branch_forward(branch, {"dropout": (keep, 0.5), "depth": depth})
    assert y.tolist() == [[[2, 0], [6, 8]], [[0, 0], [0, 0]]]
    assert residual_branch_forward(branch, None)[0] is branch


def test_layer_stack(x, rng):
    layers = {"0": params(rng, *LAYER_NAMES), "1": params(rng, *LAYER_NAMES)}

    def layer_forward(x, p, **options):
        return transformer_layer_forward(x, p, **FIXED, **options)

    y, outputs, cache = layer_stack_forward(x, layers, layer_forward, keep_cache=False, output_hidden_states=True)
    first = transformer_layer(x, layers["0"])
    assert cache is None
    assert outputs["attentions"] == [None, None]
    for ours, expected in zip(outputs["hidden_states"], (x, first, transformer_layer(first, layers["1"])), strict=True):
        assert_close(ours, expected)
    assert (y == outputs["hidden_states"][-1]).all()
    assert layer_stack_forward(x, layers, layer_forward)[1]["hidden_states"] == []


def test_a_trace_names_every_step(x, rng):
    p = params(rng, *LAYER_NAMES)
    store = {}
    z, _, _ = transformer_layer_forward(x, p, trace=Trace(store, "here."), **FIXED)
    assert list(store) == [
        "here.layernorm_before",
        "here.attention.attention.query",
        "here.attention.attention.key",
        "here.attention.attention.value",
        "here.attention.attention.scores",
        "here.attention.attention.probs",
        "here.attention.attention",
        "here.attention.output.dense",
        "here.attention_residual",
        "here.layernorm_after",
        "here.intermediate.dense",
        "here.intermediate",
        "here.output.dense",
    ]
    assert_close(store["here.layernorm_before"], norm(x, p["layernorm_before"]))
    assert_close(store["here.attention_residual"] + store["here.output.dense"], z)
    before = store["here.intermediate.dense"]
    assert_close(store["here.intermediate"], before * special.ndtr(before))
    plain, _, _ = transformer_layer_forward(x, p, **FIXED)
    assert_close(plain, z)
