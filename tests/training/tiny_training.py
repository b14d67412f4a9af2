"""Trainings that take a fraction of a second, for the tests."""

from pathlib import Path

import numpy

from minivivit.training.loop import train
from minivivit.training.run import Training, begin_training
from minivivit.training.settings import make_settings

TINY_MODEL = {
    "image_size": 16,
    "num_frames": 4,
    "tubelet_size": [2, 8, 8],
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "stochastic_droplayer_rate": 0.2,
}
TINY = {
    "batch_size": 4,
    "parallel": 1,
    "learning_rate": 1e-2,
    "warm_up": 1,
    "validation_clips": 5,
    "validate_every": 3,
    "checkpoint_every": 4,
    "seed": 3,
    "backend": "numpy",
    "model": TINY_MODEL,
}
MODEL_FILES = ("config.json", "model.safetensors", "preprocessor_config.json")
FILES = {"best": MODEL_FILES, "last": (*MODEL_FILES, "optimiser.safetensors", "training_state.json")}


def tiny_training(output: Path, data: str = "motion", initial_model: str | None = None, **changes) -> Training:
    """A training of 10 steps (or as `changes` say), begun."""
    length: dict[str, int] = {} if "epochs" in changes else {"steps": 10}
    if changes.get("steps") == 1:
        length["warm_up"] = 0  # that of TINY would be all of it
    settings = make_settings(data, {**TINY, **length, **changes}, fine_tuning=initial_model is not None)
    return begin_training(data, settings, output, initial_model)


def run_tiny_training(output: Path, data: str = "motion", initial_model: str | None = None, **changes) -> Training:
    """The same, trained to its end."""
    training = tiny_training(output, data, initial_model, **changes)
    assert train(training)
    return training


def write_clips(folder: Path, classes=("left", "right", "up"), clips: int = 5) -> Path:
    """A folder with a sub-folder of .npy clips (6 frames of 20 x 24) a class; a class is a brightness."""
    rng = numpy.random.default_rng(0)
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(clips):
            clip = rng.integers(0, 60, (6, 20, 24, 3)) + 60 * label
            numpy.save(folder / name / f"clip{index}.npy", clip.astype(numpy.uint8))
    return folder


def same_training(one: Path, other: Path) -> None:
    """Assert that two output directories hold the same last and best checkpoint and the same log, byte for byte."""
    averaged = {"averaged": MODEL_FILES} if (one / "averaged").exists() else {}
    for directory, names in {**FILES, **averaged}.items():
        for name in names:
            assert (one / directory / name).read_bytes() == (other / directory / name).read_bytes(), (
                f"{directory}/{name}"
            )
    assert (one / "log.jsonl").read_bytes() == (other / "log.jsonl").read_bytes()
