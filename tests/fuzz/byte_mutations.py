"""Mutations of bytes, and of the formats that bytes are packed in: chunks, boxes, archives, pickles, MessagePack."""

import io
import pickletools
import re
import struct
import warnings
import zipfile
import zlib
from random import Random
from typing import Any

import msgpack
from json_mutations import mutate_json

NASTY_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32767, 65535, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 33, -1)
NASTY_NAMES = (
    "",
    "a",
    "../x",
    "/etc/x",
    "a/b/c",
    "a" * 2000,
    "a/" * 700,
    "\x00",
    "\n",
    "x.npy",
    "data.pkl",
    "é",
    "model",
)
# Opcodes with their arguments, to be put into a pickle anywhere.
NASTY_OPCODES = (
    *(
        b"(",
        b"}",
        b"]",
        b")",
        b"N",
        b"\x88",
        b"s",
        b"u",
        b"a",
        b"e",
        b"t",
        b"\x85",
        b"\x87",
        b"Q",
        b"R",
        b"b",
        b"0",
        b"2",
    ),
    *(b"\x8a\xff" + b"\xff" * 254 + b"\x7f", b"\x8a\x08" + b"\xff" * 7 + b"\x7f", b"J\xff\xff\xff\xff", b"K\x00", b"."),
    *(
        b"X\xff\xff\xff\x7fa",
        b"X\x01\x00\x00\x00a",
        b"h\x00",
        b"j\xff\xff\xff\xff",
        b"r\xff\xff\xff\x7f",
        b"q\x00",
        b"\x94",
    ),
    *(
        b"cos\nsystem\n",
        b"ctorch\nFloatStorage\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ccollections\nOrderedDict\n",
    ),
    *(b"G\x7f\xf8\x00\x00\x00\x00\x00\x00", b"\x95" + b"\xff" * 8, b"I01\n", b"L9" + b"9" * 400 + b"L\n", b"F1e400\n"),
)
NASTY_HEADERS = (
    *(
        "(-2, -3)",
        "(True, 6)",
        "(0, 4611686018427387904)",
        "(" + "9" * 400 + ",)",
        "(0x" + "f" * 4000 + ",)",
        "()",
        "5",
    ),
    *("(" + "1," * 40 + ")", "(2, 3.0)", "'<f8'", "'|O'", "'<f2'", "'>f4'", "'V2'", "'|b1'", "'<c8'", "'<U9'", "'>i4'"),
    *(
        "('<f4', (2,))",
        "[('a', '<f4')]",
        "True",
        "None",
        "[" * 300,
        "__import__('os')",
        "1e400",
        "'" + "a" * 5000 + "'",
    ),
)


