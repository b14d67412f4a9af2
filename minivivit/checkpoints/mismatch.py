"""What does not fit, by name, in one line."""

from collections.abc import Mapping

from minivivit.files.tensor_data import all_listed


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
    return "; ".join(f"{len(items)} {what}: {all_listed(items)}" for what, items in parts if items)
