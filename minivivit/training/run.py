"""A training: the model, the data, the optimiser, and how far they have come; begun anew or taken up again."""

import copy
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy

from minivivit.backend import to_numpy
from minivivit.checkpoints.image_model import init_from_image_model
from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.files.atomic import make_directory
from minivivit.files.tensor_data import listed, reason_of
from minivivit.models.classification import VivitForVideoClassification
from minivivit.training.checkpoints import (
    AVERAGED,
    LAST,
    check_files,
    check_unused,
    generator_from_state,
    load_optimiser,
    read_clips,
    read_state,
    remove_temporaries,
    settle,
    write_checkpoint,
)
from minivivit.training.curves import CURVES_FILE
from minivivit.training.data.clip_data import Batch, ClipData
from minivivit.training.data.clip_folders import ClipFolders, find_folders
from minivivit.training.data.damage import check_clips
from minivivit.training.data.digests import clip_digests, differences
from minivivit.training.data.folders import FolderData
from minivivit.training.data.lists.listed_clips import ListData, ListedClips, find_listed
from minivivit.training.data.motion.batches import TRAINING, MotionData, check_motion_labels, stream
from minivivit.training.data.motion.clips import MOTION_CLASSES
from minivivit.training.data.pixels import new_processor
from minivivit.training.data.recordings import recording_notes
from minivivit.training.fine_tuning import model_with_new_head
from minivivit.training.log import Log
from minivivit.training.optimisers.adamw import AdamW
from minivivit.training.optimisers.decay import decays
from minivivit.training.optimisers.freezing import trainable_names
from minivivit.training.optimisers.layer_decay import layer_scales
from minivivit.training.optimisers.schedules import learning_rate
from minivivit.training.optimisers.sgd import SGD
from minivivit.training.parallel.parts import clips_of
from minivivit.training.parallel.ranks import ALONE, Ranks
from minivivit.training.settings import (
    MOTION,
    SCHEDULES,
    TrainingSettings,
    fitted_augmentation,
    model_config,
    warm_up_steps,
)
from minivivit.video.clip_processor import ClipProcessor
from minivivit.video.default_processor import load_processor

LOG_FILE = "log.jsonl"
OWN_FILES = (LOG_FILE, CURVES_FILE)  # beside the checkpoints


