"""What goes into the models and what comes out: shapes, options, outputs, labels, masks, and what is refused."""

import numpy
import pytest
from small_models import MODELS, clip_for, small_config, small_model

from minivivit import InputError, VivitForVideoClassification, VivitModel
from minivivit.layers.trace import Trace
from minivivit.models.attention_mask import attention_bias
from minivivit.ops.interpolate_position_embeddings import interpolate_position_embeddings_forward

ALL_MODELS = pytest.mark.parametrize("number", MODELS)
TOKENS = {1: 17, 2: 5, 3: 16, 4: 16}  # what the last layer sees: 4 x 2 x 2 tubelets, and CLS tokens in Models 1 and 2


def refusal(function, *args, **kwargs):
    """The message with which a call is refused; one line."""
    with pytest.raises(InputError) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --------------------------------------------------------------------------------------------------------------------
# Shapes and outputs
# --------------------------------------------------------------------------------------------------------------------


@ALL_MODELS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shapes_of_all_outputs(number, dtype):
    model = small_model(number, dtype=dtype)
    pixels = clip_for(model.config)
    out = model(pixels, labels=[0, 2], output_hidden_states=True, output_attentions=True)
    bare = VivitModel(model.config, dtype=dtype, backend="numpy")(pixels)
    assert out.loss.shape == ()
    assert out.logits.shape == (2, 3)
    assert out.logits.dtype == out.loss.dtype == bare.last_hidden_state.dtype == dtype
    assert bare.last_hidden_state.shape == (2, TOKENS[number], 32)
    assert bare.pooler_output.shape == (2, 32)
    hidden_states, attentions = out.hidden_states, out.attentions
    if number == 1:
        assert [state.shape for state in hidden_states] == [(2, 17, 32)] * 3
        assert [probs.shape for probs in attentions] == [(2, 4, 17, 17)] * 2
    elif number == 2:
        assert [state.shape for state in hidden_states["spatial"]] == [(2, 4, 5, 32)] * 3
        assert [state.shape for state in hidden_states["temporal"]] == [(2, 5, 32)] * 2
        assert [probs.shape for probs in attentions["spatial"]] == [(2, 4, 4, 5, 5)] * 2
        assert [probs.shape for probs in attentions["temporal"]] == [(2, 4, 5, 5)]
    else:
        heads = 4 if number == 3 else 2
        assert [state.shape for state in hidden_states] == [(2, 16, 32)] * 3
        assert [probs.shape for probs in attentions["temporal"]] == [(2, 4, heads, 4, 4)] * 2
        assert [probs.shape for probs in attentions["spatial"]] == [(2, 4, heads, 4, 4)] * 2
    for probs in attentions if number == 1 else [*attentions["spatial"], *attentions["temporal"]]:
        numpy.testing.assert_allclose(probs.sum(axis=-1), 1, rtol=1e-5)


@ALL_MODELS
def test_an_odd_config(number):
    """Nothing divides anything: frames and pixels are left over, widths differ, and there is one channel."""
    model = small_model(
        number,
        image_size=[13, 9],
        num_frames=7,
        tubelet_size=[3, 5, 2],
        num_channels=1,
        hidden_size=6,
        num_attention_heads=2,
        intermediate_size=5,
        num_labels=1,
        qkv_bias=False,
        hidden_act="silu",
    )
    assert model.config.grid_size == (2, 2, 4)
    out = model(clip_for(model.config, batch=3))
    assert out.logits.shape == (3, 1)
    assert not any(name.endswith(("query.bias", "key.bias", "value.bias")) for name in model.state_dict())


@ALL_MODELS
def test_pixels_and_frames_of_the_remainder_change_nothing(number):
    model = small_model(number, image_size=11, num_frames=9)
    pixels = clip_for(model.config)
    changed = pixels.copy()
    changed[:, 8], changed[..., 8:, :], changed[..., 8:] = 5, 6, 7
    numpy.testing.assert_array_equal(model(changed).logits, model(pixels).logits)
    changed[0, 0, 0, 0, 0] += 1
    assert not numpy.array_equal(model(changed).logits, model(pixels).logits)


@ALL_MODELS
def test_no_layers_and_no_labels(number):
    model = small_model(number, num_hidden_layers=0, num_temporal_layers=0, num_labels=0)
    pixels = clip_for(model.config)
    out = model(pixels, output_hidden_states=True, output_attentions=True)
    assert out.logits.shape == (2, 32)
    if number == 1:
        assert len(out.hidden_states) == 1
        assert out.attentions == ()
    gradients = model.gradients(pixels, out.logits, rng=numpy.random.default_rng(0))
    assert gradients.keys() == {*model.state_dict(), "pixel_values"}


