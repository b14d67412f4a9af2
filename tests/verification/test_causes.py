"""Likely causes of a divergence, planted into our own traces: what is claimed is right, and nothing else is claimed."""

import numpy
import pytest

from minivivit import VivitConfig, VivitForVideoClassification, VivitModel
from minivivit.config import ATTENTION_TYPES
from minivivit.ops.activation import ACTIVATIONS
from minivivit.verification.comparison.causes.dropout import dropout_hypotheses
from minivivit.verification.comparison.evidence import evidence as evidence_module
from minivivit.verification.comparison.evidence.evidence import Evidence, Hypothesis, relative_error
from minivivit.verification.comparison.likely_causes import likely_causes
from minivivit.verification.comparison.verdict import compare
from minivivit.verification.rounding.precisions import round_to_precision
from minivivit.verification.tensors.layouts import undo_layout
from minivivit.verification.tensors.source import ArraySource
from minivivit.verification.tracing.recording import record_pass

LAYER = "vivit.encoder.layer.1"
LABELS = numpy.array([1, 3])


def small_model(attention_type="spatio_temporal", cls=VivitForVideoClassification, seed=0):
    config = VivitConfig(
        image_size=[8, 8],
        num_frames=12,
        tubelet_size=[2, 4, 4],
        hidden_size=16,
        num_hidden_layers=2,
        num_temporal_layers=1,
        num_attention_heads=4,
        intermediate_size=20,
        num_labels=12,
        attention_type=attention_type,
    )
    model = cls(config, dtype="float64", backend="numpy")
    rng = numpy.random.default_rng(seed)
    for name, parameter in model.state_dict().items():
        parameter[...] = rng.standard_normal(parameter.shape) * (
            0.3 if parameter.ndim < 2 else parameter[0].size ** -0.5
        )
        if "layernorm" in name and name.endswith("weight"):
            parameter += 1
    return model


def trace_of(model, directory=None):
    """Our trace of two clips as the image processor leaves them, and of their labels where there is a head."""
    rng = numpy.random.default_rng(1)
    pixels = rng.integers(0, 256, (2, 12, 3, 8, 8)) / 63.75 - 3
    pixels += numpy.array([0.0, -0.1, 0.1])[:, None, None] * (pixels > -2) * (pixels < 0.8)  # channels differ
    store: dict = {}
    with_labels = {"labels": LABELS} if hasattr(model, "_head_forward") else {}
    record_pass(model, pixels, store, **with_labels)
    metadata = {"config": model.config.to_dict(), "labels": LABELS.tolist(), "model": directory and str(directory)}
    return ArraySource({name: numpy.array(array) for name, array in store.items()}, metadata)


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def ours(model):
    return trace_of(model)


def causes(ours, changed, model=None, drop=(), **options):
    """The causes claimed when the tensors of `changed` stand in place of ours, and those of `drop` are not theirs."""
    theirs = {name: array for name, array in {**ours.arrays, **changed}.items() if name not in drop}
    source = ArraySource(theirs)
    options = options or {"rtol": 1e-9, "atol": 1e-12}
    return likely_causes(compare(ours, source, model=model, **options), ours, source, model)


def names(found):
    return [cause.name for cause in found]


# --------------------------------------------------------------------------------------------------------------------
# Nothing to claim
# --------------------------------------------------------------------------------------------------------------------


def test_nothing_is_claimed_where_nothing_differs(ours, model):
    assert causes(ours, {}, model) == []


@pytest.mark.thorough
@pytest.mark.parametrize("attention_type", ATTENTION_TYPES)
def test_noise_is_explained_by_nothing(attention_type):
    """At every tensor of every model, small and large, with and without the weights: one with, the other without."""
    model = small_model(attention_type)
    ours, rng = trace_of(model), numpy.random.default_rng(2)
    for index, (name, array) in enumerate(ours.arrays.items()):
        for size, known in zip((1e-4, 0.5), (model, None) if index % 2 else (None, model), strict=True):
            noisy = array + size * numpy.abs(array).mean() * rng.standard_normal(array.shape)
            assert causes(ours, {name: noisy}, known) == [], name


