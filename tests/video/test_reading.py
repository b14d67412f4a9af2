import logging
import re
import struct
import tracemalloc
import zlib
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy
import pytest
from PIL import Image

from minivivit.errors import InputError, MissingExtraError
from minivivit.video.readers import container, gathering, images
from minivivit.video.readers.gathering import gather_frames
from minivivit.video.reading import check_video, count_and_hold, count_frames, frame_rate, read_video

av = pytest.importorskip("av", reason="PyAV is not installed (pip install '.[video]')")

COUNT, HEIGHT, WIDTH = 6, 32, 48
SHARED_CLIPS = Path(__file__).resolve().parents[3] / "shared" / "clips"

# Encoders without loss, so that what went in must come out, to the bit: container -> (encoder, pixel format, options).
LOSSLESS = {
    "mp4": ("libx264rgb", "rgb24", {"crf": "0", "bf": "2"}),
    "mov": ("rawvideo", "rgb24", {}),
    "mkv": ("ffv1", "bgr0", {}),
    "webm": ("libvpx-vp9", "gbrp", {"lossless": "1"}),
    "avi": ("ffv1", "bgr0", {}),
}


@pytest.fixture(scope="module")
def pixels():
    return numpy.random.default_rng(0).integers(0, 256, (COUNT, HEIGHT, WIDTH, 3), dtype=numpy.uint8)


def write_clip(path, pixels, encoder="ffv1", pixel_format="bgr0", options=None, muxer_options=None, title=None):
    with av.open(f"file:{path}", "w", options=muxer_options or {}) as output:
        if title:
            output.metadata["title"] = title
        stream = output.add_stream(encoder, rate=10, options=options or {})
        stream.height, stream.width, stream.pix_fmt = pixels.shape[1], pixels.shape[2], pixel_format
        for frame in pixels:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode())
    return path


def write_lossless(path, pixels, **more):
    return write_clip(path, pixels, *LOSSLESS[path.suffix[1:]], **more)


def write_animation(path, pixels, **options):
    first, *rest = (Image.fromarray(frame) for frame in pixels)
    lossless = {"lossless": True} if path.suffix == ".webp" else {}
    first.save(path, save_all=True, append_images=rest, **lossless, **options)
    return path


def one_line(error):
    message = str(error.value)
    assert "\n" not in message
    return message


# --------------------------------------------------------------------------------------------------------------------
# Containers
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_containers_to_the_bit(tmp_path, pixels, suffix):
    path = write_lossless(tmp_path / f"clip.{suffix}", pixels)
    video = read_video(path)
    assert video.dtype == numpy.uint8
    assert video.flags.c_contiguous
    assert video.flags.writeable
    assert numpy.array_equal(video, pixels)
    assert count_frames(path) == COUNT
    assert numpy.array_equal(read_video(str(path), [4, 0, 4, 2]), pixels[[4, 0, 4, 2]])
    assert numpy.array_equal(read_video(path, numpy.array([5], numpy.uint8)), pixels[[5]])
    assert numpy.array_equal(read_video(path, range(1, 4)), pixels[1:4])


@pytest.mark.parametrize(("fewer_bytes", "passes"), [(0, 1), (1, 2)])
def test_a_clip_is_counted_and_read_in_one_pass_if_it_is_short(tmp_path, pixels, monkeypatch, fewer_bytes, passes):
    opened = []
    monkeypatch.setattr(container, "HELD_BYTES", pixels.nbytes - fewer_bytes)
    monkeypatch.setattr(
        container, "_open", lambda av, path, open=container._open: opened.append(path) or open(av, path)
    )
    path = write_lossless(tmp_path / "clip.mp4", pixels)
    count, read = count_and_hold(path)
    assert (count, len(opened)) == (COUNT, 1)
    assert numpy.array_equal(read([4, 0, 4, 2]), pixels[[4, 0, 4, 2]])
    assert len(opened) == passes
    with pytest.raises(InputError, match=r"index 6 is beyond the end of .*, which has 6 frames"):
        read([6])
    with pytest.raises(InputError, match="never from the end"):
        read([-1])


def test_other_clips_are_counted_and_read_as_ever(tmp_path, pixels):
    numpy.save(tmp_path / "clip.npy", pixels)
    for path in (tmp_path / "clip.npy", write_animation(tmp_path / "clip.webp", pixels)):
        count, read = count_and_hold(path)
        assert count == COUNT
        assert numpy.array_equal(read([5, 1]), pixels[[5, 1]])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no pictures"):
        count_and_hold(tmp_path / "empty")


