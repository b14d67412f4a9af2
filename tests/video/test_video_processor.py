"""`VivitVideoProcessor`: the goldens of transformers' class, what it accepts, its files, its errors."""

import json
from pathlib import Path

import numpy
import pytest
from PIL import Image

import minivivit
from minivivit import InputError, VivitConfig, VivitImageProcessor, VivitVideoProcessor
from minivivit.video.clips import VideoMetadata, uniform_indices
from minivivit.video.default_processor import load_processor
from minivivit.video.image_transforms import fitted_size
from minivivit.video.views import three_spatial_crops

GOLDENS = Path(__file__).parents[1] / "data" / "video_processor.npz"
SHARED = Path(__file__).resolve().parents[3] / "shared" / "goldens" / "transformers" / "video_processor.npz"
SMALL = {"size": {"shortest_edge": 20}, "crop_size": {"height": 18, "width": 18}}
BYTES = {"do_rescale": False, "do_normalize": False}
NOTHING = BYTES | {"do_resize": False, "do_center_crop": False}
# What transformers 5.24's class writes (`VivitVideoProcessor().to_dict()`).
DEFAULTS = {
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "do_sample_frames": False,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "resample": 2,
    "rescale_factor": 0.00784313725490196,
    "return_metadata": False,
    "size": {"shortest_edge": 256},
    "video_processor_type": "VivitVideoProcessor",
}


@pytest.fixture
def clip():
    return numpy.random.default_rng(0).integers(0, 256, (3, 30, 41, 3), dtype=numpy.uint8)


def pixels(videos, **settings):
    return VivitVideoProcessor(**(SMALL | settings))(videos, return_tensors="np").pixel_values


# --------------------------------------------------------------------------------------------------------------------
# The arithmetic
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", json.loads(str(numpy.load(GOLDENS)["cases_json"])))
def test_goldens(name):
    """tests/video/video_processor_goldens.py made them."""
    with numpy.load(GOLDENS) as goldens:
        case = json.loads(str(goldens["cases_json"]))[name]
        frames, expected = goldens[f"{name}/frames"], goldens[f"{name}/pixel_values"]
    result = VivitVideoProcessor(**case["settings"])(frames, return_tensors="np", **case["arguments"]).pixel_values
    assert result.dtype == expected.dtype
    numpy.testing.assert_array_equal(result, expected)


def test_the_goldens_beside_the_project():
    if not SHARED.is_file():
        pytest.skip(f"{SHARED} is not there: the project does not ship it")
    with numpy.load(SHARED) as goldens:
        for name, settings in json.loads(str(goldens["settings_json"])).items():
            frames, expected = goldens[f"{name}/frames"], goldens[f"{name}/pixel_values"]
            for given in (frames, list(frames), frames.transpose(0, 3, 1, 2), frames[None]):
                result = VivitVideoProcessor(**settings)(given, return_tensors="np").pixel_values
                assert result.dtype == expected.dtype
                numpy.testing.assert_array_equal(result, expected, err_msg=name)


def test_it_differs_from_the_image_processor_by_one_grey_level(clip):
    enlarged = {"size": 41, "crop_size": 41}
    video = VivitVideoProcessor(**enlarged)(clip, return_tensors="np", **BYTES).pixel_values.astype(int)
    image = VivitImageProcessor(**enlarged)(clip, return_tensors="np", offset=False, **BYTES).pixel_values
    assert 0 < (video != image).mean() < 0.05
    assert numpy.abs(video - image).max() == 1


def test_bytes_end_in_minus_three_to_one():
    ramp = numpy.arange(256, dtype=numpy.uint8).reshape(1, 16, 16, 1)
    result = VivitVideoProcessor(**NOTHING)(ramp, return_tensors="np", do_rescale=True, do_normalize=True).pixel_values
    factor, one, half = numpy.float32(1 / 127.5), numpy.float32(1), numpy.float32(0.5)
    expected = ((numpy.arange(256, dtype=numpy.float32) * factor - one) - half) / half  # each step rounded to float32
    numpy.testing.assert_array_equal(result[0, 0, 2].ravel(), expected)
    assert (expected[0], expected[-1]) == (-3, 1)


