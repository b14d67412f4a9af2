"""The paper's variants side by side: trained by one rule, at one size, on one stream of clips, and measured alike.

Table 2 compares the paper's four models and its average-pool baseline, trained from scratch; Table 1 the input
encodings, in Model 1 started from an image model (section 3.4). The numbers of the tables are the paper's.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from minivivit.checkpoints.image_model import init_from_image_model
from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.files.atomic import make_directory
from minivivit.files.weights import SINGLE_FILE
from minivivit.models.classification import VivitForVideoClassification
from minivivit.models.counting import count, total
from minivivit.training.checkpoints import MODEL_FILES, remove_temporaries
from minivivit.training.data.digests import file_digest
from minivivit.training.data.motion.batches import EVALUATION, TRAINING, MotionData, motion_clip_size, stream
from minivivit.training.data.motion.clips import MOTION_CLASSES, shuffle_frames
from minivivit.training.data.motion.stills import STILL_CLASSES, StillData
from minivivit.training.data.pixels import new_processor
from minivivit.training.evaluation import Measurement, measure
from minivivit.training.experiments.own_process import peak_memory
from minivivit.training.lock import locked
from minivivit.training.log import Log
from minivivit.training.loop import make_step
from minivivit.training.optimisers.freezing import trainable_names
from minivivit.training.run import LOG_FILE, Training, make_optimiser
from minivivit.training.setting_checks import check_dict
from minivivit.training.settings import (
    MOTION,
    MOTION_MODEL,
    TrainingSettings,
    make_settings,
    model_config,
    warm_up_steps,
)

BATCH = 64  # clips that evaluation takes at once

# Like the paper's ViViT-B/16x2: tubelets of two frames, and in Model 2 a temporal layer for every three spatial ones
# (rounded up).
VARIANT_MODEL: dict[str, Any] = {**MOTION_MODEL, "tubelet_size": [2, 8, 8], "num_temporal_layers": 2}
VARIANT_DEFAULTS: dict[str, Any] = {"steps": 650, "backend": "numpy"}
LONGEST_DEFAULT_WARM_UP = 65  # of all variants alike, whatever the steps that the image model takes
# The image model, whose steps are cheap, takes this many times the steps of a variant.
IMAGE_STEPS = 3


@dataclass(frozen=True)
class Variant:
    """One row of a table.

    Attributes
    ----------
    name : str
        Of the row, and of the directory with the trained model.
    model : dict
        The fields of `VivitConfig` that set it apart.
    start : str
        ``"scratch"``; or how the tubelet kernel is made from that of the image model, whose other weights are taken
        over: ``"copy"`` (frame sampling), ``"random"`` (not at all), ``"filter_inflation"`` or ``"central_frame"``.
    paper : float, optional
        Its top-1 accuracy in the paper, in percent: ViViT-B on Kinetics 400.
    """

    name: str
    model: dict[str, Any]
    start: str
    paper: float | None


IMAGE_MODEL = Variant("image_model", {"temporal_encoding": "frame_sampling"}, "scratch", None)
ENCODINGS = (
    Variant("frame_sampling", {"temporal_encoding": "frame_sampling"}, "copy", 78.5),
    Variant("tubelets_random", {}, "random", 73.2),
    Variant("tubelets_filter_inflation", {}, "filter_inflation", 77.6),
    Variant("tubelets_central_frame", {}, "central_frame", 79.2),
)
MODELS = (
    Variant("spatio_temporal", {"attention_type": "spatio_temporal"}, "scratch", 80.0),
    Variant("factorised_encoder", {"attention_type": "factorised_encoder"}, "scratch", 78.8),
    Variant("factorised_self_attention", {"attention_type": "factorised_self_attention"}, "scratch", 77.4),
    Variant("factorised_dot_product", {"attention_type": "factorised_dot_product"}, "scratch", 76.3),
    Variant("average_pool", {"attention_type": "factorised_encoder", "spatial_only_baseline": True}, "scratch", 75.8),
)
# In the order in which they are trained: the encodings need the image model.
VARIANTS = (*MODELS, IMAGE_MODEL, *ENCODINGS)
# What tells the variants apart, so that no setting of all of them can say it.
DECIDED = ("attention_type", "spatial_only_baseline", "temporal_encoding", "num_sampled_frames", "classifier", "preset")


def variant_settings(given: Mapping[str, Any]) -> TrainingSettings:
    """The settings that all variants are trained with: those given, and defaults for the rest.

    Parameters
    ----------
    given : mapping
        Names of attributes of `TrainingSettings`, and values.

    Raises
    ------
    InputError
        For a value that cannot be meant, and for one that is not the same for all variants.
    """
    model = given.get("model", {})
    check_dict("model", model)
    for name in DECIDED:
        if name in model:
            raise InputError(f"model sets {name}, but the variants decide that; leave it out")
    settings = make_settings(MOTION, {**VARIANT_DEFAULTS, **given, "model": {**VARIANT_MODEL, **model}})
    if settings.steps is None:
        raise InputError("there is no number of steps; give how many updates each variant takes")
    warm_up = warm_up_steps(settings, settings.steps)
    if settings.warm_up is None:
        warm_up = min(warm_up, LONGEST_DEFAULT_WARM_UP)
    settings = dataclasses.replace(settings, warm_up=warm_up)
    if settings.backend != "numpy":
        raise InputError(f"backend is {settings.backend!r}; the variants are compared on the CPU: leave it out")
    for variant in VARIANTS:
        motion_clip_size(variant_config(variant, settings))
    return settings


def variant_steps(variant: Variant, settings: TrainingSettings) -> int:
    """How many updates a variant takes."""
    assert settings.steps is not None  # the built-in data has no epochs
    return settings.steps * (IMAGE_STEPS if variant == IMAGE_MODEL else 1)


def variant_config(variant: Variant, settings: TrainingSettings) -> VivitConfig:
    """The config of a variant. Frame sampling takes as many frames as there are tubelets over time, as in the paper."""
    common = model_config(settings, list(MOTION_CLASSES))
    depth, height, width = common.tubelet_size
    fields = {**settings.model, **variant.model}
    if fields.get("temporal_encoding") == "frame_sampling":
        fields.update(tubelet_size=[1, height, width], num_sampled_frames=common.num_frames // depth)
    if variant == IMAGE_MODEL:
        fields.update(num_frames=1, num_sampled_frames=1)
    classes = STILL_CLASSES if variant == IMAGE_MODEL else MOTION_CLASSES
    return model_config(dataclasses.replace(settings, model=fields), list(classes))


# --------------------------------------------------------------------------------------------------------------------
# Training one of them
# --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """What `train_variant` needs to know.

    Attributes
    ----------
    variant : Variant
    settings : TrainingSettings
        Of all variants (`variant_settings`).
    output : Path
        Where each variant has a directory of its own.
    clips : int
        On how many fresh ones accuracies are measured.
    """

    variant: Variant
    settings: TrainingSettings
    output: Path
    clips: int


def train_variant(job: Job, report: Callable[[dict[str, float]], None]) -> dict[str, Any]:
    """Train a variant from its beginning to its end, and measure it; the model is left in ``output/NAME``.

    Memory is that of the whole process, so call it in one of its own (`run_in_own_process`).

    Parameters
    ----------
    job : Job
    report : callable
        Called after each step with its figures (`make_step`).

    Returns
    -------
    dict
        The row: ``name``, ``start``, ``steps``, ``accuracy``, ``accuracy_shuffled`` (frames in random order; None for
        the image model), ``loss`` (the mean over the clips that the accuracy is of), ``parameters``,
        ``multiply_accumulates``, ``seconds_per_step`` (the median; a step draws its clips, goes forward and backward,
        and updates), ``peak_memory_bytes`` (by how much the process's peak has grown from before the model was made to
        the last step; None where the system does not say), ``paper``, ``weights_sha256`` (of the file with the
        weights).

    Raises
    ------
    InputError
        When the process of a comparison that was killed is still at work there.
    """
    with locked(job.output / job.variant.name):
        return _train_and_measure(job, report)


def _train_and_measure(job: Job, report: Callable[[dict[str, float]], None]) -> dict[str, Any]:
    before = peak_memory()
    training = begin_variant(job)
    seconds = []
    with numpy.errstate(all="ignore"):  # overflow is looked for, and named, by make_step
        while training.step < training.total_steps:
            start = time.perf_counter()
            figures = make_step(training)
            seconds.append(time.perf_counter() - start)
            training.write_log(step=training.step, **figures)
            report(figures)
    peak = peak_memory()
    training.model.save_pretrained(training.output)
    training.processor.save_pretrained(training.output)
    measured = _measure(training, job.clips, shuffled=False)
    shuffled = None if job.variant == IMAGE_MODEL else _measure(training, job.clips, shuffled=True)
    return {
        "name": job.variant.name,
        "start": job.variant.start,
        "steps": training.total_steps,
        "accuracy": measured.accuracy,
        "accuracy_shuffled": None if shuffled is None else shuffled.accuracy,
        "loss": measured.loss,
        **total(count(training.model.config)),
        "seconds_per_step": statistics.median(seconds),
        "peak_memory_bytes": None if peak is None or before is None else peak - before,
        "paper": job.variant.paper,
        "weights_sha256": file_digest(training.output / SINGLE_FILE),
    }


def begin_variant(job: Job) -> Training:
    """The training of a variant at step 0. From the same seed, all variants get the same clips in the same order."""
    settings = dataclasses.replace(job.settings, steps=variant_steps(job.variant, job.settings))
    output = job.output / job.variant.name
    config = variant_config(job.variant, settings)
    model = VivitForVideoClassification(config, dtype=settings.dtype, backend=settings.backend, seed=settings.seed)
    if job.variant.start != "scratch":
        start_from_image_model(model, job.output / IMAGE_MODEL.name, job.variant.start)
    kind = StillData if job.variant == IMAGE_MODEL else MotionData
    data = kind(config, settings.seed, settings.validation_clips)
    names = trainable_names(model.state_dict(), settings.freeze)
    optimiser = make_optimiser(model, names, settings)
    make_directory(output)
    remove_temporaries(output, *MODEL_FILES)
    log, rng = Log(output / LOG_FILE), stream(settings.seed, TRAINING)
    return Training(settings, data, model, new_processor(config), names, optimiser, rng, output, log)


def start_from_image_model(model: VivitForVideoClassification, directory: Path, start: str) -> None:
    """Give `model` the weights of the image model in `directory`, with the tubelet kernel as `start` says.

    With ``"random"`` the embedding's kernel and bias keep the values that they were drawn with, and everything else
    comes from the image model; that is how we read the paper's "random initialisation" of the tubelet embedding.
    """
    own = {name: array.copy() for name, array in model.state_dict().items() if "patch_embeddings" in name}
    method = start if start == "filter_inflation" else "central_frame"
    init_from_image_model(model, directory, tubelet_init=method)
    if start == "random":
        model.load_state_dict({**model.state_dict(), **own})


def _measure(training: Training, clips: int, shuffled: bool) -> Measurement:
    """How the trained model does on fresh clips: those of ``minivivit evaluate``, in the same random order."""
    rng = stream(training.settings.seed, EVALUATION)

    def batches() -> Iterator[tuple[list[numpy.ndarray], numpy.ndarray]]:
        for first in range(0, clips, BATCH):
            frames, labels = training.data.training_batch(0, min(BATCH, clips - first), rng)
            yield [shuffle_frames(rng, clip[None])[0] if shuffled else clip for clip in frames], labels

    return measure(training.model, training.processor, batches())