def mutate_bytes(rng: Random, data: bytes, other: bytes = b"") -> bytes:
    """One to four places changed: bits, bytes, numbers of 2 to 8 bytes; cut, doubled, moved, or from another file."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        place = rng.randrange(len(changed) + 1) if rng.random() < 0.6 else rng.randrange(min(len(changed), 64) + 1)
        _change(rng, changed, place, other)
    return bytes(changed)


def _change(rng: Random, changed: bytearray, place: int, other: bytes) -> None:
    kind, length = rng.randrange(9), rng.choice((1, 2, 4, 8, 16, 64, 512))
    piece = bytes(changed[place : place + length])
    if kind == 0 and piece:
        changed[place] ^= 1 << rng.randrange(8)
    elif kind == 1 and piece:
        changed[place] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256)))
    elif kind in (2, 3):
        size = rng.choice((2, 4, 8))
        number = rng.choice((*NASTY_NUMBERS, len(changed), len(changed) - place)) % (1 << 8 * size)
        changed[place : place + size] = number.to_bytes(size, rng.choice(("little", "big")))
    elif kind == 4:
        del changed[place:]
    elif kind == 5:
        del changed[place : place + length]
    elif kind == 6:
        changed[place:place] = piece * rng.choice((1, 1, 3, 50))
    elif kind == 7:
        start = rng.randrange(len(other) + 1)
        changed[place : place + rng.choice((0, length))] = other[start : start + length]
    else:
        changed[place : place + length] = bytes(rng.randrange(256) for _ in range(len(piece)))


# --------------------------------------------------------------------------------------------------------------------
# Archives, and what is in them
# --------------------------------------------------------------------------------------------------------------------


def mutate_zip(rng: Random, data: bytes) -> bytes:
    """A zip archive with a member changed, renamed, doubled, left out or compressed: whole, its checksums right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    compression = zipfile.ZIP_STORED
    for _ in range(rng.choice((1, 1, 2))):
        place, kind = rng.randrange(len(members)), rng.randrange(10)
        name, content = members[place]
        if kind == 0:
            members[place] = (rng.choice(NASTY_NAMES), content)
        elif kind == 1:
            members.append((name, content))
        elif kind == 2 and len(members) > 1:
            del members[place]
        elif kind == 3:
            compression = zipfile.ZIP_DEFLATED
        elif name.endswith("data.pkl") or rng.random() < 0.4:
            pickles = [index for index, (other, _) in enumerate(members) if other.endswith("data.pkl")] or [place]
            name, content = members[pickles[0]]
            members[pickles[0]] = (name, _mutate_member(rng, name, content))
        else:
            members[place] = (name, _mutate_member(rng, name, content))
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", compression) as archive:
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name or "x"), content, compression)
    return mutate_bytes(rng, file.getvalue()) if rng.random() < 0.1 else file.getvalue()


def _mutate_member(rng: Random, name: str, content: bytes) -> bytes:
    if name.endswith("data.pkl"):
        return mutate_pickle(rng, content)
    return mutate_npy(rng, content) if content.startswith(b"\x93NUMPY") else mutate_bytes(rng, content)


def mutate_npy(rng: Random, data: bytes) -> bytes:
    """A .npy file with a value of its header changed, the length of the header right; or its bytes."""
    if rng.random() < 0.2 or len(data) < 12:
        return mutate_bytes(rng, data)
    length = int.from_bytes(data[8:10], "little")
    header, rest = data[10 : 10 + length].decode("latin-1"), data[10 + length :]
    values = list(re.finditer(r"\([^)]*\)|'[^']*'|True|False|[0-9]+", header))
    if not values:
        return mutate_bytes(rng, data)
    value = rng.choice(values)
    header = header[: value.start()] + rng.choice(NASTY_HEADERS) + header[value.end() :]
    return data[:8] + struct.pack("<H", len(header) % 65536) + header.encode("latin-1") + rest


def mutate_pickle(rng: Random, data: bytes) -> bytes:
    """A pickle with opcodes left out, doubled, swapped, or put in."""
    try:
        starts = [place for _, _, place in pickletools.genops(data)]
    except Exception:
        return mutate_bytes(rng, data)
    opcodes = [data[start:end] for start, end in zip(starts, [*starts[1:], len(data)], strict=True)]
    for _ in range(rng.choice((1, 1, 2, 4))):
        place, kind = rng.randrange(len(opcodes)), rng.randrange(5)
        if kind == 0 and len(opcodes) > 1:
            del opcodes[place]
        elif kind == 1:
            opcodes[place:place] = opcodes[place : place + rng.choice((1, 3, 20))] * rng.choice((1, 2, 300))
        elif kind == 2:
            second = rng.randrange(len(opcodes))
            opcodes[place], opcodes[second] = opcodes[second], opcodes[place]
        else:
            opcodes[place : place + kind - 3] = [rng.choice(NASTY_OPCODES)]
    return mutate_bytes(rng, b"".join(opcodes)) if rng.random() < 0.1 else b"".join(opcodes)