@pytest.mark.parametrize(("crop", "before"), [(33, (1, 0)), (44, (7, 1)), (45, (7, 2)), ([33, 40], (1, 0))])
def test_padding_has_its_odd_zero_behind(clip, crop, before):
    result = VivitVideoProcessor(**NOTHING)(clip, return_tensors="np", do_center_crop=True, crop_size=crop).pixel_values
    height, width = (crop, crop) if isinstance(crop, int) else crop
    assert result.shape == (1, 3, 3, height, width)
    top, left = before
    if width > 41:
        numpy.testing.assert_array_equal(result[0, :, :, top : top + 30, left : left + 41], clip.transpose(0, 3, 1, 2))
        inside = numpy.zeros((height, width), bool)
        inside[top : top + 30, left : left + 41] = True
        assert (result[0][..., ~inside] == 0).all()
    else:
        start = (41 - width) // 2
        kept = clip[:, :, start : start + width].transpose(0, 3, 1, 2)
        numpy.testing.assert_array_equal(result[0, :, :, top : top + 30], kept)
        assert (result[0, :, :, :top] == 0).all()
        assert (result[0, :, :, top + 30 :] == 0).all()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ({"shortest_edge": 20}, (20, 27)),
        ({"height": 7, "width": 9}, (7, 9)),
        ({"shortest_edge": 20, "longest_edge": 100}, (20, 27)),
        ({"shortest_edge": 20, "longest_edge": 21}, (15, 21)),
        ({"shortest_edge": 30, "longest_edge": 100}, (30, 41)),
        ({"max_height": 15, "max_width": 100}, (15, 20)),
        ({"max_height": 60, "max_width": 82}, (60, 82)),
    ],
)
def test_sizes(clip, size, expected):
    assert fitted_size(30, 41, size) == expected
    turned = {
        {"height": "width", "width": "height", "max_height": "max_width", "max_width": "max_height"}.get(key, key): edge
        for key, edge in size.items()
    }
    assert fitted_size(41, 30, turned) == expected[::-1]
    assert (
        VivitVideoProcessor(size=size)(clip, return_tensors="np", do_center_crop=False).pixel_values.shape[3:]
        == expected
    )


def test_what_an_int_means():
    assert VivitVideoProcessor(size=30).size == {"shortest_edge": 30}
    assert VivitVideoProcessor(size=30, default_to_square=True).size == {"height": 30, "width": 30}
    assert VivitVideoProcessor(size=[30, 40], crop_size=8).to_dict()["crop_size"] == {"height": 8, "width": 8}


# --------------------------------------------------------------------------------------------------------------------
# What it accepts
# --------------------------------------------------------------------------------------------------------------------


def test_the_same_video_in_all_its_forms(clip, tmp_path):
    expected = pixels(clip)
    numpy.save(tmp_path / "clip.npy", clip)
    (tmp_path / "frames").mkdir()
    for i, frame in enumerate(clip):
        Image.fromarray(frame).save(tmp_path / "frames" / f"{i}.png")
    forms = [
        list(clip),
        clip[None],
        [clip],
        (clip,),
        [list(clip)],
        clip.transpose(0, 3, 1, 2),
        numpy.asfortranarray(clip),
    ]
    forms += [[Image.fromarray(frame) for frame in clip], tmp_path / "frames", str(tmp_path / "clip.npy")]
    forms += [[tmp_path / "clip.npy"], [[str(tmp_path / "clip.npy")]]]
    for form in forms:
        numpy.testing.assert_array_equal(pixels(form), expected)
    batch = pixels([clip, clip[::-1]])
    numpy.testing.assert_array_equal(batch, numpy.concatenate([expected, expected[:, ::-1]]))
    for form in ([tmp_path / "clip.npy", clip[::-1]], [clip, clip[::-1].transpose(0, 3, 1, 2)]):  # kinds may differ
        numpy.testing.assert_array_equal(pixels(form), batch)
    assert batch.flags.c_contiguous
    numpy.testing.assert_array_equal(pixels(clip[0]), expected[:, :1])


def test_clips_of_several_sizes_keep_their_places(clip):
    other = clip[:, :25, :33]
    result = pixels([clip, other, clip[::-1]])
    for i, each in enumerate((clip, other, clip[::-1])):
        numpy.testing.assert_array_equal(result[i], pixels(each)[0])


