"""Arrays as text for a page: base64 of float32, of its upper three bytes, or of float16 with a scale."""

import base64
from typing import Any

import numpy

from minivivit.errors import InputError

SMALL = 1024  # up to so many numbers are kept in float32


def pack(array: numpy.ndarray, kind: str | None = None) -> dict[str, Any]:
    r"""Write an array as a JSON object.

    - ``"float32"``: four bytes a number.
    - ``"float24"``: the upper three bytes of float32, rounded: 16 significant bits, so the relative error is at most
      :math:`2^{-16}`, with the range of float32. A number is four letters of base64.
    - ``"float16"``: two bytes a number, after division by the largest magnitude, ``"scale"``: an error of at most
      :math:`2^{-11}` of the number, and :math:`2^{-25}` of the scale.

    Parameters
    ----------
    array : array
        Real or whole numbers; what float32 cannot hold becomes infinity.
    kind : {"float32", "float24", "float16"}, optional
        Left out, float32 for up to `SMALL` numbers and float24 for more.

    Returns
    -------
    dict
        ``{"shape", "kind", "data"}`` and, for float16, ``"scale"``; little-endian.
    """
    if kind is None:
        kind = "float32" if numpy.size(array) <= SMALL else "float24"
    with numpy.errstate(over="ignore"):
        values = numpy.ascontiguousarray(array, "<f4")
    packed: dict[str, Any] = {"shape": list(values.shape), "kind": kind}
    if kind == "float32":
        data = values.tobytes()
    elif kind == "float24":
        bits = values.view("<u4")
        # half a unit of the last place that stays is added; not to NaN, which must not become infinity
        rounded = numpy.where(numpy.isnan(values), bits, bits + numpy.uint32(0x80))
        data = rounded.astype("<u4").view("u1").reshape(-1, 4)[:, 1:].tobytes()
    elif kind == "float16":
        finite = numpy.abs(values[numpy.isfinite(values)])
        scale = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
        packed["scale"] = scale
        data = (values.astype("<f8") / scale).astype("<f2").tobytes()
    else:
        raise InputError(f"{kind!r} is no way to pack numbers; expected float32, float24 or float16")
    packed["data"] = base64.b64encode(data).decode("ascii")
    return packed


def unpack(packed: dict[str, Any]) -> numpy.ndarray:
    """The array that `pack` wrote, in float32; the page's own ``unpack`` does the same in JavaScript."""
    data = numpy.frombuffer(base64.b64decode(packed["data"]), "u1")
    if packed["kind"] == "float24":
        bits = numpy.zeros((len(data) // 3, 4), "u1")
        bits[:, 1:] = data.reshape(-1, 3)
        values = bits.view("<f4")[:, 0]
    elif packed["kind"] == "float16":
        values = (data.view("<f2").astype("f8") * packed["scale"]).astype("<f4")
    else:
        values = data.view("<f4")
    return values.reshape(packed["shape"])
