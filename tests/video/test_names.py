"""Names of clips as file systems allow them: bytes that are no text, line breaks, codes that a terminal obeys."""

import os

import numpy
import pytest
from PIL import Image

from minivivit.errors import InputError, MissingExtraError
from minivivit.video.reading import count_frames, read_video

NAMES = {
    "latin": b"caf\xe9",
    "bytes": b"\xff\xfe",
    "lines": b"new\nline\r.mp4",
    "escape": b"\x1b]0;title\x07\x1b[2J",
    "emoji": "😀 \u200d\U0001f1e6".encode(),
    "right to left": "\u202egnp.exe".encode(),
    "quotes": b"'\"`$(x)\\",
    "format": b"%s %d {0} %03d",
    "dash": b"--help",
}


@pytest.fixture(params=NAMES)
def path(request, tmp_path):
    path = os.path.join(os.fsencode(tmp_path), NAMES[request.param])
    try:
        open(path, "wb").close()
    except OSError:
        pytest.skip("this file system does not allow such a name")
    os.unlink(path)
    return os.fsdecode(path)


def errors(path, error=InputError):
    for read in (read_video, count_frames, lambda path: read_video(path, [10**6])):
        with pytest.raises(error) as caught:
            read(path)
        yield str(caught.value)


def test_clips_of_such_names_are_read_and_refused_in_one_line(path):
    pixels = numpy.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=numpy.uint8)
    av = pytest.importorskip("av")
    for content in (b"nonsense" * 20, b"GIF89a nonsense", b"\x93NUMPY nonsense", b"", None):
        if content is not None:
            with open(path, "wb") as file:
                file.write(content)
        else:
            os.unlink(path)
        for message in errors(path):
            assert message.isprintable()
            assert len(message) < 600
    with av.open(f"file:{path}", "w", format="matroska") as output:
        stream = output.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "bgr0"
        for frame in pixels:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode())
    assert numpy.array_equal(read_video(path), pixels)
    os.unlink(path)
    os.mkdir(path)
    for message in errors(path):
        assert message.isprintable()
    Image.fromarray(pixels[0]).save(os.path.join(path, os.path.basename(path) + ".png"))
    assert numpy.array_equal(read_video(path), pixels[:1])


def test_a_missing_extra_is_said_in_one_line(path, monkeypatch):
    with open(path, "wb") as file:
        file.write(b"nonsense" * 20)
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingExtraError if path.endswith(".mp4") else InputError) as caught:
        read_video(path)
    assert str(caught.value).isprintable()


def test_the_name_can_be_told_from_the_message(tmp_path):
    with pytest.raises(InputError, match=r"caf\\udce9\\n\\x1b\[2J does not exist"):
        read_video(tmp_path / "caf\udce9\n\x1b[2J")