def test_lists_when_no_tensors_are_asked_for(clip):
    features = VivitVideoProcessor(**SMALL)([clip, clip[:1, :25]], do_center_crop=False)
    assert [video.shape for video in features.pixel_values] == [(3, 3, 20, 27), (1, 3, 20, 32)]
    assert list(features) == ["pixel_values"]


def test_grey_and_transparent_clips(clip):
    numpy.testing.assert_array_equal(pixels(clip[..., :1]), pixels(clip[..., :1].repeat(3, axis=-1)))
    grey = VivitVideoProcessor(**SMALL)(clip[..., :1], return_tensors="np", do_convert_rgb=False, **BYTES).pixel_values
    assert grey.shape == (1, 3, 1, 18, 18)
    numpy.testing.assert_array_equal(grey, pixels(clip, **BYTES)[:, :, :1])
    alpha = numpy.full((*clip.shape[:3], 1), 255, numpy.uint8)
    last = {"input_data_format": "channels_last", "return_tensors": "np"}
    processor = VivitVideoProcessor(**SMALL)
    opaque = processor(numpy.concatenate([clip, alpha], axis=-1), **last).pixel_values
    numpy.testing.assert_array_equal(opaque, pixels(clip))
    clear = processor(numpy.concatenate([clip, 0 * alpha], axis=-1), **last).pixel_values
    rounding = 4 * 2.0**-20  # pixel values are up to 4 from the white, which a dozen roundings of float32 move
    numpy.testing.assert_allclose(clear, 1, rtol=0, atol=rounding)
    half = processor(numpy.concatenate([clip, 0 * alpha + 51], axis=-1), **last).pixel_values
    white = 0.8 * 255 + 0.2 * clip.astype(numpy.float32)
    with_floats = processor(white, **last).pixel_values
    numpy.testing.assert_allclose(half, with_floats, rtol=0, atol=rounding)
    unconverted = processor(numpy.concatenate([clip, alpha], axis=-1), do_convert_rgb=False, **last, **BYTES)
    assert unconverted.pixel_values.shape == (1, 3, 4, 18, 18)


def test_floats_and_other_integers(clip):
    expected = pixels(clip, do_resize=False)
    for dtype in (numpy.float32, numpy.float64, numpy.int64, numpy.uint16):
        numpy.testing.assert_array_equal(pixels(clip.astype(dtype), do_resize=False), expected)
    resized = pixels(clip.astype(numpy.float32))
    assert resized.dtype == numpy.float32
    assert 0 < numpy.abs(resized - pixels(clip)).max() < 1.1 / 63.75  # not rounded to whole grey levels
    with pytest.warns(UserWarning, match="do_rescale=False"):
        pixels(clip / 255)


def test_the_layout_of_the_result(clip):
    processor = VivitVideoProcessor(**SMALL)
    last = processor(clip, return_tensors="np", data_format="channels_last").pixel_values
    assert last.flags.c_contiguous
    numpy.testing.assert_array_equal(last, pixels(clip).transpose(0, 1, 3, 4, 2))


def test_arguments_of_preprocess_replace_the_settings(clip):
    other = {"size": 25, "crop_size": [16, 22], "resample": "bicubic", "rescale_factor": 1 / 255}
    other |= {"image_mean": [0.4, 0.5, 0.6], "image_std": 0.25}
    processor = VivitVideoProcessor(**SMALL)
    result = processor.preprocess(videos=clip, return_tensors="np", **other)
    numpy.testing.assert_array_equal(result["pixel_values"], pixels(clip, **other))
    assert result.pixel_values.shape == (1, 3, 3, 16, 22)
    assert processor.size == SMALL["size"]
    square = processor(clip, return_tensors="np", size=25, default_to_square=True, do_center_crop=False).pixel_values
    assert square.shape[3:] == (25, 25)


def test_the_input_is_left_as_it_was(clip):
    before = clip.copy()
    result = VivitVideoProcessor(**NOTHING)(clip, return_tensors="np").pixel_values
    result[:] = 0
    pixels(clip)
    numpy.testing.assert_array_equal(clip, before)


