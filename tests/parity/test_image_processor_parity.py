"""`VivitImageProcessor` against transformers' class of the same name, live, to the bit."""

import itertools
import json
from pathlib import Path

import numpy
import PIL
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from minivivit.errors import InputError  # noqa: E402
from minivivit.video.image_processor import VivitImageProcessor  # noqa: E402

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore:frames of floats in:UserWarning"),
    pytest.mark.skipif(int(PIL.__version__.split(".")[0]) < 13, reason="Pillow 13 changed the order of the passes"),
]

CLIPS = Path("/work/shared/clips")


def both(settings, videos, **arguments):
    """Ours and theirs, or the error that theirs raised (ours must then be an InputError)."""
    try:
        theirs = transformers.VivitImageProcessor(**settings)(videos, **arguments).pixel_values
    except (ValueError, TypeError) as error:
        with pytest.raises(InputError) as raised:
            VivitImageProcessor(**settings)(videos, **arguments)
        assert "\n" not in str(raised.value)
        return None, error
    return VivitImageProcessor(**settings)(videos, **arguments).pixel_values, theirs


def assert_same(ours, theirs):
    if isinstance(theirs, list):
        assert isinstance(ours, list)
        assert len(ours) == len(theirs)
        for our_item, their_item in zip(ours, theirs, strict=True):
            assert_same(our_item, their_item)
        return
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    numpy.testing.assert_array_equal(ours, theirs)


def random_size(rng, low=1, high=40):
    kind = rng.integers(4)
    if kind == 0:
        return int(rng.integers(low, high))
    if kind == 1:
        return [int(edge) for edge in rng.integers(low, high, 2)]
    if kind == 2:
        return {"shortest_edge": int(rng.integers(low, high))}
    return {"height": int(rng.integers(low, high)), "width": int(rng.integers(low, high))}


def random_settings(rng, channels):
    settings = {
        "do_resize": bool(rng.random() < 0.8),
        "size": random_size(rng),
        "resample": int(rng.integers(6)),
        "do_center_crop": bool(rng.random() < 0.7),
        "crop_size": random_size(rng),
        "do_rescale": bool(rng.random() < 0.8),
        "rescale_factor": float(rng.choice([1 / 127.5, 1 / 255, 0.37, 2])),
        "offset": bool(rng.random() < 0.5),
        "do_normalize": bool(rng.random() < 0.7),
        "image_mean": rng.random(channels).tolist() if rng.random() < 0.7 else float(rng.random()),
        "image_std": (rng.random(channels) + 0.1).tolist() if rng.random() < 0.7 else 0.3,
    }
    return {name: value for name, value in settings.items() if rng.random() < 0.8}


def random_frames(rng, channels, count):
    """Frames of one of the kinds of pixel values that people have, the channels last."""
    kind = rng.integers(10)
    same = rng.random() < 0.8
    height, width = rng.integers(4, 40, 2)
    frames = []
    for _ in range(count):
        height, width = (height, width) if same else rng.integers(4, 40, 2)
        frame = rng.integers(0, 256, (height, width, channels), dtype=numpy.uint8)
        if kind < 8:
            unit = frame / 255 if rng.random() < 0.9 else numpy.zeros_like(frame) / 255
            frame = [frame, frame, frame, frame.astype(int), frame.astype(numpy.float32)][kind] if kind < 5 else unit
            frame = frame.astype({5: "float64", 6: "float32", 7: "float16"}.get(kind, frame.dtype))
        else:
            frame = frame.astype("float64") * 1.1 - 3 if kind == 8 else frame > 127
        frames.append(frame)
    return frames


def test_random_settings_and_frames():
    rng = numpy.random.default_rng(20)
    compared = refused = 0
    for _ in range(2500):
        channels = int(rng.choice([3, 3, 3, 1, 4, 2]))
        settings = random_settings(rng, channels)
        frames = random_frames(rng, channels, int(rng.integers(1, 4)))
        arguments = {"data_format": str(rng.choice(["channels_first", "channels_last"]))}
        if rng.random() < 0.5 or channels in (2, 4):
            arguments["input_data_format"] = "channels_last"
        if rng.random() < 0.4:
            frames = [frame.transpose(2, 0, 1) for frame in frames]
            if "input_data_format" in arguments:
                arguments["input_data_format"] = "channels_first"
        if rng.random() < 0.5 and len({frame.shape for frame in frames}) == 1:
            arguments["return_tensors"] = "np"
        ours, theirs = both(settings, frames, **arguments)
        if ours is None:
            refused += 1
            continue
        assert_same(ours, theirs)
        compared += 1
    assert compared > 1200
    assert refused > 100


