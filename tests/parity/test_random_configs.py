"""Random configs of all four models against PyTorch in float64: outputs to 1e-12, gradients to 1e-10.

A seed makes a config, parameters, a clip, labels and a mask, and the test's name says which. 300 seeds by default;
others, or more, with environment variables::

    MINIVIVIT_RANDOM_CONFIGS=8000 pytest -m parity tests/parity/test_random_configs.py
    MINIVIVIT_RANDOM_CONFIGS=1 MINIVIVIT_RANDOM_CONFIGS_FROM=1234 pytest -m parity tests/parity/test_random_configs.py
"""

import os

import numpy
import pytest

from minivivit import VivitConfig, VivitForVideoClassification, VivitModel
from minivivit.config import ACTIVATION_NAMES, ATTENTION_TYPES
from minivivit.ops import blockwise_attention

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")

import torch_vivit  # noqa: E402

COUNT = int(os.environ.get("MINIVIVIT_RANDOM_CONFIGS", "300"))
FIRST = int(os.environ.get("MINIVIVIT_RANDOM_CONFIGS_FROM", "0"))
SEEDS = range(FIRST, FIRST + COUNT)


@pytest.fixture(autouse=True)
def _one_thread():
    """Two pools that wait for work by spinning would slow each other down."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


def some(rng, *choices):
    return choices[int(rng.integers(len(choices)))]


def whole(rng, low, high):
    """From `low` to `high`, both included, and one time in four `low`: the smallest is where things break."""
    return low if rng.random() < 0.25 else int(rng.integers(low, high + 1))


def random_config(seed):
    """Of every size the smallest too; models and activations take turns, so that no run leaves one out."""
    rng = numpy.random.default_rng(seed)
    attention_type = ATTENTION_TYPES[seed % 4]
    sampling = rng.random() < 0.25
    tubelet = [1 if sampling else whole(rng, 1, 3), whole(rng, 1, 4), whole(rng, 1, 5)]
    grid = [whole(rng, 1, 4) for _ in range(3)]
    frames, height, width = (t * n + int(rng.integers(0, t)) for t, n in zip(tubelet, grid, strict=True))
    heads = whole(rng, 1, 4) * (2 if attention_type == "factorised_dot_product" else 1)
    has_cls = attention_type in ("spatio_temporal", "factorised_encoder")
    sizes = [whole(rng, 1, 4) for _ in range(whole(rng, 1, 3))]
    problem = some(rng, "single_label_classification", "multi_label_classification", "regression", "class_splits")
    fields = {
        "image_size": [height, width],
        "num_frames": frames,
        "tubelet_size": tubelet,
        "num_channels": whole(rng, 1, 3),
        # With one feature a layer norm's output is 0, with two it is 1 and -1: its gradients are nothing but rounding.
        "hidden_size": heads * max(whole(rng, 1, 8), -(-4 // heads)),
        "num_hidden_layers": whole(rng, 1, 3) if rng.random() < 0.95 else 0,
        "num_temporal_layers": whole(rng, 1, 2) if rng.random() < 0.95 else 0,
        "num_attention_heads": heads,
        "intermediate_size": whole(rng, 1, 30),
        "hidden_act": ACTIVATION_NAMES[seed // 4 % len(ACTIVATION_NAMES)],
        "pooler_act": some(rng, *ACTIVATION_NAMES),
        "pooler_output_size": whole(rng, 1, 9),
        "layer_norm_eps": float(10 ** rng.uniform(-7, -2)),
        "qkv_bias": bool(rng.random() < 0.7),
        "attention_type": attention_type,
        "attention_order": some(rng, "time_space", "space_time"),
        "classifier": some(rng, "token", "gap", "gmp", "gsp") if has_cls else some(rng, "gap", "gmp", "gsp"),
        "representation_size": some(rng, None, whole(rng, 1, 9)),
        "spatial_only_baseline": attention_type == "factorised_encoder" and bool(rng.random() < 0.2),
        "num_labels": sum(sizes),
        "problem_type": problem if problem != "class_splits" else "single_label_classification",
        "class_splits": sizes if problem == "class_splits" else None,
    }
    if sampling:
        fields |= {"temporal_encoding": "frame_sampling", "num_sampled_frames": whole(rng, 1, frames)}
    return VivitConfig(**fields)


def random_labels(config, batch, rng):
    """Labels of the config's problem, and how much they are smoothed."""
    if config.problem_type == "regression":
        shape = (batch,) if config.num_labels == 1 and rng.random() < 0.5 else (batch, config.num_labels)
        return rng.standard_normal(shape), 0.0
    if config.problem_type == "multi_label_classification":
        return (rng.random((batch, config.num_labels)) < 0.5).astype("float64"), 0.0
    sizes = config.class_splits or [config.num_labels]
    smoothing = float(some(rng, 0.0, 0.1, 0.4))
    if rng.random() < 0.2:
        return numpy.concatenate([rng.dirichlet(numpy.ones(size), batch) for size in sizes], axis=1), smoothing
    labels = numpy.stack([rng.integers(0, size, batch) for size in sizes], axis=1)
    ignored = rng.random(labels.shape) < 0.3
    ignored[int(rng.integers(batch))] = False
    labels[ignored] = -100
    return labels[:, 0] if len(sizes) == 1 and rng.random() < 0.7 else labels, smoothing


