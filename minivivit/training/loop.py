"""The loop: draw a batch, go forward and backward, update; now and then validate and save."""

import math
import sys
from collections.abc import MutableMapping
from typing import Any

import numpy
from tqdm import tqdm

from minivivit.backend import Array
from minivivit.files.atomic import naming_errors
from minivivit.progress import Bar, counted, is_terminal, progress_bar, say
from minivivit.training.accumulation import BatchResult, batch_gradients
from minivivit.training.curves import CURVES_FILE, draw_curves
from minivivit.training.data.pixels import to_pixel_values
from minivivit.training.evaluation import Measurement, measure_shared
from minivivit.training.interruption import Interruption
from minivivit.training.log import read_log
from minivivit.training.nan_hunt import hunt
from minivivit.training.optimisers.clipping import clip_by_global_norm, global_norm
from minivivit.training.parallel.parts import batch_parts, rows_of
from minivivit.training.regularisation.label_smoothing import one_hot
from minivivit.training.regularisation.mixup import mixed, mixup_weight
from minivivit.training.run import LOG_FILE, Training


def train(training: Training) -> bool:
    """Train until the end, or until Ctrl-C.

    Returns
    -------
    bool
        Whether the end was reached. If not, the last checkpoint is from the moment of the interruption.

    Raises
    ------
    NonFiniteError
        When a loss or a gradient is NaN or infinite; the update is not made.
    """
    settings, total, ranks = training.settings, training.total_steps, training.ranks
    saved_step = training.step
    with Interruption() as interruption, _progress_bar(training) as bar, numpy.errstate(all="ignore"):
        # An overflow is looked for, and named, by make_step. (warnings.catch_warnings would act on every thread.)
        while training.step < total and not any(ranks.gathered(interruption.requested)):
            figures = make_step(training)
            training.write_log(step=training.step, **figures)
            _show(bar, figures)
            is_best = False
            if training.step % training.validate_every == 0 or training.step == total:
                is_best = validate(training, bar)
            if is_best or training.step % settings.checkpoint_every == 0 or training.step == total:
                training.save(is_best)
                saved_step = training.step
        if training.step != saved_step:
            training.save()
    ranks.from_first(lambda: _draw_curves(training))
    return training.step == total


def _draw_curves(training: Training) -> None:
    log, curves = training.output / LOG_FILE, training.output / CURVES_FILE
    with naming_errors(curves):
        draw_curves(read_log(log) if log.exists() else [], curves)


def make_step(training: Training) -> dict[str, Any]:
    """One update. Returns its loss, accuracy, learning rate and the norm of its gradient before clipping."""
    settings, rng, model = training.settings, training.rng, training.model
    pixel_values, targets = training.ranks.together(lambda: _batch(training))
    generator_state = rng.bit_generator.state
    result = _gradients(training, pixel_values, targets)
    max_norm = settings.max_grad_norm
    norm = global_norm(result.gradients) if max_norm is None else clip_by_global_norm(result.gradients, max_norm)

    # AdamW squares the gradient. What overflows there is infinite ever after, and stops a parameter in silence.
    largest_norm = math.sqrt(numpy.finfo(model.dtype).max) if max_norm is None else math.inf
    if not math.isfinite(result.loss) or not norm < largest_norm:

        def run_again(store: MutableMapping[str, Array]) -> dict[str, Array]:
            rng.bit_generator.state = generator_state
            return _gradients(training, pixel_values, targets, store).gradients

        symptom = f"the gradient's norm is {norm}"
        if not math.isfinite(result.loss):
            symptom = f"the loss is {result.loss}"
        elif math.isfinite(norm):
            symptom += f", whose square is beyond {model.dtype}"
        raise hunt(training.step + 1, symptom, model.state_dict(), run_again, training.ranks)

    rate = training.rate(training.step)
    training.optimiser.step(result.gradients, rate)
    training.step += 1
    truth = targets if targets.ndim == 1 else targets.argmax(axis=-1)  # mixed clips count as what they are most of
    right = result.logits.argmax(axis=-1) == truth[_own_clips(training, len(truth))]
    accuracy = training.ranks.total([right.sum()])[0] / len(truth)
    return {"loss": result.loss, "accuracy": accuracy, "learning_rate": rate, "gradient_norm": norm}