@dataclass
class Training:
    """Everything that a training is made of.

    Attributes
    ----------
    settings : TrainingSettings
    data : MotionData or ClipData
    model, processor
    names : list of str
        The parameters that are trained.
    optimiser : AdamW or SGD
    rng : numpy.random.Generator
        All draws of the training but the first values, the split, the order of the epochs and what is drawn of clips on
        disk (`ClipData`), which depend on the seed and the step alone.
    output : Path
        Where checkpoints and log go.
    log : Log
    step : int
        How many updates have been made.
    best : dict, optional
        ``step``, ``accuracy`` and ``loss`` of the best validation so far.
    origin : dict
        For the record: where data and first model come from.
    files : dict
        The digests of the files of the last checkpoint (`write_checkpoint`).
    notes : list of str
        What the user may not expect.
    averaged : VivitForVideoClassification, optional
        The model with the average of the weights, where one is kept.
    batches : iterator, optional
        The batches of the steps that come, while they are read ahead.
    ranks : Ranks
        The processes that share each batch. A training is opened by one of them; the others get a copy, which writes
        nothing.
    """

    settings: TrainingSettings
    data: MotionData | ClipData
    model: VivitForVideoClassification
    processor: ClipProcessor
    names: list[str]
    optimiser: AdamW | SGD
    rng: numpy.random.Generator
    output: Path
    log: Log | None
    step: int = 0
    best: dict[str, Any] | None = None
    origin: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    averaged: VivitForVideoClassification | None = None
    batches: Iterator[Batch] | None = None
    ranks: Ranks = ALONE

    def __getstate__(self) -> dict[str, Any]:
        """For another process: all but the log."""
        return {**vars(self), "log": None}

    def own_clips(self, count: int) -> list[int]:
        """Which clips of a batch of so many this rank computes: all, where there are no others."""
        return list(clips_of(self.ranks.rank, self.ranks.size, count))

    def wanted_clips(self, count: int) -> list[int]:
        """Which it needs: with mixup, those too that its own are mixed with."""
        own = self.own_clips(count)
        return sorted({*own, *(count - 1 - clip for clip in own)}) if self.settings.mixup_alpha else own

    @contextmanager
    def reading_ahead(self) -> Iterator[None]:
        """Meanwhile the batch of the next step is read while a step is made."""
        batches = self.data.training_batches(
            self.step, self.total_steps, self.settings.batch_size, self.rng, self.wanted_clips
        )
        with closing(batches):
            self.batches = batches
            try:
                yield
            finally:
                self.batches = None

    def next_batch(self) -> Batch:
        """The clips of the next step that are wanted here, and all labels."""
        if self.batches is not None:
            return next(self.batches)
        return self.data.training_batch(self.step, self.settings.batch_size, self.rng, self.wanted_clips)

    @property
    def total_steps(self) -> int:
        """How many updates the training is made of."""
        return _total_steps(self.settings, self.data)

    @property
    def validate_every(self) -> int:
        """Updates between two validations."""
        return self.settings.validate_every or self.data.steps_per_epoch or self.total_steps

    @property
    def clips_are_cut(self) -> bool:
        """Whether the augmentation cuts the clips to the model's size."""
        size, params = self.model.config.frame_size, self.settings.augmentation_params()
        crop = None if params is None else params.crop_size
        return crop == size or (crop, crop) == size

    def rate(self, step: int) -> float:
        """The learning rate of the update after `step` others."""
        return learning_rate(
            step,
            base_learning_rate=self.settings.learning_rate,
            factors=SCHEDULES[self.settings.schedule],
            warmup_steps=warm_up_steps(self.settings, self.total_steps, self.data.steps_per_epoch),
            total_steps=self.total_steps,
        )

    def write_log(self, **values: Any) -> None:
        """Append a line to the log; the first rank does."""

        def write() -> None:
            assert self.log is not None
            self.log.write(**values)

        self.ranks.from_first(write)

    def save(self, is_best: bool = False, clips: Mapping[str, str] | None = None) -> None:
        """Write a checkpoint of this moment: the last one, and the best one too if `is_best`.

        Of several ranks the first one writes, once it is sure that all have come to the same weights.

        Parameters
        ----------
        is_best : bool
        clips : mapping, optional
            The digests of the clips, with the first checkpoint.

        Raises
        ------
        InputError
            When they have not; on all ranks, as is what goes wrong while the first one writes.
        """
        self._check_ranks_agree()
        self.files = self.ranks.from_first(lambda: self._write(is_best, clips))

    def _check_ranks_agree(self) -> None:
        if self.ranks.size == 1:
            return
        digest = hashlib.sha256(repr(self.rng.bit_generator.state).encode())
        for array in self.model.state_dict().values():
            digest.update(numpy.ascontiguousarray(to_numpy(array)).data)
        digests = self.ranks.gathered(digest.digest())
        others = [rank for rank, found in enumerate(digests) if found != digests[0]]
        if others:
            raise InputError(
                f"after step {self.step} the weights in process {others[0]} of {self.ranks.size} are not those in "
                "process 0, though all made the same updates: is a machine or its memory faulty, or a GPU of another "
                "model? Go on from the last checkpoint with --resume"
            )

    def _write(self, is_best: bool, clips: Mapping[str, str] | None) -> dict[str, str]:
        assert self.log is not None
        epoch, position = divmod(self.step, self.data.steps_per_epoch) if self.data.steps_per_epoch else (0, self.step)
        log_length, log_digest = self.log.sync()
        state = {
            "step": self.step,
            "epoch": epoch,
            "position": position,
            "generator": self.rng.bit_generator.state,
            "log_length": log_length,
            "log_digest": log_digest,
            "best": self.best,
            "settings": self.settings.to_dict(),
            "origin": self.origin,
        }
        return write_checkpoint(
            self.output,
            self.model,
            self.processor,
            self.optimiser,
            state,
            is_best=is_best,
            earlier=self.files,
            clips=clips,
            averaged=self.averaged,
        )