@pytest.mark.gpu
def test_the_gpu_gives_the_same_bits(clip):
    cupy = pytest.importorskip("cupy")
    for settings in ({}, {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}):
        processor = VivitVideoProcessor(**(SMALL | settings))
        for given in ([clip, clip[:, :25]], clip[..., :1]):
            result = processor(given, return_tensors="np", backend="cupy").pixel_values
            assert isinstance(result, cupy.ndarray)
            numpy.testing.assert_array_equal(result.get(), processor(given, return_tensors="np").pixel_values)


# --------------------------------------------------------------------------------------------------------------------
# Sampling frames
# --------------------------------------------------------------------------------------------------------------------


def test_which_frames_are_taken():
    assert uniform_indices(10, None, None, None).tolist() == list(range(10))
    assert uniform_indices(10, 4, None, None).tolist() == [0, 2, 5, 7]
    assert uniform_indices(10, 10, None, 25.0).tolist() == list(range(10))
    assert uniform_indices(50, None, 2, 25).tolist() == [0, 12, 25, 37]
    assert uniform_indices(5, None, 0.01, 25).tolist() == [0]


def test_sampling_an_array(clip):
    frames = numpy.concatenate([clip, clip[::-1], clip])
    settings = {"do_sample_frames": True, "num_frames": 4}
    numpy.testing.assert_array_equal(pixels(frames, **settings), pixels(frames[[0, 2, 4, 6]]))
    numpy.testing.assert_array_equal(pixels(list(frames), **settings), pixels(frames[[0, 2, 4, 6]]))
    numpy.testing.assert_array_equal(pixels(frames, num_frames=4), pixels(frames))  # it is not asked for
    processor = VivitVideoProcessor(**SMALL, do_sample_frames=True, return_metadata=True)
    given = {"total_num_frames": 9, "fps": 3.0}
    features = processor([frames, frames], fps=1, video_metadata=[given, VideoMetadata(9, 1.5)])
    assert [len(video) for video in features.pixel_values] == [3, 6]
    first, second = features.video_metadata
    assert first.frames_indices.tolist() == [0, 3, 6]
    assert first.timestamps == [0.0, 1.0, 2.0]
    assert (second["fps"], len(second["frames_indices"])) == (1.5, 6)
    assert given == {"total_num_frames": 9, "fps": 3.0}


def test_metadata_of_what_is_given(clip):
    (metadata,) = VivitVideoProcessor(**SMALL)(clip, return_metadata=True).video_metadata
    assert dict(metadata) == {
        "total_num_frames": 3,
        "fps": None,
        "width": 41,
        "height": 30,
        "duration": None,
        "video_backend": None,
        "frames_indices": [0, 1, 2],
    }
    with pytest.raises(InputError, match="lacks fps"):
        _ = metadata.timestamps


