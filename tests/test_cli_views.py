"""``minivivit classify --views``, and models of several heads at the command line."""

import json
import re
from pathlib import Path

import numpy
import pytest
from PIL import Image

from minivivit import VivitConfig, VivitForVideoClassification, VivitImageProcessor, VivitVideoProcessor
from minivivit.cli import main
from minivivit.commands import classify
from minivivit.models.top_classes import class_probabilities
from minivivit.video.views import temporal_views, three_spatial_crops

TINY = Path(__file__).parent / "data" / "transformers" / "tiny"  # written by transformers; 4 frames of 16 x 16
PROCESSOR = VivitImageProcessor(size={"shortest_edge": 18}, crop_size=16)


@pytest.fixture
def clip(tmp_path):
    """A clip of 12 frames of 20 x 30 pixels."""
    path = tmp_path / "clip.npy"
    numpy.save(path, numpy.random.default_rng(0).integers(0, 256, (12, 20, 30, 3), dtype=numpy.uint8))
    return path


def run(capsys, *arguments):
    capsys.readouterr()
    code = main(["classify", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def answer(capsys, *arguments):
    code, out, _ = run(capsys, *arguments, "--json")
    assert code == 0
    return json.loads(out)


def probabilities_of(result):
    return {entry["index"]: entry["probability"] for entry in result["predictions"]}


def view_logits(clip, indices, crops):
    """Logits (views, labels) of the given clips and crops, one view at a time."""
    model = VivitForVideoClassification.from_pretrained(TINY)
    video = numpy.load(clip)
    views = [three_spatial_crops(video[row], PROCESSOR)[crop] for row in indices for crop in crops]
    return numpy.stack([model(view[None]).logits[0] for view in views]), model.config


@pytest.mark.parametrize(
    ("views", "crops"), [("4x3", (0, 1, 2)), ("4x1", (1,)), ("1x3", (0, 1, 2)), ("2X3", (0, 1, 2))]
)
@pytest.mark.parametrize("average", [None, "logits", "probabilities"])
def test_the_answer_is_the_views_mean(capsys, clip, views, crops, average):
    num_clips = int(views[0])
    indices = temporal_views(num_clips, 4, 2, 12) if num_clips > 1 else numpy.array([[2, 4, 7, 9]])
    options = [] if average is None else ["--average", average]
    result = answer(capsys, clip, "--model", TINY, "--views", views, *options)
    assert result["frames"] == indices.tolist()
    assert result["views"] == [num_clips, len(crops)]
    assert result["average"] == (average or "logits")
    logits, config = view_logits(clip, indices, crops)
    if average == "probabilities":
        expected = class_probabilities(logits, config).mean(axis=0)
    else:
        expected = class_probabilities(logits.mean(axis=0), config)
    found = probabilities_of(result)
    numpy.testing.assert_allclose([found[index] for index in range(5)], expected, rtol=1e-5)


def test_the_views_matter(capsys, clip):
    options = [["--views", views] for views in ("1x1", "4x1", "1x3", "4x3")] + [
        ["--views", "4x3", "--average", "probabilities"]
    ]
    found = [tuple(probabilities_of(answer(capsys, clip, "--model", TINY, *option)).values()) for option in options]
    assert len(set(found)) == len(found)


def test_one_view_is_the_plain_answer(capsys, clip):
    plain, single = (answer(capsys, clip, "--model", TINY, *option) for option in ([], ["--views", "1x1"]))
    assert single["predictions"] == plain["predictions"]
    assert single["frames"] == [plain["frames"]]
    assert "views" not in plain


def test_frames_and_stride(capsys, clip):
    result = answer(capsys, clip, "--model", TINY, "--views", "3x1", "--frames", "2", "--stride", "4")
    assert result["frames"] == [[0, 4], [2, 6], [4, 8]]


def test_a_short_clip_starts_again(capsys, tmp_path):
    numpy.save(tmp_path / "short.npy", numpy.zeros((3, 20, 20, 3), numpy.uint8))
    result = answer(capsys, tmp_path / "short.npy", "--model", TINY, "--views", "2x3")
    assert result["frames"] == [[0, 2, 1, 0]] * 2


def test_the_table_and_the_notes_name_the_views_once(capsys, clip):
    code, out, err = run(capsys, clip, "--model", TINY, "--views", "4x3", "--frames", "8", "--stride", "1")
    assert code == 0
    assert out.splitlines()[0] == "clip.npy: 12 views (4 x 3), each 8 of 12 frames, from 0 to 11"
    assert err.count("interpolated") == 1


@pytest.mark.parametrize(
    "views", ["", "4", "4x2", "0x3", "x3", "4x", "-1x3", "4x3x1", "4.0x3", "10000x1", "4*3", "٤x3"]
)
def test_views_that_cannot_be_meant(capsys, clip, views):
    with pytest.raises(SystemExit) as leaving:
        main(["classify", str(clip), "--model", str(TINY), f"--views={views}"])
    assert leaving.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"minivivit: error: .*--views.*such as 4x3.*\n", err)


def test_a_processor_that_does_not_crop_gives_no_three_crops(capsys, clip, tmp_path):
    VivitForVideoClassification.from_pretrained(TINY).save_pretrained(tmp_path / "m")
    size = {"height": 16, "width": 16}
    VivitImageProcessor(size=size, do_center_crop=False).save_pretrained(tmp_path / "m")
    assert len(answer(capsys, clip, "--model", tmp_path / "m", "--views", "4x1")["predictions"]) == 5
    code, out, err = run(capsys, clip, "--model", tmp_path / "m", "--views", "4x3")
    assert (code, out) == (2, "")
    assert re.fullmatch("minivivit: error: .*does not crop.*\n", err)


@pytest.mark.parametrize(("views", "middle"), [("3x3", 1), ("4x1", 2)])
def test_the_picture_shows_the_middle_view(capsys, clip, tmp_path, monkeypatch, views, middle):
    pictured = {}
    picture_of, roll_out = classify.attention_picture, classify.attention_rollout

    def record_picture(frames, weights, *others):
        pictured.update(frames=frames, weights=weights)
        return picture_of(frames, weights, *others)

    def record_rollout(model, pixel_values, **options):
        pictured.setdefault("pixel_values", []).append(pixel_values)
        return roll_out(model, pixel_values, **options)

    monkeypatch.setattr(classify, "attention_picture", record_picture)
    monkeypatch.setattr(classify, "attention_rollout", record_rollout)
    arguments = (clip, "--model", TINY, "--views", views)
    with_picture = answer(capsys, *arguments, "--save-picture", tmp_path / "picture.png")
    assert with_picture == answer(capsys, *arguments)
    frames = numpy.load(clip)[temporal_views(int(views[0]), 4, 2, 12)[middle]]
    (pixel_values,) = pictured["pixel_values"]
    numpy.testing.assert_array_equal(pixel_values, PROCESSOR(frames, return_tensors="np").pixel_values)
    assert len(pictured["weights"]) == len(pictured["frames"])
    seen = pictured["frames"].transpose(0, 3, 1, 2)  # of each tubelet of two frames the second, as bytes
    numpy.testing.assert_array_equal(seen, numpy.rint((pixel_values[0, 1::2] * 0.5 + 0.5 + 1) * 127.5))
    with Image.open(tmp_path / "picture.png") as image:
        assert image.size >= (560, 300)


def test_the_progress_bar_counts_the_views(capsys, clip, monkeypatch):
    bars = []

    class Bar:
        disable = False

        def __init__(self, total, description):
            self.total, self.count, self.postfixes = total, 0, []
            bars.append(self)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def update(self):
            self.count += 1

        def set_postfix_str(self, text):
            self.postfixes.append(text)

    monkeypatch.setattr(classify, "progress_bar", Bar)
    layers = VivitConfig.from_pretrained(TINY).num_hidden_layers
    answer(capsys, clip, "--model", TINY, "--views", "2x3")
    assert bars[0].count == bars[0].total == 3 + 6 * layers
    assert bars[0].postfixes == [f"view {number} of 6" for number in range(1, 7)]
    answer(capsys, clip, "--model", TINY)
    assert bars[1].count == bars[1].total == 3 + layers
    assert bars[1].postfixes == []


# --------------------------------------------------------------------------------------------------------------------
# Several heads
# --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def kitchen(tmp_path):
    """A model with the heads of Epic Kitchens', but small: 6 nouns and 4 verbs."""
    names = [f"noun {index}" for index in range(6)] + [f"verb {index}" for index in range(4)]
    sizes = {"image_size": 16, "num_frames": 4, "tubelet_size": [2, 8, 8], "hidden_size": 16, "num_attention_heads": 2}
    config = VivitConfig(
        **sizes,
        num_hidden_layers=2,
        num_temporal_layers=1,
        intermediate_size=8,
        attention_type="factorised_encoder",
        class_splits=[6, 4],
        id2label=dict(enumerate(names)),
    )
    model = VivitForVideoClassification(config)
    for array in model.state_dict().values():
        array += 0.2 * numpy.random.default_rng(0).standard_normal(array.shape).astype(array.dtype)
    model.save_pretrained(tmp_path / "kitchen")
    PROCESSOR.save_pretrained(tmp_path / "kitchen")
    return tmp_path / "kitchen"


@pytest.mark.parametrize("average", ["logits", "probabilities"])
@pytest.mark.parametrize("views", ["1x1", "4x3"])
def test_pairs_of_classes(capsys, clip, kitchen, views, average):
    options = ("--views", views, "--average", average, "--top-k", "3")
    result = answer(capsys, clip, "--model", kitchen, *options)
    model, video = VivitForVideoClassification.from_pretrained(kitchen), numpy.load(clip)
    crops = (1,) if views == "1x1" else (0, 1, 2)
    logits = numpy.stack(
        [
            model(three_spatial_crops(video[row], PROCESSOR)[crop][None]).logits[0]
            for row in result["frames"]
            for crop in crops
        ]
    ).astype(numpy.float64)
    exponentials = [
        numpy.exp(part.mean(axis=0) if average == "logits" else part) for part in (logits[:, :6], logits[:, 6:])
    ]
    noun, verb = (part / part.sum(axis=-1, keepdims=True) for part in exponentials)
    noun, verb = (part if part.ndim == 1 else part.mean(axis=0) for part in (noun, verb))
    joint = numpy.outer(noun, verb)
    order = numpy.argsort(-joint, axis=None)[:3]
    pairs = [divmod(int(pair), 4) for pair in order]
    assert [entry["label"] for entry in result["predictions"]] == [f"noun {a} + verb {b}" for a, b in pairs]
    assert [entry["index"] for entry in result["predictions"]] == [[a, b] for a, b in pairs]
    found = [entry["probability"] for entry in result["predictions"]]
    numpy.testing.assert_allclose(found, joint.ravel()[order], rtol=1e-5)


def test_pairs_in_the_table(capsys, clip, kitchen):
    code, out, _ = run(capsys, clip, "--model", kitchen, "--top-k", "2")
    assert code == 0
    assert all(re.fullmatch(r"noun \d \+ verb \d +0\.\d{4}", row) for row in out.splitlines()[2:])


@pytest.mark.parametrize("views", [None, "2x3"])
def test_the_file_in_the_models_directory_chooses_the_processor(capsys, clip, tmp_path, monkeypatch, views):
    """With a video processor's file, what the model sees is the video processor's pixels, sampling left out."""
    VivitForVideoClassification.from_pretrained(TINY).save_pretrained(tmp_path / "m")
    processor = VivitVideoProcessor(size={"shortest_edge": 18}, crop_size=16, do_sample_frames=True, num_frames=2)
    processor.save_pretrained(tmp_path / "m")
    seen = []
    forward = VivitForVideoClassification.forward
    monkeypatch.setattr(
        VivitForVideoClassification,
        "forward",
        lambda self, pixel_values, **options: (seen.append(pixel_values), forward(self, pixel_values, **options))[1],
    )
    code, _, err = run(capsys, clip, "--model", tmp_path / "m", *([] if views is None else ["--views", views]))
    assert code == 0
    assert "the video processor samples frames, which is left out here" in err
    video, plain = numpy.load(clip), {"do_sample_frames": False, "return_tensors": "np"}
    if views is None:
        expected = [processor(video[[2, 4, 7, 9]], **plain).pixel_values]
    else:
        expected = [
            crop[None] for row in temporal_views(2, 4, 2, 12) for crop in three_spatial_crops(video[row], processor)
        ]
    assert len(seen) == len(expected)
    for ours, theirs in zip(seen, expected, strict=True):
        numpy.testing.assert_array_equal(ours, theirs)
    assert numpy.abs(expected[0] - PROCESSOR(video[[2, 4, 7, 9]], return_tensors="np").pixel_values).max() > 1e-3