def begin_training(
    data: str,
    settings: TrainingSettings,
    output: Path,
    initial_model: str | None = None,
    validation: str | None = None,
    skip_damaged: bool = False,
    root: str | None = None,
    labels: str | None = None,
    image_model: str | None = None,
) -> Training:
    """A new training on `data`, the word ``"motion"``, a folder or a list, with its first checkpoint written.

    Parameters
    ----------
    data : str
    settings : TrainingSettings
    output : Path
        Made if it is not there.
    initial_model : str, optional
        A model directory to start from; its head is drawn anew unless it has just the classes of the data.
    validation : str, optional
        A folder with the same classes, to validate on (`find_folders`), or a list (`find_listed`).
    skip_damaged : bool
        Leave out clips that cannot be used, and go on.
    root, labels : str, optional
        Of lists: where their paths begin, and a file with the names of the classes.
    image_model : str, optional
        An image model, or another video model, to start from (`init_from_image_model`), in place of `initial_model`.

    Raises
    ------
    InputError
        When data, settings and model do not go together, a clip cannot be read, or `output` holds anything under a
        name that the training would write to. Then nothing is written.
    """
    check_unused(output, OWN_FILES if settings.ema is None else (*OWN_FILES, AVERAGED))
    notes: list[str] = []
    folders = _find_clips(data, validation, root, labels)
    classes = list(MOTION_CLASSES) if folders is None else folders.classes
    splits = None if folders is None else folders.class_splits
    if initial_model is None:
        config = model_config(settings, classes, splits)
        model = VivitForVideoClassification(config, dtype=settings.dtype, backend=settings.backend, seed=settings.seed)
        if image_model is not None:
            tubelet_init, position_init = settings.tubelet_init, settings.position_init
            init_from_image_model(model, image_model, tubelet_init=tubelet_init, position_init=position_init)
        processor: ClipProcessor = new_processor(config)
    else:
        model = model_with_new_head(initial_model, settings, classes, splits)
        processor, notes = load_processor(initial_model, model.config)
    lengths, damaged = ({}, []) if folders is None else check_clips(folders.by_name(), skip_damaged)
    folders = folders and folders.without(damaged)
    settings = fitted_augmentation(settings, model.config)
    batches = _make_data(folders, model.config, settings, lengths, len(damaged))
    warm_up = warm_up_steps(settings, _total_steps(settings, batches), batches.steps_per_epoch)
    settings = replace(settings, warm_up=warm_up)
    digests = None if folders is None else clip_digests(folders.by_name() | folders.files())
    names = trainable_names(model.state_dict(), settings.freeze)
    optimiser = make_optimiser(model, names, settings)
    rng = stream(settings.seed, TRAINING)
    make_directory(output)
    training = Training(settings, batches, model, processor, names, optimiser, rng, output, Log(output / LOG_FILE))
    training.averaged = None if settings.ema is None else copy.deepcopy(model)
    training.notes = [*notes, *_data_notes(folders, batches, damaged), *_recording_notes(batches, settings)]
    training.origin = {"data": data, "validation": validation, "initial_model": initial_model, "damaged": damaged}
    training.origin |= {"root": root, "labels": labels, "image_model": image_model}
    training.save(is_best=True, clips=digests)
    return training


