"""A scenic Model 1, converted, is to transformers what it was to scenic."""

import argparse
import sys
from pathlib import Path

import numpy
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

sys.path.insert(0, str(Path(__file__).parent.parent / "checkpoints"))
from scenic_goldens import DATA, Golden  # noqa: E402

from minivivit import VivitForVideoClassification  # noqa: E402
from minivivit.commands.convert import add_convert_arguments, run_convert  # noqa: E402

pytestmark = pytest.mark.parity


def convert(*arguments: Path) -> None:
    parser = argparse.ArgumentParser()
    add_convert_arguments(parser)
    run_convert(parser.parse_args([str(argument) for argument in arguments]))


def transformers_logits(directory: Path, pixel_values: numpy.ndarray) -> numpy.ndarray:
    model = transformers.VivitForVideoClassification.from_pretrained(
        directory, dtype=torch.float64, attn_implementation="sdpa"
    )
    with torch.no_grad():
        return model.eval()(torch.from_numpy(pixel_values.astype(numpy.float64))).logits.numpy()


def test_the_golden_checkpoint(tmp_path):
    golden = Golden("spacetime_token")
    golden.config.save_pretrained(tmp_path)
    (tmp_path / "checkpoint").write_bytes((DATA / "spacetime_token.checkpoint").read_bytes())
    convert(tmp_path, tmp_path / "converted")
    theirs = transformers_logits(tmp_path / "converted", golden.pixel_values)
    ours = VivitForVideoClassification.from_pretrained(tmp_path / "converted", dtype="float64", backend="numpy")
    numpy.testing.assert_allclose(ours(golden.pixel_values).logits, theirs, rtol=1e-12)
    numpy.testing.assert_allclose(theirs, golden.arrays["logits"], rtol=1e-12)  # and so is scenic


def test_from_transformers_to_scenic_and_back(tmp_path):
    config = transformers.VivitConfig(
        **{"image_size": [8, 12], "num_frames": 4, "tubelet_size": [2, 4, 4], "hidden_size": 16, "num_labels": 3},
        **{
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 24,
            "hidden_act": "gelu_pytorch_tanh",
        },
    )
    torch.manual_seed(0)
    model = transformers.VivitForVideoClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    model.save_pretrained(tmp_path / "theirs")
    convert(tmp_path / "theirs", tmp_path / "scenic")
    convert(tmp_path / "scenic", tmp_path / "back")
    pixel_values = numpy.random.default_rng(0).standard_normal((2, 4, 3, 8, 12))
    there = transformers_logits(tmp_path / "theirs", pixel_values)
    assert (there == transformers_logits(tmp_path / "back", pixel_values)).all()
