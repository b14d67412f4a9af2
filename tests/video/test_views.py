"""Clips spread over time and crops spread over space."""

import numpy
import pytest
from PIL import Image

from minivivit import InputError, VivitImageProcessor
from minivivit.video.views import spatial_views, temporal_views, three_spatial_crops


def tiled_windows(num_views, clip_len, stride, seg_len):
    """DMVR's rule as it is written there: tile the indices until they last, and step through them from each offset."""
    last = max(0, seg_len - clip_len * stride)
    offsets = [int(numpy.float32(last) / numpy.float32(max(num_views - 1, 1)) * i) for i in range(num_views)]
    if num_views == 1:
        offsets = [last // 2]  # sample_sequence(random=False)
    windows = []
    for offset in offsets:
        repeats = -(-(clip_len * stride + offset) // seg_len)
        tiled = list(range(seg_len)) * repeats
        windows.append(tiled[offset : offset + clip_len * stride : stride])
    return windows


def test_four_clips_by_hand():
    expected = [[0, 2, 4], [3, 5, 7], [6, 8, 10], [9, 11, 13]]  # 9 frames to spare: offsets 0, 3, 6, 9
    numpy.testing.assert_array_equal(temporal_views(4, 3, 2, 15), expected)
    numpy.testing.assert_array_equal(temporal_views(3, 3, 2, 9), [[0, 2, 4], [1, 3, 5], [3, 5, 7]])  # 0, 1.5, 3


@pytest.mark.parametrize("num_views", [1, 2, 3, 4, 10])
@pytest.mark.parametrize(("clip_len", "stride"), [(1, 1), (4, 2), (8, 3), (32, 2)])
def test_dmvr_s_rule(num_views, clip_len, stride):
    for seg_len in (1, 2, 3, 7, 23, 24, 25, 63, 64, 65, 100, 301):
        found = temporal_views(num_views, clip_len, stride, seg_len)
        assert found.dtype == numpy.intp
        assert found.tolist() == tiled_windows(num_views, clip_len, stride, seg_len)


def test_a_short_video_starts_again():
    numpy.testing.assert_array_equal(temporal_views(2, 6, 2, 5), [[0, 2, 4, 1, 3, 0]] * 2)


@pytest.mark.parametrize("name", ["num_views", "clip_len", "frame_sample_rate", "seg_len"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "4", None])
def test_numbers_that_cannot_be_meant(name, value):
    numbers = {"num_views": 4, "clip_len": 3, "frame_sample_rate": 2, "seg_len": 15, name: value}
    with pytest.raises(InputError, match=name):
        temporal_views(**numbers)


# --------------------------------------------------------------------------------------------------------------------
# Crops
# --------------------------------------------------------------------------------------------------------------------

CROP = 16


def noise(height, width, frames=3):
    return numpy.random.default_rng(0).integers(0, 256, (frames, height, width, 3), dtype=numpy.uint8)


def processor_for(edge=20, crop=CROP, **settings):
    return VivitImageProcessor(size={"shortest_edge": edge}, crop_size=crop, **settings)


def crop_by_hand(frames, edge, place):
    """scenic's crop of frames that Pillow resized, with centred offsets rounded down, as floats in [-3, 1]."""
    height, width = frames.shape[1:3]
    size = (edge * width // height, edge) if height <= width else (edge, edge * height // width)  # (width, height)
    resized = [numpy.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR)) for frame in frames]
    spare = numpy.array([size[1] - CROP, size[0] - CROP])
    offset = spare // 2
    long = 0 if size[1] > size[0] else 1
    offset[long] = (0, offset[long], spare[long])[place]
    cut = numpy.stack(resized)[:, offset[0] : offset[0] + CROP, offset[1] : offset[1] + CROP]
    scaled = (cut.astype(numpy.float64) * (1 / 127.5)).astype(numpy.float32) - numpy.float32(1)
    return ((scaled - numpy.float32(0.5)) / numpy.float32(0.5)).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("shape", [(40, 71), (71, 40), (30, 30), (33, 47), (20, 25), (16, 90)])
@pytest.mark.parametrize("edge", [16, 19, 20, 40])  # of the last, little is in a crop
def test_crops_by_hand(shape, edge):
    frames = noise(*shape)
    crops = three_spatial_crops(frames, processor_for(edge))
    assert crops.shape == (3, 3, 3, CROP, CROP)
    for place in range(3):
        numpy.testing.assert_array_equal(crops[place], crop_by_hand(frames, edge, place))


SETTINGS = [
    {},
    {"do_resize": False},
    {"do_rescale": False, "offset": False},
    {"do_normalize": False},
    {"resample": 3},
    {"offset": False, "rescale_factor": 1 / 255},
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("shape", [(40, 71), (71, 40), (31, 31), (12, 40), (40, 12), (8, 9)])
def test_the_middle_one_is_the_processor_s(shape, settings):
    frames, processor = noise(*shape), processor_for(**settings)
    crops = three_spatial_crops(frames, processor)
    expected = processor(frames, return_tensors="np").pixel_values
    assert crops.dtype == expected.dtype
    numpy.testing.assert_array_equal(crops[1:2], expected)
    numpy.testing.assert_array_equal(spatial_views(frames, processor), expected)
    numpy.testing.assert_array_equal(spatial_views(frames, processor, 3), crops)


def test_frames_that_are_too_small_are_padded():
    crops = three_spatial_crops(noise(8, 9), processor_for(do_resize=False))
    numpy.testing.assert_array_equal(crops[0], crops[1])
    numpy.testing.assert_array_equal(crops[2], crops[1])
    crops = three_spatial_crops(noise(8, 40), processor_for(do_resize=False))  # padded above, cut at the side
    assert (crops[:, :, :, :4] == -3).all()
    assert not numpy.array_equal(crops[0], crops[2])


def test_a_crop_that_is_no_square_moves_where_there_is_more_to_spare():
    frames = noise(20, 24)  # 10 rows and 2 columns to spare
    crops = three_spatial_crops(frames, processor_for(do_resize=False, crop=(10, 22)))
    whole = processor_for(do_resize=False, do_center_crop=False)(frames, return_tensors="np").pixel_values[0]
    for place, top in enumerate((0, 5, 10)):
        numpy.testing.assert_array_equal(crops[place], whole[:, :, top : top + 10, 1:23])


def test_fractions_are_cropped_as_bytes_are():
    frames = noise(40, 71)
    processor = processor_for(do_rescale=False, offset=False)
    crops = three_spatial_crops(frames / 255.0, processor)
    numpy.testing.assert_array_equal(crops[1:2], processor(frames / 255.0, return_tensors="np").pixel_values)


def test_what_cannot_be_cropped():
    with pytest.raises(InputError, match="does not crop"):
        three_spatial_crops(noise(20, 30), processor_for(do_center_crop=False))
    with pytest.raises(InputError, match="num_crops is 2"):
        spatial_views(noise(20, 30), processor_for(), 2)
