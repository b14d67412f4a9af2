"""What the live page asks of Python, called as it calls it: clips, covers, switches, steps, and what a reader drops."""

import json
import shutil

import numpy
import pytest
from model_cases import MODELS, TINY, tiny_model

from minivivit import VivitConfig, VivitForVideoClassification
from minivivit.bundled import bundled_clip, bundled_model_directory
from minivivit.errors import InputError
from minivivit.explore.packing import unpack
from minivivit.site.live import Live, Wanted, motion_frames, stroke_shapes, weight_masks
from minivivit.training.data.motion.clips import MOTION_CLASSES
from minivivit.training.data.motion.shapes import glyph_coverage

ARROW = [[[0.1, 0.5], [0.9, 0.5], [0.7, 0.3]]]


@pytest.fixture
def live():
    return Live()


def ask(live, do="show", wanted=None, **more):
    """One request, as JSON, in both ways."""
    return json.loads(live.answer(json.dumps({"do": do, "wanted": wanted or {}, **more})))


def answer_of(reply):
    return int(numpy.argmax(reply["data"]["probabilities"]))


def logits_of(live, **wanted):
    """By the model as it stands, which has no part switched off."""
    return live.model.forward(live.pixels(Wanted(**wanted))[0]).logits[0]


# --------------------------------------------------------------------------------------------------------------------
# The clip
# --------------------------------------------------------------------------------------------------------------------


def test_every_motion_is_known_and_its_reverse_is_the_other_way(live):
    for motion in range(len(MOTION_CLASSES)):
        for order, expected in (("forward", motion), ("reversed", motion ^ 1)):
            wanted = {"motion": motion, "seed": motion, "glyph": motion, "order": order}
            assert live.truth(Wanted(**wanted)) == expected
            assert logits_of(live, **wanted).argmax() == expected
    forward = live.pixels(Wanted())[1]
    numpy.testing.assert_array_equal(live.pixels(Wanted(order="reversed"))[1], forward[::-1])
    shuffled = live.pixels(Wanted(order="shuffled"))[1]
    assert sorted(map(bytes, shuffled)) == sorted(map(bytes, forward))
    assert not numpy.array_equal(shuffled, forward)


def test_at_speed_0_nothing_moves_and_the_clip_has_no_right_answer(live):
    clips = [motion_frames(live.model.config, Wanted(motion=2, speed=speed)) for speed in (0.0, 0.5, 1.0)]
    apart = [numpy.abs(clip[0].astype(int) - clip[-1]).max() for clip in clips]
    assert apart[0] < 30 < 60 < min(apart[1:]), "the noise of a frame is at most 14 to either side"
    assert live.truth(Wanted(speed=0.0)) is None
    assert live.truth(Wanted(order="shuffled")) is None


def test_drawn_lines_are_a_glyph():
    shapes = stroke_shapes(ARROW)
    assert shapes.shape == (1, 2, 6)
    ends = shapes[0, :, :4].reshape(-1, 2)
    reach = numpy.sqrt((ends**2).sum(axis=1)) + shapes[0, :, 4:].reshape(-1)
    assert reach.max() == pytest.approx(1)
    place = {
        name: numpy.array([[value]]) for name, value in (("x", 16.0), ("y", 16.0), ("radius", 9.0), ("angle", 0.0))
    }
    one = {"glyph": numpy.array([0]), "mirror": numpy.ones(1), "softness": numpy.ones(1), "size": 32}
    drawn = glyph_coverage(**place, **one, shapes=shapes)[0, 0]
    assert 20 < drawn.sum() < 300
    assert drawn[:, 12].max() == 1, "the shaft is there, left of the middle"
    assert drawn[10, 4] == 0
    assert stroke_shapes([]) is None
    assert stroke_shapes([[]]) is None
    assert len(stroke_shapes([[[0.5, 0.5]]])[0]) == 1, "a dot is a short line"
    assert numpy.isfinite(stroke_shapes([[[0.5, 0.5], [0.5, 0.5]]])).all()
    with pytest.raises(InputError, match=r"97 pieces; expected at most 96"):
        stroke_shapes([[[0.5, 0.5]]] * 97)


def test_a_drawn_shape_turns_as_built_in_ones_do(live):
    for motion in (4, 5):
        assert logits_of(live, strokes=ARROW, motion=motion, seed=3).argmax() == motion


def test_a_covered_tubelet_has_the_clips_mean_colour_and_others_stay(live):
    clear, seen = live.pixels(Wanted())
    covered, covered_seen = live.pixels(Wanted(covered=[0, 21]))
    mean = clear.mean(axis=(0, 1, 3, 4))
    for time, row, column in ((0, 0, 0), (1, 1, 1)):  # of 2 x 4 x 4 tubelets of 4 x 8 x 8
        box = (slice(4 * time, 4 * time + 4), slice(8 * row, 8 * row + 8), slice(8 * column, 8 * column + 8))
        inside = covered[0].transpose(0, 2, 3, 1)[box]
        numpy.testing.assert_allclose(inside, numpy.broadcast_to(mean, inside.shape), atol=1e-6)
        assert len(numpy.unique(covered_seen[box].reshape(-1, 3), axis=0)) == 1
        clear.transpose(0, 1, 3, 4, 2)[0][box] = covered.transpose(0, 1, 3, 4, 2)[0][box]
        seen[box] = covered_seen[box]
    numpy.testing.assert_array_equal(covered, clear)
    numpy.testing.assert_array_equal(covered_seen, seen)


