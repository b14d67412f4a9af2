"""Write tests/data/video_processor.npz: what PyTorch and transformers' own VivitVideoProcessor make of small clips.

pip install torch==2.13.0 torchvision==0.28.0 transformers==5.24.0
python tests/video/video_processor_goldens.py
"""

import json
from pathlib import Path

import numpy

GOLDENS = Path(__file__).parents[1] / "data" / "video_processor.npz"
BYTES = {"do_rescale": False, "do_normalize": False}
CASES = {  # name: settings, shape of the clip, arguments
    "default": ({"size": 20, "crop_size": 16}, (2, 23, 31, 3), {}),
    "enlarged_and_padded": ({"size": 24, "crop_size": [29, 40], "rescale_factor": 1 / 255}, (1, 13, 17, 3), {}),
    "bicubic": ({"size": 15, "do_center_crop": False, "resample": 3, **BYTES}, (1, 40, 25, 3), {}),
    "bicubic_enlarged": ({"size": 37, "do_center_crop": False, "resample": 3, **BYTES}, (1, 20, 15, 3), {}),
    "lanczos": ({"size": [11, 40], "do_center_crop": False, "resample": 1, **BYTES}, (1, 30, 24, 3), {}),
    "nearest": ({"size": [17, 40], "do_center_crop": False, "resample": 0, **BYTES}, (1, 31, 24, 3), {}),
    "longest_edge": ({"size": {"shortest_edge": 20, "longest_edge": 30}, "do_center_crop": False}, (1, 16, 40, 3), {}),
    "one_axis": ({"size": [20, 30], "do_center_crop": False, **BYTES}, (1, 20, 41, 3), {}),
    "strongly_shrunk": ({"size": [3, 4], "do_center_crop": False, **BYTES}, (1, 120, 90, 3), {}),
    "grey": ({"size": 20, "crop_size": 16, "image_mean": [0.4, 0.45, 0.5]}, (2, 1, 18, 26), {}),
    "opaque": ({"size": 20, "crop_size": 16, **BYTES}, (1, 4, 18, 26), {"input_data_format": "channels_first"}),
    "sampled": ({"size": 9, "crop_size": 8, "do_sample_frames": True, "num_frames": 3}, (8, 10, 12, 3), {}),
    "channels_first": ({"do_resize": False, "crop_size": 7}, (2, 3, 12, 11), {}),
}


def clip_of(name: str) -> numpy.ndarray:
    """The frames of a case: noise, half of them only black and white, where the kernels with negative lobes clip."""
    rng = numpy.random.default_rng(list(CASES).index(name))
    clip = rng.integers(0, 256, CASES[name][1], dtype=numpy.uint8)
    if name.startswith(("bicubic", "lanczos")):
        clip = numpy.where(clip > 127, numpy.uint8(255), numpy.uint8(0))
    if name == "opaque":
        clip[:, 3] = 255
    return clip


def write() -> None:
    """Compute all cases, and write frames, settings and pixel values."""
    from transformers import VivitVideoProcessor

    arrays = {}
    for name, (settings, _, arguments) in CASES.items():
        arrays[f"{name}/frames"] = clip_of(name)
        features = VivitVideoProcessor(**settings)(arrays[f"{name}/frames"], return_tensors="np", **arguments)
        arrays[f"{name}/pixel_values"] = features.pixel_values
    settings = {name: {"settings": case[0], "arguments": case[2]} for name, case in CASES.items()}
    numpy.savez_compressed(GOLDENS, cases_json=json.dumps(settings), **arrays)


if __name__ == "__main__":
    write()
