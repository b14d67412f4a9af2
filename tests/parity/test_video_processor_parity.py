"""`VivitVideoProcessor` against PyTorch's antialiased resize and against transformers' class that calls it, live."""

import json
import sys
import warnings
from importlib.util import find_spec

import numpy
import pytest

torch = pytest.importorskip("torch")

from torch.nn.functional import interpolate  # noqa: E402

from minivivit import InputError, VivitImageProcessor, VivitVideoProcessor  # noqa: E402
from minivivit.video.torch_resize import resize_planes_as_torch  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore:.* says offset false:UserWarning")]

MODES = {0: "nearest-exact", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


def resized_by_torch(images, size, resample):
    """(images, channels, height, width), of bytes or floats."""
    options = {} if resample == 0 else {"antialias": True, "align_corners": False}
    return interpolate(images, size=size, mode=MODES[resample], **options).numpy()


def random_images(rng, largest):
    """Noise, or only black and white, which makes the kernels with negative lobes clip; in either layout of memory."""
    shape = (2, int(rng.integers(1, 5)), *(int(edge) for edge in rng.integers(2, largest, 2)))
    images = rng.integers(0, 256, shape, dtype=numpy.uint8)
    if rng.random() < 0.4:
        images = numpy.where(images > 127, numpy.uint8(255), numpy.uint8(0))
    tensor = torch.from_numpy(images)
    return images, tensor.contiguous(memory_format=torch.channels_last) if rng.random() < 0.5 else tensor


def supported(resample):
    """Whether this PyTorch has the kernel: lanczos came late."""
    try:
        resized_by_torch(torch.zeros((1, 3, 8, 8), dtype=torch.uint8), (4, 4), resample)
    except (ValueError, NotImplementedError):
        return False
    return True


@pytest.mark.parametrize("resample", MODES)
def test_bytes_at_random_sizes(resample):
    """To the bit; sizes of 1 are left out, where PyTorch's general kernel for more than 4 channels reads astray."""
    if not supported(resample):
        pytest.skip(f"PyTorch {torch.__version__} has no {MODES[resample]} kernel with antialias")
    rng = numpy.random.default_rng(resample)
    for largest, count in ((6, 200), (40, 200), (200, 40)):
        for _ in range(count):
            images, tensor = random_images(rng, largest)
            size = tuple(edge if rng.random() < 0.15 else int(rng.integers(2, largest)) for edge in images.shape[2:])
            ours = resize_planes_as_torch(list(images), size, resample)
            assert numpy.array_equal(ours, resized_by_torch(tensor, size, resample)), (images.shape, size)


@pytest.mark.parametrize("resample", [2, 3])
@pytest.mark.parametrize(
    ("shape", "size"),
    [((240, 320), (256, 341)), ((720, 405), (455, 256)), ((1080, 1920), (256, 455))],
)
def test_bytes_of_whole_frames(shape, size, resample):
    images = numpy.random.default_rng(0).integers(0, 256, (1, 3, *shape), dtype=numpy.uint8)
    expected = resized_by_torch(torch.from_numpy(images), size, resample)
    numpy.testing.assert_array_equal(resize_planes_as_torch(list(images), size, resample), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("resample", [2, 3])
def test_floats_to_rounding(resample, dtype):
    """Two passes, each with n products added in the floats' precision, and centres rounded as far out as they lie."""
    rng = numpy.random.default_rng(resample)
    for _ in range(200):
        _, tensor = random_images(rng, 60)
        tensor = tensor.to(dtype) / 255
        size = tuple(int(edge) for edge in rng.integers(2, 60, 2))
        ours = resize_planes_as_torch(list(tensor.numpy()), size, resample)
        theirs = resized_by_torch(tensor, size, resample)
        assert ours.dtype == theirs.dtype
        longest = max(edge / other for edge, other in zip(tensor.shape[2:], size, strict=True))
        taps = 4 * max(longest, 1) + 2
        # The weights' magnitudes sum to less than 2, and their slopes to less than 4, times values of at most 1. A
        # centre is off by half an epsilon of the edge, here and there.
        bound = 2 * (2 * 2 * taps + 4 * max(tensor.shape[2:])) * numpy.finfo(ours.dtype).eps
        assert numpy.abs(ours - theirs).max() <= bound


# --------------------------------------------------------------------------------------------------------------------
# transformers' class
# --------------------------------------------------------------------------------------------------------------------


def define_operators():
    """Give PyTorch the names of torchvision's compiled operators, none of which the processor calls.

    A torchvision that was built for another kind of PyTorch (with CUDA, without) cannot load them, and its own import
    fails where it speaks of them. Its resize, crop and normalisation are written in Python.
    """
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms", "roi_align", "_roi_align_backward", "ps_roi_align", "_ps_roi_align_backward"):
        library.define(f"{name}(Tensor x) -> Tensor")
    for name in ("roi_pool", "_roi_pool_backward", "ps_roi_pool", "_ps_roi_pool_backward", "deform_conv2d"):
        library.define(f"{name}(Tensor x) -> Tensor")
    library.define("_deform_conv2d_backward(Tensor x) -> Tensor")
    return library


@pytest.fixture(scope="module")
def their_class():
    """transformers' VivitVideoProcessor; a skip that says what is missing, where it cannot be imported."""
    transformers = pytest.importorskip("transformers")
    if find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import torchvision
        except (RuntimeError, ImportError, OSError):
            for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
            library = define_operators()  # noqa: F841 (it holds the names as long as it lives)
            try:
                import torchvision  # noqa: F401
            except (RuntimeError, ImportError, OSError) as error:
                pytest.skip(f"this torchvision does not fit PyTorch {torch.__version__}: {error}")
        try:
            from transformers import VivitVideoProcessor as Theirs

            Theirs()
        except ImportError as error:
            pytest.skip(f"transformers {transformers.__version__} has no VivitVideoProcessor here: {error}")
        if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
            pytest.skip("without AVX2 torchvision resizes bytes as floats")
        transformers.logging.set_verbosity_error()
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # for frames as small as these, waiting for one another takes the longest
        yield Theirs
        torch.set_num_threads(threads)


def random_settings(rng):
    edge, other = (int(number) for number in rng.integers(2, 50, 2))
    sizes = [edge, [edge, other], {"shortest_edge": edge}, {"height": edge, "width": other}]
    sizes += [{"shortest_edge": edge, "longest_edge": edge + other}, {"max_height": edge, "max_width": other}]
    settings = {
        "size": sizes[rng.integers(len(sizes))],
        "crop_size": [other, [other, edge]][rng.integers(2)],
        "resample": int(rng.choice([0, 2, 3])),
        "rescale_factor": float(rng.choice([1 / 255, 1 / 127.5, 0.01])),
        "image_mean": rng.random(3).tolist(),
        "image_std": (rng.random(3) + 0.1).tolist(),
        "num_frames": int(rng.integers(1, 6)),
        "fps": float(rng.uniform(0.5, 30)),
        "some_new_key": {"a": [1]},
        "offset": False,
    }
    settings |= dict.fromkeys(("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb"), False)
    settings |= dict.fromkeys(("do_sample_frames", "return_metadata", "default_to_square"), True)
    return {name: value for name, value in settings.items() if rng.random() < 0.25}


def random_videos(rng):
    """One video or several, as arrays or lists, their channels first or last."""
    height, width, frames = int(rng.integers(5, 60)), int(rng.integers(5, 60)), int(rng.integers(1, 6))
    video = rng.integers(0, 256, (frames, height, width, int(rng.choice([3, 3, 3, 1]))), dtype=numpy.uint8)
    if rng.random() < 0.3:
        video = video.transpose(0, 3, 1, 2)
    others = [
        video,
        list(video),
        torch.from_numpy(video.copy()),
        numpy.stack([video, video]),
        [video, video[::-1].copy()],
    ]
    other_size = rng.integers(0, 256, (frames, height + 3, width + 2, 3), dtype=numpy.uint8)
    others += [[list(video), list(video[::-1])], [video, other_size] if video.shape[-1] == 3 else video]
    return others[rng.integers(len(others))], frames


def assert_same(ours, theirs):
    assert set(ours) == set(theirs)
    pixel_values = theirs["pixel_values"]
    together = zip(ours["pixel_values"], pixel_values, strict=True)
    for our_video, their_video in together:
        their_array = numpy.asarray(their_video)
        assert our_video.dtype == their_array.dtype
        numpy.testing.assert_array_equal(our_video, their_array)
    for our_entry, their_entry in zip(ours.get("video_metadata", []), theirs.get("video_metadata", []), strict=True):
        for name in ("total_num_frames", "fps", "width", "height", "duration"):
            assert our_entry[name] == their_entry[name]
        numpy.testing.assert_array_equal(our_entry.frames_indices, their_entry.frames_indices)


def test_random_settings_and_videos(their_class):
    rng = numpy.random.default_rng(30)
    compared = refused = 0
    for _ in range(400):
        settings, (videos, frames) = random_settings(rng), random_videos(rng)
        arguments = {"return_tensors": "np"} if rng.random() < 0.6 else {}
        if rng.random() < 0.3:
            single = len(VivitVideoProcessor(do_resize=False, do_center_crop=False)(videos).pixel_values) == 1
            entry = {"total_num_frames": frames, "fps": float(rng.uniform(1, 30))}
            arguments["video_metadata"] = entry if single else [entry] * 2
        try:
            theirs = their_class(**settings)(videos, **arguments)
        except (ValueError, TypeError, RuntimeError):
            with pytest.raises(InputError):
                VivitVideoProcessor(**settings)(videos, **arguments)
            refused += 1
            continue
        assert_same(VivitVideoProcessor(**settings)(videos, **arguments), theirs)
        compared += 1
    assert compared > 250
    assert refused > 20


def test_the_published_defaults(their_class):
    clip = numpy.random.default_rng(31).integers(0, 256, (4, 240, 320, 3), dtype=numpy.uint8)
    assert_same(VivitVideoProcessor()(clip, return_tensors="np"), their_class()(clip, return_tensors="np"))
    levels = {"do_rescale": False, "do_normalize": False, "return_tensors": "np"}
    video = VivitVideoProcessor()(clip, **levels).pixel_values.astype(int)
    image = VivitImageProcessor()(clip, offset=False, **levels).pixel_values
    assert 0 < (video != image).mean() < 0.01
    assert numpy.abs(video - image).max() == 1


def test_transparent_clips_to_rounding(their_class):
    clip = numpy.random.default_rng(32).integers(0, 256, (2, 30, 41, 4), dtype=numpy.uint8)
    settings, arguments = {"size": 20, "crop_size": 18}, {"input_data_format": "channels_last", "return_tensors": "np"}
    theirs = their_class(**settings)(clip, **arguments).pixel_values
    ours = VivitVideoProcessor(**settings)(clip, **arguments).pixel_values
    # Values of up to 255 are added 8 at a time, twice, in float32, and divided by 63.75.
    numpy.testing.assert_allclose(ours, theirs, rtol=0, atol=4 * 2 * 8 * 2.0**-23)
    clip[..., 3] = 255
    assert_same(VivitVideoProcessor(**settings)(clip, **arguments), their_class(**settings)(clip, **arguments))


def test_settings_files_pass_both_ways(tmp_path, their_class):
    rng = numpy.random.default_rng(33)
    for i in range(30):
        settings = random_settings(rng)
        theirs = their_class(**settings)
        theirs.save_pretrained(tmp_path / f"theirs{i}")
        ours = VivitVideoProcessor.from_pretrained(tmp_path / f"theirs{i}")
        assert json.loads(ours.to_json_string()) == json.loads(theirs.to_json_string())
        ours.save_pretrained(tmp_path / f"ours{i}")
        assert their_class.from_pretrained(tmp_path / f"ours{i}").to_json_string() == theirs.to_json_string()