@pytest.mark.thorough
@pytest.mark.parametrize("attention_type", ATTENTION_TYPES)
def test_a_factor_is_found_at_every_tensor(attention_type):
    model = small_model(attention_type)
    ours = trace_of(model)
    for name, array in ours.arrays.items():
        if array.ndim:
            found = names(causes(ours, {name: 1.37 * array}, model))
            assert found in (["a constant factor"], ["pixel scaling"]), name


def test_weights_of_another_model_prove_nothing(ours):
    """The rule for a tensor is first held to our own trace: where it does not give ours, its mistakes are not tried."""
    other = small_model(seed=5)
    name = f"{LAYER}.output.dense"
    wrong = ours.arrays[name] - other.state_dict()[f"{name}.bias"]
    assert names(causes(ours, {name: wrong}, other)) == ["bias differs"]  # not that this bias was left out


def test_what_is_too_large_is_left_unexamined(ours, model, monkeypatch):
    wrong = {f"{LAYER}.intermediate": ACTIVATIONS["gelu"][0](ours.arrays[f"{LAYER}.intermediate.dense"])[0]}
    assert names(causes(ours, wrong, model)) == ["erf against tanh GELU"]
    monkeypatch.setattr(evidence_module, "LARGEST_SAMPLE", 100)
    assert causes(ours, wrong, model) == []


@pytest.mark.parametrize(
    ("error", "error_of_ours", "budget", "is_fit", "claimed"),
    [
        (5e-4, 1e-2, None, False, False),  # twenty times closer may be chance
        (1e-5, 1e-2, None, False, True),  # a thousand times is not
        (1e-3, 1e-2, 2e-3, False, True),  # nor is what rounding explains
        (1e-3, 3e-3, 2e-3, False, False),  # unless it explains ours nearly as well
        (1e-3, 1e-2, 2e-3, True, False),  # a fit always comes closer
        (1e-5, 1e-2, 2e-3, True, True),
        (3e-2, 3e2, None, False, False),  # and a part of something huge explains nothing
    ],
)
def test_what_counts_as_an_explanation(error, error_of_ours, budget, is_fit, claimed):
    rng = numpy.random.default_rng(0)
    guess, away = rng.standard_normal((2, 1, 400))
    theirs = guess + error * away
    ours = guess + error_of_ours * away  # of about that error, against theirs
    if error_of_ours > 1:
        ours = guess / error_of_ours
    evidence = Evidence("x", ArraySource({"x": ours}), lambda name: theirs, budget=budget)
    hypothesis = Hypothesis("guess", "guessed", "look", guess, is_fit=is_fit)
    assert names(evidence.explained_by([hypothesis])) == (["guess"] if claimed else [])


# --------------------------------------------------------------------------------------------------------------------
# With and without weights, names and inputs
# --------------------------------------------------------------------------------------------------------------------


def test_weights_are_read_from_the_directory_that_the_trace_names(ours, model, tmp_path):
    name = f"{LAYER}.attention.output.dense"
    wrong = {name: ours.arrays[name] - model.state_dict()[f"{name}.bias"]}
    found = causes(ours, wrong)
    assert names(found) == ["bias differs"]  # without weights, what can be seen
    model.save_pretrained(tmp_path)
    found = causes(trace_of(model, tmp_path), wrong)
    assert names(found) == ["bias left out"]
    assert f"{name}.bias" in found[0].sentence
    assert names(causes(trace_of(model, tmp_path / "gone"), wrong)) == ["bias differs"]


def test_theirs_under_another_name_and_in_another_layout(ours, model):
    name = f"{LAYER}.attention.attention.value"
    x, weight = ours.arrays[f"{LAYER}.layernorm_before"], model.state_dict()[f"{name}.weight"]
    wrong = x @ weight + model.state_dict()[f"{name}.bias"]
    source = ArraySource({"v": wrong.swapaxes(1, 2)})
    mapping = {name: {"name": "v", "layout": "transposed"}}
    comparison = compare(ours, source, mapping=mapping, rtol=1e-9, model=model)
    found = likely_causes(comparison, ours, source, model)
    assert names(found) == ["transposed weight"]
    assert comparison.hints == [found[0].sentence]


