"""Checks of training: the loss and its gradient, the optimisers' steps, one training step, a run of them."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy

from minivivit.checks.case import Case, large, with_the_first_once_more
from minivivit.checks.draws import distinct, log_uniform, normal
from minivivit.checks.report import Report
from minivivit.checks.run_check import Task, run_check
from minivivit.config import VivitConfig
from minivivit.models.classification import VivitForVideoClassification
from minivivit.ops.cross_entropy import cross_entropy_backward as package_cross_entropy_backward
from minivivit.ops.cross_entropy import cross_entropy_forward
from minivivit.ops.softmax import softmax_forward
from minivivit.training.data.motion.clips import motion_clips
from minivivit.training.optimisers.adamw import AdamW
from minivivit.training.optimisers.sgd import SGD

Rng = numpy.random.Generator
Array = numpy.ndarray


def cross_entropy(student: Callable, **options: Any) -> Report:
    """Check ``cross_entropy(logits, labels) -> loss``: the mean of -log softmax at the labels.

    `logits` is (batch, classes), `labels` whole numbers (batch,). The options are those of
    `minivivit.checks.run_check.run_check`.
    """
    return run_check(_CROSS_ENTROPY, student, **options)


def cross_entropy_backward(student: Callable, **options: Any) -> Report:
    """Check ``cross_entropy_backward(logits, labels) -> dlogits``: the gradient of `cross_entropy`.

    The options are those of `minivivit.checks.run_check.run_check`.
    """
    return run_check(_CROSS_ENTROPY_BACKWARD, student, **options)


def sgd_step(student: Callable, **options: Any) -> Report:
    """Check ``sgd_step(parameter, gradient, velocity, learning_rate, momentum) -> parameter, velocity``.

    One step as in `minivivit.training.optimisers.sgd`, into new arrays. The options are those of
    `minivivit.checks.run_check.run_check`.
    """
    return run_check(_SGD_STEP, student, **options)


def adamw_step(student: Callable, **options: Any) -> Report:
    """Check ``adamw_step(parameter, gradient, m, v, step, learning_rate, betas, eps, weight_decay)``.

    It returns the new parameter, m and v: one step as in `minivivit.training.optimisers.adamw`, into new arrays;
    `step` counts from 1. The options are those of `minivivit.checks.run_check.run_check`.
    """
    return run_check(_ADAMW_STEP, student, **options)


def training_step(student: Callable, **options: Any) -> Report:
    """Check ``training_step(model, pixel_values, labels, velocity, learning_rate, momentum) -> loss``.

    `model` is a `VivitForVideoClassification` whose parameters, ``model.state_dict()``, are updated in place by SGD
    with momentum, as are the arrays of `velocity`, a dict with the same names. The loss is the one before the update.
    Methods of the model may be called. The options are those of `minivivit.checks.run_check.run_check`.
    """
    return run_check(_TRAINING_STEP, student, **options)


def train(student: Callable, **options: Any) -> Report:
    """Check ``train(model, pixel_values, labels, num_steps, batch_size, learning_rate, momentum, rng) -> losses``.

    Each step takes the clips ``rng.choice(len(labels), batch_size, replace=False)`` and is a `training_step`, from
    velocities of 0; `losses` has one number a step. Methods of the model may be called. The options are those of
    `minivivit.checks.run_check.run_check`.
    """
    return run_check(_TRAIN, student, **options)


# --------------------------------------------------------------------------------------------------------------------
# Loss
# --------------------------------------------------------------------------------------------------------------------


def _loss(logits: Array, labels: Array) -> Array:
    return cross_entropy_forward(logits, labels)[0]


def _picked(array: Array, labels: Array) -> Array:
    return array[numpy.arange(len(labels)), labels]


def _softmax(logits: Array) -> Array:
    return softmax_forward(logits)[0]


def _unshifted_softmax(logits: Array) -> Array:
    return numpy.exp(logits) / numpy.exp(logits).sum(axis=-1, keepdims=True)


def _logits(rng: Rng, batch: int, classes: int, scale: float = 1.0, dtype: str = "float64") -> dict[str, Array]:
    logits = normal(rng, batch, classes, dtype=dtype, scale=scale)
    return {"logits": logits, "labels": rng.integers(classes, size=batch)}


def _loss_cases(rng: Rng) -> list[Case]:
    cases = []
    kinds = [("", 2.0, "float64"), (", one sample", 1.0, "float64"), (", two classes", 1.0, "float64")]
    kinds += [(" with entries near 1e4 and -1e4", 1e4, "float64"), (" with entries near -1e4", 1.0, "float64")]
    for about, scale, dtype in [*kinds, (", one label", 1.0, "float64"), (", float32", 1.0, "float32")]:
        batch, classes = distinct(rng, 2, 3, 9)
        batch, classes = 1 if "one sample" in about else batch, 2 if "two" in about else classes
        arguments = _logits(rng, batch, classes, scale, dtype)
        if "near -1e4" in about and scale == 1:
            arguments["logits"] -= 1e4
        if "one label" in about:
            arguments["labels"][:] = arguments["labels"][0]
        if scale == 1e4:  # the least likely label, whose softmax is 0: its log is what a shift by the maximum is for
            arguments["labels"][0] = arguments["logits"][0].argmin()
        cases.append(Case(f"logits of shape {(batch, classes)}{about}", arguments))
    return with_the_first_once_more(cases)


def _loss_gradient_cases(rng: Rng) -> list[Case]:
    cases = _loss_cases(rng)
    return [*cases, large("logits of shape (2000, 16)", _logits(rng, 2000, 16), cases)]


_CROSS_ENTROPY = Task(
    "cross_entropy",
    ("loss",),
    _loss,
    _loss_cases,
    [
        (
            "exp over- or underflows before the log is taken: log softmax is z - max - log sum exp(z - max)",
            lambda z, labels: -numpy.log(_picked(_softmax(z), labels)).mean(),
        ),
        (
            "exp over- or underflows before the log is taken: log softmax is z - max - log sum exp(z - max)",
            lambda z, labels: -numpy.log(_picked(_unshifted_softmax(z), labels)).mean(),
        ),
        (
            "exp over- or underflows before the log is taken: log softmax is z - max - log sum exp(z - max)",
            lambda z, labels: (numpy.log(numpy.exp(z).sum(axis=-1)) - _picked(z, labels)).mean(),
        ),
        ("the losses are summed over the batch; take their mean", lambda z, labels: _loss(z, labels) * len(z)),
        ("the mean is over batch and classes; over the batch", lambda z, labels: _loss(z, labels) / z.shape[1]),
        ("the sign is turned: the loss is minus the log-probability", lambda z, labels: -_loss(z, labels)),
        ("the log is missing", lambda z, labels: -_picked(_softmax(z), labels).mean()),
        (
            "these are one minus the probabilities; their negative logarithms",
            lambda z, labels: 1 - _picked(_softmax(z), labels).mean(),
        ),
        ("the softmax is missing: these are the logits", lambda z, labels: -_picked(z, labels).mean()),
        ("the logarithm is to the base 2", lambda z, labels: _loss(z, labels) / numpy.log(2)),
        ("the logarithm is to the base 10", lambda z, labels: _loss(z, labels) / numpy.log(10)),
        (
            "every sample has its loss; return their mean",
            lambda z, labels: -_picked(cross_entropy_forward(z, labels)[1]["log_probs"], labels),
        ),
        (
            "the softmax runs over the batch; over the classes",
            lambda z, labels: -numpy.log(_picked(_softmax(z.T).T, labels)).mean(),
        ),
        (
            "the labels choose whole columns: index with numpy.arange(batch) too",
            lambda z, labels: -cross_entropy_forward(z, labels)[1]["log_probs"][:, labels].mean(),
        ),
    ],
)


def _one_hot(logits: Array, labels: Array) -> Array:
    return numpy.eye(logits.shape[1])[labels]


_CROSS_ENTROPY_BACKWARD = Task(
    "cross_entropy_backward",
    ("dlogits",),
    lambda logits, labels: package_cross_entropy_backward(1.0, cross_entropy_forward(logits, labels)[1]),
    _loss_gradient_cases,
    [
        (
            "the division by the batch is missing: the loss is a mean",
            lambda z, labels: _softmax(z) - _one_hot(z, labels),
        ),
        (
            "the division is by batch times classes; by the batch",
            lambda z, labels: (_softmax(z) - _one_hot(z, labels)) / z.size,
        ),
        (
            "the division is by the classes; by the batch",
            lambda z, labels: (_softmax(z) - _one_hot(z, labels)) / z.shape[1],
        ),
        (
            "the sign is turned: probability minus target",
            lambda z, labels: (_one_hot(z, labels) - _softmax(z)) / len(z),
        ),
        ("the target is not subtracted", lambda z, labels: _softmax(z) / len(z)),
        ("the softmax is missing", lambda z, labels: (z - _one_hot(z, labels)) / len(z)),
        (
            "exp overflows: subtract each row's maximum",
            lambda z, labels: (_unshifted_softmax(z) - _one_hot(z, labels)) / len(z),
        ),
        (
            "only the entries of the labels are filled in; the other classes have a gradient too",
            lambda z, labels: (_softmax(z) - 1) * _one_hot(z, labels) / len(z),
        ),
        (
            "1 is subtracted from whole columns: index with numpy.arange(batch) too",
            lambda z, labels: (_softmax(z) - numpy.isin(numpy.arange(z.shape[1]), labels)) / len(z),
        ),
    ],
)


# --------------------------------------------------------------------------------------------------------------------
# Optimisers
# --------------------------------------------------------------------------------------------------------------------


def _sgd(
    parameter: Array, gradient: Array, velocity: Array, learning_rate: float, momentum: float, nesterov: bool = False
) -> tuple:
    optimiser = SGD({"p": parameter}, momentum=momentum, nesterov=nesterov)
    if momentum == 0:  # it keeps no buffer then
        optimiser.step({"p": gradient}, learning_rate)
        return parameter, gradient
    optimiser.momentum_buffer["p"][...] = velocity
    optimiser.step({"p": gradient}, learning_rate)
    return parameter, optimiser.momentum_buffer["p"]


def _sgd_from(new_velocity: Callable, move: Callable = lambda lr, new, old, gradient: lr * new) -> Callable:
    """SGD with another velocity, or another use of it."""

    def step(parameter: Array, gradient: Array, velocity: Array, learning_rate: float, momentum: float) -> tuple:
        new = new_velocity(velocity, gradient, learning_rate, momentum)
        return parameter - move(learning_rate, new, velocity, gradient), new

    return step


def _velocity(v: Array, g: Array, lr: float, mu: float) -> Array:
    return mu * v + g


def _sgd_cases(rng: Rng) -> list[Case]:
    cases = []
    for number, dtype in enumerate(("float64", "float64", "float64", "float64", "float32")):
        shape = [1] if number == 2 else distinct(rng, int(rng.integers(1, 4)), 2, 7)
        arrays = {name: normal(rng, *shape, dtype=dtype) for name in ("parameter", "gradient", "velocity")}
        settings = {"learning_rate": log_uniform(rng, 1e-2, 2), "momentum": float(rng.uniform(0.3, 0.99))}
        if number == 3:
            settings["momentum"] = 0.0
        about = (
            f"shape {tuple(shape)}, learning rate {settings['learning_rate']:.3f}, momentum {settings['momentum']:.3f}"
        )
        cases.append(Case(about, {**arrays, **settings}))
    return with_the_first_once_more(cases)


_SGD_STEP = Task(
    "sgd_step",
    ("parameter", "velocity"),
    _sgd,
    _sgd_cases,
    [
        (
            "the parameter moves along the old velocity; along the new one",
            _sgd_from(_velocity, lambda lr, new, old, gradient: lr * old),
        ),
        ("the momentum is left out: velocity = momentum * velocity + gradient", _sgd_from(lambda v, g, lr, mu: g)),
        (
            "the parameter moves along the gradient; along the velocity",
            _sgd_from(_velocity, lambda lr, new, old, gradient: lr * gradient),
        ),
        ("the parameter moves uphill: subtract", _sgd_from(_velocity, lambda lr, new, old, gradient: -lr * new)),
        (
            "the gradient is multiplied by 1 - momentum; it enters whole",
            _sgd_from(lambda v, g, lr, mu: mu * v + (1 - mu) * g),
        ),
        ("the old velocity enters whole; multiply it by the momentum", _sgd_from(lambda v, g, lr, mu: v + g)),
        (
            "the learning rate is in the velocity; it multiplies the velocity in the step",
            _sgd_from(lambda v, g, lr, mu: mu * v + lr * g, lambda lr, new, old, gradient: new),
        ),
        (
            "the velocity has the opposite sign: momentum * velocity + gradient, and the step is subtracted",
            _sgd_from(lambda v, g, lr, mu: mu * v - lr * g, lambda lr, new, old, gradient: -new),
        ),
        ("this is Nesterov's momentum; the plain one is asked for", partial(_sgd, nesterov=True)),
        ("the learning rate is left out", _sgd_from(_velocity, lambda lr, new, old, gradient: new)),
    ],
    weights=(3, 1),
)


def _adamw(
    parameter: Array, gradient: Array, m: Array, v: Array, step: int, lr: float, betas: Any, eps: float, decay: float
) -> tuple[Array, Array, Array]:
    optimiser = AdamW({"p": parameter}, betas=betas, eps=eps, weight_decay=decay)
    optimiser.exp_avg["p"][...], optimiser.exp_avg_sq["p"][...], optimiser.step_count = m, v, step - 1
    optimiser.step({"p": gradient}, lr)
    return parameter, optimiser.exp_avg["p"], optimiser.exp_avg_sq["p"]


def _adamw_from(
    *,
    decayed: Callable = lambda p, lr, decay: p * (1 - lr * decay),
    corrections: Callable = lambda betas, step: (1 - betas[0] ** step, 1 - betas[1] ** step),
    denominator: Callable = lambda v, eps: numpy.sqrt(v) + eps,
    second: Callable = lambda v, g, beta: beta * v + (1 - beta) * g * g,
    regularised: bool = False,
    sign: float = 1.0,
) -> Callable:
    """AdamW with one of its parts exchanged."""

    def update(
        p: Array, g: Array, m: Array, v: Array, step: int, lr: float, betas: Any, eps: float, decay: float
    ) -> tuple:
        if regularised:
            g, decay = g + decay * p, 0.0
        m, v = betas[0] * m + (1 - betas[0]) * g, second(v, g, betas[1])
        first_correction, second_correction = corrections(betas, step)
        move = (m / first_correction) / denominator(v / second_correction, eps)
        return decayed(p, lr, decay) - sign * lr * move, m, v

    return update


def _adamw_decayed_last(
    p: Array, g: Array, m: Array, v: Array, step: int, lr: float, betas: Any, eps: float, decay: float
) -> tuple:
    p, m, v = _adamw(p, g, m, v, step, lr, betas, eps, 0.0)
    return p * (1 - lr * decay), m, v


def _adamw_betas_exchanged(
    p: Array, g: Array, m: Array, v: Array, step: int, lr: float, betas: Any, eps: float, decay: float
) -> tuple:
    return _adamw(p, g, m, v, step, lr, betas[::-1], eps, decay)


def _adamw_cases(rng: Rng) -> list[Case]:
    cases = []
    steps = (2, 1, 17, int(rng.integers(100, 1000)), 4, 3)
    for number, (step, dtype) in enumerate(zip(steps, ["float64"] * 5 + ["float32"], strict=True)):
        shape = [1] if number == 4 else distinct(rng, int(rng.integers(1, 4)), 2, 7)
        parameter, gradient, m = (normal(rng, *shape, dtype=dtype) for _ in range(3))
        v = normal(rng, *shape, dtype=dtype) ** 2
        if step == 1:
            m, v = numpy.zeros_like(m), numpy.zeros_like(v)
        arguments = {"parameter": parameter, "gradient": gradient, "m": m, "v": v, "step": step}
        settings: dict[str, Any] = {
            "learning_rate": float(rng.uniform(0.02, 0.3)),
            "betas": (float(rng.uniform(0.5, 0.95)), float(rng.uniform(0.8, 0.999))),
            "eps": float(rng.uniform(0.1, 0.5)) if number % 2 == 0 else log_uniform(rng, 1e-8, 1e-2),
            "weight_decay": 0.0 if number == 3 else float(rng.uniform(0.05, 0.5)),
        }
        about = f"shape {tuple(shape)}, step {step}, betas ({settings['betas'][0]:.3f}, {settings['betas'][1]:.3f})"
        cases.append(Case(about, {**arguments, **settings}))
    return with_the_first_once_more(cases)


_ADAMW_STEP = Task(
    "adamw_step",
    ("parameter", "m", "v"),
    _adamw,
    _adamw_cases,
    [
        (
            "the bias correction is left out: m / (1 - beta1^t), v / (1 - beta2^t)",
            _adamw_from(corrections=lambda betas, step: (1, 1)),
        ),
        (
            "the bias correction of v is left out",
            _adamw_from(corrections=lambda betas, step: (1 - betas[0] ** step, 1)),
        ),
        (
            "the bias correction of m is left out",
            _adamw_from(corrections=lambda betas, step: (1, 1 - betas[1] ** step)),
        ),
        (
            "the bias correction is that of the next step; steps count from 1",
            _adamw_from(corrections=lambda betas, step: (1 - betas[0] ** (step + 1), 1 - betas[1] ** (step + 1))),
        ),
        (
            "the bias correction has 1 - beta; it is 1 - beta^t",
            _adamw_from(corrections=lambda betas, step: (1 - betas[0], 1 - betas[1])),
        ),
        (
            "eps is inside the root; it is added to the root",
            _adamw_from(denominator=lambda v, eps: numpy.sqrt(v + eps)),
        ),
        ("the root of v is missing", _adamw_from(denominator=lambda v, eps: v + eps)),
        ("eps is left out", _adamw_from(denominator=lambda v, eps: numpy.sqrt(v))),
        (
            "eps is taken for the least root; it is added to the root",
            _adamw_from(denominator=lambda v, eps: numpy.maximum(numpy.sqrt(v), eps)),
        ),
        ("eps is squared; add it as it is", _adamw_from(denominator=lambda v, eps: numpy.sqrt(v) + eps * eps)),
        ("the weight decay is in the gradient (Adam with L2); in AdamW it is apart", _adamw_from(regularised=True)),
        ("the weight decay is left out", _adamw_from(decayed=lambda p, lr, decay: p)),
        (
            "the weight decay is not multiplied by the learning rate",
            _adamw_from(decayed=lambda p, lr, decay: p * (1 - decay)),
        ),
        ("the weight decays after the step; before it", _adamw_decayed_last),
        ("beta1 and beta2 are exchanged", _adamw_betas_exchanged),
        (
            "v is a mean of the gradient; of its square",
            _adamw_from(second=lambda v, g, beta: beta * v + (1 - beta) * g),
        ),
        ("the parameter moves uphill: subtract", _adamw_from(sign=-1.0)),
    ],
    weights=(6, 1, 1),
)


# --------------------------------------------------------------------------------------------------------------------
# Training
# --------------------------------------------------------------------------------------------------------------------

Model = VivitForVideoClassification


def _descend(model: Model, gradients: Mapping[str, Array], velocity: Mapping[str, Array], lr: float, mu: float) -> None:
    for name, parameter in model.state_dict().items():
        velocity[name][...] = mu * velocity[name] + gradients[name]
        parameter -= lr * velocity[name]


def _training_step(model: Model, pixel_values: Array, labels: Array, velocity: dict, lr: float, mu: float) -> Any:
    loss, gradients = model.loss_and_gradients(pixel_values, labels)
    _descend(model, gradients, velocity, lr, mu)
    return loss


def _step_without_update(model: Model, pixel_values: Array, labels: Array, velocity: dict, lr: float, mu: float) -> Any:
    """The parameters are bound to new arrays, and the model's stay as they are."""
    loss, gradients = model.loss_and_gradients(pixel_values, labels)
    for name in velocity:
        velocity[name] = mu * velocity[name] + gradients[name]
    return loss