def test_overrides_in_preprocess():
    rng = numpy.random.default_rng(21)
    frames = list(rng.integers(0, 256, (2, 30, 41, 3), dtype=numpy.uint8))
    ours, theirs = VivitImageProcessor(), transformers.VivitImageProcessor()
    for _ in range(200):
        overrides = random_settings(rng, 3)
        overrides["crop_size"] = [int(edge) for edge in rng.integers(1, 50, 2)]
        if overrides.get("do_rescale") is False:
            overrides["offset"] = False
        expected = theirs(frames, return_tensors="np", **overrides).pixel_values
        assert_same(ours(frames, return_tensors="np", **overrides).pixel_values, expected)


def test_pil_images_and_batches():
    rng = numpy.random.default_rng(22)
    videos = [
        [Image.fromarray(rng.integers(0, 256, (31, 44, 3), dtype=numpy.uint8)) for _ in range(2)] for _ in range(3)
    ]
    settings = {"size": {"shortest_edge": 20}, "crop_size": 18}
    for given, tensors in itertools.product((videos[0][0], videos[0], videos), (None, "np")):
        assert_same(*both(settings, given, return_tensors=tensors))


def test_torch_tensors_as_frames():
    frames = [
        torch.from_numpy(frame) for frame in numpy.random.default_rng(23).integers(0, 256, (2, 3, 30, 36), "uint8")
    ]
    assert_same(*both({"size": 20, "crop_size": 18}, frames, return_tensors="np"))


def test_single_steps():
    rng = numpy.random.default_rng(24)
    ours, theirs = VivitImageProcessor(), transformers.VivitImageProcessor()
    for _ in range(200):
        image = rng.integers(0, 256, (int(rng.integers(4, 40)), int(rng.integers(4, 40)), 3), dtype=numpy.uint8)
        if rng.random() < 0.4:
            image = image / 255
        if rng.random() < 0.5:
            image = image.transpose(2, 0, 1)
        layout = {"data_format": rng.choice(["channels_first", "channels_last"])} if rng.random() < 0.5 else {}
        size, crop = random_size(rng), [int(edge) for edge in rng.integers(1, 50, 2)]
        assert_same(ours.resize(image, size, 3, **layout), theirs.resize(image, size, 3, **layout))
        assert_same(ours.center_crop(image, crop, **layout), theirs.center_crop(image, crop, **layout))
        for offset in (True, False):
            assert_same(
                ours.rescale(image, 1 / 255, offset, **layout), theirs.rescale(image, 1 / 255, offset, **layout)
            )
        mean, std = rng.random(3), rng.random(3) + 0.1
        assert_same(ours.normalize(image, mean, std, **layout), theirs.normalize(image, mean, std, **layout))


def test_settings_files_pass_both_ways(tmp_path):
    settings = {"size": 42, "crop_size": 84, "image_mean": [0.1, 0.2, 0.3], "resample": 3, "some_new_key": {"a": [1]}}
    theirs = transformers.VivitImageProcessor(**settings)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = VivitImageProcessor.from_pretrained(tmp_path / "theirs")
    assert ours.to_json_string() == theirs.to_json_string()
    ours.save_pretrained(tmp_path / "ours")
    name = "preprocessor_config.json"
    assert (tmp_path / "ours" / name).read_text() == (tmp_path / "theirs" / name).read_text()
    assert transformers.VivitImageProcessor.from_pretrained(tmp_path / "ours").to_dict() == ours.to_dict()
    assert VivitImageProcessor().to_json_string() == transformers.VivitImageProcessor().to_json_string()
    assert json.loads(ours.to_json_string())["some_new_key"] == {"a": [1]}


@pytest.mark.parametrize("name", ["flipping_a_pancake.mkv", "arm_wrestling.mp4"])
def test_real_clips(name):
    av = pytest.importorskip("av")
    if not (CLIPS / name).exists():
        pytest.skip(f"{CLIPS / name} is not here")
    with av.open(str(CLIPS / name)) as container:
        decoded = itertools.islice(container.decode(video=0), 0, 64, 2)
        frames = [frame.to_ndarray(format="rgb24") for frame in decoded]
    for settings in ({}, {"resample": 3}, {"size": {"height": 224, "width": 224}, "resample": 1}, {"do_resize": False}):
        assert_same(*both(settings, frames, return_tensors="np"))
    unit = [(frame / 255).astype(numpy.float32) for frame in frames[:4]]
    assert_same(*both({"do_rescale": False, "offset": False}, unit, return_tensors="np"))