def resume_training(
    data: str,
    output: Path,
    validation: str | None = None,
    longer: Mapping[str, int] | None = None,
    root: str | None = None,
    labels: str | None = None,
) -> Training:
    """The training whose last checkpoint is in `output`, as it was then, to the bit.

    Parameters
    ----------
    data : str
        What it began with, at this place or another.
    output : Path
    validation : str, optional
        Likewise; left out, it is at the old place.
    longer : mapping, optional
        A new number of ``"steps"`` or ``"epochs"``, larger than that in the settings. It is saved at once. A learning
        rate that depends on the whole goes on as if the training had been planned so from the beginning, which a note
        says: the result is not that of a training which was.

    Raises
    ------
    InputError
        When a file of the checkpoint, the log or a clip is damaged or has changed.
    """
    checkpoint = output / LAST
    state = settled_state(output)
    settings = settings_of(state, checkpoint)
    check_files(output, state)
    folders = _same_clips(data, validation, output, state, root, labels)
    model = VivitForVideoClassification.from_pretrained(checkpoint, dtype=settings.dtype, backend=settings.backend)
    processor, _ = load_processor(checkpoint, model.config)
    names = trainable_names(model.state_dict(), settings.freeze)
    optimiser = make_optimiser(model, names, settings)
    load_optimiser(checkpoint, optimiser, state["optimiser"])
    rng = generator_from_state(state["generator"])
    log, notes = _open_log(output / LOG_FILE, state)
    batches = _make_data(folders, model.config, settings, {}, len(state["origin"]["damaged"]))
    training = Training(settings, batches, model, processor, names, optimiser, rng, output, log, state["step"])
    training.best, training.origin, training.files = state["best"], state["origin"], state["files"]
    if settings.ema is not None:
        training.averaged = VivitForVideoClassification.from_pretrained(
            output / AVERAGED, dtype=settings.dtype, backend=settings.backend
        )
    training.notes = notes
    if longer:
        _lengthen(training, longer)
    return training


def settled_state(output: Path) -> dict[str, Any]:
    """The state of the last checkpoint in `output`, once what a kill left unfinished is finished."""
    settle(output)
    remove_temporaries(output, CURVES_FILE)
    return read_state(output / LAST)


def _open_log(path: Path, state: dict[str, Any]) -> tuple[Log, list[str]]:
    """The log as it was at the checkpoint, and a note where it is gone."""
    if state["log_length"] and not os.path.lexists(path):
        return Log(path), [f"{path} is gone: the log begins anew after step {state['step']}"]
    return Log(path, state["log_length"], state["log_digest"]), []


def _lengthen(training: Training, longer: Mapping[str, int]) -> None:
    """Give the training more steps, and save it so."""
    planned, step = training.total_steps, training.step
    before = training.rate(step - 1) if step else 0.0
    training.settings = replace(training.settings, **longer)  # type: ignore[arg-type]
    training.notes.append(
        f"the training now has {training.total_steps} steps instead of {planned}: its schedule, "
        f"{training.settings.schedule}, goes on as if it had been so planned, with a learning rate of "
        f"{training.rate(step):.3g} after {before:.3g}"
    )
    training.save()


def _same_clips(
    data: str, validation: str | None, output: Path, state: dict[str, Any], root: str | None, labels: str | None
) -> ClipFolders | ListedClips | None:
    """The clips that the training began with, which are known to be the same; None for the built-in ones."""
    origin = state["origin"]
    if (data == MOTION) != (origin["data"] == MOTION):
        raise InputError(f"{data} is not the data that the training in {output} began with ({origin['data']})")
    # A root that was left out is the folder of the list, wherever that lies now.
    folders = _find_clips(
        data, validation or origin["validation"], root or origin.get("root"), labels or origin.get("labels")
    )
    if folders is None:
        return None
    folders = folders.without(origin["damaged"])
    changes = differences(folders.by_name() | folders.files(), read_clips(output / LAST))
    if changes:
        more = f", and {len(changes) - 1} more clips differ" if len(changes) > 1 else ""
        raise InputError(
            f"{data} has changed since the training in {output} began with {origin['data']}: {changes[0]}{more}; put "
            "it back, or begin a new training in another --output"
        )
    return folders


