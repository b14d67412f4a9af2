"""How FFmpeg's own program shows clips with display matrices."""

import math
import shutil
import struct
import subprocess

import numpy
import pytest

av = pytest.importorskip("av")
from minivivit.video.reading import read_video  # noqa: E402

pytestmark = [
    pytest.mark.parity,
    pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the program ffmpeg is not installed"),
]

SQUARE = [(1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1), (0, 1, 1, 0), (0, 1, -1, 0), (0, -1, 1, 0)]
SQUARE += [(0, -1, -1, 0), (2, 0, 0, 0.5), (0, 3, -1, 0), (0, 0, 0, 0), (1, 0, 0, 0), (1, 1, 0, 1), (1, 1, 1, 1)]
ANGLES = [math.radians(angle) for angle in (0.4, 1, 2, 30, 45, 88.6, 89.4, 91, 135, 179, 200, 269, 300, 359, 359.6)]
TURNED = [(math.cos(t), math.sin(t), -math.sin(t), math.cos(t)) for t in ANGLES]
TURNED += [(-math.cos(t), -math.sin(t), -math.sin(t), math.cos(t)) for t in ANGLES]  # and mirrored


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    pixels = numpy.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), dtype=numpy.uint8)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264rgb", rate=10, options={"crf": "0"})
        stream.height, stream.width, stream.pix_fmt = 32, 48, "rgb24"
        for frame in pixels:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode())
    return path.read_bytes()


@pytest.mark.parametrize("matrix", SQUARE + TURNED)
def test_display_matrix(tmp_path, clip, matrix):
    a, b, c, d = (round(value * (1 << 16)) for value in matrix)
    data, path = bytearray(clip), tmp_path / "turned.mp4"
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    command = ["ffmpeg", "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    expected = numpy.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, numpy.uint8)
    ours = read_video(path)
    assert numpy.array_equal(ours, expected.reshape(ours.shape))