def test_pixels_are_those_of_pyav(tmp_path, pixels):
    path = write_clip(tmp_path / "lossy.mp4", pixels, "libx264", "yuv420p", {"bf": "3"})
    with av.open(str(path)) as opened:
        expected = numpy.stack([frame.to_ndarray(format="rgb24") for frame in opened.decode(video=0)])
    assert not numpy.array_equal(expected, pixels)
    assert numpy.array_equal(read_video(path), expected)


def test_frames_are_counted_not_believed(tmp_path, pixels):
    silent = write_lossless(tmp_path / "silent.mkv", pixels)
    boasting = write_lossless(tmp_path / "boasting.avi", pixels)
    data = bytearray(boasting.read_bytes())
    struct.pack_into("<I", data, data.index(b"strh") + 8 + 32, 99)  # the stream's dwLength
    boasting.write_bytes(data)
    for path, stated in ((silent, 0), (boasting, 99)):
        with av.open(str(path)) as opened:
            assert opened.streams.video[0].frames == stated
        assert count_frames(path) == COUNT
        with pytest.raises(InputError, match=rf"index 6 is beyond the end of .*, which has {COUNT} frames: .*0 to 5"):
            read_video(path, [0, 6])


def write_turned(path, pixels, a, b, c, d):
    """A clip that says that its point (x right, y down) is to be shown at (a x + c y, b x + d y), and a translation."""
    write_lossless(path, pixels)
    # ISO/IEC 14496-12: the track header, version 0, holds the matrix 40 bytes after the version, in fixed point.
    data = bytearray(path.read_bytes())
    matrix = [round(value * (1 << 16)) for value in (a, b, 0, c, d, 0, 0, 0)]
    struct.pack_into(">9i", data, data.index(b"tkhd") + 4 + 40, *matrix, 1 << 30)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("a", "b", "c", "d"),
    [
        (1, 0, 0, 1),  # upright
        (-1, 0, 0, 1),  # mirrored, left for right
        (-1, 0, 0, -1),  # upside down
        (1, 0, 0, -1),  # mirrored, top for bottom
        (0, 1, 1, 0),  # mirrored along the diagonal
        (0, 1, -1, 0),  # a quarter turn clockwise
        (0, -1, -1, 0),  # mirrored along the other diagonal
        (0, -1, 1, 0),  # a quarter turn anticlockwise
    ],
)
@pytest.mark.parametrize("scale", [(1, 1), (2, 0.5)])  # FFmpeg passes over scale
def test_display_matrix(tmp_path, pixels, a, b, c, d, scale):
    path = write_turned(
        tmp_path / "turned.mp4", pixels, *(scale[0] * v for v in (a, b)), *(scale[1] * v for v in (c, d))
    )
    y, x = numpy.mgrid[:HEIGHT, :WIDTH]
    new_x, new_y = a * x + c * y, b * x + d * y
    new_x, new_y = new_x - new_x.min(), new_y - new_y.min()
    expected = numpy.empty((COUNT, new_y.max() + 1, new_x.max() + 1, 3), numpy.uint8)
    expected[:, new_y, new_x] = pixels
    assert numpy.array_equal(read_video(path), expected)
    assert numpy.array_equal(read_video(path, [3]), expected[[3]])


@pytest.mark.parametrize("degrees", [1, 30, 135, 250])
def test_display_matrix_between_quarter_turns(tmp_path, degrees):
    """As FFmpeg: turned about the centre, of the same size, corners black; a single degree is passed over."""
    angles = numpy.radians(numpy.arange(0, 360, 45))  # clockwise from the right, since y points down
    colours = numpy.random.default_rng(2).integers(100, 256, (8, 3), dtype=numpy.uint8)
    y, x = numpy.mgrid[:64, :64] - 31.5
    sector = numpy.round(numpy.degrees(numpy.arctan2(y, x)) / 45).astype(int) % 8
    pixels = colours[sector][None]  # eight sectors around the centre, each of one colour
    cosine, sine = numpy.cos(numpy.radians(degrees)), numpy.sin(numpy.radians(degrees))
    path = write_turned(tmp_path / "turned.mp4", pixels, cosine, sine, -sine, cosine)
    shown = read_video(path)[0]
    assert shown.shape == (64, 64, 3)
    if degrees == 1:
        assert numpy.array_equal(shown, pixels[0])
        return
    new = angles + numpy.radians(degrees)
    rows, columns = (numpy.round(31.5 + 20 * f(new)).astype(int) for f in (numpy.sin, numpy.cos))
    assert numpy.array_equal(shown[rows, columns], colours)
    black = (numpy.hypot(x, y) > 32) & (shown == 0).all(axis=2)
    assert black.sum() > 200


