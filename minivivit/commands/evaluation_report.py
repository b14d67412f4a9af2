"""What ``minivivit evaluate`` prints and writes of its figures."""

import argparse
import csv
import io
import json
import math
from pathlib import Path
from typing import Any

from minivivit.commands.common.text_table import printable
from minivivit.config import VivitConfig
from minivivit.files.atomic import write_text
from minivivit.training.data.lists.classes import model_classes
from minivivit.training.measurement.answers import TOP
from minivivit.training.measurement.scores import Scores
from minivivit.training.settings import MOTION


def print_scores(args: argparse.Namespace, config: VivitConfig, scores: Scores) -> None:
    """Print the figures, as text or as one JSON object."""
    if args.json:
        print(json.dumps(_as_dict(args, config, scores), indent=2))
        return
    shuffled = ", frames shuffled" if args.shuffle_frames else ""
    left_out = f"; {len(scores.damaged)} damaged left out" if scores.damaged else ""
    print(f"accuracy {scores.accuracy:.4f}  ({scores.correct} of {scores.clips} clips{shuffled}{left_out})")
    classes = model_classes(config)
    if math.prod(map(len, classes)) > TOP:  # of at most five classes the right one always is among five
        print(f"top-{TOP}    {scores.top_5:.4f}")
    if len(classes) > 1:
        for number, (names, head) in enumerate(zip(classes, scores.heads, strict=True), start=1):
            top_5 = f", top-{TOP} {head.top_5:.4f}" if len(names) > TOP else ""
            print(f"head {number}: accuracy {head.top_1:.4f}{top_5}")
    for names, head in zip(classes, scores.heads, strict=True):
        seen = [(printable(name), value) for name, value in zip(names, head.class_accuracies(), strict=True)]
        width = max((len(name) for name, value in seen if value is not None), default=0)
        for name, value in seen:
            if value is not None:
                print(f"  {name:<{width}}  {value:.4f}")
        for label, guess, count in head.confused(args.top_k):
            print(f"  {count} of {printable(names[label])} taken for {printable(names[guess])}")


def _as_dict(args: argparse.Namespace, config: VivitConfig, scores: Scores) -> dict[str, Any]:
    classes = model_classes(config)
    accuracies = [value for head in scores.heads for value in head.class_accuracies()]
    result: dict[str, Any] = {
        "accuracy": scores.accuracy,
        "top_5": scores.top_5,
        "loss": scores.loss,
        "clips": scores.clips,
        "correct": scores.correct,
        "skipped": sorted(scores.damaged),
        "data": args.merge or args.data or MOTION,
        "seed": args.seed,
        "shuffle_frames": args.shuffle_frames,
        "views": list(args.views),
        "average": args.average,
        "heads": [
            {
                "accuracy": head.top_1,
                "top_5": head.top_5,
                "mean_class_accuracy": head.mean_class_accuracy(),
                "confused": [
                    {"label": names[label], "prediction": names[guess], "clips": count}
                    for label, guess, count in head.confused(args.top_k)
                ],
            }
            for names, head in zip(classes, scores.heads, strict=True)
        ],
        "classes": [
            {"label": label, "index": index, "accuracy": accuracies[index]} for index, label in config.id2label.items()
        ],
    }
    if args.merge is not None:  # the predictions do not say how they were made
        for name in ("seed", "shuffle_frames", "views", "average"):
            del result[name]
    return result


def write_confusion(path: Path, scores: Scores, config: VivitConfig) -> None:
    """Write how many clips of each class (a row) are taken for each (a column), as CSV; head after head."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for names, head in zip(model_classes(config), scores.heads, strict=True):
        writer.writerow(["", *map(printable, names)])
        writer.writerows([printable(name), *row] for name, row in zip(names, head.confusion.tolist(), strict=True))
    write_text(path, text.getvalue())
