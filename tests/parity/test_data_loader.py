"""Models and processors in the worker processes of PyTorch's DataLoader, which are forked or spawned."""

import multiprocessing
import subprocess
import sys

import pytest

pytest.importorskip("torch")

CODE = """
import sys
import numpy
from torch.utils.data import DataLoader
from minivivit import VivitConfig, VivitForVideoClassification, VivitImageProcessor
from minivivit.backend import set_num_threads

set_num_threads(2)


class Clips:
    "Clips as pixel values, with their logits and the norm of their gradient."

    def __init__(self):
        config = VivitConfig(image_size=32, num_frames=8, tubelet_size=[2, 4, 4], hidden_size=16, num_hidden_layers=1,
                             num_attention_heads=2, intermediate_size=32, num_labels=3)
        self.model = VivitForVideoClassification(config, backend="numpy")
        self.processor = VivitImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})

    def __len__(self):
        return 4

    def __getitem__(self, index):
        clip = numpy.random.default_rng(index).integers(0, 256, (8, 40, 48, 3), dtype="uint8")
        pixels = numpy.asarray(self.processor(list(clip))["pixel_values"])
        _, gradients = self.model.loss_and_gradients(pixels, numpy.array([index % 3]))
        return pixels, self.model(pixels).logits, gradients["pixel_values"]


if __name__ == "__main__":
    clips = Clips()
    expected = [clips[index] for index in range(len(clips))]  # the parent has used its threads
    loader = DataLoader(clips, batch_size=None, num_workers=2, multiprocessing_context=sys.argv[1])
    for found, own in zip(loader, expected, strict=True):
        assert all(numpy.array_equal(a, b) for a, b in zip(found, own, strict=True))
    print("the same")
"""


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_workers_of_a_data_loader(method, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(CODE, encoding="utf-8")
    command = [sys.executable, str(program), method]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert result.stdout.split() == ["the", "same"], result.stderr