@pytest.mark.parametrize("matrix", [(0, 0, 0, 0), (1, 0, 0, 0), (0, 0, 0, 1)])
def test_display_matrix_that_maps_to_nothing(tmp_path, pixels, matrix):
    assert numpy.array_equal(read_video(write_turned(tmp_path / "turned.mp4", pixels, *matrix)), pixels)


def test_only_wanted_frames_become_pixels(tmp_path, pixels, monkeypatch):
    path = write_lossless(tmp_path / "clip.mkv", numpy.concatenate([pixels] * 20))
    converted, to_rgb = [], container._to_rgb
    monkeypatch.setattr(container, "_to_rgb", lambda *arguments: converted.append(arguments[-1]) or to_rgb(*arguments))
    assert count_frames(path) == 120
    assert converted == []
    assert numpy.array_equal(read_video(path, [70, 3, 70]), pixels[[4, 3, 4]])
    assert converted == [3, 70]


@pytest.mark.parametrize(
    "name", ["concat:clip.mkv", "a colon:in the name.mkv", "clip#1?.mkv", "größer.mkv", "no suffix", "wrong.npz"]
)
def test_names_do_not_matter(tmp_path, pixels, name, monkeypatch):
    path = write_lossless(tmp_path / "clip.mkv", pixels).rename(tmp_path / name)
    assert numpy.array_equal(read_video(path, [2]), pixels[[2]])
    monkeypatch.chdir(tmp_path)
    assert numpy.array_equal(read_video(name, [2]), pixels[[2]])


def test_texts_in_other_encodings_do_not_matter(tmp_path, pixels):
    path = write_lossless(tmp_path / "clip.mkv", pixels, title="a title")
    path.write_bytes(path.read_bytes().replace(b"a title", b"\xff\xfe\xfa\xfb\xff\xff\xff"))
    assert numpy.array_equal(read_video(path), pixels)


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("part", [0.02, 0.5, 0.7, 0.9])
def test_truncated_containers(tmp_path, pixels, suffix, part):
    streamable = {"movflags": "faststart"} if suffix in ("mp4", "mov") else {}
    path = write_lossless(tmp_path / f"clip.{suffix}", pixels, muxer_options=streamable)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    for read in (read_video, count_frames):
        with pytest.raises(InputError, match=re.escape(str(path))) as error:
            read(path)
        message = one_line(error)
    readable = re.search(r"; (\d+) frames before that can be read: give indices from 0 to (\d+)", message)
    assert (readable is not None) == (part > 0.2)
    if readable:
        left = list(range(int(readable[1])))
        assert left[-1] == int(readable[2])
        assert numpy.array_equal(read_video(path, left), pixels[left])


def test_matroska_without_a_size_is_not_cut_off(tmp_path, pixels):
    path = write_lossless(tmp_path / "clip.mkv", pixels)
    data = bytearray(path.read_bytes())
    size_at = data.index(b"\x18\x53\x80\x67") + 4
    assert data[size_at] == 1  # a size of 8 bytes
    data[size_at + 1 : size_at + 8] = b"\xff" * 7  # a live recording does not know how long it will be
    path.write_bytes(data)
    assert numpy.array_equal(read_video(path), pixels)


def test_size_may_not_change(tmp_path):
    path, packets = tmp_path / "growing.mkv", []
    for height, width in ((32, 48), (64, 96)):
        encoder = av.CodecContext.create("mjpeg", "w")
        encoder.height, encoder.width, encoder.pix_fmt, encoder.time_base = height, width, "yuvj420p", Fraction(1, 10)
        packets += encoder.encode(av.VideoFrame(width, height, "yuvj420p")) + encoder.encode()
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mjpeg", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuvj420p"
        for index, packet in enumerate(packets):
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, index, index, Fraction(1, 10)
            output.mux(packet)
    for indices in (None, [1, 0]):
        with pytest.raises(InputError, match=r"frame 1 of .* is 96 x 64 pixels, but frames before it are 48 x 32"):
            read_video(path, indices)
    assert read_video(path, [1]).shape == (1, 64, 96, 3)