def test_another_shape_is_told_by_the_layout(ours, model):
    channels_last = ours.arrays["pixel_values"].transpose(0, 1, 3, 4, 2)
    found = causes(ours, {"pixel_values": channels_last}, model)
    assert names(found) == ["another layout"]
    assert causes(ours, {"pixel_values": numpy.ones((2, 5))}, model) == []
    assert causes(ours, {"pixel_values": channels_last[:, ::-1, ::-1] ** 2}, model) == []


@pytest.mark.parametrize(
    ("cause", "change"),
    [
        ("frame order", lambda pixels: pixels[:, ::-1]),
        ("channel order", lambda pixels: pixels[:, :, ::-1]),
        ("height and width swapped", lambda pixels: pixels.swapaxes(-1, -2)),
        ("pixel range", lambda pixels: (pixels + 1) / 2),
        ("flipped", lambda pixels: pixels[..., ::-1]),
    ],
)
def test_pixels_that_are_not_theirs_to_see_are_told_by_the_tokens(ours, model, cause, change):
    wrong = trace_of(model)
    record_pass(model, change(ours.arrays["pixel_values"]), store := {})
    name = "vivit.embeddings.patch_embeddings"
    found = causes(wrong, {name: store[name]}, model, drop=["pixel_values"])
    assert names(found) == [cause]


def test_an_input_that_they_do_not_show(ours, model):
    """Without the layer norm's own output, its absence shows in what is computed from it."""
    name, norm = f"{LAYER}.attention.attention.query", f"{LAYER}.layernorm_before"
    parameters = model.state_dict()
    raw = ours.arrays["vivit.encoder.layer.0"] @ parameters[f"{name}.weight"].T + parameters[f"{name}.bias"]
    assert names(causes(ours, {name: raw}, model, drop=[norm])) == ["layer norm left out"]
    assert causes(ours, {name: raw}, model) == []  # the norm's output agrees: then it is something else


def test_the_cls_token_where_only_the_embeddings_are_theirs(ours, model):
    parameters = model.state_dict()
    cls_token, positions = (parameters[f"vivit.embeddings.{name}"] for name in ("cls_token", "position_embeddings"))
    tokens = ours.arrays["vivit.embeddings.patch_embeddings"]
    cls_token = numpy.broadcast_to(cls_token, (2, 1, 16))
    drop = ["vivit.embeddings.with_cls_token"]
    for wrong, cause in (
        (numpy.concatenate([tokens, cls_token], 1) + positions, "CLS token at the end"),
        (numpy.concatenate([0 * cls_token, tokens], 1) + positions, "CLS token left at zero"),
        (numpy.concatenate([cls_token, tokens + positions[:, 1:]], 1), "position embeddings left out"),
        (numpy.concatenate([cls_token, tokens + positions[:, :-1]], 1), "position embeddings shifted"),
        (numpy.concatenate([cls_token, tokens], 1) + 2 * positions, "position embeddings twice"),
    ):
        assert names(causes(ours, {"vivit.embeddings": wrong}, model, drop=drop)) == [cause]


def test_a_bare_model_has_names_without_a_prefix():
    model = small_model(cls=VivitModel)
    ours = trace_of(model)
    norm, query = "encoder.layer.0.layernorm_before", "encoder.layer.0.attention.attention.query"
    assert {norm, query, "embeddings"} <= ours.arrays.keys()
    unbiased = ours.arrays[norm] - model.state_dict()[f"{norm}.bias"]
    assert names(causes(ours, {norm: unbiased}, model)) == ["bias left out"]
    assert names(causes(ours, {norm: ours.arrays["embeddings"]}, model)) == ["layer norm left out"]
    transposed = ours.arrays[norm] @ model.state_dict()[f"{query}.weight"] + model.state_dict()[f"{query}.bias"]
    assert names(causes(ours, {query: transposed}, model)) == ["transposed weight"]