def _step_with_new_velocity_only_here(
    model: Model, pixel_values: Array, labels: Array, velocity: dict, lr: float, mu: float
) -> Any:
    return _training_step(model, pixel_values, labels, {name: array.copy() for name, array in velocity.items()}, lr, mu)


def _loss_after(model: Model, pixel_values: Array, labels: Array, velocity: dict, lr: float, mu: float) -> Any:
    _training_step(model, pixel_values, labels, velocity, lr, mu)
    return model(pixel_values, labels=labels).loss


def _step_uphill(model: Model, pixel_values: Array, labels: Array, velocity: dict, lr: float, mu: float) -> Any:
    return _training_step(model, pixel_values, labels, velocity, -lr, mu)


def _step_without_momentum(
    model: Model, pixel_values: Array, labels: Array, velocity: dict, lr: float, mu: float
) -> Any:
    return _training_step(model, pixel_values, labels, velocity, lr, 0.0)


def _step_through_old_velocity(
    model: Model, pixel_values: Array, labels: Array, velocity: dict, lr: float, mu: float
) -> Any:
    old = {name: array.copy() for name, array in velocity.items()}
    before = {name: array.copy() for name, array in model.state_dict().items()}
    loss = _training_step(model, pixel_values, labels, velocity, lr, mu)
    for name, parameter in model.state_dict().items():
        parameter[...] = before[name] - lr * old[name]
    return loss


