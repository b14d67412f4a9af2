"""What the paper's ablations ask, at the size of the built-in data: which networks are trained on which clips.

Regularisers one after the other (the paper's Table 4), starts from an image model against the size of the pool (its
section 3.4 and Table 1), temporal layers (Table 3) and larger frames (Table 5). The numbers of the tables are the
paper's. The regularisers have the strength that the paper gives them for Epic Kitchens, where its Table 4 was measured.
"""

from dataclasses import dataclass, replace
from typing import Any

from minivivit.config import VivitConfig
from minivivit.training.data.motion.clips import MOTION_CLASSES
from minivivit.training.settings import MOTION, MOTION_MODEL, TrainingSettings, make_settings, model_config

MODELS = {"Model 2": "factorised_encoder", "Model 1": "spatio_temporal"}
POOLS = (300, 1000, 3000)
STARTS = ("scratch", "central_frame", "filter_inflation", "average_arp")
OTHER_CLIPS = "other_clips"
LADDER = (
    "nothing",
    "random crop, colour jitter",
    "+ a start from other clips",
    "+ stochastic depth",
    "+ RandAugment",
    "+ label smoothing",
    "+ mixup",
)
LADDER_POOL = 1000
SIZES = (32, 40, 48)  # pixels
DROP_RATE, SMOOTHING, MIXUP = 0.2, 0.2, 0.1  # the paper's, for Epic Kitchens
RAND_AUGMENT: dict[str, Any] = {"do_rand_augment": True, "rand_augment_num_layers": 2, "rand_augment_magnitude": 15}
# Tubelets of four frames, as the bundled model's: fewer tokens, so that some hundred trainings take two hours.
MODEL: dict[str, Any] = {**MOTION_MODEL, "hidden_size": 64, "intermediate_size": 128}
SETTINGS: dict[str, Any] = {"batch_size": 32, "learning_rate": 3e-3, "parallel": 1, "backend": "numpy"}


@dataclass(frozen=True)
class Trial:
    """One training of the ablations, but for its seed.

    Attributes
    ----------
    model : str
        ``"Model 1"`` or ``"Model 2"``.
    pool : int
        How many clips there are to learn from.
    start : str
        ``"scratch"``; ``"other_clips"``, from a model that has learned what moves, but not which way; or how the
        tubelet kernel is made from that of the image model (`init_from_image_model`).
    regularisers : int
        How far down the `LADDER`.
    temporal_layers : int
        Of Model 2; 0 is the average-pool baseline.
    size : int
        Height and width of the frames, in pixels.
    """

    model: str
    pool: int
    start: str = "scratch"
    regularisers: int = 0
    temporal_layers: int = 2
    size: int = 32

    def name(self, seed: int) -> str:
        """For files and people; no two trainings share one."""
        parts = (
            f"{file_name(self.model)}-{self.pool}-{self.start}-regularisers{self.regularisers}",
            f"temporal{self.temporal_layers}-{self.size}px-seed{seed}",
        )
        return "-".join(parts)


def file_name(model: str) -> str:
    """A model's name, as names of files have it."""
    return model.lower().replace(" ", "")


def ladder(model: str) -> list[Trial]:
    """Table 4: regularisers added one after the other."""
    trials = [Trial(model, LADDER_POOL, regularisers=count) for count in range(len(LADDER))]
    return [replace(trial, start=OTHER_CLIPS) if trial.regularisers >= 2 else trial for trial in trials]


def starts(model: str, start: str) -> list[Trial]:
    """One start, for pools of all sizes."""
    return [Trial(model, pool, start) for pool in POOLS]


def temporal_layers() -> list[Trial]:
    """Table 3: the depth of Model 2's temporal encoder."""
    return [Trial("Model 2", POOLS[-1], "central_frame", temporal_layers=count) for count in (0, 1, 2, 4)]


def frame_sizes() -> list[Trial]:
    """Table 5: larger frames, cut into more tubelets of the same size."""
    return [Trial("Model 2", POOLS[-1], "central_frame", size=size) for size in SIZES]


def all_trials() -> list[Trial]:
    """Each of them once."""
    tables = [ladder(model) for model in MODELS]
    tables += [starts(model, start) for model in MODELS for start in STARTS]
    return list(dict.fromkeys(trial for table in (*tables, temporal_layers(), frame_sizes()) for trial in table))


def trial_settings(trial: Trial, steps: int, seed: int) -> TrainingSettings:
    """What the trial is trained with."""
    given: dict[str, Any] = {**SETTINGS, "steps": steps, "seed": seed, "model": trial_model(trial)}
    if trial.regularisers >= 1:
        crop = {"crop_size": trial.size}
        given["augmentation"] = crop | (RAND_AUGMENT if trial.regularisers >= 4 else {"do_color_augment": True})
    if trial.regularisers >= 5:
        given["label_smoothing"] = SMOOTHING
    if trial.regularisers >= 6:
        given["mixup_alpha"] = MIXUP
    return make_settings(MOTION, given)


def trial_model(trial: Trial) -> dict[str, Any]:
    """The fields of its config."""
    fields = {**MODEL, "attention_type": MODELS[trial.model], "image_size": trial.size}
    if trial.temporal_layers:
        fields["num_temporal_layers"] = trial.temporal_layers
    else:
        fields["spatial_only_baseline"] = True
    if trial.regularisers >= 3:
        fields["stochastic_droplayer_rate"] = DROP_RATE
    return fields


def trial_config(trial: Trial) -> VivitConfig:
    """The config of its model."""
    return model_config(trial_settings(trial, 1, 0), list(MOTION_CLASSES))