def test_outputs_by_attribute_key_index_and_slice():
    model = small_model()
    pixels = clip_for(model.config)
    out = model(pixels, labels=[0, 1], output_hidden_states=True)
    assert list(out) == list(out.keys()) == ["loss", "logits", "hidden_states"]
    assert len(out) == 3
    assert out["logits"] is out.logits is out[1] is out[-2] is out.to_tuple()[1] is out.get("logits")
    assert out[:2] == (out.loss, out.logits)
    assert tuple(out.values())[1:] == out[1:] == (out.logits, out.hidden_states)
    assert [name for name, _ in out.items()] == list(out)
    assert dict(out)["logits"] is out.logits
    assert out.attentions is None
    assert "attentions" not in out
    assert "loss" in out
    assert out.get("attentions", 5) == 5
    assert repr(out) == "VideoClassifierOutput(loss, logits, hidden_states)"
    with pytest.raises(KeyError, match="'attentions' is not among the outputs: loss, logits, hidden_states"):
        out["attentions"]
    with pytest.raises(IndexError):
        out[3]
    with pytest.raises(AttributeError):
        _ = out.scores
    assert list(model(pixels)) == ["logits"]
    assert model(pixels)[0].shape == (2, 3)


def test_outputs_of_the_bare_model_with_and_without_pooler():
    config = small_config(pooler_output_size=7, pooler_act="relu")
    pixels = clip_for(config)
    with_pooler = VivitModel(config, dtype="float64", backend="numpy")
    without = VivitModel(config, add_pooling_layer=False, dtype="float64", backend="numpy")
    out = with_pooler(pixels)
    assert list(out) == ["last_hidden_state", "pooler_output"]
    assert out.pooler_output.shape == (2, 7)
    assert (out[1] >= 0).all()
    assert list(without(pixels)) == ["last_hidden_state"]
    assert without(pixels).pooler_output is None
    numpy.testing.assert_array_equal(without(pixels)[0], out[0])
    assert {name for name in with_pooler.state_dict() if name not in without.state_dict()} == {
        "pooler.dense.weight",
        "pooler.dense.bias",
    }


def test_return_dict_false_gives_a_tuple():
    model = small_model()
    pixels = clip_for(model.config)
    result = model(pixels, [0, 1], return_dict=False)
    assert isinstance(result, tuple)
    assert [value.shape for value in result] == [(), (2, 3)]
    model.config.return_dict = False
    assert isinstance(model(pixels), tuple)
    assert not isinstance(model(pixels, return_dict=True), tuple)


@pytest.mark.parametrize("cls", [VivitModel, VivitForVideoClassification])
def test_options_by_argument_or_by_config(cls):
    model = small_model(cls=cls)
    pixels = clip_for(model.config)
    plain = model(pixels)
    assert plain.hidden_states is None
    assert plain.attentions is None
    asked = model(pixels, output_attentions=True, output_hidden_states=True)
    model.config.output_attentions = model.config.output_hidden_states = True
    configured = model(pixels)
    assert len(asked.attentions) == len(configured.attentions) == 2
    assert len(asked.hidden_states) == len(configured.hidden_states) == 3
    refused = model(pixels, output_attentions=False, output_hidden_states=False)
    assert list(refused) == list(plain)
    for ours, theirs in zip(asked.attentions, configured.attentions, strict=True):
        numpy.testing.assert_array_equal(ours, theirs)


@ALL_MODELS
def test_asking_for_attentions_changes_no_output(number):
    """Explicit attention and blockwise attention are the same function."""
    model = small_model(number)
    pixels = clip_for(model.config)
    numpy.testing.assert_allclose(model(pixels, output_attentions=True).logits, model(pixels).logits, rtol=1e-13)


@ALL_MODELS
def test_samples_of_a_batch_do_not_see_each_other(number):
    model = small_model(number)
    pixels = clip_for(model.config, batch=3)
    numpy.testing.assert_allclose(model(pixels[1:2]).logits, model(pixels).logits[1:2], rtol=1e-12)


