"""The assignments as the grader knows them: tasks, points, and the imports that every notebook begins with."""

from dataclasses import dataclass

import numpy

from minivivit.checks import (
    attention_checks,
    backward_checks,
    embedding_checks,
    encoder_checks,
    normalisation_checks,
    training_checks,
)
from minivivit.checks.run_check import Task
from minivivit.errors import InputError


@dataclass(frozen=True)
class Assignment:
    """What an assignment asks for.

    Attributes
    ----------
    name : str
    points : dict
        By task, in the order of the notebook.
    given : str
        Python that stands in front of what a student writes.
    by_hand : int
        Points of the derivation, which are given by hand.
    """

    name: str
    points: dict[str, int]
    given: str = "import numpy as np"
    by_hand: int = 0


_PARTS = """\
import numpy as np

from minivivit.layers.mlp import mlp_forward
from minivivit.layers.multi_head_attention import multi_head_attention_forward
from minivivit.ops.layer_norm import layer_norm_forward"""
_MATH = "import math\n\nimport numpy as np"
_ERF = _MATH + "\nfrom scipy.special import erf"
_HEADS = f"""\
{_MATH}

from minivivit.layers.multi_head_attention import merge_heads, split_heads
from minivivit.ops.softmax import softmax_forward"""

_EMBEDDING = {"cut_tubelets": 4, "tubelet_embedding": 3, "cls_token": 2, "position_embedding": 1}
_ATTENTION = {
    "softmax": 3,
    "attention_scores": 2,
    "attention": 2,
    "split_heads": 1,
    "merge_heads": 1,
    "multi_head_attention": 4,
}
_NORM = {"layer_norm": 3, "layer_norm_backward": 5, "gelu": 2, "gelu_backward": 3}
_BACKWARD = {"linear_backward": 3, "softmax_backward": 3, "attention_backward": 4, "multi_head_attention_backward": 5}
_ENCODER = {"separate_frames": 2, "transformer_layer": 4, "encoder": 4, "factorised_encoder": 5}
_TRAINING = {
    "cross_entropy": 3,
    "cross_entropy_backward": 3,
    "sgd_step": 2,
    "adamw_step": 4,
    "training_step": 4,
    "train": 4,
}

ASSIGNMENTS = {
    assignment.name: assignment
    for assignment in (
        Assignment("01_tubelet_embedding", _EMBEDDING),
        Assignment("02_softmax_and_attention", _ATTENTION, _MATH),
        Assignment("03_layer_norm_and_gelu", _NORM, _ERF, by_hand=4),
        Assignment("04_multi_head_attention_backward", _BACKWARD, _HEADS, by_hand=4),
        Assignment("05_factorised_encoder", _ENCODER, _PARTS),
        Assignment("06_train_it", _TRAINING, by_hand=3),
    )
}

_CHECKS = (
    attention_checks,
    backward_checks,
    embedding_checks,
    encoder_checks,
    normalisation_checks,
    training_checks,
)
TASKS = {thing.name: thing for module in _CHECKS for thing in vars(module).values() if isinstance(thing, Task)}


def check_assignment(name: str | None) -> None:
    """Raise an InputError for the name of an assignment that there is none of; None stands for whichever it is."""
    if name is not None and name not in ASSIGNMENTS:
        raise InputError(f"there is no assignment {name[:100]!r}; there are {', '.join(ASSIGNMENTS)}")


def seed_of(task: str, seed: int) -> int:
    """The seed of a task's cases, from the one that was drawn for all: nobody sees it who does not know that one."""
    return int(numpy.random.default_rng([seed, *task.encode()]).integers(2**31))