def settings_of(state: dict[str, Any], checkpoint: Path) -> TrainingSettings:
    """The settings in a training state."""
    settings = state.get("settings")
    if not isinstance(settings, dict) or not isinstance(state.get("origin"), dict):
        raise InputError(f"{checkpoint} has no settings in its training state; is it the checkpoint of a training?")
    try:
        return TrainingSettings(**{**settings, "freeze": tuple(settings.get("freeze", ()))})
    except TypeError as error:
        raise InputError(
            f"{checkpoint}: the settings in its training state cannot be read: {reason_of(error)}"
        ) from None


def _total_steps(settings: TrainingSettings, data: MotionData | ClipData) -> int:
    if settings.steps is not None:
        return settings.steps
    assert settings.epochs is not None
    assert data.steps_per_epoch is not None
    return settings.epochs * data.steps_per_epoch


def _find_clips(
    data: str, validation: str | None, root: str | None, labels: str | None
) -> ClipFolders | ListedClips | None:
    """The clips of `data`; None for the built-in ones."""
    if data != MOTION and Path(data).is_file():
        return find_listed(data, validation, root, labels)
    if root is not None or labels is not None:
        raise InputError(f"{data} is no list of clips; root and labels (--root, --labels) are for lists")
    if data != MOTION:
        return find_folders(data, validation)
    if validation is not None:
        raise InputError("the built-in data has clips to validate on of its own; a folder of them goes with a folder")
    return None


def _data_notes(
    folders: ClipFolders | ListedClips | None, data: MotionData | ClipData, damaged: list[str]
) -> list[str]:
    notes = [] if folders is None else list(folders.notes)
    if damaged:
        notes.append(f"left out, for they cannot be used: {listed(damaged)}")
    if data.num_validation_clips == 0:
        notes.append("there are no clips to validate on: the best model is the latest one, and nothing has measured it")
    return notes


def _recording_notes(data: MotionData | ClipData, settings: TrainingSettings) -> list[str]:
    if isinstance(data, MotionData) or settings.group_by is None:
        return []
    training, validation = ([clip for clip, _ in entries] for entries in (data.training, data.validation))
    return recording_notes(training, validation, settings.group_by)


def _make_data(
    folders: ClipFolders | ListedClips | None,
    config: VivitConfig,
    settings: TrainingSettings,
    lengths: dict[Path, int],
    left_out: int,
) -> MotionData | ClipData:
    if folders is None:
        check_motion_labels(config)
        if settings.augmentation:
            raise InputError("augmentation is for folders of clips: the built-in data varies by itself")
        return MotionData(config, settings.seed, settings.validation_clips)
    options: dict[str, Any] = {
        "lengths": lengths,
        "left_out": left_out,
        "seed": settings.seed,
        "batch_size": settings.batch_size,
        "validation_fraction": settings.validation_fraction,
        "group_by": settings.group_by,
        "frame_sample_rate": settings.frame_sample_rate,
        "augmentation": settings.augmentation_params(),
    }
    if isinstance(folders, ListedClips):
        return ListData(folders, config, **options)
    return FolderData(folders.training, config, held_out=folders.validation, **options)


def make_optimiser(model: VivitForVideoClassification, names: list[str], settings: TrainingSettings) -> AdamW | SGD:
    """The optimiser that the settings name, of the parameters of these names."""
    parameters = model.state_dict()
    trained = {name: parameters[name] for name in names}
    scales = None if settings.layer_decay is None else layer_scales(parameters, settings.layer_decay)
    shared: dict[str, Any] = {"weight_decay": settings.weight_decay, "decay_rule": decays, "rate_scales": scales}
    if settings.optimiser == "sgd":
        return SGD(trained, momentum=settings.momentum, **shared)
    return AdamW(trained, betas=(settings.beta1, settings.beta2), **shared)
