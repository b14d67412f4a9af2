"""The published checkpoint's published logits. Needs files from the Hugging Face Hub; skips, and says so, without them.

Where the files are found: the directory of ``google/vivit-b-16x2-kinetics400`` at the path in the environment variable
``MINIVIVIT_PUBLISHED_CHECKPOINT``, and ``eating_spaghetti_32_frames.npy`` of the dataset
``hf-internal-testing/spaghetti-video`` at the path in ``MINIVIVIT_SPAGHETTI_CLIP``; else in the Hugging Face cache.
"""

import os
from pathlib import Path

import numpy
import pytest

from minivivit import VivitForVideoClassification, VivitImageProcessor, read_video

pytestmark = pytest.mark.parity

# What transformers' own integration test of this checkpoint and clip holds, to 1e-4.
EXPECTED_LOGITS = [-0.9498, 2.7971, -1.4049, 0.1024, -1.8353]


def cache_directory() -> Path:
    """The Hugging Face cache, where its environment variables put it."""
    if "HF_HUB_CACHE" in os.environ:
        return Path(os.environ["HF_HUB_CACHE"])
    if "HF_HOME" in os.environ:
        return Path(os.environ["HF_HOME"]) / "hub"
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "huggingface" / "hub"


def find(variable: str, repository: str, file: str) -> Path:
    """The path that an environment variable gives, else the newest snapshot in the cache that holds `file`; or skip."""
    if os.environ.get(variable):
        path = Path(os.environ[variable])
        assert path.exists(), f"{variable} is {path}, which does not exist"
        return path
    found = sorted(cache_directory().glob(f"{repository}/snapshots/*/{file}"), key=lambda path: path.stat().st_mtime)
    if not found:
        pytest.skip(f"not run: {file} of {repository} is neither at {variable} nor in {cache_directory()}")
    return found[-1]


def test_logits_of_the_published_checkpoint():
    weights = find("MINIVIVIT_PUBLISHED_CHECKPOINT", "models--google--vivit-b-16x2-kinetics400", "config.json")
    clip = find(
        "MINIVIVIT_SPAGHETTI_CLIP", "datasets--hf-internal-testing--spaghetti-video", "eating_spaghetti_32_frames.npy"
    )
    model = VivitForVideoClassification.from_pretrained(weights if weights.is_dir() else weights.parent)
    pixels = VivitImageProcessor()(list(read_video(clip)), return_tensors="np").pixel_values
    logits = model(pixels).logits
    assert logits.shape == (1, 400)
    assert numpy.abs(logits[0, :5] - EXPECTED_LOGITS).max() < 1e-4
