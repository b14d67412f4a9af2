"""The reading and sampling functions of transformers' documentation, run beside ours."""

import re
import textwrap

import numpy
import pytest

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
av = pytest.importorskip("av")

from minivivit.video.reading import read_video  # noqa: E402
from minivivit.video.sampling import sample_frame_indices  # noqa: E402


@pytest.fixture(scope="module")
def documented():
    """`sample_frame_indices` and `read_video_pyav`, as the docstring of VivitModel.forward defines them."""
    text = transformers.VivitModel.forward.__doc__
    prompts = re.findall(r"^\s*(?:>>>|\.\.\.) ?(.*)$", text, flags=re.MULTILINE)
    definitions = re.findall(r"^def \w+\(.*\n(?:(?:[ ].*)?\n)*", "\n".join(prompts) + "\n", flags=re.MULTILINE)
    names = {"np": numpy, "av": av}
    for definition in definitions:
        exec(textwrap.dedent(definition), names)
    if not {"sample_frame_indices", "read_video_pyav"} <= set(names):
        pytest.skip("this release of transformers documents other functions")
    return names


def test_sample_frame_indices(documented, monkeypatch):
    for seed in range(200):
        draw = numpy.random.default_rng(seed)
        clip_len, rate = int(draw.integers(1, 40)), int(draw.integers(1, 6))
        seg_len = int(draw.integers(clip_len * rate + 1, 500))
        theirs_draw = numpy.random.default_rng(seed)
        monkeypatch.setattr(numpy.random, "randint", theirs_draw.integers)
        theirs = documented["sample_frame_indices"](clip_len=clip_len, frame_sample_rate=rate, seg_len=seg_len)
        ours = sample_frame_indices(clip_len, rate, seg_len, numpy.random.default_rng(seed))
        assert ours.dtype == theirs.dtype
        assert numpy.array_equal(ours, theirs)


def test_read_video(documented, tmp_path):
    path = tmp_path / "clip.mp4"
    pixels = numpy.random.default_rng(0).integers(0, 256, (12, 4, 6, 3), dtype=numpy.uint8).repeat(8, 1).repeat(8, 2)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = pixels.shape[2], pixels.shape[1], "yuv420p"
        for frame in pixels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    indices = [1, 4, 5, 9]
    with av.open(str(path)) as container:
        theirs = documented["read_video_pyav"](container=container, indices=indices)
    assert numpy.array_equal(read_video(path, indices), theirs)
