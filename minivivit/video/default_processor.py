"""The processor that a model was saved with, of images or of videos, or in its absence one that suits its config."""

from pathlib import Path

from minivivit.config import VivitConfig
from minivivit.video.clip_processor import IMAGE_PLACES, VIDEO_PLACES, ClipProcessor, find_settings
from minivivit.video.image_processor import VivitImageProcessor
from minivivit.video.image_transforms import edge_before_crop
from minivivit.video.video_processor import VivitVideoProcessor


def load_processor(directory: str | Path, config: VivitConfig) -> tuple[ClipProcessor, list[str]]:
    """The processor of an existing model, and notes for its user: one if the directory holds none, or two.

    Which class it is the file says. Of an image processor and a video processor in one directory the latter counts, as
    in transformers' pipeline. In the absence of both, frames are prepared as for the published checkpoint, in
    proportion: the shortest edge is resized to 256/224 of the longer side of the model's frames, the middle is cropped,
    and values are scaled as `VivitImageProcessor` does by default. So every command shows such a model the same pixels.

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
    found = find_settings(directory, (*VIDEO_PLACES, *IMAGE_PLACES))
    if found is not None:
        processor = (VivitVideoProcessor if found.for_video else VivitImageProcessor).from_found(found, {})
        return processor, _notes(directory, processor)
    height, width = config.frame_size
    edge = edge_before_crop(max(height, width))  # the crop then lies within the frame, whatever the shapes of both
    note = (
        f"{directory} holds no image processor: resizing the shortest edge to {edge}, cropping to {height} x {width}, "
        "scaling as the published defaults do"
    )
    return VivitImageProcessor(size={"shortest_edge": edge}, crop_size={"height": height, "width": width}), [note]


def _notes(directory: str | Path, processor: ClipProcessor) -> list[str]:
    """What the user of a processor from a file may not expect."""
    notes = []
    if isinstance(processor, VivitVideoProcessor):
        beside = find_settings(directory, IMAGE_PLACES) if Path(directory).is_dir() else None
        if beside is not None and not beside.for_video:
            notes.append(f"{directory} holds an image processor and a video processor: taking the latter")
        if processor.do_sample_frames:
            notes.append("the video processor samples frames, which is left out here: they are chosen before it")
    return notes