def test_absurd_size_is_refused_before_memory_is_taken(tmp_path, pixels):
    path = write_clip(tmp_path / "claim.avi", pixels, "rawvideo", "bgr24")
    data = bytearray(path.read_bytes())
    struct.pack_into("<ii", data, data.index(b"strf") + 8 + 4, 60000, 60000)  # biWidth, biHeight
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"states no frame size, or one of more than 67,108,864 pixels"):
        read_video(path, [0])


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(numpy.zeros((2, 1024), numpy.float32), format="fltp", layout="stereo")
        frame.sample_rate = 44100
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    with pytest.raises(InputError, match=r"has no video stream"):
        read_video(path)


def test_unknown_codec(tmp_path, pixels):
    path = write_lossless(tmp_path / "clip.mkv", pixels)
    path.write_bytes(path.read_bytes().replace(b"V_FFV1", b"V_NONE"))
    with pytest.raises(InputError, match=r"of a kind that FFmpeg has no decoder for"):
        read_video(path)


def test_playlists_are_not_followed(tmp_path, pixels):
    write_lossless(tmp_path / "other.mp4", pixels)
    playlist = tmp_path / "playlist.mp4"
    playlist.write_text("ffconcat version 1.0\nfile other.mp4\n")
    with av.open(str(playlist)) as opened:  # FFmpeg by itself opens the other file
        assert len(list(opened.decode(video=0))) == COUNT
    with pytest.raises(InputError, match=r"cannot be opened as a video"):
        read_video(playlist)


def test_missing_extra(tmp_path, pixels, monkeypatch):
    path = write_lossless(tmp_path / "clip.mkv", pixels)
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    for read in (read_video, count_frames):
        with pytest.raises(MissingExtraError, match=r"reading .*clip.mkv needs .*pip install 'minivivit\[video\]'"):
            read(path)
    assert count_frames(write_animation(tmp_path / "clip.gif", pixels)) == COUNT  # what Pillow reads still works


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *((f"bad.{ending}", "is damaged: it does not begin as a GIF") for ending in ("gif", "PNG", "webp", "tiff")),
        *((name, r"is not a clip; expected a video \(MP4, .* GIF.* \.npy") for name in ("a.txt", "a.pdf", "noise")),
        ("short.txt", "is not a clip"),
    ],
)
def test_what_is_no_video_does_not_ask_for_pyav(tmp_path, monkeypatch, name, reason):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    path = tmp_path / name
    path.write_bytes(b"x" if name == "short.txt" else b"This is not a video.\n" * 50)
    for read in (read_video, count_frames, check_video, frame_rate):
        with pytest.raises(InputError, match=reason) as error:
            read(path)
        one_line(error)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_a_video_of_any_name_asks_for_pyav(tmp_path, pixels, monkeypatch, suffix):
    path = write_lossless(tmp_path / f"clip.{suffix}", pixels).rename(tmp_path / "clip.gif")
    (tmp_path / "damaged.MOV").write_text("no video")
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    for of in (path, tmp_path / "damaged.MOV"):
        with pytest.raises(MissingExtraError, match="needs the package 'av'"):
            read_video(of)


# --------------------------------------------------------------------------------------------------------------------
# Animated pictures and folders
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_animations_to_the_bit(tmp_path, pixels, suffix):
    path = write_animation(tmp_path / f"clip.{suffix}", pixels)
    video = read_video(path)
    assert video.dtype == numpy.uint8
    assert video.flags.writeable
    assert numpy.array_equal(video, pixels)
    assert count_frames(path) == COUNT
    assert numpy.array_equal(read_video(path, [4, 0, 4, 2]), pixels[[4, 0, 4, 2]])
    with pytest.raises(InputError, match=r"index 6 is beyond the end of .*, which has 6 frames"):
        read_video(path, [6])
    renamed = path.rename(tmp_path / "clip.mp4")
    assert numpy.array_equal(read_video(renamed), pixels)


