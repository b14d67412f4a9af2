"""One training of the ablations, from its start to its figures."""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from minivivit.checkpoints.image_model import init_from_image_model
from minivivit.files.atomic import make_directory
from minivivit.files.weights import SINGLE_FILE
from minivivit.models.classification import VivitForVideoClassification
from minivivit.training.checkpoints import MODEL_FILES, remove_temporaries
from minivivit.training.data.digests import file_digest
from minivivit.training.data.motion.batches import EVALUATION, TRAINING, MotionData, stream
from minivivit.training.data.motion.clips import MOTION_CLASSES
from minivivit.training.data.motion.stills import STILL_CLASSES, StillData
from minivivit.training.data.pixels import new_processor
from minivivit.training.data.wanted import Wanted, all_of_them
from minivivit.training.evaluation import measure
from minivivit.training.experiments.ablations import OTHER_CLIPS, Trial, file_name, trial_config, trial_settings
from minivivit.training.experiments.pools import PoolData, fresh_batches
from minivivit.training.loop import make_step
from minivivit.training.optimisers.freezing import trainable_names
from minivivit.training.run import Training, make_optimiser
from minivivit.training.settings import model_config

POOL = 3  # beside training, validation and evaluation: the stream that a seed's pools are drawn from
BATCH = 64  # clips that evaluation takes at once
# A model to start from takes this many times the steps of a trial: an image model is cheap, and slow to learn.
IMAGE_STEPS, OTHERS_STEPS = 8, 3
MOST_OF_THE_POOL = 1000  # on how many of its clips the accuracy in training is measured

# What moves, and not which way: the classes of the clips that a model to start from has seen.
WHAT_MOVES = tuple(
    f"{first} or {second}" for first, second in zip(MOTION_CLASSES[::2], MOTION_CLASSES[1::2], strict=True)
)
IMAGE = "image_model"


class WhatMoves(MotionData):
    """Motion clips without end, labelled with the indices of `WHAT_MOVES`."""

    def training_batch(
        self, step: int, batch_size: int, rng: numpy.random.Generator, wanted: Wanted = all_of_them
    ) -> tuple[list[numpy.ndarray], numpy.ndarray]:
        """As its parent's, with half as many classes."""
        clips, labels = super().training_batch(step, batch_size, rng, wanted)
        return clips, labels // 2


@dataclass(frozen=True)
class Job:
    """What `run_trial` and `run_start` need to know.

    Attributes
    ----------
    trial : Trial
        Of a model to start from, the first trial that needs it.
    seed : int
    steps : int
        Of a trial.
    clips : int
        On how many fresh ones accuracy is measured.
    starts : Path
        Where the models to start from are.
    """

    trial: Trial
    seed: int
    steps: int
    clips: int
    starts: Path


def start_name(trial: Trial) -> str | None:
    """The model that a trial starts from; None from scratch."""
    if trial.start == "scratch":
        return None
    return others_name(trial.model) if trial.start == OTHER_CLIPS else IMAGE


def others_name(model: str) -> str:
    """The model of this kind that has seen other clips."""
    return f"{OTHER_CLIPS}_{file_name(model)}"


