"""Frames of animated pictures (GIF, PNG, WebP, TIFF) and of folders of pictures, decoded by Pillow."""

import io
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import numpy
from PIL import ExifTags, Image, UnidentifiedImageError

from minivivit.errors import InputError
from minivivit.files.quiet import warnings_held_back
from minivivit.files.tensor_data import reason_of
from minivivit.video.readers.gathering import Frame, check_frame_size

ANIMATION_FORMATS = ("GIF", "PNG", "WEBP", "TIFF")
FOLDER_FORMATS = (*ANIMATION_FORMATS, "JPEG", "BMP", "PPM")
FOLDER_SUFFIXES = frozenset((".gif", ".png", ".webp", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".pbm"))
# Pillow clips samples of more than 8 bits when it makes RGB of these modes, without a word.
_DEEP_MODES = ("I", "F")
# EXIF's orientation, and what brings such a picture upright; Pillow's angles are anticlockwise.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def animation_frames(path: Path) -> Iterator[Frame]:
    """The frames of an animated GIF, PNG (APNG) or WebP, or the pages of a TIFF.

    A still picture is a clip of one frame. A still that an APNG shows only where animation is not understood is no
    frame of it.

    Raises
    ------
    InputError
        For a file that Pillow cannot decode, at the frame at which it fails; for samples of more than 8 bits.
    """
    with _PictureFile(path) as file, _open_picture(file, ANIMATION_FORMATS, str(path)) as image:
        first = 1 if image.info.get("default_image") else 0
        # Stated numbers of frames are not believed: the end is found by going there.
        for index in count(first):
            name = f"frame {index - first} of {path}"
            if not _seek(image, index, name):
                return
            yield partial(_to_rgb, image, name)


def folder_frames(path: Path) -> Iterator[Frame]:
    """The pictures in the folder `path`, in natural order (`natural_order`); each is opened only when it is wanted.

    Pictures are known by their suffix (`FOLDER_SUFFIXES`, in either case); other files, hidden files and folders in
    the folder are passed over. Of an animated picture the first frame is taken.

    Raises
    ------
    InputError
        For a folder without pictures, and for a wanted picture that cannot be decoded.
    """
    pictures = [
        entry
        for entry in path.iterdir()
        if entry.suffix.lower() in FOLDER_SUFFIXES and not entry.name.startswith(".") and entry.is_file()
    ]
    if not pictures:
        raise InputError(
            f"the folder {path} holds no pictures; expected files ending in {', '.join(sorted(FOLDER_SUFFIXES))}"
        )
    for picture in sorted(pictures, key=natural_order):
        yield partial(_read_picture, picture)


def natural_order(path: Path) -> tuple:
    """Key that sorts numbers in names by value: frame2 before frame10; letters without regard to case."""
    parts = re.split(r"([0-9]+)", path.name.lower())  # texts at even places, numbers at odd ones
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], path.name


def _read_picture(path: Path) -> numpy.ndarray:
    with _PictureFile(path) as file, _open_picture(file, FOLDER_FORMATS, str(path)) as image:
        return _to_rgb(image, str(path))


class _PictureFile(io.BufferedReader):
    """A file that is asked for no more than it has: a chunk may claim gigabytes, and Python takes the memory first."""

    def __init__(self, path: Path):
        super().__init__(io.FileIO(path))
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1) -> bytes:
        """Up to `size` bytes, or all that are left."""
        left = max(self._size - self.tell(), 0)
        return super().read(left if size is None or size < 0 else min(size, left))


def _open_picture(file: BinaryIO, formats: tuple[str, ...], name: str) -> Image.Image:
    with _one_clear_error(name):
        try:
            return Image.open(file, formats=formats)
        except UnidentifiedImageError:
            kinds = ", ".join(formats)
            raise InputError(f"{name} is not a picture, or its header is damaged; expected one of {kinds}") from None


def _seek(image: Image.Image, index: int, name: str) -> bool:
    """Go to frame `index`; whether there is one."""
    with _one_clear_error(name):
        try:
            image.seek(index)
        except EOFError:
            return False
    return True


def _to_rgb(image: Any, name: str) -> numpy.ndarray:
    """Pixels of the picture's current frame, uint8 (height, width, 3).

    Grey and palette pictures become RGB, transparency is dropped, and the orientation that a camera noted in EXIF is
    applied.
    """
    width, height = image.size
    check_frame_size(width, height, name)
    if image.mode.startswith(_DEEP_MODES):
        raise InputError(
            f"{name} has samples of more than 8 bits (mode {image.mode}); save it with 8 bits a sample first"
        )
    with _one_clear_error(name):
        image.load()
        turn = _UPRIGHT.get(_orientation(image))
        return numpy.asarray((image if turn is None else image.transpose(turn)).convert("RGB"))


def _orientation(image: Image.Image) -> Any:
    """EXIF's orientation of the picture; 1, which is upright, where nothing of it can be read: the pixels can be.

    Pillow turns a TIFF while it loads it, and then forgets the orientation.
    """
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except MemoryError:
        raise
    except Exception:  # whatever a damaged block leads Pillow to
        return 1


@contextmanager
def _one_clear_error(name: str) -> Iterator[None]:
    """Turn whatever Pillow's decoders raise on damaged files, which is nearly anything, into an `InputError`."""
    # What Pillow merely warns of does not matter to the pixels. Of a header that claims a decompression bomb it warns
    # from 89 million pixels on, and refuses twice that; `check_frame_size` refuses both, and smaller ones.
    # Some of its decoders log what they then raise; where nobody listens, Python would write that to the terminal.
    listener = logging.NullHandler()
    logging.getLogger("PIL").addHandler(listener)
    with warnings_held_back():
        try:
            yield
        except (InputError, MemoryError):
            raise
        except Exception as error:
            raise InputError(
                f"{name} cannot be decoded ({reason_of(error)}); is the file complete? Repair it, or read other frames"
            ) from None
        finally:
            logging.getLogger("PIL").removeHandler(listener)