_TYPES = ("spatio_temporal", "factorised_encoder", "factorised_self_attention", "factorised_dot_product")


def _tiny_model(rng: Rng, attention_type: str, hidden: int = 8, layers: int = 1) -> Model:
    """A model of one of the paper's four kinds: their parameters have other names."""
    config = VivitConfig(
        attention_type=attention_type,
        image_size=16,
        num_frames=4,
        tubelet_size=[2, 8, 8],
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * hidden,
        num_labels=8,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = Model(config, dtype="float64", backend="numpy", seed=rng)
    for name, parameter in model.state_dict().items():
        if not name.endswith("bias"):
            parameter += 0.2 * rng.standard_normal(parameter.shape)
    return model


def _clips(rng: Rng, count: int) -> tuple[Array, Array]:
    """Motion clips as float64 pixel values (count, frames, channels, height, width) in [-1, 1], and their labels."""
    clips, labels = motion_clips(rng, count, num_frames=4, size=16)
    return clips.transpose(0, 1, 4, 2, 3) / 127.5 - 1, labels


def _step_cases(rng: Rng) -> list[Case]:
    cases = []
    for number, batch in enumerate((3, 1, int(rng.integers(2, 6)))):
        model = _tiny_model(rng, str(rng.choice(_TYPES)), int(rng.choice([4, 8])), 1 + number % 2)
        pixel_values, labels = _clips(rng, batch)
        velocity = {name: normal(rng, *array.shape, scale=0.1) for name, array in model.state_dict().items()}
        arguments = {"model": model, "pixel_values": pixel_values, "labels": labels, "velocity": velocity}
        settings = {"learning_rate": log_uniform(rng, 0.03, 0.5), "momentum": float(rng.uniform(0.3, 0.95))}
        cases.append(Case(f"pixel_values of shape {pixel_values.shape}", {**arguments, **settings}))
    return with_the_first_once_more(cases)


def _after_step(returned: Any, arguments: Mapping[str, Any]) -> tuple:
    return returned, dict(arguments["model"].state_dict()), dict(arguments["velocity"])


_TRAINING_STEP = Task(
    "training_step",
    ("loss", "parameters", "velocity"),
    _training_step,
    _step_cases,
    [
        (
            "the parameters are not changed in place: use -= or [...] on the arrays of model.state_dict()",
            _step_without_update,
        ),
        ("the velocity that was handed in does not change: use [...] on its arrays", _step_with_new_velocity_only_here),
        ("the loss is that after the update; before it", _loss_after),
        ("the parameters move uphill: subtract", _step_uphill),
        ("the momentum is left out", _step_without_momentum),
        ("the parameters move along the old velocity; along the new one", _step_through_old_velocity),
    ],
    may_use=("minivivit.models",),
    may_change=("model", "velocity"),
    observe=_after_step,
    weights=(1, 6, 1),  # the loss is the model's, and the velocity is that of an earlier task
)


def _train(
    model: Model,
    pixel_values: Array,
    labels: Array,
    num_steps: int,
    batch_size: int,
    lr: float,
    mu: float,
    rng: Rng,
    *,
    step: Callable = _training_step,
    choose: Callable = lambda rng, count, size, number: rng.choice(count, size, replace=False),
    keep_velocity: bool = True,
) -> list[float]:
    """A run of training steps; `choose` picks the clips of each."""
    losses, velocity = [], {name: numpy.zeros_like(array) for name, array in model.state_dict().items()}
    for number in range(num_steps):
        chosen = choose(rng, len(labels), batch_size, number)
        if not keep_velocity:
            velocity = {name: numpy.zeros_like(array) for name, array in velocity.items()}
        losses.append(float(step(model, pixel_values[chosen], labels[chosen], velocity, lr, mu)))
    return losses


def _train_on_one_batch(*arguments: Any) -> list[float]:
    batch: list[Array] = []

    def choose(rng: Rng, count: int, size: int, number: int) -> Array:
        if not batch:
            batch.append(rng.choice(count, size, replace=False))
        return batch[0]

    return _train(*arguments, choose=choose)


def _train_cases(rng: Rng) -> list[Case]:
    cases = []
    kind = str(rng.choice(_TYPES))
    clips = int(rng.integers(9, 14))
    for num_steps, batch_size in ((2, int(rng.integers(1, 5))), (int(rng.integers(4, 6)), clips - 3), (1, clips)):
        pixel_values, labels = _clips(rng, clips)
        arguments = {"model": _tiny_model(rng, kind), "pixel_values": pixel_values, "labels": labels}
        settings: dict[str, Any] = {"num_steps": num_steps, "batch_size": batch_size}
        settings |= {"learning_rate": log_uniform(rng, 0.01, 0.06), "momentum": float(rng.uniform(0.4, 0.9))}
        about = f"num_steps {num_steps}, {batch_size} of {clips} clips in each"
        cases.append(Case(about, {**arguments, **settings, "rng": numpy.random.default_rng(int(rng.integers(2**31)))}))
    return with_the_first_once_more(cases)


_TRAIN = Task(
    "train",
    ("losses", "parameters"),
    _train,
    _train_cases,
    [
        ("the velocity starts from 0 in every step; keep it from step to step", partial(_train, keep_velocity=False)),
        ("every step sees the same clips: draw new ones in each", _train_on_one_batch),
        (
            "the first clips of the data are taken; draw them with rng.choice",
            partial(_train, choose=lambda rng, count, size, number: numpy.arange(size)),
        ),
        (
            "all clips are taken in every step; batch_size of them",
            partial(_train, choose=lambda rng, count, size, number: numpy.arange(count)),
        ),
        (
            "the clips are drawn with replacement: replace=False",
            partial(_train, choose=lambda rng, count, size, number: rng.choice(count, size)),
        ),
        (
            "the clips are the first of rng.permutation; take rng.choice(len(labels), batch_size, replace=False)",
            partial(_train, choose=lambda rng, count, size, number: rng.permutation(count)[:size]),
        ),
        (
            "the parameters do not change: use training_step, which updates them in place",
            partial(_train, step=_step_without_update),
        ),
        ("the losses are those after each update; before it", partial(_train, step=_loss_after)),
    ],
    may_use=("minivivit.models",),
    may_change=("model", "rng"),
    observe=lambda returned, arguments: (returned, dict(arguments["model"].state_dict())),
)
