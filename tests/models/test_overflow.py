"""Numbers that float32 can hardly hold: the result is right, or it is said that there is none."""

import numpy
import pytest
from small_models import MODELS, clip_for, small_model
from stand_in_array import xp

from minivivit import InputError, VivitForVideoClassification, VivitModel
from minivivit.backend import to_numpy
from minivivit.config import ACTIVATION_NAMES
from minivivit.models.encoders.forward_options import training_options
from minivivit.ops.layer_norm import layer_norm_backward, layer_norm_forward


def in_float64(model):
    exact = VivitForVideoClassification(model.config, dtype="float64", backend="numpy")
    exact.load_state_dict(model.state_dict())
    return exact


@pytest.mark.parametrize("size", [1e10, 1e20, 1e30, 1e37])
@pytest.mark.parametrize("number", MODELS)
def test_huge_pixels_have_the_logits_and_gradients_of_float64(number, size):
    """Layer norm takes their size away; its variance, a square, is what must not overflow."""
    model = small_model(number, dtype="float32", hidden_act=ACTIVATION_NAMES[number])
    pixels = (clip_for(model.config) * size).astype("float32")
    exact = in_float64(model)
    logits, exact_logits = model(pixels).logits, exact(pixels).logits
    assert abs(logits - exact_logits).max() < 1e-5 * abs(exact_logits).max()
    assert abs(exact_logits[0] - exact_logits[1]).max() > 1e-2  # they do depend on the clip
    _, gradients = model.loss_and_gradients(pixels, [0, 2])
    _, exact_gradients = exact.loss_and_gradients(pixels, [0, 2])
    for name in gradients.keys() - {"pixel_values"}:
        scale = max(abs(exact_gradients[name]).max(), 1e-3)
        assert abs(gradients[name] - exact_gradients[name]).max() < 1e-4 * scale, name


@pytest.mark.parametrize("as_array", [numpy.asarray, xp.asarray], ids=["cpu", "stand_in"])
def test_layer_norm_of_huge_rows(as_array):
    """Each row as float64 has it; and the rows beside them keep their bits. A GPU computes in float64 itself."""
    rng = numpy.random.default_rng(0)
    size = numpy.array([1, 1e19, 1e25, 1e37, 1e-3, 3e38])[:, None]
    x = rng.uniform(-1, 1, (6, 40))
    x = (x / abs(x).max(axis=1, keepdims=True) * size).astype("float32")
    weight, bias = rng.standard_normal((2, 40)).astype("float32")
    dy = rng.standard_normal(x.shape).astype("float32")
    arrays = [as_array(array) for array in (x, weight, bias)]
    y, cache = layer_norm_forward(*arrays, 1e-6)
    exact, exact_cache = layer_norm_forward(*(array.astype("float64") for array in (x, weight, bias)), 1e-6)
    assert y.dtype == "float32"
    assert abs(to_numpy(y) - exact).max() < 2e-6
    beside = layer_norm_forward(as_array(x[[0, 4]]), *arrays[1:], 1e-6)[0]
    assert (to_numpy(y)[[0, 4]] == to_numpy(beside)).all()
    gradients = layer_norm_backward(as_array(dy[:5]), {**cache, "x": as_array(x[:5])})
    exact_gradients = layer_norm_backward(dy[:5].astype("float64"), {**exact_cache, "x": x[:5].astype("float64")})
    for ours, theirs in zip(gradients, exact_gradients, strict=True):
        assert ours.dtype == "float32"
        assert (abs(to_numpy(ours) - theirs) <= 1e-5 * abs(theirs).max(axis=-1, keepdims=True)).all()


def test_layer_norm_of_rows_that_have_no_mean():
    x = numpy.ones((4, 8), "float32")
    x[0, 0], x[1, 1], x[2, 2:4] = numpy.inf, numpy.nan, (numpy.inf, -numpy.inf)
    with numpy.errstate(all="ignore"):
        y, _ = layer_norm_forward(x, numpy.ones(8, "float32"), numpy.zeros(8, "float32"), 1e-6)
    assert numpy.isnan(y[:3]).all(axis=1).tolist() == [True, True, True]
    assert (y[3] == 0).all()
    y, _ = layer_norm_forward(numpy.full((1, 8), 3e38, "float32"), numpy.ones(8), numpy.zeros(8), 1e-6)
    assert (y == 0).all()  # their sum is infinite, their mean is not


@pytest.mark.parametrize("bad", [numpy.nan, numpy.inf, -numpy.inf])
def test_pixels_that_are_no_numbers(bad):
    model = small_model()
    pixels = clip_for(model.config)
    pixels[0, 1, 2, 3, 4] = bad
    for call in (model, lambda pixels: model.loss_and_gradients(pixels, [0, 1])):
        with pytest.raises(InputError, match="pixel_values holds NaN or infinity"):
            call(pixels)


@pytest.mark.parametrize("bad", [numpy.nan, numpy.inf])
def test_masks_that_are_no_numbers(bad):
    model = small_model(cls=VivitModel)
    mask = numpy.zeros((2, 1, 17, 17))
    mask[1, 0, 2, 3] = bad
    with pytest.raises(InputError, match=r"attention_mask holds NaN or infinity \(-inf is welcome\)"):
        model(clip_for(model.config), attention_mask=mask)


@pytest.mark.parametrize("explicit", [False, True])
def test_a_query_that_may_see_nothing_sees_all_alike(explicit):
    """However nothing is written: the lowest number, -inf or False."""
    model = small_model(cls=VivitModel)
    pixels = clip_for(model.config)
    visible = numpy.random.default_rng(0).random((2, 1, 17, 17)) < 0.7
    visible[0, 0, 5] = False
    outputs = [
        model(pixels, attention_mask=mask, output_attentions=explicit).last_hidden_state
        for mask in (visible, *(numpy.where(visible, 0, hidden) for hidden in (-numpy.inf, numpy.finfo(float).min)))
    ]
    assert numpy.isfinite(outputs[0]).all()
    assert (outputs[0] == outputs[1]).all()
    assert (outputs[0] == outputs[2]).all()


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("number", MODELS)
def test_a_second_backward_pass_on_one_cache(number, checkpointing):
    model = small_model(number, cls=VivitModel)
    pixels = clip_for(model.config)
    last_hidden_state, _, _, cache = model.run(pixels, training_options(False, None, checkpointing))
    model.backward(numpy.ones_like(last_hidden_state), None, cache)
    with pytest.raises(InputError, match="this cache has served a backward pass, and serves only one"):
        model.backward(numpy.ones_like(last_hidden_state), None, cache)
