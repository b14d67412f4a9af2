"""The picture that moves on the front page: what the bundled model says while the clip is being shown."""

import base64
from typing import Any

import numpy

from minivivit.bundled import bundled_clip, bundled_model_directory
from minivivit.explore.attention_rollout import attention_rollout
from minivivit.models.classification import VivitForVideoClassification
from minivivit.models.top_classes import class_probabilities
from minivivit.video.default_processor import load_processor
from minivivit.video.reading import read_video


def answers_over_time() -> dict[str, Any]:
    """For every frame, what the model answers when the clip stands still from there on, and where it looks.

    Returns
    -------
    dict
        `size` (height, width), `frames` (RGB bytes of all frames, in base64), `grid` (times, rows, columns), `looks`
        (for each frame, the share of each tubelet in the rollout, of the largest, in 0 to 255), `labels`, and
        `answers` (for each frame, the probability of each label).
    """
    directory = bundled_model_directory()
    model = VivitForVideoClassification.from_pretrained(directory, dtype="float32", backend="numpy")
    processor = load_processor(directory, model.config)[0]
    frames = read_video(bundled_clip())  # (T, H, W, 3)
    stills = [numpy.concatenate([frames[:k], frames[k : k + 1].repeat(len(frames) - k, 0)]) for k in range(len(frames))]
    looks, answers = [], []
    for still in stills:
        out, rollout = attention_rollout(model, processor(still, return_tensors="np").pixel_values)
        answers.append([round(float(p), 4) for p in class_probabilities(out.logits, model.config)[0]])
        looks.append([round(255 * float(share)) for share in (rollout[0] / rollout[0].max()).ravel()])
    return {
        "size": list(frames.shape[1:3]),
        "frames": base64.b64encode(frames.tobytes()).decode("ascii"),
        "grid": list(rollout.shape[1:]),
        "looks": looks,
        "labels": [model.config.id2label[k] for k in range(len(answers[0]))],
        "answers": answers,
    }
