"""Every kind of container that people have, against PyAV's own decoding; and what only looks like one."""

import struct
from fractions import Fraction

import numpy
import pytest
from PIL import Image
from test_reading import one_line, write_clip

from minivivit.errors import InputError
from minivivit.video.reading import count_frames, read_video

av = pytest.importorskip("av", reason="PyAV is not installed (pip install '.[video]')")

COUNT, HEIGHT, WIDTH = 12, 64, 96
# suffix, muxer (None: that of the suffix), demuxer, encoder, pixel format
KINDS = [
    ("mpg", None, "mpeg", "mpeg1video", "yuv420p"),
    ("vob", None, "mpeg", "mpeg2video", "yuv420p"),
    ("mod", "vob", "mpeg", "mpeg2video", "yuv420p"),
    ("ts", None, "mpegts", "libx264", "yuv420p"),
    ("m2ts", None, "mpegts", "libx264", "yuv420p"),
    ("mts", "mpegts", "mpegts", "mpeg2video", "yuv420p"),
    ("flv", None, "flv", "flv", "yuv420p"),
    ("flv", None, "flv", "libx264", "yuv420p"),
    ("f4v", None, "mov", "libx264", "yuv420p"),
    ("3gp", None, "mov", "libx264", "yuv420p"),
    ("m4v", "mp4", "mov", "mpeg4", "yuv420p"),
    ("wmv", None, "asf", "wmv2", "yuv420p"),
    ("asf", None, "asf", "msmpeg4", "yuv420p"),
    ("ogv", "ogg", "ogg", "libvpx", "yuv420p"),
    ("avi", None, "avi", "mpeg4", "yuv420p"),
    ("mxf", None, "mxf", "mpeg2video", "yuv422p"),
    ("nut", None, "nut", "ffv1", "bgr0"),
    ("ivf", None, "ivf", "libvpx", "yuv420p"),
    ("rm", None, "rm", "rv10", "yuv420p"),
    ("mjpeg", None, "mjpeg", "mjpeg", "yuvj420p"),
    ("y4m", "yuv4mpegpipe", "yuv4mpegpipe", "rawvideo", "yuv420p"),
    ("264", "h264", "h264", "libx264", "yuv420p"),
    ("m2v", "mpeg2video", "mpegvideo", "mpeg2video", "yuv420p"),
    ("m4v", "m4v", "m4v", "mpeg4", "yuv420p"),
]


@pytest.fixture(scope="module")
def pixels():
    small = numpy.random.default_rng(0).integers(0, 256, (COUNT, 4, 6, 3), dtype=numpy.uint8)
    return small.repeat(16, axis=1).repeat(16, axis=2)


def write_kind(path, pixels, muxer, encoder, pixel_format, options=None, timestamps=None):
    with av.open(f"file:{path}", "w", format=muxer) as output:
        stream = output.add_stream(encoder, rate=25, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *pixels.shape[1:3], pixel_format
        for index, picture in enumerate(pixels):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if timestamps is not None:
                frame.pts, frame.time_base = timestamps[index], Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def decoded(path):
    """All frames in order, as PyAV gives them."""
    with av.open(f"file:{path}") as opened:
        return numpy.stack([frame.to_ndarray(format="rgb24") for frame in opened.decode(video=0)])


def check_against_pyav(path, count):
    expected = decoded(path)
    assert len(expected) == count
    assert count_frames(path) == count
    assert numpy.array_equal(read_video(path), expected)
    chosen = [count - 1, 0, 3, 0]
    assert numpy.array_equal(read_video(path, chosen), expected[chosen])
    with pytest.raises(InputError, match=rf"index {count} is beyond the end of .*, which has {count} frames"):
        read_video(path, [count])


@pytest.mark.parametrize(
    ("suffix", "muxer", "demuxer", "encoder", "pixel_format"), KINDS, ids=["-".join(map(str, kind)) for kind in KINDS]
)
def test_containers_are_read_as_pyav_reads_them(tmp_path, pixels, suffix, muxer, demuxer, encoder, pixel_format):
    path = write_kind(tmp_path / f"clip.{suffix}", pixels, muxer, encoder, pixel_format)
    with av.open(str(path)) as opened:
        assert demuxer in opened.format.name.split(",")
    check_against_pyav(path, COUNT)
    check_against_pyav(path.rename(tmp_path / "no suffix"), COUNT)


# --------------------------------------------------------------------------------------------------------------------
# Timestamps: frames are counted as they come
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "flv", "ts"])
def test_frames_of_varying_length(tmp_path, pixels, suffix):
    timestamps = [7 + index**2 for index in range(COUNT)]
    path = write_kind(tmp_path / f"clip.{suffix}", pixels, None, "libx264", "yuv420p", {"bf": "2"}, timestamps)
    check_against_pyav(path, COUNT)


@pytest.mark.parametrize("suffix", ["ts", "mpg"])
def test_time_that_starts_again(tmp_path, pixels, suffix):
    path = write_kind(tmp_path / f"clip.{suffix}", pixels, None, "mpeg2video", "yuv420p")
    once = decoded(path)
    path.write_bytes(path.read_bytes() * 2)  # two recordings, one after the other: timestamps fall back in the middle
    check_against_pyav(path, 2 * COUNT)
    assert numpy.array_equal(read_video(path), [*once, *once])


