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
from minivivit.training.evaluation import Measurement, all_heads_agree, measure_shared, most_probable, one_hot_heads
from minivivit.training.interruption import Interruption
from minivivit.training.log import read_log
from minivivit.training.nan_hunt import hunt
from minivivit.training.optimisers.averaging import average_decay, update_average
from minivivit.training.optimisers.clipping import clip_by_global_norm, global_norm
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
    with (
        training.reading_ahead(),
        Interruption() as interruption,
        _progress_bar(training) as bar,
        numpy.errstate(all="ignore"),
    ):
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
    pixel_values, targets, truth = training.ranks.together(lambda: _batch(training))
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
    if training.averaged is not None and settings.ema is not None:
        decay = average_decay(training.step, settings.ema)
        update_average(training.averaged.state_dict(), model.state_dict(), decay)
    right = all_heads_agree(most_probable(result.logits, model.config), truth[training.own_clips(len(truth))])
    accuracy = training.ranks.total([right.sum()])[0] / len(truth)
    return {"loss": result.loss, "accuracy": accuracy, "learning_rate": rate, "gradient_norm": norm}


def _batch(training: Training) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """The pixel values of this rank's clips; of the whole batch the targets, and the classes that count as right."""
    settings, config = training.settings, training.model.config
    clips, labels = training.next_batch()
    pixel_values = numpy.empty((0, 1), dtype=numpy.float32)
    if clips:
        pixel_values = to_pixel_values(clips, training.processor, training.clips_are_cut)
    if not settings.mixup_alpha:
        return pixel_values, labels, labels
    weight = mixup_weight(training.rng, settings.mixup_alpha)
    place = {clip: index for index, clip in enumerate(training.wanted_clips(len(labels)))}
    own = training.own_clips(len(labels))
    counterparts = pixel_values[[place[len(labels) - 1 - clip] for clip in own]]
    pixel_values = mixed(pixel_values[[place[clip] for clip in own]], counterparts, weight)
    rows = one_hot_heads(labels, config, "float32")
    targets = mixed(rows, rows[::-1], weight)
    return pixel_values, targets, most_probable(targets, config)  # mixed clips count as what they are most of


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

    Where an average of the weights is kept, the model is that of the average.

    Better is the higher accuracy, and of equal ones the lower loss. Without validation clips the latest is the best.
    """
    settings = training.settings
    with progress_bar(training.data.num_validation_clips, "validation", "clip") as clips_bar:
        batches = training.data.validation_batches(settings.batch_size, settings.accumulate, training.ranks.turns)
        model = training.averaged or training.model
        measured = measure_shared(model, training.processor, counted(batches, clips_bar), training.ranks)
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
