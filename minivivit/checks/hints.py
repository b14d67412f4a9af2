"""How much a report says: what is wrong (0), where to look as well (1), the likely cause as well (2)."""

from minivivit.errors import InputError

# Stands for the cause of the fault that was printed before.
SAME = "the same"

# (words of a cause, what to look at): the first that fits. A place to look does not give the mistake away.
_PLACES = [
    (("kept from call to call", "changes its input", "in place", "-=, *="), "what is changed in place, and what stays"),
    (("keepdims", "took an axis away", "broadcast", "two shapes"), "the shape of each intermediate result"),
    (
        ("transpose", "reshape", "order", "axis", "axes", "over the", "exchanged"),
        "which axes are meant, and their order",
    ),
    (("eps",), "where eps stands, and which"),
    (("overflow", "underflow", "maximum", "exp of", "exp or log"), "exp and log of very large and very small numbers"),
    (("sign", "uphill", "subtract", "minus"), "the signs"),
    (("mean", "sum"), "what is summed, what is averaged, and over which entries"),
    (("scale", "factor", "divi", "multipl", "root", "learning rate", "momentum", "decay"), "the factors of each term"),
    (("missing", "lacks", "left out", "forgotten", "without"), "whether every term of the formula is there"),
    (("precision", "dtype", "rounded", "points behind"), "the dtype of each intermediate result"),
    (("returns nothing", "return"), "what is returned"),
    (("this is", "approximation", "stands where"), "whether this is the function that was asked for"),
]


def checked_hints(hints: int) -> int:
    """The level of hints, or an InputError."""
    if hints not in (0, 1, 2):
        raise InputError(
            f"hints is {str(hints)[:40]}; expected 0 (what is wrong), 1 (where to look, too) or 2 (the likely cause)"
        )
    return int(hints)


def place_to_look(cause: str) -> str:
    """Where to look for a mistake whose cause is known; empty for no cause, the same for the same."""
    if cause in ("", SAME):
        return cause
    return next((place for words, place in _PLACES if any(word in cause for word in words)), "each term of the formula")
