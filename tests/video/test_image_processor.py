"""`VivitImageProcessor`: the goldens of transformers' class, what it accepts, its files, its errors."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest
from PIL import Image

from minivivit.errors import InputError
from minivivit.video import image_processor
from minivivit.video.image_processor import BatchFeature, VivitImageProcessor, find_settings
from minivivit.video.resize import resize_uint8

GOLDENS = Path(__file__).parents[1] / "data" / "image_processor.npz"
SMALL = {"size": {"shortest_edge": 20}, "crop_size": {"height": 18, "width": 18}}
NOTHING = dict.fromkeys(("do_resize", "do_center_crop", "do_rescale", "offset", "do_normalize"), False)


@pytest.fixture
def clip():
    return numpy.random.default_rng(0).integers(0, 256, (3, 30, 41, 3), dtype=numpy.uint8)


def pixels(videos, **settings):
    return VivitImageProcessor(**(SMALL | settings))(videos, return_tensors="np").pixel_values


# --------------------------------------------------------------------------------------------------------------------
# The arithmetic
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["default", "upscale_portrait", "exact_size_bicubic", "no_offset_255", "pad_when_crop_larger", "resize_only"],
)
def test_goldens(name):
    with numpy.load(GOLDENS) as goldens:
        settings = json.loads(str(goldens["settings_json"]))[name]
        frames, expected = goldens[f"{name}/frames"], goldens[f"{name}/pixel_values"]
    result = VivitImageProcessor(**settings)(list(frames), return_tensors="np").pixel_values
    assert result.dtype == expected.dtype
    numpy.testing.assert_array_equal(result, expected)


def test_the_published_defaults_end_in_minus_three_to_one():
    clip = numpy.zeros((2, 256, 256, 3), numpy.uint8)
    clip[1] = 255
    result = VivitImageProcessor()(clip, return_tensors="np").pixel_values
    assert result.shape == (1, 2, 3, 224, 224)
    assert result.dtype == numpy.float32
    assert (result[0, 0] == -3).all()
    assert (result[0, 1] == 1).all()


def test_each_step_by_hand(clip):
    processor = VivitImageProcessor()
    image = clip[0]
    numpy.testing.assert_array_equal(processor.resize(image, {"height": 8, "width": 9}), resize_uint8(image, (8, 9)))
    assert processor.resize(image, 60).shape == (60, 82, 3)  # 60 * 41 / 30, rounded down
    assert processor.resize(image.transpose(1, 0, 2), 60).shape == (82, 60, 3)
    numpy.testing.assert_array_equal(processor.center_crop(image, 20), image[5:25, 10:30])
    scaled = processor.rescale(image, 1 / 127.5)
    numpy.testing.assert_array_equal(scaled, (image * (1 / 127.5)).astype(numpy.float32) - numpy.float32(1))
    numpy.testing.assert_array_equal(
        processor.rescale(image, 1 / 255, offset=False, dtype="float64"), image * (1 / 255)
    )
    normal = processor.normalize(scaled, [0.1, 0.2, 0.3], 0.5)
    assert normal.dtype == numpy.float32
    numpy.testing.assert_array_equal(normal[..., 1], (scaled[..., 1] - numpy.float32(0.2)) / numpy.float32(0.5))
    assert processor.normalize(image / 255, 0, 1, data_format="channels_first").shape == (3, 30, 41)
    assert processor.normalize(image / 255, 0, 1).dtype == numpy.float64


@pytest.mark.parametrize(("height", "width"), [(36, 20), (31, 44), (30, 42), (7, 60), (30, 41)])
def test_a_crop_larger_than_the_frame_pads_with_zeros(clip, height, width):
    image = clip[0]
    result = VivitImageProcessor().center_crop(image, {"height": height, "width": width})
    assert result.shape == (height, width, 3)
    for row in range(height):
        for column in range(width):
            source = row + (30 - height) // 2, column + (41 - width) // 2
            inside = 0 <= source[0] < 30 and 0 <= source[1] < 41
            assert result[row, column].tolist() == (image[source].tolist() if inside else [0, 0, 0])


def test_float_frames_pass_the_resize_in_bytes(clip):
    settings = {"do_rescale": False, "offset": False, "do_normalize": False}
    unit = clip.astype(numpy.float32) / 255
    result = pixels(unit, **settings)
    assert result.dtype == numpy.float32
    in_bytes = ((unit.astype(numpy.float64) * 255).astype(numpy.float32)).astype(numpy.uint8)
    numpy.testing.assert_array_equal(result, (pixels(in_bytes, **settings) * (1 / 255)).astype(numpy.float32))
    whole = pixels(clip.astype(numpy.float64), **settings)
    assert whole.dtype == numpy.uint8
    numpy.testing.assert_array_equal(whole, pixels(clip, **settings))


def test_frames_of_a_clip_that_are_guessed_differently(clip):
    # A frame of zeros and ones holds whole numbers, so it is taken for bytes; its neighbours are fractions.
    as_they_are = {"do_rescale": False, "offset": False, "do_normalize": False}
    unit = clip / 255
    unit[1] = clip[1] > 127
    result = pixels(unit, **as_they_are)
    assert result.dtype == numpy.float32
    assert set(result[0, 1].ravel().tolist()) == {0.0, 1.0}
    assert len(set(result[0, 0].ravel().tolist())) > 100
    numpy.testing.assert_array_equal(result[0, [0, 2]], pixels(unit[[0, 2]], **as_they_are)[0])


def test_frames_in_unit_range_that_are_rescaled_again_give_a_warning(clip):
    with pytest.warns(UserWarning, match="do_rescale=False"):
        pixels(clip / 255)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_normalising_keeps_a_float_dtype(clip, dtype):
    frames = (clip / 255).astype(dtype)
    result = VivitImageProcessor(**(NOTHING | {"do_normalize": True}))(frames, return_tensors="np").pixel_values
    assert result.dtype == dtype


# --------------------------------------------------------------------------------------------------------------------
# What it accepts and returns
# --------------------------------------------------------------------------------------------------------------------


def test_every_form_of_a_video_gives_the_same(clip):
    expected = pixels(clip)
    assert expected.shape == (1, 3, 3, 18, 18)
    forms = [
        list(clip),
        tuple(clip),
        clip[None],
        [clip],
        [list(clip)],
        [Image.fromarray(frame) for frame in clip],
        clip.transpose(0, 3, 1, 2),
        clip.astype(numpy.int32),
        [clip[0], Image.fromarray(clip[1]), clip[2].transpose(2, 0, 1)],
    ]
    for form in forms:
        result = pixels(form)
        assert result.dtype == expected.dtype
        numpy.testing.assert_array_equal(result, expected)
    numpy.testing.assert_array_equal(pixels(clip[0]), expected[:, :1])
    numpy.testing.assert_array_equal(pixels([clip, clip[::-1]]), numpy.concatenate([expected, expected[:, ::-1]]))
    assert pixels([clip, clip]).flags.c_contiguous


def test_lists_when_no_tensors_are_asked_for(clip):
    features = VivitImageProcessor(**SMALL)([list(clip), list(clip[:1])])
    assert [len(video) for video in features.pixel_values] == [3, 1]
    assert all(isinstance(frame, numpy.ndarray) for video in features.pixel_values for frame in video)
    numpy.testing.assert_array_equal(numpy.array(features.pixel_values[0]), pixels(clip)[0])


def test_frames_of_several_shapes_keep_their_places(clip):
    other = clip[0, :25, :33]
    result = pixels([clip[0], other, clip[2]])
    numpy.testing.assert_array_equal(result[0, [0, 2]], pixels(clip[[0, 2]])[0])
    numpy.testing.assert_array_equal(result[0, 1], pixels(other)[0, 0])


def test_the_layout_of_the_result(clip):
    processor = VivitImageProcessor(**SMALL)
    first = processor(clip, return_tensors="np").pixel_values
    last = processor(clip, return_tensors="np", data_format="channels_last").pixel_values
    assert last.flags.c_contiguous
    numpy.testing.assert_array_equal(last, first.transpose(0, 1, 3, 4, 2))
    as_given = processor(clip, return_tensors="np", data_format=None).pixel_values
    numpy.testing.assert_array_equal(as_given, last)


def test_four_channels():
    frames = list(numpy.random.default_rng(1).integers(0, 256, (2, 4, 30, 41), dtype=numpy.uint8))
    settings = {"image_mean": 0, "image_std": 1}
    result = VivitImageProcessor(**SMALL).preprocess(
        frames, return_tensors="np", input_data_format="channels_first", **settings
    )
    assert result.pixel_values.shape == (1, 2, 4, 18, 18)
    with pytest.raises(InputError, match="input_data_format"):
        VivitImageProcessor(**SMALL)(frames, return_tensors="np")


def test_one_channel():
    frames = numpy.random.default_rng(1).integers(0, 256, (2, 30, 41, 1), dtype=numpy.uint8)
    assert pixels(frames, image_mean=0.5, image_std=0.5).shape == (1, 2, 1, 18, 18)


def test_arguments_of_preprocess_replace_the_settings(clip):
    other = {"size": 25, "crop_size": [16, 22], "resample": "bicubic", "rescale_factor": 1 / 255, "offset": False}
    other |= {"image_mean": [0.4, 0.5, 0.6], "image_std": 0.25}
    processor = VivitImageProcessor(**SMALL)
    result = processor.preprocess(clip, return_tensors="np", **other)
    numpy.testing.assert_array_equal(result["pixel_values"], pixels(clip, **other))
    assert result.pixel_values.shape == (1, 3, 3, 16, 22)
    assert processor.size == SMALL["size"]
    unchanged = processor(clip, return_tensors="np", **NOTHING).pixel_values
    assert unchanged.dtype == numpy.uint8
    numpy.testing.assert_array_equal(unchanged[0], clip.transpose(0, 3, 1, 2))


def test_the_result_is_a_dict_with_attributes():
    features = BatchFeature(pixel_values=[1])
    assert dict(**features) == {"pixel_values": [1]}
    assert features["pixel_values"] is features.pixel_values
    assert not hasattr(features, "labels")


def test_the_input_is_left_as_it_was(clip):
    before = clip.copy()
    pixels(clip, do_resize=False, do_center_crop=False)
    result = VivitImageProcessor(**NOTHING)(clip, return_tensors="np").pixel_values
    result[:] = 0
    numpy.testing.assert_array_equal(clip, before)


def test_the_float_steps_follow_the_backend(clip, monkeypatch):
    class DeviceArray(numpy.ndarray):
        """Stands in for an array of another library."""

    def on_device(function):
        return lambda *args: function(*args).view(DeviceArray)

    names = ("asarray", "empty", "stack", "ascontiguousarray")
    library = SimpleNamespace(**{name: on_device(getattr(numpy, name)) for name in names})
    asked = []
    monkeypatch.setattr(image_processor, "get_namespace", lambda name: asked.append(name) or library)
    result = VivitImageProcessor(**SMALL)(clip, return_tensors="np", backend="cupy").pixel_values
    assert type(result) is DeviceArray
    assert asked == ["cupy"]
    monkeypatch.undo()
    numpy.testing.assert_array_equal(result, pixels(clip))


@pytest.mark.gpu
def test_the_gpu_gives_the_same_bits(clip):
    cupy = pytest.importorskip("cupy")
    for settings in ({}, {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}):
        processor = VivitImageProcessor(**(SMALL | settings))
        result = processor(clip, return_tensors="np", backend="cupy").pixel_values
        assert isinstance(result, cupy.ndarray)
        numpy.testing.assert_array_equal(result.get(), processor(clip, return_tensors="np").pixel_values)


# --------------------------------------------------------------------------------------------------------------------
# Settings and their files
# --------------------------------------------------------------------------------------------------------------------


def test_sizes_become_dicts():
    processor = VivitImageProcessor.from_dict(VivitImageProcessor().to_dict(), size=42, crop_size=84)
    assert processor.size == {"shortest_edge": 42}
    assert processor.crop_size == {"height": 84, "width": 84}
    assert VivitImageProcessor(size=(30, 40)).size == {"height": 30, "width": 40}
    assert VivitImageProcessor().size == {"shortest_edge": 256}
    assert VivitImageProcessor().crop_size == {"height": 224, "width": 224}


def test_settings_survive_a_directory(tmp_path):
    processor = VivitImageProcessor(
        size=42, resample="bicubic", image_mean=numpy.array([0.1, 0.2, 0.3]), extra={"a": [1]}
    )
    (path,) = processor.save_pretrained(tmp_path / "new" / "directory")
    written = json.loads(Path(path).read_text(encoding="utf-8"))
    assert written["image_processor_type"] == "VivitImageProcessor"
    assert written["resample"] == 3
    assert written["extra"] == {"a": [1]}
    for source in (tmp_path / "new" / "directory", path):
        again = VivitImageProcessor.from_pretrained(source)
        assert again.to_dict() == processor.to_dict() == written
    assert VivitImageProcessor.from_pretrained(path, do_normalize=False, crop_size=16).to_dict() == written | {
        "do_normalize": False,
        "crop_size": {"height": 16, "width": 16},
    }


def test_where_settings_are_looked_for(tmp_path):
    files = {
        "video_preprocessor_config.json": {"size": 1, "video_processor_type": "VivitVideoProcessor"},
        "processor_config.json": {"video_processor": {"size": 2}},
        "preprocessor_config.json": {"size": 3},
    }
    assert find_settings(tmp_path) is None
    for i, (name, content) in enumerate(files.items()):
        (tmp_path / name).write_text(json.dumps(content))
        assert VivitImageProcessor.from_pretrained(tmp_path).size == {"shortest_edge": i + 1}
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": {"size": 4}}))
    assert VivitImageProcessor.from_pretrained(tmp_path).size == {"shortest_edge": 4}


def test_unknown_settings_shadow_nothing():
    processor = VivitImageProcessor(preprocess="gone", resize=1, feature_extractor_type="old", processor_class="old")
    assert callable(processor.preprocess)
    assert processor.unknown_settings == {"preprocess": "gone", "resize": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[1]", "JSON object"),
        ('{"size": "large"}', "preprocessor_config.json: size is 'large'"),
        ('{"resample": 99}', "preprocessor_config.json: resample is 99"),
        (None, "expected one of processor_config.json, preprocessor_config.json"),
    ],
)
def test_files_that_are_wrong(tmp_path, text, message):
    if text is not None:
        (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(InputError, match=message) as raised:
        VivitImageProcessor.from_pretrained(tmp_path)
    assert "\n" not in str(raised.value)


def test_an_override_that_is_no_setting_is_refused():
    with pytest.raises(InputError, match="'do_resiz' is no setting"):
        VivitImageProcessor.from_dict({}, do_resiz=False)


def test_saving_onto_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="expected a directory"):
        VivitImageProcessor().save_pretrained(tmp_path / "file")


# --------------------------------------------------------------------------------------------------------------------
# Errors
# --------------------------------------------------------------------------------------------------------------------

FRAME = numpy.full((30, 41, 3), 7, numpy.uint8)
NAN = numpy.where(FRAME == 7, numpy.nan, 0.0)


@pytest.mark.parametrize(
    ("videos", "settings", "message"),
    [
        ([], {}, "the video is empty"),
        ([[], [FRAME]], {}, "the video is empty"),
        (numpy.zeros((0, 30, 41, 3), numpy.uint8), {}, "the video is empty"),
        ("clip.mp4", {}, "minivivit.read_video"),
        (Path("clip.mp4"), {}, "minivivit.read_video"),
        (None, {}, "expected a video"),
        (FRAME[0], {}, "expected a video"),
        ([FRAME[0]], {}, "of the shape"),
        ([[FRAME[0]]], {}, "a video holds"),
        ([FRAME, [FRAME]], {}, "no mixture"),
        ([FRAME, FRAME[None]], {}, "no mixture"),
        ([[1, 2], [3, 4]], {}, "a video holds int"),
        ([NAN], {}, "NaN or infinity"),
        ([NAN], NOTHING, "NaN or infinity"),
        ([FRAME * 1.5], {}, r"fractions in \[0, 1\]"),
        ([FRAME.astype(int) - 20], {}, "a frame to resize has values from -13"),
        ([FRAME * 1j], {}, "dtype complex128"),
        ([FRAME.astype(object)], {}, "dtype object"),
        ([FRAME[:0]], {}, "holds no pixel"),
        ([numpy.zeros((30, 41, 5), numpy.uint8)], {}, "input_data_format"),
        ([numpy.zeros((30, 41, 5), numpy.uint8)], {"input_data_format": "channels_last"}, "1 to 4 channels"),
        ([Image.new("L", (41, 30))], {}, "convert"),
        ([FRAME], {"offset": True, "do_rescale": False}, "offset is set, but do_rescale is not"),
        ([FRAME], {"return_tensors": "pt"}, "'np'"),
        ([FRAME], {"data_format": "channels_middle"}, "data_format is"),
        ([FRAME], {"input_data_format": "none"}, "input_data_format is"),
        ([FRAME], {"size": {"longest_edge": 20}}, "'height' and 'width'"),
        ([FRAME], {"size": {"height": 20}}, "size is"),
        ([FRAME], {"size": 0}, "size is 0"),
        ([FRAME], {"size": 2.5}, "size is 2.5"),
        ([FRAME], {"size": True}, "size is True"),
        ([FRAME], {"size": 10**400}, "an edge may have"),
        ([FRAME], {"size": {"height": 10**6, "width": 10**6}, "do_center_crop": False}, "choose a smaller size"),
        ([FRAME], {"crop_size": 10**6}, "choose a smaller size"),
        ([FRAME], {"crop_size": 10**9}, "an edge may have"),
        ([FRAME], {"crop_size": {"shortest_edge": 20}}, "crop_size has the keys"),
        ([FRAME], {"resample": 77}, "resample is 77"),
        ([FRAME], {"rescale_factor": "1/255"}, "rescale_factor is '1/255'"),
        ([FRAME], {"rescale_factor": float("nan")}, "rescale_factor is nan"),
        ([FRAME], {"do_resize": "no"}, "do_resize is 'no'"),
        ([FRAME], {"image_mean": [0.5, 0.5]}, "image_mean has 2 values for frames of 3 channels"),
        ([FRAME], {"image_mean": "grey"}, "image_mean is 'grey'"),
        ([FRAME], {"image_std": [0.5, 0.0, 0.5]}, "none of them 0"),
        ([[FRAME], [FRAME, FRAME]], {"return_tensors": "np"}, "sample equally many"),
        ([FRAME, FRAME[1:]], NOTHING | {"return_tensors": "np"}, "crop them"),
        ([FRAME], {"backend": "jax"}, "backend is 'jax'"),
    ],
)
def test_errors_are_one_clear_line(videos, settings, message):
    with pytest.raises(InputError, match=message) as raised:
        VivitImageProcessor(**SMALL).preprocess(videos, **settings)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rescale_factor": 1e25}, r"pixel values of up to 5.1e\+27 from frames of uint8, .*: rescale_factor 1e\+25, "),
        ({"rescale_factor": -1e25}, r"pixel values of up to 5.1e\+27"),
        ({"rescale_factor": 1e38}, "pixel values of up to inf"),
        ({"rescale_factor": 1e300}, "pixel values of up to inf"),
        ({"rescale_factor": 1e-25}, "the same pixel value of different bytes: rescale_factor 1e-25"),
        ({"rescale_factor": 0.0}, "the same pixel value of different bytes"),
        ({"image_std": [0.5, 1e-30, 0.5]}, "pixel values of up to .*image_std"),
        ({"image_std": 1e-50}, "pixel values of up to (inf|nan)"),
        ({"image_mean": [0.5, 0.5, 1e30]}, "pixel values of up to 2e.30"),
        ({"image_mean": 4e5, "image_std": 1.0}, "the same pixel value of different bytes.*image_mean"),
    ],
)
def test_settings_that_make_no_pixel_values_of_bytes(settings, message):
    with pytest.raises(InputError, match=message), numpy.errstate(all="ignore"):
        VivitImageProcessor(**settings)([FRAME])


@pytest.mark.parametrize("name", ["rescale_factor", "resample", "image_mean", "size", "crop_size"])
def test_a_setting_taken_away(name):
    processor = VivitImageProcessor(**SMALL)
    setattr(processor, name, None)
    with pytest.raises(InputError, match=name):
        processor([FRAME])


@pytest.mark.parametrize("key", ["self", "settings", "cls", "overrides", "unknown", "__class__", "", "\0", "\ud800"])
def test_any_key_may_be_the_name_of_a_setting(tmp_path, key):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": 8, key: 1}))
    processor = VivitImageProcessor.from_pretrained(tmp_path)
    assert json.loads(processor.to_json_string())[key] == 1


@pytest.mark.parametrize(
    "settings",
    [
        *({"rescale_factor": value} for value in (10**400, math.inf, math.nan, "1", True, 1e39, [1])),
        *({name: 10**400} for name in ("size", "crop_size", "resample", "image_mean", "image_std", "do_resize")),
        *({name: "a" * 10**6} for name in ("size", "crop_size", "resample", "image_mean", "image_std", "do_resize")),
        *({name: [[]] * 10**5} for name in ("size", "crop_size", "image_mean", "image_std", "offset")),
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_without_measure_are_one_short_line(settings):
    with pytest.raises(InputError) as caught:
        VivitImageProcessor(**settings)(numpy.zeros((2, 8, 8, 3), "uint8"), return_tensors="np")
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()
