"""The figures of the ablations: in memory, and in their file."""

import os
from dataclasses import dataclass, field
from typing import Any

import numpy

from minivivit.errors import InputError
from minivivit.files.json_file import read_json, write_json
from minivivit.training.experiments.ablations import Trial, all_trials
from minivivit.training.setting_checks import number, whole

FORMAT = "minivivit ablations 1"
MOST_SEEDS = 100
COUNTS = ("seeds", "steps", "clips")


@dataclass
class Figures:
    """What was trained, and what came of it.

    Attributes
    ----------
    seeds, steps, clips : int
        Trainings of each kind; updates of each; fresh clips that it was measured with.
    starts, trials : dict
        What `run_start` and `run_trial` returned, by name.
    """

    seeds: int
    steps: int
    clips: int
    starts: dict[str, dict[str, Any]] = field(default_factory=dict)
    trials: dict[str, dict[str, Any]] = field(default_factory=dict)

    def of(self, trial: Trial, key: str = "accuracy") -> numpy.ndarray:
        """One figure of a trial, for each seed; ``"gap"`` is the accuracy on the pool less that on fresh clips."""
        if key == "gap":
            return self.of(trial, "pool_accuracy") - self.of(trial)
        return numpy.array([self.trials[trial.name(seed)][key] for seed in range(self.seeds)])

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {"format": FORMAT, **vars(self)}


def write_figures(path: str | os.PathLike[str], figures: Figures) -> None:
    """Write them, in one step."""
    write_json(path, figures.to_dict())


def read_figures(path: str | os.PathLike[str]) -> Figures:
    """The figures in a file.

    Raises
    ------
    InputError
        When they cannot be those of ablations.
    """
    found = read_json(path)
    try:
        if found["format"] != FORMAT:
            raise InputError("it has another format")
        figures = Figures(**{name: found[name] for name in (*COUNTS, "starts", "trials")})
        for name in COUNTS:
            whole(1, maximum=MOST_SEEDS if name == "seeds" else 10**9)(name, found[name])
        names = {trial.name(seed) for trial in all_trials() for seed in range(figures.seeds)}
        for name, row in figures.trials.items():
            if name not in names:
                raise InputError("it has a training that is none of these")
            for key in ("accuracy", "pool_accuracy"):
                number(0, 1)(key, row[key])
            for key in ("loss", "pool_loss", "seconds"):
                number(0)(key, row[key])
        for row in figures.starts.values():
            number(0, 1)("accuracy", row["accuracy"])
            if not isinstance(row["weights_sha256"], str):
                raise InputError("a digest is no text")
        return figures
    except (KeyError, TypeError, AttributeError, InputError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"{path} does not hold the figures of ablations ({reason}): put back a copy of it, or begin anew in "
            "another --output"
        ) from None
