"""minivivit: the Video Vision Transformer (ViViT, arXiv:2103.15691) in explicit array code."""

from minivivit.config import VivitConfig
from minivivit.errors import InputError, MissingExtraError
from minivivit.models.classification import VivitForVideoClassification
from minivivit.models.vivit import VivitModel
from minivivit.verification.gradients.check import check_gradients
from minivivit.video.image_processor import VivitImageProcessor
from minivivit.video.reading import read_video
from minivivit.video.sampling import sample_frame_indices

__all__ = [
    "InputError",
    "MissingExtraError",
    "VivitConfig",
    "VivitForVideoClassification",
    "VivitImageProcessor",
    "VivitModel",
    "check_gradients",
    "read_video",
    "sample_frame_indices",
]
