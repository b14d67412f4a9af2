"""What does not fit, by name, in one line."""

from collections.abc import Mapping

from minivivit.files.tensor_data import all_listed, listed


def mismatch(
    wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], limit: int | None = None
) -> str:
    """Name all that is missing, unexpected or of another shape; empty where all fits.

    Parameters
    ----------
    wanted, found : mappings of names to shapes
    limit : int, optional
        How many names of each kind at most, and how many more there are; None for all.
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
    return "; ".join(
        f"{len(items)} {what}: {all_listed(items) if limit is None else listed(items, limit)}"
        for what, items in parts
        if items
    )
