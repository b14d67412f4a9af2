"""ViViT-B/16x2 at full size, 32 frames of 224 x 224, from a checkpoint that transformers wrote."""

import gc

import numpy
import pytest

from minivivit import VivitForVideoClassification

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TOKENS = 3137


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A directory that transformers wrote, and its logits for one clip; the directory is removed afterwards.

    The weights are drawn as transformers draws them, but for those that it starts at 0, and for a classifier that makes
    logits of about the size of a trained model's.
    """
    transformers.logging.disable_progress_bar()
    directory = tmp_path_factory.mktemp("full_size")
    torch.manual_seed(0)
    config = transformers.VivitConfig(num_labels=400, attn_implementation="sdpa")
    model = transformers.VivitForVideoClassification(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("bias", "cls_token", "position_embeddings")):
                parameter.normal_(std=0.02)
        model.classifier.weight.normal_(std=0.07)
        model.save_pretrained(directory)
        pixels = torch.rand(1, 32, 3, 224, 224) * 4 - 3  # the published processor's range
        logits = model(pixels).logits.numpy()
    del model
    gc.collect()
    yield directory, pixels.numpy(), logits
    for path in directory.iterdir():
        path.unlink()


def test_float32_logits_agree_with_transformers_and_with_float64(checkpoint):
    directory, pixels, expected = checkpoint
    model = VivitForVideoClassification.from_pretrained(directory, backend="numpy")
    assert model.num_parameters() == 88_954_000
    logits = model(pixels).logits
    assert logits.dtype == "float32"
    assert numpy.abs(expected).max() > 3
    difference = numpy.abs(logits - expected).max()
    print(f"float32, 12 layers, {TOKENS} tokens: at most {difference:.1e} from transformers' sdpa")
    assert difference < 1e-4
    del model
    gc.collect()
    model = VivitForVideoClassification.from_pretrained(directory, dtype="float64", backend="numpy")
    difference = numpy.abs(logits - model(pixels).logits).max()
    print(f"and {difference:.1e} from our float64")
    assert difference < 1e-4
