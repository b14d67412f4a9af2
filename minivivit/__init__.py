"""minivivit: the Video Vision Transformer (ViViT, arXiv:2103.15691) in explicit array code."""

TYPE_CHECKING = False  # what type checkers take for true; `typing` itself would take its time
if TYPE_CHECKING:
    from minivivit.config import VivitConfig
    from minivivit.errors import InputError, MissingExtraError
    from minivivit.models.classification import VivitForVideoClassification
    from minivivit.models.vivit import VivitModel
    from minivivit.verification.gradients.check import check_gradients
    from minivivit.video.image_processor import VivitImageProcessor
    from minivivit.video.reading import read_video
    from minivivit.video.sampling import sample_frame_indices
    from minivivit.video.video_processor import VivitVideoProcessor

# Where the public names are. A module is imported when a name of it is first asked for: the command `minivivit` begins
# here too, and must be able to say that it was interrupted before NumPy is there.
_MODULES = {
    "InputError": "minivivit.errors",
    "MissingExtraError": "minivivit.errors",
    "VivitConfig": "minivivit.config",
    "VivitForVideoClassification": "minivivit.models.classification",
    "VivitImageProcessor": "minivivit.video.image_processor",
    "VivitModel": "minivivit.models.vivit",
    "VivitVideoProcessor": "minivivit.video.video_processor",
    "check_gradients": "minivivit.verification.gradients.check",
    "read_video": "minivivit.video.reading",
    "sample_frame_indices": "minivivit.video.sampling",
}

__all__ = [
    "InputError",
    "MissingExtraError",
    "VivitConfig",
    "VivitForVideoClassification",
    "VivitImageProcessor",
    "VivitModel",
    "VivitVideoProcessor",
    "check_gradients",
    "read_video",
    "sample_frame_indices",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'minivivit' has no attribute {name!r}")
    value = getattr(__import__(_MODULES[name], fromlist=[name]), name)
    globals()[name] = value  # the next time, Python finds it by itself
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