@pytest.mark.parametrize(
    ("number", "classifier"), [(1, "token"), (2, "token"), *((n, c) for n in MODELS for c in ("gap", "gmp", "gsp"))]
)
def test_each_pooling_is_what_its_name_says(number, classifier):
    model = small_model(number, classifier=classifier)
    pixels = clip_for(model.config)
    tokens = model.vivit(pixels).last_hidden_state
    pooled = {"token": tokens[:, 0], "gap": tokens.mean(1), "gmp": tokens.max(1), "gsp": tokens.sum(1)}[classifier]
    head = model.params["classifier"]
    expected = pooled @ head["weight"].T + head["bias"]
    numpy.testing.assert_allclose(model(pixels).logits, expected, rtol=1e-13)


def test_representation_layer_and_spatial_only_baseline():
    model = small_model(2, representation_size=6, spatial_only_baseline=True, classifier="gap")
    pixels = clip_for(model.config)
    frames = model.vivit(pixels).last_hidden_state  # (batch, times, hidden)
    assert frames.shape == (2, 4, 32)
    assert not any("temporal_encoder" in name for name in model.state_dict())
    dense, head = model.params["pre_logits"], model.params["classifier"]
    hidden = numpy.tanh(frames.mean(axis=1) @ dense["weight"].T + dense["bias"])
    numpy.testing.assert_allclose(model(pixels).logits, hidden @ head["weight"].T + head["bias"], rtol=1e-13)


def test_frame_sampling_sees_the_sampled_frames_only():
    model = small_model(1, temporal_encoding="frame_sampling", num_sampled_frames=3, tubelet_size=[1, 4, 4])
    pixels = clip_for(model.config)
    changed = pixels.copy()
    changed[:, [0, 1, 3, 5, 7]] += 1  # 8 frames, 3 taken: 2, 4 and 6
    numpy.testing.assert_array_equal(model(changed).logits, model(pixels).logits)
    changed[:, 4] += 1
    assert not numpy.array_equal(model(changed).logits, model(pixels).logits)


@ALL_MODELS
def test_a_trace_records_and_changes_nothing(number):
    model = small_model(number)
    pixels, store = clip_for(model.config), {}
    logits = model(pixels, labels=[0, 1], trace=Trace(store)).logits
    numpy.testing.assert_allclose(logits, model(pixels).logits, rtol=1e-13)
    numpy.testing.assert_array_equal(store["classifier"], logits)
    assert {"loss", "pre_logits", "classifier"} < store.keys()


# --------------------------------------------------------------------------------------------------------------------
# Labels
# --------------------------------------------------------------------------------------------------------------------


def log_softmax(logits):
    return logits - numpy.log(numpy.exp(logits).sum(axis=-1, keepdims=True))


def test_whole_numbers_mean_cross_entropy():
    model = small_model()
    out = model(clip_for(model.config), labels=numpy.array([2, 0], dtype=numpy.int32))
    assert float(out.loss) == pytest.approx(-(log_softmax(out.logits)[[0, 1], [2, 0]]).mean(), rel=1e-13)


@pytest.mark.parametrize("problem_type", [None, "regression"])
def test_one_label_means_mean_squared_error(problem_type):
    model = small_model(num_labels=1, problem_type=problem_type)
    for labels in ([0.5, -1.0], [[0.5], [-1.0]]):
        out = model(clip_for(model.config), labels=numpy.array(labels))
        assert float(out.loss) == pytest.approx(((out.logits[:, 0] - [0.5, -1.0]) ** 2).mean(), rel=1e-13)


def test_regression_of_several_numbers():
    model = small_model(problem_type="regression")
    labels = numpy.arange(6.0).reshape(2, 3)
    out = model(clip_for(model.config), labels=labels)
    assert float(out.loss) == pytest.approx(((out.logits - labels) ** 2).mean(), rel=1e-13)


@pytest.mark.parametrize("problem_type", [None, "multi_label_classification"])
def test_rows_of_real_numbers_mean_binary_cross_entropy(problem_type):
    model = small_model(problem_type=problem_type)
    labels = numpy.array([[0.0, 1, 1], [1, 0, 0]])
    out = model(clip_for(model.config), labels=labels)
    probability = 1 / (1 + numpy.exp(-out.logits))
    expected = -(labels * numpy.log(probability) + (1 - labels) * numpy.log(1 - probability)).mean()
    assert float(out.loss) == pytest.approx(expected, rel=1e-12)