def test_gif(tmp_path):
    colours = numpy.random.default_rng(1).integers(0, 256, (COUNT, 1, 1, 3), dtype=numpy.uint8)
    plain = numpy.broadcast_to(colours, (COUNT, HEIGHT, WIDTH, 3))  # one colour a frame: GIF's palettes lose nothing
    path = write_animation(tmp_path / "clip.gif", plain)
    assert numpy.array_equal(read_video(path), plain)
    assert numpy.array_equal(read_video(path, [5, 1]), plain[[5, 1]])
    assert count_frames(path) == COUNT


def test_still_and_default_picture(tmp_path, pixels):
    assert numpy.array_equal(read_video(write_animation(tmp_path / "still.png", pixels[:1])), pixels[:1])
    path = write_animation(tmp_path / "default.png", pixels, default_image=True)  # its first picture is not animated
    assert numpy.array_equal(read_video(path), pixels[1:])
    assert count_frames(path) == COUNT - 1


def test_only_wanted_pictures_become_pixels(tmp_path, pixels, monkeypatch):
    path = write_animation(tmp_path / "clip.png", pixels)
    converted, to_rgb = [], images._to_rgb
    monkeypatch.setattr(images, "_to_rgb", lambda image, name: converted.append(image.tell()) or to_rgb(image, name))
    assert numpy.array_equal(read_video(path, [3, 1]), pixels[[3, 1]])
    assert converted == [1, 3]


def test_modes(tmp_path, pixels):
    grey = Image.fromarray(pixels[0, :, :, 0])
    grey.save(tmp_path / "grey.png")
    expected = numpy.repeat(pixels[:1, :, :, :1], 3, axis=3)
    assert numpy.array_equal(read_video(tmp_path / "grey.png"), expected)
    palette = grey.convert("P")
    palette.save(tmp_path / "palette.png", transparency=bytes(range(256)))  # Pillow warns when it converts this one
    assert read_video(tmp_path / "palette.png").shape == (1, HEIGHT, WIDTH, 3)


# EXIF 2.32, 4.6.4 A: where the stored picture's row 0 and column 0 are when it is shown.
ORIENTATIONS = {
    1: lambda p: p,  # top, left
    2: lambda p: p[:, ::-1],  # top, right
    3: lambda p: p[::-1, ::-1],  # bottom, right
    4: lambda p: p[::-1],  # bottom, left
    5: lambda p: p.swapaxes(0, 1),  # left, top
    6: lambda p: p.swapaxes(0, 1)[:, ::-1],  # right, top
    7: lambda p: p.swapaxes(0, 1)[::-1, ::-1],  # right, bottom
    8: lambda p: p.swapaxes(0, 1)[::-1],  # left, bottom
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("suffix", ["png", "webp", "tif", "jpg"])
def test_orientation_of_pictures(tmp_path, pixels, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}.get(suffix, {})
    path = tmp_path / f"turned.{suffix}"
    Image.fromarray(pixels[0]).save(path, exif=exif, **lossless)
    stored = pixels[0]
    if suffix == "jpg":
        with Image.open(path) as image:
            stored = numpy.asarray(image)
    expected = ORIENTATIONS[orientation](stored)
    assert numpy.array_equal(read_video(tmp_path)[0], expected)
    if suffix != "jpg":
        assert numpy.array_equal(read_video(path)[0], expected)
        path = write_animation(tmp_path / f"clip.{suffix}", pixels, exif=exif)
        assert numpy.array_equal(read_video(path), [ORIENTATIONS[orientation](frame) for frame in pixels])


@pytest.mark.parametrize("exif", [b"nonsense", b"Exif\0\0", b"Exif\0\0MM\0*\0\0", b"Exif\0\0MM\0*\0\0\xff\xff"])
def test_an_orientation_that_cannot_be_read_is_none(tmp_path, pixels, exif):
    for suffix, options in (("png", {}), ("webp", {"lossless": True})):
        path = tmp_path / f"clip.{suffix}"
        Image.fromarray(pixels[0]).save(path, exif=exif, **options)
        assert numpy.array_equal(read_video(path), pixels[:1])


def test_deep_pictures_are_refused(tmp_path):
    for dtype in (numpy.uint16, numpy.int32, numpy.float32):
        Image.fromarray(numpy.full((8, 8), 1000, dtype)).save(tmp_path / "deep.tif")
        with pytest.raises(InputError, match=r"frame 0 of .*deep.tif has samples of more than 8 bits"):
            read_video(tmp_path / "deep.tif")


def test_pages_of_different_size(tmp_path):
    pages = [Image.new("RGB", size) for size in ((8, 8), (8, 8), (9, 7))]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match=r"frame 2 of .* is 9 x 7 pixels, but frames before it are 8 x 8"):
        read_video(tmp_path / "pages.tif")
    assert read_video(tmp_path / "pages.tif", [0, 1]).shape == (2, 8, 8, 3)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.9])