def mutate_pickles(rng: Random, data: bytes) -> bytes:
    """Several pickles one after the other, and numbers behind them: one of the pickles mutated, or any bytes."""
    starts, file = [0], io.BytesIO(data)
    try:
        while data[file.tell() : file.tell() + 1] == b"\x80":
            for _ in pickletools.genops(file):
                pass
            starts.append(file.tell())
    except Exception:
        return mutate_bytes(rng, data)
    if rng.random() < 0.3 or len(starts) < 2:
        return mutate_bytes(rng, data)
    place = rng.randrange(len(starts) - 1)
    start, end = starts[place], starts[place + 1]
    return data[:start] + mutate_pickle(rng, data[start:end]) + data[end:]


# --------------------------------------------------------------------------------------------------------------------
# Headers and trees
# --------------------------------------------------------------------------------------------------------------------


def mutate_safetensors(rng: Random, data: bytes) -> bytes:
    """A safetensors file with its header mutated as JSON, and the length before it right."""
    length = int.from_bytes(data[:8], "little")
    if rng.random() < 0.25 or 8 + length > len(data):
        return mutate_bytes(rng, data)
    header = data[8 : 8 + length]
    if rng.random() < 0.4:
        return data[: 8 + length] + _mutate_numbers(rng, data[8 + length :])
    header = _mutate_shapes(rng, header) if rng.random() < 0.4 else mutate_json(rng, header)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def _mutate_numbers(rng: Random, data: bytes) -> bytes:
    """Floating-point numbers, some or nearly all of them, that are large, tiny, not finite, or 0."""
    number = rng.choice((1e160, -1e308, 1.7e308, 1e-310, 5e-324, float("nan"), float("inf"), -float("inf"), 0.0, 1e38))
    width, part = rng.choice(((4, "<f"), (8, "<d"), (8, "<d"))), rng.choice((0.01, 0.1, 0.9))
    changed = bytearray(data)
    for start in range(0, len(data) - width[0] + 1, width[0]):
        if rng.random() < part:
            written = number if width[0] == 8 or abs(number) < 1e39 or number in (float("inf"), -float("inf")) else 1e38
            changed[start : start + width[0]] = struct.pack(width[1], written)
    return bytes(changed)


