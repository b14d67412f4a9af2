"""What ships inside the package: a small trained model, and a clip to try it on."""

from importlib.resources import files
from pathlib import Path

from minivivit.errors import InputError

CLIP_KINDS = (".gif", ".webp", ".npy", ".png")  # those that the core reads without PyAV


def bundled_model_directory() -> Path:
    """The directory of the bundled model.

    Raises
    ------
    InputError
        When this copy of minivivit has none.
    """
    directory = _here() / "motion_model"
    if not (directory / "config.json").is_file():
        raise InputError(
            "this copy of minivivit holds no bundled model: pass --model DIR, a directory with a config.json"
        )
    return directory


def bundled_clip() -> Path:
    """The sample clip, ``sample_clip`` with the ending of its kind.

    Raises
    ------
    InputError
        When this copy of minivivit has none.
    """
    found = [_here() / f"sample_clip{kind}" for kind in CLIP_KINDS]
    clip = next((path for path in found if path.is_file()), None)
    if clip is None:
        raise InputError("this copy of minivivit holds no sample clip: pass the CLIP to classify")
    return clip


def _here() -> Path:
    return Path(str(files(__name__)))