def test_covering_all_of_the_glyph_lowers_its_class(live):
    everything = list(range(32))
    assert logits_of(live, covered=everything)[4] < logits_of(live)[4] - 5


# --------------------------------------------------------------------------------------------------------------------
# The network
# --------------------------------------------------------------------------------------------------------------------


def silenced(model, heads, mlps, positions):
    """The same parts off in other weights: the values of a head are 0; an MLP's second weight gets zeros to read."""
    config = model.config
    copy = VivitForVideoClassification(config, dtype=model.dtype, backend="numpy")
    copy.load_state_dict(model.state_dict())
    state = copy.state_dict()
    values = [name for name in state if name.endswith("attention.attention.value.weight")]
    wide = [name for name in state if name.endswith("intermediate.dense.weight")]
    for attention, head in heads:
        size = config.hidden_size // config.num_attention_heads
        for name in (values[attention], values[attention].replace("weight", "bias")):
            state[name][head * size : (head + 1) * size] = 0
    for number in mlps:
        state[wide[number]][...] = 0
        state[wide[number].replace("weight", "bias")][...] = 0  # every activation of 0 is 0
        state[wide[number].replace("intermediate.dense.weight", "output.dense.bias")][...] = 0
    if not positions:
        for name in state:
            if name.endswith("position_embeddings"):
                state[name][...] = 0
    return copy


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(
    ("heads", "mlps", "positions"),
    [([[0, 1]], [], True), ([], [1], True), ([], [], False), ([[0, 0], [1, 1], [1, 0]], [0], False)],
)
def test_what_is_off_writes_nothing(live, kind, heads, mlps, positions):
    config = VivitConfig(**{**TINY, "num_channels": 3, **MODELS[kind]})
    model = tiny_model(config, numpy.random.default_rng(1))
    live.model = model
    clip = numpy.random.default_rng(2).standard_normal((1, config.num_frames, 3, *config.frame_size))
    before = {name: array.copy() for name, array in model.state_dict().items()}
    with live.switched(Wanted(heads=heads, mlps=mlps, positions=positions)):
        found = model.forward(clip).logits
    expected = silenced(model, heads, mlps, positions).forward(clip).logits
    numpy.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert numpy.abs(found - model.forward(clip).logits).max() > 1e-6
    for name, array in model.state_dict().items():
        numpy.testing.assert_array_equal(array, before[name])


def test_the_page_shows_what_is_off(live):
    wanted = {"heads": [[2, 1]], "mlps": [0]}
    reply = ask(live, wanted=wanted)
    clip = live.pixels(Wanted())[0]
    logits = silenced(live.model, [[2, 1]], [0], True).forward(clip).logits[0]
    shown = numpy.log(reply["data"]["probabilities"])
    numpy.testing.assert_allclose(shown - shown[0], logits - logits[0], atol=1e-4)
    shares = [part for part in reply["data"]["shares"]["parts"] if part["part"] in ("head", "MLP")]
    silent = [part for part in shares if not numpy.any(part["logits"])]
    assert [(part["stage"], part["head"]) for part in silent] == [
        ("vivit.encoder.layer.0", None),
        ("vivit.encoder.layer.2", 1),
    ]


@pytest.mark.parametrize("wanted", [{"heads": [[4, 0]]}, {"heads": [[0, 4]]}, {"heads": [[-1, 0]]}, {"mlps": [4]}])
def test_a_part_that_there_is_not(live, wanted):
    assert "there is no" in ask(live, wanted=wanted)["error"]
    with pytest.raises(InputError):
        weight_masks(live.model.config, live.model.state_dict(), Wanted(**wanted))


# --------------------------------------------------------------------------------------------------------------------
# Training
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [None, 0, 5])
def test_a_step_lowers_the_loss_moves_the_weights_and_can_be_forgotten(live, label):
    start = {name: array.copy() for name, array in live.model.state_dict().items()}
    first = ask(live, wanted={"label": label})
    reply = ask(live, "step", {"label": label}, rate=0.01)
    step = reply["step"]
    assert step["before"] == pytest.approx(first["data"]["loss"], rel=1e-4)
    assert step["after"] == pytest.approx(reply["data"]["loss"], rel=1e-4)
    assert step["after"] < step["before"]
    apart = [((array - start[name]) ** 2).sum() for name, array in live.model.state_dict().items()]
    length = sum((array**2).sum() for array in start.values())
    assert step["moved"] == pytest.approx((sum(apart) / length) ** 0.5, rel=1e-2)
    assert reply["steps"] == 1
    assert ask(live, "step", {"label": label}, rate=0.01)["steps"] == 2
    again = ask(live, "reset", {"label": label})
    assert again["steps"] == 0
    assert again["data"] == first["data"]
    for name, array in live.model.state_dict().items():
        numpy.testing.assert_array_equal(array, start[name])


