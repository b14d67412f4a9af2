"""Whether a notebook's fresh outputs say the same as the committed ones.

- Text is the same but for spaces and for numbers. A number without a decimal point or an exponent is exact. Others may
  differ by `RELATIVE_TOLERANCE`, or by one in the last digit that is printed; below `ROUNDING_ERROR` numbers are
  rounding errors, which are another machine's own.
- In a cell with the tag "timing" every number may differ.
- Pictures, those inside of HTML too, have the same alternative text, the same size and much the same look: other
  versions of matplotlib may move a line by a pixel, but a blank picture, or another one, is found out. In a cell tagged
  "timing" they only must not be blank.
"""

import base64
import io
import re

import numpy
from PIL import Image

RELATIVE_TOLERANCE = 1e-3
ROUNDING_ERROR = 1e-5
TIMING = "timing"

# Of pictures averaged over squares of 8 x 8 pixels, in levels of grey from 0 to 255.
SQUARE = 8
MEAN_DIFFERENCE = 6.0
CORRELATION = 0.95
LEAST_DEVIATION = 1.0

INSIDE = re.compile(r'src="data:image/png;base64,([^"]+)"')
NUMBER = re.compile(r"(?<![\w.])[-+−]?\d+(?:,\d{3})*(?:\.\d*)?(?:[eE][-+]?\d+)?")


def differences(committed: list[dict], fresh: list[dict]) -> list[str]:
    """One line for each way in which cells differ; each cell in nbformat's JSON, with the text of lists joined."""
    found = []
    if len(committed) != len(fresh):
        return [f"{len(fresh)} cells, {len(committed)} committed"]
    for number, (old, new) in enumerate(zip(committed, fresh, strict=True)):
        is_timing = TIMING in old.get("metadata", {}).get("tags", [])
        olds, news = old.get("outputs", []), new.get("outputs", [])
        kinds = [[kinds_of(output) for output in outputs] for outputs in (olds, news)]
        if kinds[0] != kinds[1]:
            found.append(f"cell {number}: outputs are {kinds[1]}, committed {kinds[0]}")
            continue
        for a, b in zip(olds, news, strict=True):
            found += [f"cell {number}: {line}" for line in output_differences(a, b, is_timing)]
    return found


def kinds_of(output: dict) -> str:
    """What an output is made of: "stdout", or its MIME types."""
    return output["name"] if output["output_type"] == "stream" else " ".join(sorted(output.get("data", {}))) or "error"


def output_differences(old: dict, new: dict, is_timing: bool) -> list[str]:
    """Ways in which two outputs of the same kind differ."""
    if old["output_type"] == "stream":
        return text_differences(text_of(old["text"]), text_of(new["text"]), is_timing)
    found = []
    for kind, value in old.get("data", {}).items():
        if kind == "image/png":
            alts = [output["metadata"].get(kind, {}).get("alt", "") for output in (old, new)]
            found += text_differences(*alts, is_timing)
            found += picture_differences(text_of(value), text_of(new["data"][kind]), is_timing)
        elif kind == "text/html":
            found += page_differences(text_of(value), text_of(new["data"][kind]), is_timing)
        else:
            found += text_differences(text_of(value), text_of(new["data"][kind]), is_timing)
    return found


def page_differences(old: str, new: str, is_timing: bool) -> list[str]:
    """Ways in which two pieces of HTML with pictures in them differ."""
    found = text_differences(INSIDE.sub("", old), INSIDE.sub("", new), is_timing)
    pictures = list(zip(INSIDE.findall(old), INSIDE.findall(new), strict=False))
    return found + [line for a, b in pictures for line in picture_differences(a, b, is_timing)]


def text_of(value: str | list[str]) -> str:
    """nbformat writes a text as a list of lines."""
    return value if isinstance(value, str) else "".join(value)


def text_differences(old: str, new: str, is_timing: bool = False) -> list[str]:
    """At most one line, which names the first number or the words that differ."""
    words = [" ".join(NUMBER.sub(" # ", text).split()) for text in (old, new)]
    if words[0] != words[1]:
        return [f"the text is {words[1][:200]!r}, committed {words[0][:200]!r}"]
    if not is_timing:
        for a, b in zip(NUMBER.findall(old), NUMBER.findall(new), strict=True):
            if not same_number(a, b):
                return [f"a number is {b}, committed {a}, in {new[:200]!r}"]
    return []


def same_number(old: str, new: str) -> bool:
    """Whether two printed numbers are one, up to the tolerances above."""
    a, b = (float(text.replace(",", "").replace("−", "-")) for text in (old, new))
    if not re.search(r"[.eE]", old + new):
        return a == b
    if max(abs(a), abs(b)) < ROUNDING_ERROR:
        return True
    last_digit = max(last_place(old), last_place(new))
    return abs(a - b) <= max(RELATIVE_TOLERANCE * max(abs(a), abs(b)), 1.001 * last_digit)


def last_place(text: str) -> float:
    """What the last printed digit counts: 0.01 for 1.23, and 1e-6 for 1.2e-5."""
    mantissa, _, exponent = text.lower().partition("e")
    return 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))


def picture_differences(old: str, new: str, is_timing: bool = False) -> list[str]:
    """Ways in which two pictures (PNG, base64) differ."""
    a, b = (numpy.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("L"), float) for data in (old, new))
    if is_blank(b):
        return ["the picture is blank"]
    if a.shape != b.shape:
        return [f"the picture has {b.shape[1]} x {b.shape[0]} pixels, committed {a.shape[1]} x {a.shape[0]}"]
    if is_timing:
        return []
    a, b = squares(a), squares(b)
    difference = float(numpy.abs(a - b).mean())
    correlation = float(numpy.corrcoef(a.ravel(), b.ravel())[0, 1])
    if difference > MEAN_DIFFERENCE or correlation < CORRELATION:
        return [f"the picture looks different: mean difference {difference:.1f}, correlation {correlation:.3f}"]
    return []


def is_blank(picture: numpy.ndarray) -> bool:
    """Whether a picture (height, width) shows nothing to speak of."""
    return float(squares(picture).std()) < LEAST_DEVIATION


def squares(picture: numpy.ndarray) -> numpy.ndarray:
    """Means over squares of `SQUARE` x `SQUARE` pixels, a remainder left out."""
    height, width = (edge // SQUARE * SQUARE for edge in picture.shape)
    return picture[:height, :width].reshape(height // SQUARE, SQUARE, width // SQUARE, SQUARE).mean(axis=(1, 3))