# --------------------------------------------------------------------------------------------------------------------
# Single mistakes
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("eps", "beside"), [(3.3e-5, False), (1e-12, False), (1e-3, False), (3.3e-5, True), (1e-3, True)]
)
def test_the_epsilon_is_solved_for(ours, model, eps, beside):
    name = f"{LAYER}.layernorm_after"
    x, parameters = ours.arrays[f"{LAYER}.attention_residual"], model.state_dict()
    centred, variance = x - x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    std = numpy.sqrt(variance) + eps if beside else numpy.sqrt(variance + eps)
    wrong = centred / std * parameters[f"{name}.weight"] + parameters[f"{name}.bias"]
    found = causes(ours, {name: wrong}, model)
    assert names(found) == ["layer norm's epsilon"]
    assert ("standard deviation" in found[0].sentence) == beside
    if not beside:
        assert f"epsilon of {eps:.3g} in place of 1e-06" in found[0].sentence


@pytest.mark.parametrize("activation", ["gelu", "gelu_pytorch_tanh", "quick_gelu", "relu", "silu", "tanh"])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_activations_are_told_apart(ours, model, activation, precision):
    x = ours.arrays[f"{LAYER}.intermediate.dense"]
    wrong = ACTIVATIONS[activation][0](x)[0].astype(precision)
    tolerances = {"rtol": 1e-13, "atol": 1e-15} if precision == "float64" else {"rtol": 1e-6, "atol": 1e-8}
    found = causes(ours, {f"{LAYER}.intermediate": wrong}, model, **tolerances)
    expected = {
        "gelu": ["erf against tanh GELU"],
        "gelu_pytorch_tanh": ["the tanh GELU's constant"],  # 1e-11 apart, which float32 does not see
        "quick_gelu": ["quick_gelu"],
    }.get(activation, ["another activation"])
    if activation == "gelu_pytorch_tanh" and precision == "float32":
        expected = []
    assert names(found) == expected


def test_tf32_is_a_matter_of_the_factors(ours, model):
    name = f"{LAYER}.intermediate.dense"
    x, parameters = ours.arrays[f"{LAYER}.layernorm_after"], model.state_dict()
    factors = [round_to_precision(factor, "tf32").astype("float64") for factor in (x, parameters[f"{name}.weight"])]
    assert names(causes(ours, {name: factors[0] @ factors[1].T + parameters[f"{name}.bias"]}, model)) == ["TF32"]


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_is_told_by_its_zeros(ours, model, rate):
    rng = numpy.random.default_rng(3)
    name = "vivit.encoder.layer.0"
    branch = ours.arrays[f"{name}.output.dense"]
    dropped = branch * (rng.random(branch.shape) >= rate) / (1 - rate)
    found = causes(ours, {name: ours.arrays[f"{name}.attention_residual"] + dropped}, model)
    assert names(found) == ["dropout left on"]
    # Zeros without the factor, or the factor without zeros, are something else.
    for wrong, cause in ((branch * (rng.random(branch.shape) >= rate), []), (branch / 0.9, ["branch scaled"])):
        wrong = wrong + ours.arrays[f"{name}.attention_residual"]
        assert names(causes(ours, {name: wrong}, model)) == cause
    assert not list(dropout_hypotheses(Evidence("x", ours, lambda name: None), branch[:1]))


def test_classes_in_an_order_of_their_own(ours, model):
    order = numpy.random.default_rng(4).permutation(12)
    found = causes(ours, {"classifier": ours.arrays["classifier"][:, order]}, model)
    assert names(found) == ["class order"]
    assert ", ".join(map(str, order)) in found[0].sentence


