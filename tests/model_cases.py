"""Tiny models of every kind, as cases for `check_gradients` (see gradient_cases.py)."""

import numpy

from minivivit.config import VivitConfig
from minivivit.models.classification import VivitForVideoClassification
from minivivit.models.encoders.forward_options import ForwardOptions
from minivivit.models.loss import loss_forward
from minivivit.models.parameters import unflatten
from minivivit.models.vivit import VivitModel

TINY = {
    "image_size": (9, 8),
    "num_frames": 5,
    "tubelet_size": (2, 4, 3),
    "num_channels": 2,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 10,
    "num_labels": 4,
    "num_temporal_layers": 2,
}
TRAINING = {
    "hidden_dropout_prob": 0.2,
    "attention_probs_dropout_prob": 0.3,
    "stochastic_droplayer_rate": 0.5,
}
MODELS = {
    "1": {"attention_type": "spatio_temporal"},
    "2": {"attention_type": "factorised_encoder"},
    "3": {"attention_type": "factorised_self_attention"},
    "4": {"attention_type": "factorised_dot_product"},
}
SHALLOW = {"num_hidden_layers": 1, "num_temporal_layers": 1}
SEED = 5  # of the draws of a training pass


def tiny_config(model, **changes):
    return VivitConfig(**{**TINY, **MODELS[model], **changes})


def tiny_model(config, rng, dtype="float64", cls=VivitForVideoClassification, **arguments):
    """A model whose parameters are all of size about 0.3 to 1: at its first values many gradients would be tiny."""
    model = cls(config, dtype=dtype, backend="numpy", **arguments)
    for name, array in model.state_dict().items():
        array[...] = rng.standard_normal(array.shape) * (0.3 if array.ndim == 1 else array[0].size ** -0.5)
        if "layernorm" in name and name.endswith("weight"):
            array += 1
        if name.endswith(("cls_token", "position_embeddings")):
            array[...] = 0.5 * rng.standard_normal(array.shape)
    return model


def clip_for(config, rng, dtype="float64", batch=2, size=None):
    shape = size or (config.num_frames, *config.frame_size)
    return rng.standard_normal((batch, shape[0], config.num_channels, *shape[1:])).astype(dtype)


def training_rng(training):
    return numpy.random.default_rng(SEED) if training else None


def logits_case(model_number, rng, dtype=numpy.float64, *, training=False, size=None, checkpointing=False, **changes):
    """Gradients of the logits: `VivitForVideoClassification.gradients`."""
    config = tiny_config(model_number, **(TRAINING if training else {}), **changes)
    model = tiny_model(config, rng, dtype)

    def forward(pixel_values, **parameters):
        model.params = unflatten(parameters)
        options = ForwardOptions(interpolate=size is not None, rng=training_rng(training))
        logits, _, _ = model.run(pixel_values, options)
        return logits, pixel_values

    def backward(dlogits, pixel_values):
        return model.gradients(
            pixel_values,
            dlogits,
            interpolate_pos_encoding=size is not None,
            rng=training_rng(training),
            gradient_checkpointing=checkpointing,
        )

    return forward, backward, {"pixel_values": clip_for(config, rng, dtype, size=size), **model.state_dict()}


def loss_case(model_number, labels, rng, dtype=numpy.float64, *, label_smoothing=0.0, **changes):
    """Gradients of the loss: `loss_and_gradients`, dropout and stochastic depth included."""
    config = tiny_config(model_number, **TRAINING, **changes)
    model = tiny_model(config, rng, dtype)

    def forward(pixel_values, **parameters):
        model.params = unflatten(parameters)
        logits, _, _ = model.run(pixel_values, ForwardOptions(rng=training_rng(True)))
        return loss_forward(logits, labels, config, label_smoothing)[0], pixel_values

    def backward(dloss, pixel_values):
        _, gradients = model.loss_and_gradients(
            pixel_values, labels, label_smoothing=label_smoothing, rng=training_rng(True)
        )
        return {name: dloss * gradient for name, gradient in gradients.items()}

    return forward, backward, {"pixel_values": clip_for(config, rng, dtype), **model.state_dict()}


def bare_case(model_number, rng, dtype=numpy.float64, **changes):
    """Gradients of both outputs of `VivitModel` at once."""
    config = tiny_config(model_number, pooler_output_size=3, **changes)
    model = tiny_model(config, rng, dtype, VivitModel)

    def forward(pixel_values, **parameters):
        model.params = unflatten(parameters)
        out = model(pixel_values)
        hidden_size = out.last_hidden_state.size
        both = numpy.concatenate([out.last_hidden_state.ravel(), out.pooler_output.ravel()])
        return both, (pixel_values, hidden_size, out.last_hidden_state.shape, out.pooler_output.shape)

    def backward(dboth, cache):
        pixel_values, hidden_size, hidden_shape, pooler_shape = cache
        return model.gradients(
            pixel_values,
            dlast_hidden_state=dboth[:hidden_size].reshape(hidden_shape),
            dpooler_output=dboth[hidden_size:].reshape(pooler_shape),
        )

    return forward, backward, {"pixel_values": clip_for(config, rng, dtype), **model.state_dict()}


def _cases():
    def logits(name, model, **options):
        cases[name] = lambda rng, dtype=numpy.float64: logits_case(model, rng, dtype, **options)

    def loss(name, model, labels, **options):
        cases[name] = lambda rng, dtype=numpy.float64: loss_case(model, labels, rng, dtype, **options)

    cases = {}
    for model in MODELS:
        logits(f"model_{model}", model)
        logits(f"model_{model}_training", model, training=True)
        logits(f"model_{model}_interpolated", model, size=(6, 12, 11), **SHALLOW)
        cases[f"model_{model}_bare"] = lambda rng, dtype=numpy.float64, model=model: bare_case(model, rng, dtype)
    for classifier in ("gap", "gmp", "gsp"):
        logits(f"model_1_{classifier}", "1", classifier=classifier, **SHALLOW)
        logits(f"model_2_{classifier}", "2", classifier=classifier, **SHALLOW)
    logits("model_3_gmp", "3", classifier="gmp", **SHALLOW)
    logits("model_4_gsp", "4", classifier="gsp", **SHALLOW)
    logits("model_1_representation", "1", representation_size=5, **SHALLOW)
    logits("model_1_without_classifier", "1", representation_size=5, num_labels=0, **SHALLOW)
    logits("model_1_without_qkv_bias", "1", qkv_bias=False, hidden_act="quick_gelu")
    logits("model_1_checkpointing", "1", training=True, checkpointing=True)
    logits("model_3_space_first", "3", attention_order="space_time", hidden_act="silu")
    logits("model_2_spatial_only", "2", spatial_only_baseline=True, training=True)
    sampling = {
        "temporal_encoding": "frame_sampling",
        "num_sampled_frames": 3,
        "tubelet_size": (1, 4, 3),
        "num_frames": 8,
    }
    logits("model_1_frame_sampling", "1", **sampling)
    logits("model_2_frame_sampling", "2", **sampling)
    indices = numpy.array([1, 3])
    loss("model_1_cross_entropy", "1", indices, label_smoothing=0.2)
    loss("model_2_regression", "2", numpy.array([0.3, -0.8]), num_labels=1)
    loss("model_3_binary_cross_entropy", "3", numpy.array([[0.0, 1, 1, 0], [1, 0, 1, 1]]))
    loss("model_4_class_splits", "4", numpy.array([[1, 0], [0, 1]]), class_splits=[2, 2])
    return cases


MODEL_CASES = _cases()