def test_soft_targets_of_single_label_classification():
    model = small_model(problem_type="single_label_classification")
    labels = numpy.array([[0.2, 0.3, 0.5], [1, 0, 0]])
    out = model(clip_for(model.config), labels=labels)
    assert float(out.loss) == pytest.approx(-(labels * log_softmax(out.logits)).sum() / 2, rel=1e-13)


def test_class_splits_average_the_losses_of_their_heads():
    model = small_model(class_splits=[2, 3], num_labels=5)
    out = model(clip_for(model.config), labels=[[1, 2], [0, 0]])
    nouns, verbs = log_softmax(out.logits[:, :2]), log_softmax(out.logits[:, 2:])
    expected = -(nouns[[0, 1], [1, 0]].mean() + verbs[[0, 1], [2, 0]].mean()) / 2
    assert float(out.loss) == pytest.approx(expected, rel=1e-13)


def test_labels_that_do_not_fit():
    model = small_model()
    pixels = clip_for(model.config)
    assert "labels range from 0 to 3; expected 0 to 2" in refusal(model, pixels, [0, 3])
    assert "labels range from -1 to 0" in refusal(model, pixels, [0, -1])
    assert "expected 2 x 1 class indices" in refusal(model, pixels, [0, 1, 2])
    assert "labels have dtype <U1" in refusal(model, pixels, numpy.array(["a", "b"]))
    assert "labels have dtype object" in refusal(model, pixels, [None, 1])
    assert "labels is a list that makes no array" in refusal(model, pixels, [[0], [1, 2]])
    assert "labels: expected a NumPy or CuPy array, got dict" in refusal(model, pixels, {0: 1})
    assert "multi_label_classification expects that of the logits, (2, 3)" in refusal(model, pixels, [0.5, 0.5])
    assert "labels hold NaN, infinity" in refusal(model, pixels, [[0.5, 1, numpy.nan], [0, 0, 1]])
    assert "got NoneType" in refusal(model.loss_and_gradients, pixels, None)
    with pytest.raises(InputError, match="label_smoothing is for single_label_classification; this is regression"):
        small_model(num_labels=1).loss_and_gradients(pixels, [0.1, 0.2], label_smoothing=0.1)


@pytest.mark.parametrize(
    ("changes", "shapes", "expected"),
    [
        ({}, [(1, 2), (2, 1, 1), (2, 2), (1,), ()], "expected 2 x 1 class indices"),
        ({"class_splits": [2, 1]}, [(4,), (1, 4), (2, 2, 1), (2,)], "expected 2 x 2 class indices"),
        ({"class_splits": [1, 1, 1]}, [(3, 2), (6,), (1, 6)], "expected 2 x 3 class indices"),
        ({"problem_type": "regression"}, [(3, 2), (6,), (1, 6), (2, 3, 1)], "that of the logits, (2, 3)"),
        ({"problem_type": "multi_label_classification"}, [(3, 2), (6,), (6, 1)], "that of the logits, (2, 3)"),
        ({"num_labels": 1}, [(1, 2), (2, 1, 1), (1, 1, 2)], "that of the logits, (2, 1)"),
    ],
)
def test_labels_of_another_shape_with_as_many_entries_are_not_reshaped(changes, shapes, expected):
    model = small_model(**changes)
    pixels = clip_for(model.config)
    for shape in shapes:
        labels = numpy.zeros(shape, dtype="float64" if "logits" in expected else "int64")
        assert expected in refusal(model, pixels, labels)
        assert expected in refusal(model.loss_and_gradients, pixels, labels)


def test_one_column_needs_no_axis():
    """As transformers takes it, and PyTorch's users write it; one number for one clip, too."""
    for changes, number in (({}, 2), ({"num_labels": 1}, 0.25), ({"class_splits": [3]}, 1)):
        model = small_model(**changes)
        pixels = clip_for(model.config)
        losses = {float(model(pixels, labels=labels).loss) for labels in ([number] * 2, [[number]] * 2)}
        assert len(losses) == 1
        losses = {float(model(pixels[:1], labels=labels).loss) for labels in (number, [number], [[number]])}
        assert len(losses) == 1


def test_counts_that_cannot_be_meant():
    model = small_model(class_splits=[2, 1])
    for counts in ([2], [2, 0], [1, 2, 3]):
        with pytest.raises(InputError, match="expected a whole number of at least 1 for each of 2 heads"):
            model.loss_and_gradients(clip_for(model.config), [[0, 0], [1, 0]], counts=counts)


