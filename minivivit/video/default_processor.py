"""The image processor that a model was saved with, or in its absence the one that suits its config."""

from pathlib import Path

from minivivit.config import VivitConfig
from minivivit.video.image_processor import VivitImageProcessor, find_settings


def load_processor(directory: str | Path, config: VivitConfig) -> tuple[VivitImageProcessor, list[str]]:
    """The image processor of an existing model, and notes for its user: one if the directory holds no processor.

    In its absence frames are prepared as for the published checkpoint, in proportion: the shortest edge is resized to
    256/224 of the longer side of the model's frames, the middle is cropped, and values are scaled as
    `VivitImageProcessor` does by default. So every command shows such a model the same pixels.

    Parameters
    ----------
    directory : path-like
    config : VivitConfig
        Of the model in it.

    Raises
    ------
    InputError
        When its settings cannot be read or meant.
    """
    if find_settings(directory) is not None:
        return VivitImageProcessor.from_pretrained(directory), []
    height, width = config.frame_size
    edge = round(max(height, width) * 256 / 224)  # the crop then lies within the frame, whatever the shapes of both
    note = (
        f"{directory} holds no image processor: resizing the shortest edge to {edge}, cropping to {height} x {width}, "
        "scaling as the published defaults do"
    )
    return VivitImageProcessor(size={"shortest_edge": edge}, crop_size={"height": height, "width": width}), [note]
