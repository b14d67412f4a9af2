"""What does not fit, by name, in one line."""

from collections.abc import Mapping

MOST_NAMES = 1000


def mismatch(wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> str:
    """Name all that is missing, unexpected or of another shape; empty where all fits.

    Parameters
    ----------
    wanted, found : mappings of names to shapes
    """
    shapes = [
        f"{name} is {tuple(found[name])}, expected {tuple(shape)}"
        for name, shape in wanted.items()
        if name in found and tuple(found[name]) != tuple(shape)
    ]
    parts = (
        ("missing", sorted(wanted.keys() - found.keys())),
        ("unexpected", sorted(found.keys() - wanted.keys())),
        ("of another shape", shapes),
    )
    return "; ".join(f"{len(items)} {what}: {_listed(items)}" for what, items in parts if items)


def _listed(items: list[str]) -> str:
    """At most `MOST_NAMES` of them; one that comes from a hostile file is cut short and kept on the line."""
    shown = [item if item.isprintable() and len(item) <= 300 else repr(item[:300]) for item in items[:MOST_NAMES]]
    more = f" and {len(items) - MOST_NAMES} more" if len(items) > MOST_NAMES else ""
    return ", ".join(shown) + more
