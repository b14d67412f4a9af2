"""What is given by mistake in the place of a model's directory: the output of a training, or a file of weights."""

import os
from pathlib import Path

from minivivit.errors import InputError

CONFIG = "config.json"
# Where a training keeps its models (`minivivit.training.checkpoints`), the one that people want first.
MODELS_OF_TRAINING = ("best", "last", "averaged")
WEIGHT_ENDINGS = (".safetensors", ".bin", ".pt", ".pth")


def check_no_training(directory: str | os.PathLike[str]) -> None:
    """Refuse a training's output directory: it has models in it, but is none.

    Raises
    ------
    InputError
        It names the directories of those models.
    """
    directory = Path(directory)
    if (directory / CONFIG).is_file():
        return
    models = [str(directory / name) for name in MODELS_OF_TRAINING if (directory / name / CONFIG).is_file()]
    if models:
        raise InputError(f"{directory} holds a training; expected the directory of a model: give {' or '.join(models)}")


def check_no_weights_file(path: str | os.PathLike[str]) -> None:
    """Refuse a file of weights, by its name or its first bytes, where a model's directory belongs.

    Raises
    ------
    InputError
        It names the file's directory.
    """
    path = Path(path)
    if path.is_file() and (path.suffix in WEIGHT_ENDINGS or _begins_as_safetensors(path)):
        raise InputError(
            f"{path} is a file with a model's weights; expected the model's directory, with its {CONFIG}: give "
            f"{path.parent}"
        )


def _begins_as_safetensors(path: Path) -> bool:
    with open(path, "rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size - 8