# --------------------------------------------------------------------------------------------------------------------
# Attention masks
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("explicit", [False, True])
def test_masked_tokens_are_not_seen(explicit):
    """Hiding a token is the same as not having it."""
    model = small_model(cls=VivitModel)
    pixels = clip_for(model.config)
    mask = numpy.ones((2, 17), dtype=numpy.int64)
    mask[0, [3, 7]] = 0
    masked = model(pixels, attention_mask=mask, output_attentions=explicit)
    changed = pixels.copy()
    changed[0, 0:2, :, 4:8, 0:4] += 10  # the tubelet of token 1 + 2
    numpy.testing.assert_allclose(
        numpy.delete(model(changed, attention_mask=mask).last_hidden_state, 3, axis=1),
        numpy.delete(masked.last_hidden_state, 3, axis=1),
        rtol=1e-12,
    )
    assert not numpy.allclose(masked.last_hidden_state[0], model(pixels).last_hidden_state[0])
    numpy.testing.assert_allclose(masked.last_hidden_state[1], model(pixels).last_hidden_state[1], rtol=1e-12)
    if explicit:
        for probs in masked.attentions:
            assert (probs[0][..., [3, 7]] == 0).all()


def test_masks_of_every_form_agree():
    model = small_model(cls=VivitModel)
    pixels = clip_for(model.config)
    keys = numpy.ones((2, 17), dtype=bool)
    keys[0, 3:6], keys[1, 8] = False, False
    expected = model(pixels, attention_mask=keys).last_hidden_state
    bias = numpy.where(keys, 0.0, -numpy.inf)[:, None, None, :]
    forms = [
        keys.astype(numpy.float32),
        keys.tolist(),
        keys[:, None, None, :],
        numpy.broadcast_to(keys[:, None, None, :], (2, 4, 17, 17)),
        keys[:, None, None, :].astype(numpy.int8),
        bias,
        bias.astype(numpy.float16),
        numpy.broadcast_to(bias, (2, 1, 17, 17)).astype(numpy.float32),
    ]
    for form in forms:
        numpy.testing.assert_allclose(model(pixels, attention_mask=form).last_hidden_state, expected, rtol=1e-12)


def test_a_bias_is_added_to_the_scores():
    bias = numpy.random.default_rng(0).standard_normal((1, 4, 17, 17))
    model = small_model(cls=VivitModel)
    pixels, store = clip_for(model.config), {}
    model(pixels, attention_mask=bias, trace=Trace(store))
    query, key = store["encoder.layer.0.attention.attention.query"], store["encoder.layer.0.attention.attention.key"]
    query, key = (x.reshape(2, 17, 4, 8).transpose(0, 2, 1, 3) for x in (query, key))
    expected = query @ key.swapaxes(-1, -2) / 8**0.5 + bias
    numpy.testing.assert_allclose(store["encoder.layer.0.attention.attention.scores"], expected, rtol=1e-12)


def test_a_bias_beyond_the_dtype_is_the_lowest_number():
    for dtype in ("float32", "float64"):
        for lowest in (-numpy.inf, numpy.finfo(numpy.float64).min):
            bias = attention_bias(numpy.full((1, 1, 1, 5), lowest), (2, 4, 5), dtype, numpy)
            assert bias.dtype == dtype
            assert (bias == numpy.finfo(dtype).min).all()


def test_masks_that_do_not_fit():
    model = small_model(cls=VivitModel)
    pixels = clip_for(model.config)

    def message(mask):
        return refusal(model, pixels, attention_mask=mask)

    assert "attention_mask has shape (2, 16); expected (batch, tokens) = (2, 17)" in message(numpy.ones((2, 16)))
    assert "(batch, heads, tokens, tokens) = (2, 4, 17, 17)" in message(numpy.ones((2, 3, 17, 17)))
    assert "has shape (2, 17, 17)" in message(numpy.ones((2, 17, 17)))
    assert "has dtype <U1" in message(numpy.full((2, 17), "1"))
    assert "attention_mask holds NaN" in message(numpy.full((2, 17), numpy.nan))
    assert "makes no array" in message([[1], [1, 0]])
    other = small_model(3, cls=VivitModel)
    assert "no meaning with attention_type 'factorised_self_attention'" in refusal(
        other, pixels, attention_mask=numpy.ones((2, 16))
    )


# --------------------------------------------------------------------------------------------------------------------
# Other sizes
# --------------------------------------------------------------------------------------------------------------------


