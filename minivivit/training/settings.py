"""The settings of a training: their names, defaults, checks, and the JSON file that they are read from."""

import dataclasses
import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from minivivit.checkpoints.positions import POSITION_INITS
from minivivit.checkpoints.tubelets import TUBELET_INITS
from minivivit.config import PRESETS, VivitConfig
from minivivit.errors import InputError
from minivivit.files.json_file import read_json
from minivivit.files.tensor_data import listed, quoted
from minivivit.training.regularisation.augmentations.pipeline import AugmentationParams
from minivivit.training.setting_checks import (
    LARGEST_SEED,
    Check,
    check_augmentation,
    check_bool,
    check_dict,
    check_patterns,
    check_text,
    choice,
    number,
    whole,
)
from minivivit.video.image_transforms import edge_before_crop

OPTIMISERS = ("adamw", "sgd")
# The name of a schedule, and the factors that it is a product of (`minivivit.training.optimisers.schedules`).
SCHEDULES = {
    "cosine": "constant * cosine_decay * linear_warmup",
    "constant": "constant * linear_warmup",
}
MOTION = "motion"  # the word that stands for the built-in data


# The fields of `VivitConfig` that a training may set: the data decides the others.
MODEL_FIELDS = tuple(
    name
    for name, parameter in inspect.signature(VivitConfig).parameters.items()
    if parameter.kind is not parameter.VAR_KEYWORD
)
DECIDED_BY_THE_DATA = ("num_labels", "id2label", "label2id", "class_splits", "problem_type")


def check_model(name: str, value: Any) -> None:
    """Raise unless `value` is a dict of fields of `VivitConfig` that a training may set, or ``"preset"``."""
    check_dict(name, value)
    for field_name in value:
        if field_name in DECIDED_BY_THE_DATA:
            raise InputError(f"{name} sets {field_name}, but the data decides that; leave it out")
    known = [field_name for field_name in MODEL_FIELDS if field_name not in DECIDED_BY_THE_DATA]
    unknown = [field_name for field_name in value if field_name not in ("preset", *known)]
    if unknown:
        raise InputError(f"{name} has no setting {listed(unknown)}; it has preset, {', '.join(known)}")


_CHECKS: dict[str, Check] = {
    "epochs": whole(1, optional=True),
    "steps": whole(1, optional=True),
    "batch_size": whole(1),
    "accumulate": whole(1),
    "parallel": whole(1),
    "optimiser": choice(*OPTIMISERS),
    "learning_rate": number(0),
    "weight_decay": number(0),
    "momentum": number(0, 1, below=True),
    "beta1": number(0, 1, below=True),
    "beta2": number(0, 1, below=True),
    "warm_up": whole(0, optional=True),
    "warm_up_epochs": number(0, optional=True),
    "schedule": choice(*SCHEDULES),
    "max_grad_norm": number(0, above=True, optional=True),
    "label_smoothing": number(0, 1, below=True),
    "mixup_alpha": number(0),
    "freeze": check_patterns,
    "layer_decay": number(0, 1, above=True, optional=True),
    "ema": number(0, 1, below=True, optional=True),
    "tubelet_init": choice(*TUBELET_INITS),
    "position_init": choice(*POSITION_INITS),
    "validation_fraction": number(0, 1, below=True),
    "group_by": check_text,
    "validation_clips": whole(1),
    "frame_sample_rate": whole(1),
    "validate_every": whole(1, optional=True),
    "checkpoint_every": whole(1),
    "seed": whole(0, maximum=LARGEST_SEED),
    "dtype": choice("float32", "float64"),
    "backend": choice("numpy", "cupy", "auto"),
    "gradient_checkpointing": check_bool,
    "model": check_model,
    "augmentation": check_dict,
}