def test_a_broadcast_that_was_joined_late(tmp_path, pixels):
    path = write_kind(tmp_path / "clip.ts", pixels, None, "libx264", "yuv420p", {"g": "6", "bf": "0"})
    data = path.read_bytes()
    tables = data[: 3 * 188]  # the description of the streams, which a broadcast repeats
    path.write_bytes(tables + data[len(data) // 4 // 188 * 188 :])
    check_against_pyav(path, COUNT // 2)  # what comes before the next whole picture cannot be decoded


# --------------------------------------------------------------------------------------------------------------------
# What only looks like a clip: it would open others
# --------------------------------------------------------------------------------------------------------------------

PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n"
TEXTS = {
    "hls.m3u8": PLAYLIST,
    "hls.mp4": PLAYLIST,
    "hls.ts": PLAYLIST,
    "playlist.m3u": "other.ts\n",
    "playlist.pls": "[playlist]\nFile1=other.ts\n",
    "playlist.asx": "<asx version='3.0'><entry><ref href='other.ts'/></entry></asx>\n",
    "playlist.ram": "rtsp://127.0.0.1/other.rm\n",
    "playlist.wmv": "[Reference]\nRef1=http://127.0.0.1/other.wmv\n",
    "script.ffconcat": "ffconcat version 1.0\nfile other.ts\n",
    "script.avi": "ffconcat version 1.0\nfile other.ts\n",
    "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "manifest.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
    "subtitles.srt": "1\n00:00:00,000 --> 00:00:01,000\nwords\n\n",
    "subtitles.vtt": "WEBVTT\n\n00:00.000 --> 00:01.000\nwords\n",
    "subtitles.ass": "[Script Info]\nScriptType: v4.00+\n[Events]\nDialogue: 0,0:00:00.00,0:00:01.00,a,,0,0,0,,words\n",
    "subtitles.idx": "# VobSub index file, v7\nid: en, index: 0\ntimestamp: 00:00:00:000, filepos: 000000000\n",
    "metadata.txt": ";FFMETADATA1\ntitle=words\n",
    "labels.csv": "clip,label\n" + "clip0.mp4,0\n" * 50,
    "drawing.svg": "<svg xmlns='http://www.w3.org/2000/svg'/>",
}


@pytest.mark.parametrize("name", TEXTS)
def test_playlists_scripts_and_texts_are_refused(tmp_path, pixels, name, monkeypatch):
    write_kind(tmp_path / "other.ts", pixels, None, "libx264", "yuv420p")
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(TEXTS[name])
    for path in (name, tmp_path / name):
        for read in (read_video, count_frames):
            with pytest.raises(InputError, match=r"cannot be opened as a video") as error:
                read(path)
            one_line(error)


@pytest.mark.parametrize(
    "name",
    ["data:video/mp4;base64,AAAA", "http://127.0.0.1:9/a.mp4", "concat:other.ts", "lavfi:testsrc", "pipe:0", "-"],
)
def test_names_are_files_and_no_addresses(tmp_path, pixels, name, monkeypatch):
    write_kind(tmp_path / "other.ts", pixels, None, "libx264", "yuv420p")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"does not exist or is not a file"):
        read_video(name)


def test_patterns_are_names(tmp_path, pixels):
    for index in range(3):
        Image.fromarray(pixels[index]).save(tmp_path / f"picture{index}.jpg")
    pattern = tmp_path / "picture%d.jpg"
    with pytest.raises(InputError, match=r"does not exist"):
        read_video(pattern)
    pattern.write_bytes((tmp_path / "picture0.jpg").read_bytes())  # FFmpeg would read the others through it
    with pytest.raises(InputError, match=r"cannot be opened as a video"):
        read_video(pattern)


def test_references_of_a_movie_are_not_followed(tmp_path, pixels):
    """QuickTime lets a track lie in another file, which an alias in the atom ``dref`` names."""
    write_clip(tmp_path / "other.mov", 255 - pixels, "rawvideo", "rgb24")
    path = write_clip(tmp_path / "clip.mov", pixels, "rawvideo", "rgb24")
    target = str(tmp_path / "other.mov").encode()
    alias = bytes(150) + struct.pack(">HH", 2, len(target)) + target + b"\0" * (len(target) % 2)
    alias += struct.pack(">Hh", 0xFFFF, 0)
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    data = path.read_bytes()
    at = data.index(b"dref") + 12  # behind the version and the number of entries
    assert data[at : at + 8] == struct.pack(">I4s", 12, b"url ")
    grown = bytearray(data[:at] + entry + data[at + 12 :])
    for atom in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):  # the pictures lie before all of them
        start = grown.index(atom) - 4
        struct.pack_into(">I", grown, start, struct.unpack_from(">I", grown, start)[0] + len(entry) - 12)
    path.write_bytes(grown)
    following = {"enable_drefs": "1", "use_absolute_path": "1"}
    with av.open(str(path), options=following) as opened:
        others = numpy.stack([frame.to_ndarray(format="rgb24") for frame in opened.decode(video=0)])
    assert numpy.array_equal(others, 255 - pixels)
    with pytest.raises(InputError, match=r"clip.mov holds no frames"):
        read_video(path)