def random_bias(config, batch, tokens, rng):
    """A mask, of each form, for Model 1: (what minivivit gets, what is added to the scores)."""
    if config.attention_type != "spatio_temporal" or rng.random() < 0.4:
        return None, None
    if rng.random() < 0.3:
        bias = rng.standard_normal((some(rng, 1, batch), some(rng, 1, config.num_attention_heads), tokens, tokens))
        return bias, torch.from_numpy(bias)
    visible = rng.random((batch, tokens)) < 0.7
    visible[:, int(rng.integers(tokens))] = True
    bias = torch.zeros(visible.shape, dtype=torch.float64).masked_fill(~torch.from_numpy(visible), -torch.inf)
    return some(rng, visible, visible.astype("int64"), visible[:, None, None]), bias[:, None, None]


def randomised(model, rng):
    """Every parameter random: many start as 0, and hide mistakes. Returns them as tensors too."""
    for name, array in model.state_dict().items():
        array[...] = rng.standard_normal(array.shape) * (0.3 if array.ndim == 1 else array[0].size ** -0.5)
        if "layernorm" in name and name.endswith("weight"):
            array += 1
    return {name: torch.from_numpy(array.copy()).requires_grad_() for name, array in model.state_dict().items()}


def check_output(ours, theirs):
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape
    assert abs(ours - theirs).max() <= 1e-12 * max(abs(theirs).max(), 1)


def check_gradients(ours, tensors):
    """To 1e-10 of the tensor's largest, or of 1e-3 of the largest of all: some are 0 in exact arithmetic."""
    theirs = {name: numpy.zeros(t.shape) if t.grad is None else t.grad.numpy() for name, t in tensors.items()}
    assert ours.keys() == theirs.keys()
    floor = 1e-3 * max(abs(gradient).max() for gradient in theirs.values())
    for name, gradient in ours.items():
        assert gradient.shape == theirs[name].shape, name
        scale = max(abs(theirs[name]).max(), floor, 1e-300)
        assert abs(gradient - theirs[name]).max() <= 1e-10 * scale, name


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_classifier(seed):
    config = random_config(seed)
    rng = numpy.random.default_rng([seed, 1])
    model = VivitForVideoClassification(config, dtype="float64", backend="numpy")
    tensors = randomised(model, rng)
    batch = whole(rng, 1, 3)
    pixels = rng.standard_normal((batch, config.num_frames, config.num_channels, *config.frame_size))
    labels, smoothing = random_labels(config, batch, rng)
    tensors["pixel_values"] = torch.from_numpy(pixels).requires_grad_()
    logits = torch_vivit.classifier(tensors["pixel_values"], tensors, config)
    expected = torch_vivit.loss(logits, torch.from_numpy(labels), config, smoothing)
    expected.backward()
    check_output(model(pixels).logits, logits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blockwise_attention, "BLOCK_KEYS", whole(rng, 3, 100))
        loss, gradients = model.loss_and_gradients(
            pixels, labels, label_smoothing=smoothing, gradient_checkpointing=bool(rng.random() < 0.3)
        )
    check_output(loss, expected)
    check_gradients(gradients, tensors)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_bare_model(seed):
    """With a mask where there can be one, blockwise and explicit; the pooler; gradients of both outputs."""
    config = random_config(seed)
    rng = numpy.random.default_rng([seed, 2])
    model = VivitModel(config, dtype="float64", backend="numpy")
    tensors = randomised(model, rng)
    batch = whole(rng, 1, 3)
    pixels = rng.standard_normal((batch, config.num_frames, config.num_channels, *config.frame_size))
    tensors["pixel_values"] = torch.from_numpy(pixels).requires_grad_()
    hidden = torch_vivit.vivit(tensors["pixel_values"], tensors, config)
    pooled = torch_vivit.pooler(hidden, tensors, config)
    out = model(pixels, output_attentions=bool(rng.random() < 0.5))
    check_output(out.last_hidden_state, hidden)
    check_output(out.pooler_output, pooled)
    dhidden, dpooled = rng.standard_normal(hidden.shape), rng.standard_normal(pooled.shape)
    torch.autograd.backward((hidden, pooled), (torch.from_numpy(dhidden), torch.from_numpy(dpooled)))
    gradients = model.gradients(pixels, dlast_hidden_state=dhidden, dpooler_output=dpooled)
    check_gradients(gradients, tensors)
    mask, bias = random_bias(config, batch, hidden.shape[1], rng)
    if mask is not None:
        with torch.no_grad():
            masked = torch_vivit.vivit(torch.from_numpy(pixels), tensors, config, bias)
        for explicit in (False, True):
            check_output(model(pixels, attention_mask=mask, output_attentions=explicit).last_hidden_state, masked)