def check_setting(name: str, value: Any, called: str) -> None:
    """Refuse what cannot be the value of the setting `name`, which the message calls as who gave it did: an option.

    Raises
    ------
    InputError
    """
    _CHECKS[name](called, value)


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that decides a training, but for the data and the model that it starts from.

    Attributes
    ----------
    epochs, steps : int, optional
        How long to train: how often every clip is seen, or how many updates are made. One of the two; the built-in
        data, which never repeats, has no epochs.
    batch_size : int
        Clips in an update.
    accumulate : int
        In how many pieces a batch is computed, one after the other: less memory. Up to rounding the training is the
        same: no clip and no mask depends on the pieces.
    parallel : int
        In how many pieces each of these is cut again, to be computed side by side on the CPU's threads; again the same
        training. Pays for small models.
    optimiser : {"adamw", "sgd"}
    learning_rate : float
        The largest.
    weight_decay, momentum, beta1, beta2 : float
        See `AdamW` and `SGD`; decay spares what `minivivit.training.optimisers.decay.decays` spares.
    warm_up : int, optional
        Updates during which the learning rate rises in a straight line, fewer than there are; None: a tenth of the
        updates, but no more than 200.
    warm_up_epochs : float, optional
        The same in epochs of the data, whole or not, where `warm_up` is left out.
    schedule : {"cosine", "constant"}
        What the learning rate does after the warm-up.
    max_grad_norm : float, optional
        Clip the gradients to this global norm; None: never.
    label_smoothing, mixup_alpha : float
        See `smooth_labels` and `mixup`.
    freeze : tuple of str
        Patterns of names that are not trained (`trainable_names`).
    layer_decay : float, optional
        Let the learning rate fall with the depth (`layer_scales`); None: one for all.
    ema : float, optional
        Keep an average of the weights, of which so much stays at each update (`update_average`), validate with it, and
        save it beside the last weights; None: none.
    tubelet_init, position_init : str
        How a training that starts from an image model makes its kernels and positions (`init_from_image_model`).
    validation_fraction : float
        The part of each class of a folder that is kept for validation.
    group_by : str, optional
        Clips whose names are alike up to the last of these characters are of one recording (`recording_of`), all of
        which is trained on or all of which is validated on.
    validation_clips : int
        How many clips of the built-in data are made for validation.
    frame_sample_rate : int
        Take every n-th frame of a file.
    validate_every : int, optional
        Updates between two validations; None: an epoch.
    checkpoint_every : int
        Updates between two checkpoints.
    seed : int
        Of everything random: first values, order, augmentations, dropout.
    dtype, backend : str
        See `VivitForVideoClassification`.
    gradient_checkpointing : bool
        Less memory for one more forward pass.
    model : dict
        Fields of `VivitConfig` by name, and ``"preset"``, the name of one of its presets.
    augmentation : dict
        Fields of `AugmentationParams` by name. A `crop_size` of ``"model"`` is the size of the model's frames, and a
        `min_resize` of ``"model"`` 8/7 of their longer side, as 256 is of 224 (`fitted_augmentation`).
    """

    epochs: int | None = None
    steps: int | None = None
    batch_size: int = 8
    accumulate: int = 1
    parallel: int = 1
    optimiser: str = "adamw"
    learning_rate: float = 1e-4
    weight_decay: float = 0.05
    momentum: float = 0.9
    beta1: float = 0.9
    beta2: float = 0.999
    warm_up: int | None = None
    warm_up_epochs: float | None = None
    schedule: str = "cosine"
    max_grad_norm: float | None = 1.0
    label_smoothing: float = 0.0
    mixup_alpha: float = 0.0
    freeze: tuple[str, ...] = ()
    layer_decay: float | None = None
    ema: float | None = None
    tubelet_init: str = "central_frame"
    position_init: str = "tile"
    validation_fraction: float = 0.2
    group_by: str | None = None
    validation_clips: int = 1000
    frame_sample_rate: int = 2
    validate_every: int | None = None
    checkpoint_every: int = 100
    seed: int = 0
    dtype: str = "float32"
    backend: str = "auto"
    gradient_checkpointing: bool = False
    model: dict[str, Any] = field(default_factory=dict)
    augmentation: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            check(name, getattr(self, name))
        if self.epochs is not None and self.steps is not None:
            raise InputError(f"epochs is {self.epochs} and steps is {self.steps}; give one of the two")
        if self.accumulate * self.parallel > self.batch_size:
            raise InputError(
                f"accumulate is {self.accumulate} and parallel is {self.parallel}, but a batch has {self.batch_size} "
                "clips; it cannot be cut into more pieces than it has clips"
            )
        self.augmentation_params()

    def augmentation_params(self) -> AugmentationParams | None:
        """The augmentations, or None where there are none."""
        known = {entry.name: entry.default for entry in dataclasses.fields(AugmentationParams)}
        for name, value in self.augmentation.items():
            if name not in known:
                raise InputError(f"augmentation has no setting {quoted(name)}; it has {', '.join(known)}")
            check_augmentation(name, value, known[name])
        values = {name: tuple(v) if isinstance(v, list) else v for name, v in self.augmentation.items()}
        return AugmentationParams(**values) if values else None  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        """All settings by name, ready for JSON."""
        return {**dataclasses.asdict(self), "freeze": list(self.freeze)}


LONGEST_DEFAULT_WARM_UP = 200


def warm_up_steps(settings: TrainingSettings, total_steps: int, steps_per_epoch: int | None = None) -> int:
    """How many updates the learning rate rises, in a training of `total_steps`.

    Of `warm_up_epochs`, a fraction of an update is dropped, as in scenic's configs.

    Raises
    ------
    InputError
        When the warm-up that was given would take all of the training.
    """
    if settings.warm_up is None and settings.warm_up_epochs is not None:
        if steps_per_epoch is None:
            raise InputError("the built-in data has no epochs: give warm_up in updates, and no warm_up_epochs")
        steps = int(settings.warm_up_epochs * steps_per_epoch)
        if steps >= total_steps:
            raise InputError(
                f"warm_up_epochs is {settings.warm_up_epochs:g}, {steps} steps, but the training has {total_steps}; "
                "give fewer, or a longer training"
            )
        return steps
    if settings.warm_up is None:
        return min(LONGEST_DEFAULT_WARM_UP, total_steps // 10)
    if settings.warm_up >= total_steps:
        raise InputError(
            f"warm_up is {settings.warm_up}, but the training has {total_steps} steps; give fewer, or leave it out for "
            "a tenth of the steps"
        )
    return settings.warm_up


# What `minivivit train motion` does when it is told nothing: the training of the bundled model.
MOTION_MODEL: dict[str, Any] = {
    "image_size": 32,
    "num_frames": 8,
    "tubelet_size": [4, 8, 8],
    "hidden_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 176,
    "initializer_range": 0.08,
}
MOTION_DEFAULTS: dict[str, Any] = {
    "steps": 4000,
    "batch_size": 64,
    "parallel": 2,
    "learning_rate": 1.5e-3,
    "validate_every": 500,
    "checkpoint_every": 250,
}
# What a folder is learned with: a model small enough for a laptop, and for a few hundred clips. Its learning rate is
# that of small models; with a preset, or a model to start from, the default is that of `TrainingSettings`.
FOLDER_MODEL: dict[str, Any] = {
    "image_size": 64,
    "num_frames": 8,
    "tubelet_size": [2, 16, 16],
    "hidden_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 192,
    "initializer_range": 0.08,
}
FOLDER_DEFAULTS: dict[str, Any] = {"epochs": 30}
FOLDER_LEARNING_RATE = 5e-4


def make_settings(data: str, given: Mapping[str, Any], fine_tuning: bool = False) -> TrainingSettings:
    """The settings of a training on `data`: those given, and defaults for the rest.

    Parameters
    ----------
    data : str
        The folder, or the word ``"motion"``: they have different defaults.
    given : mapping
        Names of attributes of `TrainingSettings`, and values.
    fine_tuning : bool
        Whether the training starts from a model, whose config is then the default. Otherwise it is `MOTION_MODEL` or
        `FOLDER_MODEL`, field by field, unless ``model`` names a preset.

    Raises
    ------
    InputError
        For an unknown name, and for a value that cannot be meant.
    """
    defaults = dict(MOTION_DEFAULTS if data == MOTION else FOLDER_DEFAULTS)
    model = given.get("model", {})
    check_model("model", model)
    if not fine_tuning and "preset" not in model:
        defaults.setdefault("learning_rate", FOLDER_LEARNING_RATE)
        model = {**(MOTION_MODEL if data == MOTION else FOLDER_MODEL), **model}
    if "steps" in given or "epochs" in given:
        defaults.pop("steps", None)
        defaults.pop("epochs", None)
    values = {**defaults, **given, "model": model}
    known = [entry.name for entry in dataclasses.fields(TrainingSettings)]
    for name in values:
        if name not in known:
            raise InputError(f"{quoted(name)} is no setting of a training; the settings are {', '.join(known)}")
    if data == MOTION and values.get("warm_up_epochs") is not None:
        raise InputError("the built-in data has no epochs, and no warm_up_epochs; give warm_up, a number of updates")
    if isinstance(values.get("freeze"), list):
        values["freeze"] = tuple(values["freeze"])
    if data == MOTION and values.get("group_by") is not None:
        raise InputError("the built-in data is no recordings: group_by is for folders and lists of clips")
    if data == MOTION and values.get("epochs") is not None:
        raise InputError("the built-in data never repeats and has no epochs; give steps")
    return TrainingSettings(**values)


def fitted_augmentation(settings: TrainingSettings, config: VivitConfig) -> TrainingSettings:
    """The settings with the sizes of this model where the augmentation says ``"model"``."""
    height, width = config.frame_size
    sizes = {"crop_size": [height, width], "min_resize": edge_before_crop(max(height, width))}
    fitted = {name: sizes[name] if value == "model" else value for name, value in settings.augmentation.items()}
    return dataclasses.replace(settings, augmentation=fitted)


def read_settings_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The settings in a JSON file: an object with the names of `TrainingSettings`, any of them left out."""
    return read_json(path)


def model_config(settings: TrainingSettings, classes: list[str], class_splits: list[int] | None = None) -> VivitConfig:
    """The config of a new model for `classes`, those of one head after the other where there are `class_splits`."""
    fields = dict(settings.model)
    preset = fields.pop("preset", None)
    if preset is not None:
        if not isinstance(preset, str) or preset not in PRESETS:
            raise InputError(f"model names the preset {quoted(preset)}; expected one of {', '.join(PRESETS)}")
        fields = {**PRESETS[preset], **fields}
        fields.pop("num_labels")
    labels = dict(enumerate(classes))
    return VivitConfig.from_dict(
        {**fields, "id2label": labels, "class_splits": class_splits, "problem_type": "single_label_classification"}
    )
