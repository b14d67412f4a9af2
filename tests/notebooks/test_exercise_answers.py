"""The numbers in the notebooks' folded answers are those that the bundled model gives."""

import sys

import numpy
import pytest
from test_notebook_pages import NOTEBOOKS, ROOT, markdown_of

pytestmark = pytest.mark.notebooks

sys.path.insert(0, str(ROOT / "notebooks"))
import material  # noqa: E402

from minivivit.explore.attention_rollout import attention_rollout  # noqa: E402
from minivivit.layers.trace import Trace  # noqa: E402
from minivivit.ops.pooling import pooling_forward  # noqa: E402
from minivivit.ops.softmax import softmax_forward  # noqa: E402
from minivivit.ops.tubelet_embedding import cut_tubelets, tubelet_embedding_forward  # noqa: E402
from minivivit.verification.gradients.check import check_gradients  # noqa: E402

HEAD_SIZE = 24


def says(number: int, *phrases: str) -> None:
    """Hold that the answers of a notebook hold each phrase."""
    answers = markdown_of(NOTEBOOKS[number - 1]).rpartition("## Something to change")[2]
    for phrase in phrases:
        assert phrase in answers, phrase


@pytest.fixture
def model():
    return material.load_model("float64")


@pytest.fixture
def clip():
    return material.load_pixel_values().astype("float64")


def likeliest(model, clip):
    probabilities, _ = softmax_forward(model(clip).logits[0])
    best = int(probabilities.argmax())
    return model.config.id2label[best], probabilities


def test_a_clip_backwards_and_a_clip_that_stands_still(model, clip):
    still = clip[:, :1].repeat(clip.shape[1], axis=1)
    label, probabilities = likeliest(model, still)
    says(1, f"*{label}*, {probabilities.max():.2f}")
    says(10, f"*{label}* with probability {probabilities.max():.2f} and *shrinking* with {probabilities[7]:.2f}")
    label, probabilities = likeliest(model, clip[:, ::-1])
    says(1, f"*{label}*, {probabilities.max():.3f}")
    _, rollout = attention_rollout(model, still)
    says(10, "({:.3f} and {:.3f})".format(*sorted(rollout[0].sum(axis=(1, 2)))))


def test_tubelets_of_another_size_and_a_grey_clip(model, clip):
    boxes = cut_tubelets(clip, (2, 4, 4))
    says(2, f"= {numpy.prod(boxes.shape[1:4])}$ tubelets", f"= {boxes.shape[4]}$ numbers")
    grey = numpy.broadcast_to(clip.mean(axis=2, keepdims=True), clip.shape)
    projection = model.params["vivit"]["embeddings"]["patch_embeddings"]["projection"]
    ours, others = (tubelet_embedding_forward(x, projection["weight"], projection["bias"])[0] for x in (clip, grey))
    says(2, f"change by {numpy.linalg.norm(ours - others) / numpy.linalg.norm(ours):.0%}".replace("%", " %"))
    assert numpy.abs(model(clip).logits - model(grey).logits).max() < 0.1


def test_positions_and_the_order_of_frames(model, clip):
    positions = model.state_dict()["vivit.embeddings.position_embeddings"]
    own = positions.copy()
    with_p = numpy.abs(model(clip).logits - model(clip[:, ::-1]).logits).max()
    positions[...] = 0
    without = numpy.abs(model(clip).logits - model(clip[:, ::-1]).logits).max()
    says(3, f"by {with_p:.1f} with $p$ and by {without:.1f} without")
    says(11, f"*{likeliest(model, clip[:, ::-1])[0]}*")
    positions[...] = own.mean(axis=1, keepdims=True)
    exchanged = numpy.concatenate([clip[:, 4:], clip[:, :4]], axis=1)
    assert numpy.abs(model(clip).logits - model(exchanged).logits).max() < 1e-10


def test_the_head_that_is_fed_the_mean_token(model, clip):
    store = material.Keep("vivit.layernorm")
    model(clip, trace=Trace(store))
    pooled, _ = pooling_forward(store["vivit.layernorm"], "gap")
    head = model.params["classifier"]
    probabilities, _ = softmax_forward(pooled[0] @ head["weight"].T + head["bias"])
    says(7, f"*growing* with {probabilities[6]:.2f}, and gives *turning clockwise* {probabilities[4]:.2f}")


def test_a_softmax_that_forgets_its_average_is_found():
    wrong = check_gradients(
        softmax_forward, lambda dy, cache: dy * cache["y"], {"x": numpy.eye(3)}, rng=numpy.random.default_rng(0)
    )
    assert not wrong


def test_what_each_silenced_head_costs(model, clip):
    logit = model(clip).logits[0, 4]
    falls = {}
    for layer in range(4):
        weight = model.state_dict()[f"vivit.encoder.layer.{layer}.attention.output.dense.weight"]
        for head in range(4):
            columns = slice(head * HEAD_SIZE, (head + 1) * HEAD_SIZE)
            kept = weight[:, columns].copy()
            weight[:, columns] = 0
            falls[layer, head] = logit - model(clip).logits[0, 4]
            weight[:, columns] = kept
    (layer, head), most = max(falls.items(), key=lambda item: item[1])
    says(10, f"Head {head} of layer {layer}, by far: the logit falls by {most:.2f}")
    assert sorted(falls.values())[-2] < 0.5
    assert sum(fall < 0 for fall in falls.values()) == 4


def test_the_exact_gelu_and_weights_of_half_precision(clip):
    model = material.load_model()
    right = model(clip).logits[0].astype(float)
    model.config.hidden_act = "gelu"
    says(11, f"by {numpy.abs(model(clip).logits[0] - right).max():.4f} at most")
    model.config.hidden_act = "gelu_fast"
    for array in model.state_dict().values():
        array[...] = array.astype("float16")
    says(11, f"The largest error is {numpy.abs(model(clip).logits[0] - right).max():.4f}")


def test_where_the_clip_without_anything_to_learn_stands(model, clip):
    lengths = []
    for label in (5, 4):
        _, gradients = model.loss_and_gradients(clip, numpy.array([label]))
        lengths.append(sum((array**2).sum() for name, array in gradients.items() if name != "pixel_values") ** 0.5)
    says(8, f"about {round(lengths[0] / lengths[1], -2):,.0f} times")