@ALL_MODELS
def test_interpolation_to_the_same_size_is_the_identity_to_the_bit(number):
    model = small_model(number)
    pixels = clip_for(model.config)
    plain = model(pixels, output_hidden_states=False)
    numpy.testing.assert_array_equal(model(pixels, interpolate_pos_encoding=True).logits, plain.logits)


@ALL_MODELS
@pytest.mark.parametrize("size", [(8, 21, 21), (8, 12, 30), (13, 10, 10), (4, 10, 10), (6, 20, 9)])
def test_other_sizes_with_interpolation_and_not_without(number, size):
    """As 480 x 480 is to 224 x 224, non-square, more frames and fewer."""
    model = small_model(number)
    pixels = clip_for(model.config, size=size)
    times, rows, columns = size[0] // 2, size[1] // 4, size[2] // 4
    tokens = {1: 1 + times * rows * columns, 2: 1 + times, 3: times * rows * columns, 4: times * rows * columns}
    bare = model.vivit(pixels, interpolate_pos_encoding=True)
    assert bare.last_hidden_state.shape == (2, tokens[number], 32)
    assert numpy.isfinite(model(pixels, interpolate_pos_encoding=True).logits).all()
    message = refusal(model, pixels)
    assert (
        f"pixel_values has {size[0]} frames of {size[1]} x {size[2]}, but the model is made for 8 of 10 x 10" in message
    )
    assert "interpolate_pos_encoding=True" in message


def test_interpolated_embeddings_are_the_operators():
    model = small_model()
    pixels = clip_for(model.config, size=(12, 17, 25))
    out = model(pixels, interpolate_pos_encoding=True, output_hidden_states=True)
    embeddings = model.params["vivit"]["embeddings"]
    old = embeddings["position_embeddings"][0, 1:].reshape(4, 2, 2, 32)
    new, _ = interpolate_position_embeddings_forward(old, (6, 4, 6))
    kernel = embeddings["patch_embeddings"]["projection"]
    patches = pixels[:, :, :, :16, :24].reshape(2, 6, 2, 3, 4, 4, 6, 4)
    tokens = numpy.einsum("btfcrhsw,dcfhw->btrsd", patches, kernel["weight"]) + kernel["bias"]
    numpy.testing.assert_allclose(
        out.hidden_states[0][:, 1:], (tokens + new).reshape(2, -1, 32), rtol=1e-12, atol=1e-12
    )
    cls = embeddings["cls_token"][0, 0] + embeddings["position_embeddings"][0, 0]
    numpy.testing.assert_array_equal(out.hidden_states[0][:, 0], numpy.broadcast_to(cls, (2, 32)))


def test_a_clip_that_is_smaller_than_one_tubelet():
    model = small_model()
    pixels = clip_for(model.config, size=(1, 10, 10))
    assert "not one tubelet of 2 x 4 x 4 fits" in refusal(model, pixels, interpolate_pos_encoding=True)


# --------------------------------------------------------------------------------------------------------------------
# Pixel values
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_dtype", ["float32", "float64"])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64", "float16", "float32", "float64", ">f4"])
def test_pixels_of_every_dtype_are_converted(model_dtype, dtype):
    model = small_model(dtype=model_dtype)
    pixels = numpy.random.default_rng(0).integers(0, 100, (2, 8, 3, 10, 10))
    expected = model(pixels.astype(model_dtype)).logits
    given = pixels.astype(dtype)
    out = model(given)
    assert out.logits.dtype == model_dtype
    numpy.testing.assert_array_equal(out.logits, expected)
    _, gradients = model.loss_and_gradients(given, [0, 1])
    assert {gradient.dtype.name for gradient in gradients.values()} == {model_dtype}


def test_pixels_are_left_as_they_were_and_need_not_be_contiguous():
    model = small_model()
    pixels = clip_for(model.config)
    strided = numpy.asfortranarray(pixels)[::-1]
    before = strided.copy()
    strided.flags.writeable = False
    numpy.testing.assert_allclose(model(strided).logits, model(pixels[::-1].copy()).logits, rtol=1e-13)
    model.loss_and_gradients(strided, [0, 1])
    numpy.testing.assert_array_equal(strided, before)
    numpy.testing.assert_array_equal(model(pixels.tolist()).logits, model(pixels).logits)