def _mutate_shapes(rng: Random, header: bytes) -> bytes:
    """Shapes of as many entries as before: axes swapped, merged, divided, put in, or left out."""

    def reshaped(found: re.Match) -> str:
        shape = [int(size) for size in found[1].split(",") if size.strip()]
        if rng.random() < 0.5 or not shape:
            return found[0]
        kind = rng.randrange(5)
        if kind == 0:
            rng.shuffle(shape)
        elif kind == 1:
            place = rng.randrange(len(shape))
            shape[place : place + 2] = [shape[place] * (shape[place + 1] if place + 1 < len(shape) else 1)]
        elif kind == 2:
            shape.insert(rng.randrange(len(shape) + 1), 1)
        elif kind == 3:
            place = rng.randrange(len(shape))
            shape[place : place + 1] = [2, shape[place] // 2] if shape[place] % 2 == 0 else [shape[place]]
        else:
            shape = [size for size in shape if size != 1]
        return f'"shape":{shape}'

    return re.sub(r'"shape": ?\[([0-9, ]*)\]', reshaped, header.decode("latin-1")).encode("latin-1")


def mutate_msgpack(rng: Random, data: bytes) -> bytes:
    """A MessagePack file with a value of its tree, or of an array in it, changed."""
    if rng.random() < 0.25:
        return mutate_bytes(rng, data)
    tree = [_opened(msgpack.unpackb(data, raw=False, strict_map_key=False))]
    for _ in range(rng.choice((1, 1, 2))):
        nodes: list[Any] = [tree]
        for node in nodes:
            nodes += [child for child in node if isinstance(child, list)]
        _mutate_list(rng, rng.choice(nodes))
    return _packed(tree[0]) if tree else b""


def _opened(value: Any) -> Any:
    """Maps, lists and arrays as lists, whose first entry says which: what can be changed at any place."""
    if isinstance(value, dict):
        return ["map", *([key, _opened(entry)] for key, entry in value.items())]
    if isinstance(value, msgpack.ExtType):
        return ["ext", value.code, _opened(msgpack.unpackb(value.data, raw=False))]
    return ["list", *map(_opened, value)] if isinstance(value, list) else value


def _packed(value: Any) -> bytes:
    packer = msgpack.Packer(use_bin_type=True, unicode_errors="surrogatepass")
    if not isinstance(value, list):
        return packer.pack(value)
    kind, *entries = value or ["list"]
    if kind == "map" and all(isinstance(entry, list) and len(entry) == 2 for entry in entries):
        pairs = [packer.pack(key) if not isinstance(key, list) else _packed(key) for key, _ in entries]
        inside = [key + _packed(entry) for key, (_, entry) in zip(pairs, entries, strict=True)]
        return packer.pack_map_header(len(entries)) + b"".join(inside)
    if kind == "ext" and len(entries) == 2:
        code = entries[0] if isinstance(entries[0], int) and not isinstance(entries[0], bool) else 1
        return packer.pack(msgpack.ExtType(code % 128, _packed(entries[1])))  # pack_ext_type returned nothing in 1.0.0
    return packer.pack_array_header(len(entries)) + b"".join(map(_packed, entries))


def _mutate_list(rng: Random, node: list[Any]) -> None:
    deep: Any = []
    for _ in range(100):  # more than what is read, and few enough to be written by recursion, twice in itself
        deep = ["list", deep]
    values = (
        *(
            None,
            True,
            0,
            1,
            -1,
            7,
            1 << 40,
            (1 << 64) - 1,
            -(1 << 63),
            1.5,
            float("nan"),
            float("inf"),
            "",
            "a",
            "\x00",
        ),
        *(
            "a" * 2000,
            "float32",
            "bfloat16",
            "object",
            b"",
            b"a" * 7,
            ["map"],
            ["list"],
            ["list", 1, 2],
            deep,
            "optimizer",
        ),
        *("__msgpack_chunked_array__", ["ext", 2, ["list"]], ["map", [1, 2]], ["map", ["a", 1], ["a", 2]]),
    )
    place, kind = rng.randrange(len(node) + 1), rng.randrange(4)
    if kind == 0 and place < len(node):
        del node[place]
    elif kind == 1 and place < len(node):
        node.insert(place, node[place])
    elif kind == 2:
        node.insert(place, rng.choice(values))
    elif place < len(node):
        node[place] = rng.choice(values)


# --------------------------------------------------------------------------------------------------------------------
# Pictures and films
# --------------------------------------------------------------------------------------------------------------------


def mutate_png(rng: Random, data: bytes) -> bytes:
    """A PNG with a chunk changed, doubled, moved or left out, all checksums right."""
    chunks, place = [], 8
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    if rng.random() < 0.3 or not chunks:
        return mutate_bytes(rng, data)
    chosen = rng.randrange(len(chunks))
    kind, content = chunks[chosen]
    change = rng.randrange(4)
    if change == 0:
        del chunks[chosen]
    elif change == 1:
        chunks.insert(rng.randrange(len(chunks) + 1), chunks[chosen])
    else:
        chunks[chosen] = (kind, mutate_bytes(rng, content))
    written = [struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks]
    return data[:8] + b"".join(written)


def mutate_boxes(rng: Random, data: bytes) -> bytes:
    """An MP4 file with one of its boxes, at any depth, changed, doubled or left out; sizes stay as they were said."""
    boxes, ranges = [], [(0, len(data))]
    for start, end in ranges:
        while start + 8 <= end:
            size = int.from_bytes(data[start : start + 4], "big")
            if size < 8 or start + size > end:
                break
            boxes.append((start, size))
            if data[start + 4 : start + 8] in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta"):
                ranges.append((start + 8, start + size))
            start += size
    if rng.random() < 0.3 or not boxes:
        return mutate_bytes(rng, data)
    start, size = rng.choice(boxes)
    box = data[start : start + size]
    change = rng.randrange(4)
    new = b"" if change == 0 else box * 2 if change == 1 else box[:8] + mutate_bytes(rng, box[8:])
    return data[:start] + new + data[start + size :]