def test_a_loss_of_other_labels(ours, model):
    record_pass(model, ours.arrays["pixel_values"], store := {}, labels=LABELS - 1)
    found = causes(ours, {"loss": store["loss"]}, model)
    assert names(found) == ["labels off by one"]
    assert "one too low" in found[0].sentence
    assert names(causes(ours, {"loss": ours.arrays["loss"] / numpy.log(2)}, model)) == ["loss with base 2"]
    # One number may be right by chance: about right is not enough.
    assert causes(ours, {"loss": store["loss"] * 1.001}, model) == []


def test_clips_of_the_batch_exchanged(ours, model):
    for name in ("pixel_values", f"{LAYER}.attention.attention", "classifier"):
        assert names(causes(ours, {name: ours.arrays[name][::-1]}, model)) == ["batch order"]


def test_a_mistake_of_one_clip_is_called_that(ours, model):
    pixels = ours.arrays["pixel_values"].copy()
    pixels[0] = pixels[0, :, ::-1]
    found = causes(ours, {"pixel_values": pixels}, model)
    assert names(found) == ["channel order"]
    assert "only clip 0 is wrong: theirs equals ours with the channels reversed" in found[0].sentence
    pixels[1] += 0.01  # the other one is wrong in another way: no cause explains both
    assert causes(ours, {"pixel_values": pixels}, model) == []


def test_a_factor_of_one_clip_is_not_that_of_another(ours, model):
    wrong = ours.arrays[LAYER] * numpy.array([1.3, 1.4])[:, None, None]
    assert causes(ours, {LAYER: wrong}, model) == []


def test_orders_are_read_off(ours, model):
    name, rng = f"{LAYER}.output.dense", numpy.random.default_rng(5)
    array = ours.arrays[name]
    assert names(causes(ours, {name: array[..., rng.permutation(16)]}, model)) == ["feature order"]
    assert names(causes(ours, {name: array[:, rng.permutation(array.shape[1])]}, model)) == ["token order"]
    heads = ours.arrays[f"{LAYER}.attention.attention"].reshape(2, -1, 4, 4)[:, :, [1, 0, 2, 3]].reshape(2, -1, 16)
    found = causes(ours, {f"{LAYER}.attention.attention": heads}, model)
    assert names(found) == ["head order"]
    assert "with heads 0 and 1 exchanged" in found[0].sentence


def test_times_of_model_2_in_reverse_are_no_batch_order():
    model = small_model("factorised_encoder")
    ours = trace_of(model)
    name = "vivit.spatial_encoder.embeddings.with_cls_token"
    folded = ours.arrays[name].reshape(2, 6, 5, 16)
    assert names(causes(ours, {name: folded[:, ::-1].reshape(12, 5, 16)}, model)) == ["times reversed"]
    assert names(causes(ours, {name: folded[::-1].reshape(12, 5, 16)}, model)) == ["batch order"]
    turned = folded.swapaxes(0, 1).reshape(12, 5, 16)
    assert names(causes(ours, {name: turned}, model)) == ["times folded in another order"]


def test_epsilon_as_it_should_be_is_no_advice(ours, model):
    name = f"{LAYER}.layernorm_after"
    x, parameters = ours.arrays[f"{LAYER}.attention_residual"], model.state_dict()
    std = numpy.sqrt(x.var(-1, keepdims=True)) + 1e-6
    wrong = (x - x.mean(-1, keepdims=True)) / std * parameters[f"{name}.weight"] + parameters[f"{name}.bias"]
    for cause in causes(ours, {name: wrong}, model):
        assert "set layer_norm_eps to 1e-06" not in cause.sentence


def test_a_tensor_under_the_wrong_name(ours, model):
    found = causes(ours, {f"{LAYER}.output.dense": ours.arrays[f"{LAYER}.layernorm_after"]}, model)
    assert names(found) == ["another tensor"]
    assert f"{LAYER}.layernorm_after" in found[0].sentence
    assert names(causes(ours, {f"{LAYER}.output.dense": 0 * ours.arrays[LAYER]}, model)) == ["never written"]