def test_truncated_animations(tmp_path, pixels, suffix, part):
    path = write_animation(tmp_path / f"clip.{suffix}", pixels)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(InputError, match=re.escape(str(path))) as error:
        read_video(path)
    failed = re.match("frame ([1-9])", one_line(error))
    if suffix != "webp":  # WebP's decoder takes a whole file or none
        assert (failed is not None) == (part > 0.2)
    if failed:
        assert len(read_video(path, range(int(failed[1])))) == int(failed[1])


def patch_png_chunk(path, name, values):
    """Overwrite the first bytes of a PNG's chunk by big-endian 32-bit `values`, checksum included."""
    data = bytearray(path.read_bytes())
    start = data.index(name)
    (length,) = struct.unpack_from(">I", data, start - 4)
    struct.pack_into(f">{len(values)}I", data, start + 4, *values)
    struct.pack_into(">I", data, start + 4 + length, zlib.crc32(data[start : start + 4 + length]))
    path.write_bytes(data)


def test_headers_that_claim_too_much(tmp_path, pixels):
    path = write_animation(tmp_path / "long.png", pixels)
    patch_png_chunk(path, b"acTL", [2**31 - 1])
    with pytest.raises(InputError, match=r"frame 6 of .* cannot be decoded"):
        read_video(path)
    assert numpy.array_equal(read_video(path, [5]), pixels[[5]])
    for claim, reason in ((60000, "exceeds limit"), (10000, "10000 x 10000 pixels"), (9000, "9000 x 9000 pixels")):
        path = write_animation(tmp_path / "wide.png", pixels[:1])
        patch_png_chunk(path, b"IHDR", [claim, claim])
        with pytest.raises(InputError, match=reason) as error:
            read_video(path)
        one_line(error)


def test_folder_in_natural_order(tmp_path, pixels):
    names = ["Frame2.png", "frame1.png", "frame10.PNG", "frame03.png", "frame9 b.bmp", "frame9 a.tif"]
    order = ["frame1.png", "Frame2.png", "frame03.png", "frame9 a.tif", "frame9 b.bmp", "frame10.PNG"]
    for name in names:
        Image.fromarray(pixels[order.index(name)]).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / ".hidden.png").write_text("not a picture")
    (tmp_path / "more.png").mkdir()
    assert numpy.array_equal(read_video(tmp_path), pixels)
    assert count_frames(tmp_path) == COUNT
    assert numpy.array_equal(read_video(tmp_path, [5, 0]), pixels[[5, 0]])
    with pytest.raises(InputError, match=r"index 6 is beyond the end"):
        read_video(tmp_path, [6])