def test_sampling_a_file(tmp_path):
    av = pytest.importorskip("av")
    with av.open(tmp_path / "clip.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height = 48, 32
        for i in range(20):
            frame = av.VideoFrame.from_ndarray(numpy.full((32, 48, 3), 12 * i, numpy.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    path = tmp_path / "clip.mp4"
    processor = VivitVideoProcessor(**SMALL, return_metadata=True)
    features = processor(path, do_sample_frames=True, fps=2, return_tensors="np")
    (metadata,) = features.video_metadata
    assert (metadata.total_num_frames, metadata.fps, metadata.duration) == (20, 5.0, 4.0)
    assert (metadata.height, metadata.width) == (32, 48)
    assert metadata.frames_indices.tolist() == [0, 2, 5, 7, 10, 12, 15, 17]
    frames = minivivit.read_video(path, metadata.frames_indices)
    numpy.testing.assert_array_equal(features.pixel_values, pixels(frames))
    (whole,) = processor(path).video_metadata
    assert whole.frames_indices.tolist() == list(range(20))


# --------------------------------------------------------------------------------------------------------------------
# Settings and their files
# --------------------------------------------------------------------------------------------------------------------


def test_the_file_is_transformers(tmp_path):
    processor = VivitVideoProcessor()
    assert processor.to_dict() == DEFAULTS
    (path,) = processor.save_pretrained(tmp_path / "new")
    assert Path(path).name == "video_preprocessor_config.json"
    assert json.loads(Path(path).read_text(encoding="utf-8")) == DEFAULTS
    assert minivivit.VivitVideoProcessor is VivitVideoProcessor


def test_settings_survive_a_directory(tmp_path):
    processor = VivitVideoProcessor(
        size=42, resample="bicubic", image_mean=numpy.array([0.1, 0.2, 0.3]), num_frames=8, fps=None, extra={"a": [1]}
    )
    (path,) = processor.save_pretrained(tmp_path)
    written = json.loads(Path(path).read_text(encoding="utf-8"))
    assert (written["resample"], written["num_frames"], written["extra"]) == (3, 8, {"a": [1]})
    assert "fps" not in written
    for source in (tmp_path, path):
        assert VivitVideoProcessor.from_pretrained(source).to_dict() == written
    changed = VivitVideoProcessor.from_pretrained(path, do_normalize=False, crop_size=16)
    assert changed.to_dict() == written | {"do_normalize": False, "crop_size": {"height": 16, "width": 16}}


@pytest.mark.parametrize(
    "key", ["self", "settings", "cls", "overrides", "unknown", "__class__", "", "\0", "\ud800", "offset"]
)
def test_any_key_may_be_the_name_of_a_setting(tmp_path, key):
    (tmp_path / "video_preprocessor_config.json").write_text(json.dumps({"size": 8, key: 1}))
    processor = VivitVideoProcessor.from_pretrained(tmp_path)
    assert json.loads(processor.to_json_string())[key] == 1


def write(directory, **files):
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content))


def test_where_settings_are_looked_for(tmp_path):
    write(tmp_path, processor_config={"image_processor": {"size": 1}})
    assert VivitVideoProcessor.from_pretrained(tmp_path).size == {"shortest_edge": 1}
    write(tmp_path, preprocessor_config={"size": 2, "image_processor_type": "VivitImageProcessor"})
    assert type(VivitVideoProcessor.from_pretrained(tmp_path)) is VivitVideoProcessor
    assert VivitVideoProcessor.from_pretrained(tmp_path).size == {"shortest_edge": 2}
    write(tmp_path, video_preprocessor_config={"size": 3})
    assert VivitVideoProcessor.from_pretrained(tmp_path).size == {"shortest_edge": 3}
    write(tmp_path, processor_config={"video_processor": {"size": 4}})
    assert VivitVideoProcessor.from_pretrained(tmp_path).size == {"shortest_edge": 4}


def test_the_file_chooses_the_class(tmp_path):
    """Asked for an image processor, a directory that holds a video processor alone gives that."""
    config = VivitConfig(image_size=32, num_frames=4)
    VivitVideoProcessor(**SMALL).save_pretrained(tmp_path)
    for processor in (VivitImageProcessor.from_pretrained(tmp_path), load_processor(tmp_path, config)[0]):
        assert type(processor) is VivitVideoProcessor
    path = tmp_path / "video_preprocessor_config.json"
    assert type(VivitImageProcessor.from_pretrained(path)) is VivitVideoProcessor
    assert load_processor(tmp_path, config)[1] == []
    VivitImageProcessor(**SMALL).save_pretrained(tmp_path)
    assert type(VivitImageProcessor.from_pretrained(tmp_path)) is VivitImageProcessor
    processor, notes = load_processor(tmp_path, config)  # of both, transformers' pipeline takes the video processor
    assert type(processor) is VivitVideoProcessor
    assert notes == [f"{tmp_path} holds an image processor and a video processor: taking the latter"]
    path.unlink()
    assert type(load_processor(tmp_path, config)[0]) is VivitImageProcessor
    write(tmp_path, processor_config={"video_processor": VivitVideoProcessor(**SMALL).to_dict()})
    assert type(load_processor(tmp_path, config)[0]) is VivitVideoProcessor


def test_settings_that_do_not_hold_here_are_said(tmp_path):
    VivitImageProcessor(offset=False).save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="says offset false"):
        VivitVideoProcessor.from_pretrained(tmp_path)
    VivitVideoProcessor(do_sample_frames=True, num_frames=3).save_pretrained(tmp_path)
    _, notes = load_processor(tmp_path, VivitConfig())
    assert [note for note in notes if "samples frames" in note]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[1]", "JSON object"),
        ('{"size": "large"}', "video_preprocessor_config.json: size is 'large'"),
        ('{"resample": 99}', "video_preprocessor_config.json: resample is 99"),
        (
            None,
            "no settings of a video processor; expected one of processor_config.json, video_preprocessor_config.json",
        ),
    ],
)
def test_files_that_are_wrong(tmp_path, text, message):
    if text is not None:
        (tmp_path / "video_preprocessor_config.json").write_text(text)
    with pytest.raises(InputError, match=message) as raised:
        VivitVideoProcessor.from_pretrained(tmp_path)
    assert "\n" not in str(raised.value)