# --------------------------------------------------------------------------------------------------------------------
# Numbers that are none
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "cause"), [(numpy.nan, "NaN"), (numpy.inf, "infinity"), (-numpy.inf, "infinity")])
def test_not_finite(ours, model, value, cause):
    for name in ours.arrays:
        wrong = ours.arrays[name].copy()
        wrong[(0,) * wrong.ndim] = value
        assert names(causes(ours, {name: wrong}, model)) == [cause], name


def test_overflow_in_float16_is_shown_by_the_size_of_ours(ours, model):
    name = f"{LAYER}.intermediate.dense"
    large = {**ours.arrays, name: ours.arrays[name] * 1e5}
    wrong = numpy.where(abs(large[name]) > 65504, numpy.inf * large[name], large[name])
    found = causes(ArraySource(large, ours.metadata), {name: wrong}, model)
    assert names(found) == ["overflow in float16"]
    assert "65504" in found[0].sentence


def test_not_finite_in_ours(ours, model):
    broken = {**ours.arrays, "pre_logits": ours.arrays["pre_logits"] * numpy.nan}
    found = causes(ArraySource(broken, ours.metadata), {"pre_logits": ours.arrays["pre_logits"]}, model)
    assert names(found) == ["not finite in ours"]


def test_what_is_wrong_in_another_clip_than_the_first(ours, model):
    """The first clip is right here."""
    wrong = ours.arrays[LAYER].copy()
    wrong[1, 3, 5] = numpy.nan
    found = causes(ours, {LAYER: wrong}, model)
    assert names(found) == ["NaN"]
    assert f"1 entries of {LAYER} are NaN or infinite in one and not in the other" in found[0].sentence
    assert "the first of them nan in theirs" in found[0].sentence
    wrong[1, 3, 5] = ours.arrays[LAYER][1, 3, 5] + 1
    assert causes(ours, {LAYER: wrong}, model) == []  # the first clip agrees, and explains nothing


def test_relative_error():
    x = numpy.array([3.0, 4.0])
    assert relative_error(x, x + numpy.array([0.0, 0.5])) == pytest.approx(0.1)
    assert relative_error(x, numpy.ones(3)) == numpy.inf
    assert relative_error(x, numpy.array([numpy.nan, 4.0])) == numpy.inf
    assert relative_error(numpy.array([-numpy.inf, 5.0]), numpy.array([-numpy.inf, 5.5])) == pytest.approx(0.1)
    assert relative_error(x * 1e300, x * 1.1e300) == pytest.approx(0.1)


def convolved(tokens):
    """(batch, places, hidden) as a convolution gives it: (batch, hidden, times, rows, columns)."""
    return tokens.reshape(2, 6, 2, 2, 16).transpose(0, 4, 1, 2, 3)


@pytest.mark.parametrize("found", ["mapping", "find_layouts"])
def test_a_cause_is_found_in_a_layout_that_was_not_told(model, found):
    """The output of a convolution, as it lies, of a mirrored clip: it is like ours in no layout."""
    name = "vivit.embeddings.patch_embeddings"
    ours = trace_of(model)
    pixels = ours.read("pixel_values")[..., ::-1]
    wrong: dict = {}
    record_pass(model, numpy.ascontiguousarray(pixels), wrong)
    theirs = {"pixel_values": ours.read("pixel_values"), "conv": convolved(numpy.array(wrong[name]))}
    mapping = {name: {"name": "conv", "layout": "find"}} if found == "mapping" else {name: "conv"}
    comparison = compare(
        ours, theirs, mapping=mapping, rtol=1e-9, atol=1e-9, model=model, find_layouts=found == "find_layouts"
    )
    assert comparison.first_divergent.name == name
    assert any(hint.startswith("flipped") for hint in comparison.hints), comparison.hints
    undone = undo_layout(theirs["conv"], comparison.first_divergent.layout, ours.shapes[name], 4)
    numpy.testing.assert_array_equal(undone, wrong[name])
    error = relative_error(ours.read(name), wrong[name])
    assert comparison.first_divergent.error.relative_l2 == pytest.approx(error, rel=1e-9)