def test_folder_with_a_damaged_picture(tmp_path, pixels):
    for index in range(3):
        Image.fromarray(pixels[index]).save(tmp_path / f"{index}.png")
    (tmp_path / "1.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"1\.png is not a picture, or its header is damaged"):
        read_video(tmp_path)
    assert numpy.array_equal(read_video(tmp_path, [0, 2]), pixels[[0, 2]])


def test_folder_without_pictures(tmp_path):
    (tmp_path / "notes.txt").write_text("not a picture")
    for read in (read_video, count_frames):
        with pytest.raises(InputError, match=r"holds no pictures; expected files ending in"):
            read(tmp_path)


# --------------------------------------------------------------------------------------------------------------------
# .npy
# --------------------------------------------------------------------------------------------------------------------


def test_npy(tmp_path, pixels):
    path = tmp_path / "clip.npy"
    for order in ("C", "F"):
        numpy.save(path, numpy.asarray(pixels, order=order))
        video = read_video(path)
        assert type(video) is numpy.ndarray
        assert video.flags.c_contiguous
        assert video.flags.writeable
        assert numpy.array_equal(video, pixels)
        assert numpy.array_equal(read_video(path, [4, 0, 4]), pixels[[4, 0, 4]])
        assert count_frames(path) == COUNT
    with pytest.raises(InputError, match=r"index 7 is beyond the end of .*, which has 6 frames: .*0 to 5"):
        read_video(path, [7])


@pytest.mark.parametrize(
    "array",
    [
        numpy.zeros((4, 8, 8), numpy.uint8),
        numpy.zeros((4, 8, 8, 1), numpy.uint8),
        numpy.zeros((4, 3, 8, 8), numpy.uint8),
        numpy.full((4, 8, 8, 3), numpy.nan),
        numpy.zeros((4, 8, 8, 3), numpy.int16),
        numpy.zeros((4, 8, 8, 3), bool),
        numpy.array(3, numpy.uint8),
    ],
)
def test_npy_of_another_kind(tmp_path, array):
    numpy.save(tmp_path / "clip.npy", array)
    for read in (read_video, count_frames):
        with pytest.raises(InputError, match=r"expected uint8 of shape \(frames, height, width, 3\)") as error:
            read(tmp_path / "clip.npy")
        one_line(error)


def test_npy_damaged(tmp_path, pixels):
    whole, path = tmp_path / "whole.npy", tmp_path / "clip.npy"
    numpy.save(whole, pixels)
    data = whole.read_bytes()
    claim = data.replace(b"(6, 32, 48, 3)", b"(10**9, 8,8,3)").replace(b"10**9", b"99999")
    damaged = {"cut": data[:-1], "cut in the header": data[:40], "text": b"text", "claim": claim}
    damaged["archive"] = b"PK\x05\x06" + bytes(18)
    damaged["no frames"] = None
    for content in damaged.values():
        if content is None:
            numpy.save(path, pixels[:0])
        else:
            path.write_bytes(content)
        with pytest.raises(InputError, match=re.escape(str(path))) as error:
            read_video(path)
        one_line(error)


def test_npy_with_objects_is_not_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    numpy.save(tmp_path / "clip.npy", numpy.array([Trap()], object), allow_pickle=True)
    with pytest.raises(InputError, match=r"cannot be read as a .npy file"):
        read_video(tmp_path / "clip.npy")


# --------------------------------------------------------------------------------------------------------------------
# Arguments, limits, damage
# --------------------------------------------------------------------------------------------------------------------


def test_nothing_is_asked_after_the_last_wanted_frame():
    def passing():
        for index in range(4):
            yield (
                lambda index=index: numpy.full((2, 2, 3), index, numpy.uint8) if index != 1 else pytest.fail("unwanted")
            )
        pytest.fail("asked for a frame after the last wanted one")

    assert gather_frames(passing(), [3, 0, 2, 0], "clip")[:, 0, 0, 0].tolist() == [3, 0, 2, 0]


@pytest.mark.parametrize("indices", [[], [1.0], [True], "0", 3, [[0]], [None], [0, [1]], [2**70], [-1], [0, -3]])
def test_wrong_indices(tmp_path, pixels, indices):
    clips = [tmp_path / "clip.npy", write_animation(tmp_path / "clip.png", pixels)]
    numpy.save(clips[0], pixels)
    for path in clips:
        with pytest.raises(InputError, match=r"indices (is|holds)") as error:
            read_video(path, indices)
        one_line(error)


def test_not_there_empty_or_no_clip(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "empty.npy").touch()
    (tmp_path / "text.mp4").write_text("This is not a video.\n" * 100)
    (tmp_path / "noise.mp4").write_bytes(numpy.random.default_rng(0).bytes(5000))
    for name, reason in [
        ("missing.mp4", "does not exist"),
        ("missing.npy", "does not exist"),
        ("empty.mp4", "is empty"),
        ("empty.npy", "is empty"),
        ("text.mp4", "cannot be opened as a video"),
        ("noise.mp4", "cannot be opened as a video"),
        ("http://127.0.0.1/clip.mp4", "does not exist"),
    ]:
        for read in (read_video, count_frames):
            with pytest.raises(InputError, match=reason) as error:
                read(name if "://" in name else tmp_path / name)
            one_line(error)


def test_limits(tmp_path, pixels, monkeypatch):
    clips = [
        write_lossless(tmp_path / "clip.mkv", pixels),
        write_animation(tmp_path / "clip.webp", pixels),
        tmp_path / "clip.npy",
    ]
    numpy.save(clips[2], pixels)
    monkeypatch.setattr(gathering, "MAX_VIDEO_BYTES", 3 * HEIGHT * WIDTH * 3)
    for path in clips:
        assert len(read_video(path, [0, 1, 2])) == 3
        for indices in (None, [0, 1, 2, 3], [0] * 4):
            with pytest.raises(InputError, match=r"frames of .*pass fewer indices"):
                read_video(path, indices)
    monkeypatch.setattr(gathering, "MAX_FRAME_PIXELS", HEIGHT * WIDTH - 1)
    for path in clips[:2]:
        with pytest.raises(InputError, match=r"claims frames of 48 x 32 pixels"):
            read_video(path, [0])


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm", "avi", "gif", "png", "webp", "tif", "npy"])
def test_damaged_bytes_give_frames_or_one_error(tmp_path, pixels, suffix):
    path = tmp_path / f"clip.{suffix}"
    if suffix == "npy":
        numpy.save(path, pixels)
    else:
        (write_lossless if suffix in LOSSLESS else write_animation)(path, pixels)
    data, rng, failures = path.read_bytes(), numpy.random.default_rng(0), []
    for _ in range(40):
        damaged = numpy.frombuffer(data, numpy.uint8).copy()
        near = 200 if rng.random() < 0.5 else len(data)  # half of the damage goes to the header
        damaged[rng.integers(0, min(near, len(data)), 8)] = rng.integers(0, 256, 8)
        path.write_bytes(damaged.tobytes())
        try:
            read_video(path)
        except InputError as error:
            failures.append(str(error))
    assert failures
    assert not any("\n" in failure for failure in failures)


# --------------------------------------------------------------------------------------------------------------------
# Real clips, where they are
# --------------------------------------------------------------------------------------------------------------------


def shared_clip(name):
    path = SHARED_CLIPS / name
    if not path.is_file():
        pytest.skip(f"{path} is not there: the project does not ship it")
    return path


@pytest.mark.parametrize(
    ("name", "count", "shape"),
    [("flipping_a_pancake.mkv", 310, (240, 426, 3)), ("arm_wrestling.mp4", 280, (256, 340, 3))],
)
def test_real_clips(name, count, shape):
    path = shared_clip(name)
    assert count_frames(path) == count
    indices = [count - 1, 0, 17, 100]
    with av.open(str(path)) as opened:
        decoded = list(opened.decode(video=0))
        expected = numpy.stack([decoded[index].to_ndarray(format="rgb24") for index in indices])
    video = read_video(path, indices)
    assert video.shape == (4, *shape)
    assert numpy.array_equal(video, expected)
    with pytest.raises(InputError, match=rf"which has {count} frames: give indices from 0 to {count - 1}"):
        read_video(path, [count])


def test_real_clip_that_breaks_off():
    path = shared_clip("corrupted.mp4")
    for read in (read_video, count_frames):
        with pytest.raises(InputError, match=r"the decoder failed at frame 28: .*; 28 frames before that can be read"):
            read(path)
    with pytest.raises(InputError, match=r"the decoder failed at frame 28"):
        read_video(path, [0, 28])
    assert read_video(path, [0, 27]).shape == (2, 720, 1280, 3)


def test_a_chunk_that_claims_gigabytes_takes_no_memory(tmp_path):
    path = tmp_path / "clip.png"
    Image.fromarray(numpy.zeros((8, 8, 3), "uint8")).save(path)
    data = path.read_bytes()
    start = data.index(b"IDAT") - 4
    path.write_bytes(data[:start] + struct.pack(">I", (1 << 31) - 1) + data[start + 4 :])
    tracemalloc.start()
    with suppress(InputError):
        read_video(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 24


def test_what_pillow_logs_does_not_reach_the_terminal(tmp_path, capfd, monkeypatch):
    path = tmp_path / "clip.tiff"
    Image.fromarray(numpy.zeros((8, 8, 3), "uint8")).save(path)
    data = path.read_bytes()
    place = data.index(struct.pack("<HHI", 277, 3, 1))  # SamplesPerPixel
    path.write_bytes(data[: place + 8] + struct.pack("<I", 26163) + data[place + 12 :])
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's own, which a program does not have
    before = list(logging.getLogger("PIL").handlers)
    with pytest.raises(InputError):
        read_video(path)
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("PIL").handlers == before