def test_what_is_off_does_not_learn_and_a_step_is_along_the_gradient(live):
    wanted = Wanted(heads=[[1, 2]], mlps=[3], label=0)
    masks = weight_masks(live.model.config, live.model.state_dict(), wanted)
    start = {name: array.copy() for name, array in live.model.state_dict().items()}
    pixels = live.pixels(wanted)[0]
    with live.switched(wanted):
        _, gradients = live.model.loss_and_gradients(pixels, numpy.array([0]))
    live.train(wanted, 0.01)
    for name, array in live.model.state_dict().items():
        mask = masks.get(name, 1)
        numpy.testing.assert_allclose(array, start[name] - 0.01 * mask * gradients[name], rtol=1e-5, atol=1e-6)
    assert set(masks) == {
        "vivit.encoder.layer.1.attention.output.dense.weight",
        "vivit.encoder.layer.3.output.dense.weight",
        "vivit.encoder.layer.3.output.dense.bias",
    }


@pytest.mark.parametrize("rate", [0, -1, 2, float("nan")])
def test_a_rate_that_is_none(live, rate):
    assert "the learning rate is" in ask(live, "step", rate=rate)["error"]


# --------------------------------------------------------------------------------------------------------------------
# What is dropped
# --------------------------------------------------------------------------------------------------------------------


def test_a_clip_of_ones_own_and_the_sample(live, tmp_path):
    shutil.copyfile(bundled_clip(), tmp_path / "mine.webp")
    reply = ask(live, "clip", {"source": "file"}, file=str(tmp_path / "mine.webp"))
    assert reply["data"]["about"]["clip"] == "mine.webp"
    assert reply["truth"] is None
    assert MOTION_CLASSES[answer_of(reply)] == "turning clockwise"
    back = ask(live, "clip", {"source": "file", "order": "reversed"}, file=None)
    assert back["data"]["about"]["clip"] == bundled_clip().name
    assert MOTION_CLASSES[answer_of(back)] == "turning counter-clockwise"


@pytest.mark.parametrize("data", [b"", b"GIF89a nothing", b"RIFF\0\0\0\0WEBP"])
def test_a_clip_that_is_none_is_one_line_and_the_one_before_stays(live, tmp_path, data):
    (tmp_path / "x.gif").write_bytes(data)
    error = ask(live, "clip", {"source": "file"}, file=str(tmp_path / "x.gif"))["error"]
    assert error.isprintable()
    assert live.clip == bundled_clip()


def test_a_model_of_ones_own(live, tmp_path):
    config = VivitConfig(**{**TINY, "num_channels": 3, "num_labels": 3})
    tiny_model(config, numpy.random.default_rng(1)).save_pretrained(tmp_path)
    reply = ask(live, "model", {"source": "file"}, folder=str(tmp_path))
    assert reply["data"]["about"]["model"] == "your model"
    assert len(reply["data"]["probabilities"]) == 3
    assert ask(live, "model", folder=None)["data"]["about"]["model"] == "the bundled model"


@pytest.mark.parametrize("damage", ["config", "weights", "missing"])
def test_a_model_that_lies_is_one_line_and_the_one_before_stays(live, tmp_path, damage):
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(bundled_model_directory() / name, tmp_path / name)
    if damage == "config":
        config = json.loads((tmp_path / "config.json").read_text()) | {"hidden_size": 10**9}
        (tmp_path / "config.json").write_text(json.dumps(config))
    elif damage == "weights":
        (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    else:
        (tmp_path / "model.safetensors").unlink()
    before = live.model
    error = ask(live, "model", folder=str(tmp_path))["error"]
    assert error.isprintable()
    assert 20 < len(error) <= 600
    assert live.model is before
    assert answer_of(ask(live)) == 4


def test_a_model_that_takes_no_motion_clips_waits_for_a_clip(live, tmp_path):
    config = VivitConfig(**{**TINY, "num_channels": 3})
    tiny_model(config, numpy.random.default_rng(1)).save_pretrained(tmp_path)
    before = live.model
    assert "the built-in data has square frames" in ask(live, "model", folder=str(tmp_path))["error"]
    assert live.model is before
    assert ask(live, "model", {"source": "file"}, folder=str(tmp_path))["data"]["about"]["model"] == "your model"


def test_occlusion_comes_alone_or_with_all_else(live):
    assert ask(live)["data"]["occlusion"] is None
    whole = ask(live, whole=True)["data"]["occlusion"]
    alone = ask(live, "occlude", label=4)["occlusion"]
    numpy.testing.assert_array_equal(unpack(alone), unpack(whole))