def _batch(training: Training) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The pixel values of this rank's clips, and the targets of the whole batch."""
    settings, rng = training.settings, training.rng
    mixes = settings.mixup_alpha > 0

    def wanted(count: int) -> list[int]:
        own = _own_clips(training, count)
        return sorted({*own, *(count - 1 - clip for clip in own)}) if mixes else own

    clips, labels = training.data.training_batch(training.step, settings.batch_size, rng, wanted)
    if not clips:
        pixel_values = numpy.empty((0, 1), dtype=numpy.float32)
    else:
        pixel_values = to_pixel_values(clips, training.processor, training.clips_are_cut)
    if not mixes:
        return pixel_values, labels
    weight, count = mixup_weight(rng, settings.mixup_alpha), len(labels)
    place = {clip: index for index, clip in enumerate(wanted(count))}
    own, counterparts = (
        pixel_values[[place[clip] for clip in clips]]
        for clips in (_own_clips(training, count), [count - 1 - clip for clip in _own_clips(training, count)])
    )
    rows = one_hot(labels, training.model.config.num_labels, "float32")
    return mixed(own, counterparts, weight), mixed(rows, rows[::-1], weight)


def _own_clips(training: Training, count: int) -> list[int]:
    """Which clips of a batch of so many this rank computes: all, where there are no others."""
    settings, ranks = training.settings, training.ranks
    return rows_of(batch_parts(count, settings.accumulate * settings.parallel, ranks.rank, ranks.size))


def _gradients(
    training: Training,
    pixel_values: numpy.ndarray,
    targets: numpy.ndarray,
    store: MutableMapping[str, Array] | None = None,
) -> BatchResult:
    settings = training.settings
    return batch_gradients(
        training.model,
        pixel_values,
        targets,
        training.names,
        accumulate=settings.accumulate,
        parallel=settings.parallel,
        label_smoothing=settings.label_smoothing,
        rng=training.rng,
        gradient_checkpointing=settings.gradient_checkpointing,
        store=store,
        ranks=training.ranks,
    )


def validate(training: Training, bar: tqdm) -> bool:
    """Measure the model on the validation clips, and log it. Returns whether it is the best so far.

    Better is the higher accuracy, and of equal ones the lower loss. Without validation clips the latest is the best.
    """
    settings = training.settings
    batch_size = max(1, settings.batch_size // settings.accumulate)
    with progress_bar(training.data.num_validation_clips, "validation", "clip") as clips_bar:
        batches = counted(training.data.validation_batches(batch_size, training.ranks.turns), clips_bar)
        measured = measure_shared(training.model, training.processor, batches, training.ranks)
    if measured.count == 0:
        training.best = None
        return True
    is_best = training.best is None or _rank(measured) > (training.best["accuracy"], -training.best["loss"])
    if is_best:
        training.best = {"step": training.step, "accuracy": measured.accuracy, "loss": measured.loss}
    training.write_log(step=training.step, validation_loss=measured.loss, validation_accuracy=measured.accuracy)
    say(
        bar,
        f"step {training.step}/{training.total_steps}: validation accuracy {measured.accuracy:.4f}, "
        f"loss {measured.loss:.4f}",
    )
    return is_best


def _rank(measured: Measurement) -> tuple[float, float]:
    return measured.accuracy, -measured.loss


def _progress_bar(training: Training) -> tqdm:
    """On standard error, and only if that is a terminal."""
    return Bar(
        total=training.total_steps,
        initial=training.step,
        desc="training",
        unit="step",
        file=sys.stderr,
        disable=not is_terminal(sys.stderr),
        dynamic_ncols=True,
    )


def _show(bar: tqdm, figures: dict[str, Any]) -> None:
    bar.set_postfix(loss=f"{figures['loss']:.3f}", accuracy=f"{figures['accuracy']:.2f}", refresh=False)
    bar.update()
