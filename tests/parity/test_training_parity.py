"""A hundred training steps against PyTorch and transformers, in float64."""

import numpy
import pytest

from minivivit import VivitForVideoClassification
from minivivit.training.optimisers.adamw import AdamW
from minivivit.training.optimisers.clipping import clip_by_global_norm
from minivivit.training.optimisers.sgd import SGD

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from hugging_face import published_name, random_settings, reference, relative_error  # noqa: E402

STEPS = 100
SETTINGS = [
    random_settings(0),
    {
        "image_size": 16,
        "num_frames": 8,
        "tubelet_size": [2, 8, 8],
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "num_labels": 5,
    },
]
OPTIMISERS = {
    "sgd": (SGD, {"momentum": 0.9}, torch.optim.SGD, {"momentum": 0.9}, 0.05),
    "adamw": (AdamW, {"weight_decay": 0.05}, torch.optim.AdamW, {"weight_decay": 0.05}, 1e-3),
}


@pytest.fixture(autouse=True)
def _quiet():
    """No progress bars, and one thread: two pools that wait for work by spinning would slow each other down."""
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


@pytest.mark.parametrize("settings", SETTINGS, ids=["random", "published-like"])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_hundred_steps(optimiser, settings, tmp_path):
    """Fresh random batches, gradients clipped to norm 1, a rate that falls; every loss and the final weights agree."""
    our_class, our_arguments, their_class, their_arguments, rate = OPTIMISERS[optimiser]
    theirs = reference(transformers.VivitForVideoClassification, transformers.VivitConfig(**settings))
    theirs.save_pretrained(tmp_path)
    ours = VivitForVideoClassification.from_pretrained(tmp_path, dtype="float64", backend="numpy")
    theirs.train()  # dropout is 0
    config, rng = ours.config, numpy.random.default_rng(1)
    our_optimiser = our_class(ours.state_dict(), **our_arguments)
    their_optimiser = their_class(theirs.parameters(), lr=rate, **their_arguments)
    losses, expected_losses = [], []
    for step in range(STEPS):
        pixels = rng.standard_normal((4, config.num_frames, config.num_channels, *config.frame_size))
        labels = rng.integers(0, config.num_labels, 4)
        learning_rate = rate * (1 - step / STEPS)
        loss, gradients = ours.loss_and_gradients(pixels, labels)
        del gradients["pixel_values"]
        clip_by_global_norm(gradients, 1.0)
        our_optimiser.step(gradients, learning_rate)
        losses.append(float(loss))
        their_optimiser.param_groups[0]["lr"] = learning_rate
        their_optimiser.zero_grad()
        expected = theirs(torch.from_numpy(pixels), labels=torch.from_numpy(labels)).loss
        expected.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        their_optimiser.step()
        expected_losses.append(expected.item())
    numpy.testing.assert_allclose(losses, expected_losses, rtol=0, atol=1e-8)
    state = ours.state_dict()
    for name, parameter in theirs.named_parameters():
        # a key projection's bias has gradient 0, and AdamW scales its rounding noise up to steps of full size
        if not (optimiser == "adamw" and name.endswith("k_proj.bias")):
            assert relative_error(state[published_name(name)], parameter.detach()) < 1e-8, name
