"""Starting from an image model that transformers saved: the video model sees a still image as that model does."""

import sys
from pathlib import Path

import numpy
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

sys.path.insert(0, str(Path(__file__).parent.parent / "checkpoints"))
from minivivit import VivitConfig  # noqa: E402
from minivivit.checkpoints import init_from_image_model  # noqa: E402
from minivivit.layers.trace import Trace  # noqa: E402

pytestmark = pytest.mark.parity

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "hidden_act": "gelu",
}


def image_model(cls, seed=0):
    config = transformers.ViTConfig(image_size=8, patch_size=4, num_labels=3, layer_norm_eps=1e-6, **SIZES)
    torch.manual_seed(seed)
    model = cls(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model.eval()


def video_model(directory, num_frames=3, **options):
    config = VivitConfig(
        image_size=8, num_frames=num_frames, tubelet_size=(3, 4, 4), num_labels=3, layer_norm_eps=1e-6, **SIZES
    )
    return init_from_image_model(config, directory, dtype="float64", backend="numpy", **options)


def test_classifier(tmp_path):
    """One tubelet, of which the central frame counts: the logits are the image model's."""
    theirs = image_model(transformers.ViTForImageClassification)
    theirs.save_pretrained(tmp_path)
    ours = video_model(tmp_path, restore_classifier=True)
    video = numpy.random.default_rng(0).standard_normal((2, 3, 3, 8, 8))
    with torch.no_grad():
        expected = theirs.double()(torch.from_numpy(video[:, 1])).logits.numpy()
    numpy.testing.assert_allclose(ours(video).logits, expected, rtol=1e-11)


@pytest.mark.parametrize("add_pooling_layer", [True, False])
def test_bare_model(tmp_path, add_pooling_layer):
    """Its tokens, frame by frame, and its position embeddings at every time."""
    theirs = image_model(lambda config: transformers.ViTModel(config, add_pooling_layer=add_pooling_layer), seed=1)
    theirs.save_pretrained(tmp_path)
    ours = video_model(tmp_path, num_frames=6)
    video = numpy.random.default_rng(1).standard_normal((2, 6, 3, 8, 8))
    trace: dict[str, numpy.ndarray] = {}
    ours(video, trace=Trace(trace))
    tokens = trace["vivit.embeddings"]
    for time, frame in enumerate((1, 4)):
        with torch.no_grad():
            seen = theirs.double().embeddings(torch.from_numpy(video[:, frame])).numpy()
        numpy.testing.assert_allclose(tokens[:, 1 + 4 * time : 5 + 4 * time], seen[:, 1:], rtol=1e-12, atol=1e-14)
        numpy.testing.assert_allclose(tokens[:, :1], seen[:, :1], rtol=1e-12, atol=1e-14)