def test_an_override_that_is_no_setting_is_refused():
    with pytest.raises(InputError, match="'offset' is no setting of the video processor"):
        VivitVideoProcessor.from_dict({}, offset=False)


def test_three_crops(clip):
    processor = VivitVideoProcessor(**SMALL, do_sample_frames=True, num_frames=1)
    crops = three_spatial_crops(clip, processor)
    assert crops.shape == (3, 3, 3, 18, 18)
    numpy.testing.assert_array_equal(crops[1], pixels(clip)[0])
    wide = VivitVideoProcessor(**SMALL)(clip, return_tensors="np", crop_size=[18, 27]).pixel_values[0]
    numpy.testing.assert_array_equal(crops[0], wide[..., :18])
    numpy.testing.assert_array_equal(crops[2], wide[..., -18:])


# --------------------------------------------------------------------------------------------------------------------
# Errors
# --------------------------------------------------------------------------------------------------------------------

FRAME = numpy.full((30, 41, 3), 7, numpy.uint8)
CLIP = FRAME[None].repeat(4, axis=0)
SAMPLE = {"do_sample_frames": True}


@pytest.mark.parametrize(
    ("videos", "settings", "message"),
    [
        ([], {}, "the video is empty"),
        ([[], [FRAME]], {}, "the video is empty"),
        (CLIP[:0], {}, "the video is empty"),
        (CLIP[None][:0], {}, "the video is empty"),
        ("no_such_clip.mp4", {}, "no_such_clip.mp4 does not exist"),
        (["no_such_clip.mp4", CLIP], {}, "no_such_clip.mp4 does not exist"),
        ([[["a.png", "b.png"]]], {}, "expected PIL images or arrays"),
        (None, {}, "expected a video"),
        (3, {}, "expected a video"),
        (FRAME[0], {}, "expected a video"),
        ([FRAME, [FRAME]], {}, "no mixture"),
        ([FRAME, FRAME[1:]], {}, "the frames of a clip are of the shapes"),
        ([FRAME, FRAME.astype(float)], {}, "differ in dtype"),
        ([FRAME * numpy.nan], {}, "NaN or infinity"),
        ([FRAME * 1j], {}, "dtype complex128"),
        ([FRAME[:0]], {}, "holds no pixel"),
        ([numpy.zeros((30, 41, 5), numpy.uint8)], {}, "input_data_format"),
        ([numpy.zeros((30, 41, 5), numpy.uint8)], {"input_data_format": "channels_last"}, "a clip has 5 channels"),
        ([numpy.zeros((30, 41, 2), numpy.uint8)], {"input_data_format": "channels_last"}, "do_convert_rgb=False"),
        ([Image.new("L", (41, 30))], {}, "convert"),
        (CLIP, {"return_tensors": "pt"}, "'np'"),
        (CLIP, {"data_format": "channels_middle"}, "data_format is"),
        (CLIP, {"offset": False}, "'offset' is no setting of the video processor"),
        (CLIP, {"size": {"longest_edge": 20}}, "'height' and 'width'"),
        (CLIP, {"size": {"height": 20}}, "size is"),
        (CLIP, {"size": 0}, "size is 0"),
        (CLIP, {"size": {"max_height": 1, "max_width": 1}}, "at least 1"),
        (CLIP, {"size": 10**400}, "an edge may have"),
        (CLIP, {"size": {"height": 10**6, "width": 10**6}, "do_center_crop": False}, "choose a smaller size"),
        (CLIP, {"size": {"shortest_edge": 10**400, "longest_edge": 10**401}}, "an edge may have"),
        (CLIP, {"size": {"max_height": 10**400, "max_width": 10**401}}, "an edge may have"),
        (CLIP, {"crop_size": 10**6}, "choose a smaller size"),
        (CLIP, {"crop_size": {"shortest_edge": 20}}, "crop_size has the keys"),
        (CLIP, {"resample": 77}, "resample is 77"),
        (CLIP, {"resample": 4}, "which PyTorch has not for tensors"),
        (CLIP, {"rescale_factor": "1/255"}, "rescale_factor is '1/255'"),
        (CLIP, {"rescale_factor": 1e300}, "pixel values of up to (inf|nan)"),
        (CLIP, {"rescale_factor": 0.0}, "the same pixel value of different bytes"),
        (CLIP, {"do_resize": "no"}, "do_resize is 'no'"),
        (CLIP, {"do_sample_frames": "no"}, "do_sample_frames is 'no'"),
        (CLIP, {"image_mean": [0.5, 0.5]}, "image_mean has 2 values for frames of 3 channels"),
        (CLIP, {"image_std": [0.5, 0.0, 0.5]}, "none of them 0"),
        ([CLIP, CLIP[1:]], {"return_tensors": "np"}, "sample equally many"),
        ([CLIP, CLIP[:, 1:]], NOTHING | {"return_tensors": "np"}, "crop them"),
        (CLIP, {"backend": "jax"}, "backend is 'jax'"),
        (CLIP, SAMPLE | {"num_frames": 5}, "5 frames are asked for, and the video has 4"),
        (CLIP, SAMPLE | {"num_frames": 0}, "num_frames is 0"),
        (CLIP, SAMPLE | {"num_frames": 2.5}, "num_frames is 2.5"),
        (CLIP, SAMPLE | {"num_frames": 2, "fps": 2}, "exclude each other"),
        (CLIP, SAMPLE | {"fps": 2}, "how many frames a second the video has is not known"),
        (CLIP, SAMPLE | {"fps": -1}, "fps is -1"),
        (CLIP, SAMPLE | {"fps": True}, "fps is True"),
        (CLIP, SAMPLE | {"fps": 2, "video_metadata": {"total_num_frames": 4, "fps": 0}}, "the video's own fps is 0"),
        (
            CLIP,
            SAMPLE | {"fps": 1e300, "video_metadata": {"total_num_frames": 4, "fps": 1e-300}},
            "frames are asked for",
        ),
        (CLIP, SAMPLE | {"num_frames": 10**400}, "frames are asked for"),
        (CLIP, SAMPLE | {"fps": 10**400}, "fps is"),
        (CLIP, SAMPLE | {"video_metadata": {"total_num_frames": 10**12}}, "expected 16,777,216 at most"),
        (CLIP, SAMPLE | {"num_frames": 2, "video_metadata": {"total_num_frames": 10**400}}, "total_num_frames is"),
        (CLIP, SAMPLE | {"num_frames": 4, "video_metadata": {"total_num_frames": 40}}, "the clip has 4 frames"),
        (CLIP, {"video_metadata": [{"total_num_frames": 4}] * 2}, "2 entries for 1 videos"),
        (CLIP, {"video_metadata": {"fps": 4}}, "lacks total_num_frames"),
        (CLIP, {"video_metadata": {"total_num_frames": 4, "frames": 4}}, "the key 'frames'"),
        (CLIP, {"video_metadata": {"total_num_frames": "4"}}, "total_num_frames is '4'"),
        (CLIP, {"video_metadata": 4}, "video_metadata holds 4"),
    ],
)
def test_errors_are_one_clear_line(videos, settings, message):
    with pytest.raises(InputError, match=message) as raised, numpy.errstate(all="ignore"):
        VivitVideoProcessor(**SMALL).preprocess(videos, **settings)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("name", ["rescale_factor", "resample", "image_mean", "size", "crop_size"])
def test_a_setting_taken_away(name):
    processor = VivitVideoProcessor(**SMALL)
    setattr(processor, name, None)
    with pytest.raises(InputError, match=name):
        processor(CLIP)
