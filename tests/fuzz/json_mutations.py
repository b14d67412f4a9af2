"""Mutations of JSON, of its text and of its tree: a number edited, a key doubled, a value that nobody would write."""

import json
import re
from random import Random
from typing import Any

# As they stand in a file: some of them Python's json cannot write.
NASTY_VALUES = (
    *("0", "-1", "1", "2", "7", "true", "false", "null", "1.5", "-0.0", "0.1", "1e308", "1e-320", "1e400", "-1e400"),
    *("NaN", "Infinity", "-Infinity", "2147483648", "-2147483649", "4294967296", "9007199254740993"),
    *("9223372036854775808", "18446744073709551616", "1" + "0" * 30, "1" + "0" * 299, "9" * 400, "9" * 5000),
    *('""', '"a"', '"1"', '"NaN"', '"self"', '"\\u0000"', '"\\ud800"', '"\\n\\u001b[31m"', '"../../x"', '"/dev/zero"'),
    *('"' + "a" * 200_000 + '"', '"\\u0663"', '"{N}{M}{N}"', "[]", "{}", "[[]]", "[null]", "[0, 0, 0]", "[-1, 2]"),
    *("[" * 800 + "]" * 800, "[" * 2000 + "]" * 2000, "[" + "0," * 5000 + "0]", '{"a":' * 90 + "1" + "}" * 90),
    *('{"a":' * 1500 + "1" + "}" * 1500, '{"self": 1}', '{"0": "a", "1": "b"}', '{"0": "a", "00": "b"}', '["a", "b"]'),
)
# What somebody might have meant.
OTHER_VALUES = (
    *("0", "1", "2", "3", "4", "5", "6", "8", "12", "16", "32", "100", "1000", "0.5", "1e-6", "true", "false", "null"),
    *(
        "[1, 4, 4]",
        "[2, 4, 4]",
        "[4, 8]",
        "[8, 8]",
        "[3]",
        "[1, 3]",
        "[[1, 3]]",
        '"gap"',
        '"token"',
        '"relu"',
        '"F32"',
        '"F64"',
    ),
    *(
        '"factorised_encoder"',
        '"factorised_dot_product"',
        '"frame_sampling"',
        '{"height": 8, "width": 6}',
        "8e0",
        '"8"',
    ),
)
NASTY_KEYS = (
    *(
        "",
        "self",
        "cls",
        "kwargs",
        "values",
        "settings",
        "other",
        "name",
        "__class__",
        "__metadata__",
        "0",
        "-1",
        "a.b",
    ),
    *(
        "\x00",
        "\ud800",
        "\n",
        "a" * 100_000,
        "{N}",
        "{A}{B}{C}{D}{E}{F}{G}{H}{I}",
        "model_type",
        "num_labels",
        "id2label",
    ),
)


class Node:
    """A JSON value that can hold what a dict cannot: a key twice, and values as they are written."""

    def __init__(self, value: Any):
        self.text, self.keys, self.children = "", None, None
        if isinstance(value, dict):
            self.keys, self.children = list(value), [Node(entry) for entry in value.values()]
        elif isinstance(value, list):
            self.children = [Node(entry) for entry in value]
        else:
            self.text = json.dumps(value)

    def all(self) -> list["Node"]:
        """This value and all that is in it."""
        found = [self]
        for node in found:
            found += node.children or []
        return found

    def copy(self) -> "Node":
        """One that can be changed by itself."""
        other = Node(None)
        other.text, other.keys = self.text, None if self.keys is None else list(self.keys)
        other.children = None if self.children is None else [child.copy() for child in self.children]
        return other

    def become(self, text: str) -> None:
        """Be a value that is written so."""
        self.text, self.keys, self.children = text, None, None

    def written(self) -> str:
        """As JSON, or what looks like it."""
        if self.children is None:
            return self.text
        inside = [child.written() for child in self.children]
        if self.keys is None:
            return f"[{', '.join(inside)}]"
        return f"{{{', '.join(f'{json.dumps(key)}: {value}' for key, value in zip(self.keys, inside, strict=True))}}}"


def mutate_json(rng: Random, data: bytes) -> bytes:
    """A JSON file with one to three mutations of its tree, or of its text."""
    text = data.decode("utf-8")
    try:
        tree = Node(json.loads(text))
    except ValueError:
        return _mutate_text(rng, text).encode("utf-8", "surrogatepass")
    if rng.random() < 0.2:
        return _mutate_text(rng, text).encode("utf-8", "surrogatepass")
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _mutate_node(rng, rng.choice(tree.all()), tree)
    return tree.written().encode("utf-8", "surrogatepass")


def _mutate_node(rng: Random, node: Node, tree: Node) -> None:
    if not node.children or rng.random() < 0.35:
        if node.children is None and rng.random() < 0.3:
            node.become(_mutate_text(rng, node.text))
        elif rng.random() < 0.1:
            node.become(rng.choice(tree.all()).written())
        else:
            node.become(rng.choice(OTHER_VALUES if rng.random() < 0.5 else NASTY_VALUES))
        return
    place, kind = rng.randrange(len(node.children)), rng.randrange(5)
    if kind == 0:
        del node.children[place]
        if node.keys is not None:
            del node.keys[place]
    elif kind == 1 and node.keys is not None:
        node.keys[place] = rng.choice([*NASTY_KEYS, *node.keys])
    else:
        node.children.insert(place, node.children[place].copy())
        if kind == 2:
            node.children[place].become(rng.choice(NASTY_VALUES))
        if node.keys is not None:
            node.keys.insert(place, node.keys[place] if kind == 3 else rng.choice(NASTY_KEYS))


def _mutate_text(rng: Random, text: str) -> str:
    """A token, or some letters, replaced, left out or doubled."""
    tokens = list(re.finditer(r'"(?:[^"\\]|\\.)*"|-?[0-9.eE+-]+|[{}\[\]:,]|\w+', text))
    if not tokens:
        return rng.choice(NASTY_VALUES)
    token = rng.choice(tokens)
    number = re.fullmatch(r"-?[0-9]+", token[0])
    choices = ["", token[0] * 2, token[0] * rng.choice((3, 100)), rng.choice(NASTY_VALUES), rng.choice('{}[]:,"\\-')]
    if number:
        choices += [
            str(int(token[0][:300]) + rng.choice((-1, 1, 2**32, -(2**63)))),
            f"-{token[0]}",
            f"{token[0]}.5",
        ] * 2
    return text[: token.start()] + rng.choice(choices) + text[token.end() :]


def mutate_lines(rng: Random, data: bytes) -> bytes:
    """A file of one JSON object a line, with one of its lines mutated, left out, doubled, or cut."""
    lines = data.split(b"\n")
    place = rng.randrange(len(lines))
    kind = rng.randrange(6)
    if kind == 0:
        lines.insert(place, lines[place])
    elif kind == 1:
        del lines[place]
    elif kind == 2:
        lines[place] = lines[place][: rng.randrange(len(lines[place]) + 1)]
    elif lines[place]:
        lines[place] = mutate_json(rng, lines[place])
    return b"\n".join(lines)