def run_start(job: Job, report: Callable[[Any], None]) -> dict[str, Any]:
    """Train the model that a trial starts from, on clips without end, and leave it in ``starts/NAME``.

    The image model sees single frames and learns where the glyph is and how large (`STILL_CLASSES`). The other one has
    the trial's own shape, and learns what moves (`WHAT_MOVES`).

    Returns
    -------
    dict
        ``accuracy`` on fresh clips, and ``weights_sha256``, the digest of the file with the weights.
    """
    name = start_name(job.trial)
    assert name is not None
    trial = Trial(job.trial.model, job.trial.pool)  # of 32 x 32 pixels, without regularisers
    times = IMAGE_STEPS if name == IMAGE else OTHERS_STEPS
    settings = trial_settings(trial, times * job.steps, seed=0)
    if name == IMAGE:
        fields = {**settings.model, "attention_type": "spatio_temporal", "num_frames": 1, "num_sampled_frames": 1}
        height, width = settings.model["tubelet_size"][1:]
        fields |= {"temporal_encoding": "frame_sampling", "tubelet_size": [1, height, width]}
        settings = dataclasses.replace(settings, model=fields)
    classes, kind = (STILL_CLASSES, StillData) if name == IMAGE else (WHAT_MOVES, WhatMoves)
    config = model_config(settings, list(classes))
    model = VivitForVideoClassification(config, seed=0, dtype="float32", backend="numpy")
    data = kind(config, seed=0, validation_clips=0)
    training = new_training(settings, data, model)
    finish(training, report)
    output = job.starts / name
    make_directory(output)
    remove_temporaries(output, *MODEL_FILES)
    model.save_pretrained(output)
    rng, count = stream(0, EVALUATION), range(0, job.clips, BATCH)
    measured = measure(model, training.processor, (data.training_batch(0, BATCH, rng) for _ in count))
    return {"accuracy": measured.accuracy, "weights_sha256": file_digest(output / SINGLE_FILE)}


def run_trial(job: Job, report: Callable[[Any], None]) -> dict[str, Any]:
    """Train one, and measure it on the clips that it has seen and on fresh ones.

    Trials of one seed share their pools and their fresh clips, and a larger pool begins with another draw than a
    smaller one. The figures are those after the last step: none is chosen.

    Returns
    -------
    dict
        ``accuracy`` and ``loss`` on fresh clips, ``pool_accuracy`` and ``pool_loss`` on (up to 1,000 of) those of the
        pool, not augmented, and ``seconds`` of the training.
    """
    trial, seed = job.trial, job.seed
    settings = trial_settings(trial, job.steps, seed)
    config = trial_config(trial)
    model = VivitForVideoClassification(config, seed=seed, dtype="float32", backend="numpy")
    if trial.start != "scratch":
        _start(model, trial, job.starts)
    rng = numpy.random.default_rng([seed, POOL, trial.pool])
    pool = PoolData(config, rng, trial.pool, settings.batch_size, job.steps, settings.augmentation_params())
    training = new_training(settings, pool, model)
    begun = time.perf_counter()
    finish(training, report)
    seconds = time.perf_counter() - begun
    fresh = measure(model, training.processor, fresh_batches(config, stream(seed, EVALUATION), job.clips, BATCH))
    known = measure(model, training.processor, pool.as_they_are(BATCH, MOST_OF_THE_POOL))
    return {
        "accuracy": fresh.accuracy,
        "loss": fresh.loss,
        "pool_accuracy": known.accuracy,
        "pool_loss": known.loss,
        "seconds": seconds,
    }


def _start(model: VivitForVideoClassification, trial: Trial, starts: Path) -> None:
    """Give the model the weights that it starts from; the head, and what its source lacks, stay as they were drawn."""
    name = start_name(trial)
    assert name is not None
    kernel = "central_frame" if trial.start == OTHER_CLIPS else trial.start
    position = "tile" if trial.size == 32 else "resize_tile"
    init_from_image_model(model, starts / name, tubelet_init=kernel, position_init=position)


def new_training(settings: Any, data: MotionData, model: VivitForVideoClassification) -> Training:
    """A training that keeps nothing on disk."""
    names = trainable_names(model.state_dict(), settings.freeze)
    optimiser = make_optimiser(model, names, settings)
    processor, rng = new_processor(model.config), stream(settings.seed, TRAINING)
    return Training(settings, data, model, processor, names, optimiser, rng, Path(), None)


def finish(training: Training, report: Callable[[Any], None]) -> None:
    """Make all its steps."""
    with numpy.errstate(all="ignore"):  # an overflow is looked for, and named, by make_step
        while training.step < training.total_steps:
            make_step(training)
            report(1)