@pytest.mark.parametrize("number", [1, 2])
def test_pixels_that_no_model_can_see(number):
    model = small_model(number, dtype="float32")
    good = clip_for(model.config)

    def message(pixels):
        return refusal(model, pixels)

    assert "pixel_values is missing" in message(None)
    assert "has shape (8, 3, 10, 10); expected (batch, frames, channels, height, width)" in message(good[0])
    assert "with 3 channels" in message(good.transpose(0, 1, 3, 4, 2))
    assert "with 3 channels" in message(good[:, :, :1])
    assert "it is empty" in message(good[:0])
    assert "it is empty" in message(good[:, :0])
    assert "is made for 8 of 10 x 10" in message(good[:, :6])
    assert "is made for 8 of 10 x 10" in message(good[..., :8])
    assert "dtype complex128; expected real or whole numbers" in message(good + 1j)
    assert "dtype <U" in message(good.astype(str))
    assert "dtype object" in message(good.astype(object))
    assert "dtype bool" in message(good > 0)
    assert "pixel_values: expected a NumPy or CuPy array, got str" in message("clip.mp4")
    assert "got generator" in message(frame for frame in good)
    assert "makes no array" in message([[[1], [2, 3]]])
    for value in (numpy.nan, numpy.inf, -numpy.inf, 1e300):  # the last is none in float32
        bad = good.copy()
        bad[1, 2, 0, 3, 4] = value
        assert "holds NaN or infinity, or what float32 cannot hold; expected finite numbers" in message(bad)
        with pytest.raises(InputError, match="NaN or infinity"):
            model.loss_and_gradients(bad, [0, 1])


def test_gradients_that_do_not_fit():
    model = small_model()
    pixels = clip_for(model.config)
    assert "dlogits has shape (2, 2); expected that of the output, (2, 3)" in refusal(
        model.gradients, pixels, numpy.ones((2, 2))
    )
    bare = small_model(cls=VivitModel)
    assert "dpooler_output has shape (2, 3)" in refusal(bare.gradients, pixels, dpooler_output=numpy.ones((2, 3)))
    assert "dlast_hidden_state: expected a NumPy or CuPy array" in refusal(
        bare.gradients, pixels, dlast_hidden_state="x"
    )
    without = VivitModel(bare.config, add_pooling_layer=False, backend="numpy")
    assert "the model has no pooler" in refusal(without.gradients, pixels, dpooler_output=numpy.ones((2, 32)))


# --------------------------------------------------------------------------------------------------------------------
# Precision
# --------------------------------------------------------------------------------------------------------------------


@ALL_MODELS
def test_float32_is_within_1e_4_of_float64(number):
    exact = small_model(number, num_hidden_layers=6, num_temporal_layers=3)
    rounded = VivitForVideoClassification(exact.config, dtype="float32", backend="numpy")
    rounded.load_state_dict(exact.state_dict())
    exact.load_state_dict(rounded.state_dict())  # the same values in both
    pixels = clip_for(exact.config).astype("float32")
    logits, loss = exact(pixels, [0, 1]).logits, exact(pixels, [0, 1]).loss
    assert numpy.abs(rounded(pixels).logits - logits).max() < 1e-4
    rounded_loss, rounded_gradients = rounded.loss_and_gradients(pixels, [0, 1])
    _, gradients = exact.loss_and_gradients(pixels, [0, 1])
    assert abs(float(rounded_loss) - float(loss)) < 1e-4
    largest = max(numpy.abs(gradient).max() for gradient in gradients.values())
    for name, gradient in gradients.items():
        scale = max(numpy.abs(gradient).max(), 1e-3 * largest)
        assert numpy.abs(rounded_gradients[name] - gradient).max() < 1e-4 * scale, name


def test_arguments_of_the_wrong_kind_are_refused_in_one_line():
    model = small_model()
    pixels = clip_for(model.config)
    assert "rng is 0; expected a numpy.random.Generator" in refusal(model.loss_and_gradients, pixels, [0, 1], rng=0)
    for smoothing in (1.5, -1, "0.1"):
        assert "label_smoothing is" in refusal(model.loss_and_gradients, pixels, [0, 1], label_smoothing=smoothing)
    assert "every label is -100" in refusal(model, pixels, labels=[-100, -100])
    assert "complex" in refusal(model.gradients, pixels, numpy.ones((2, 3), dtype=complex))
    assert "seed is -1" in refusal(VivitForVideoClassification, model.config, seed=-1)
