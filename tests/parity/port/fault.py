"""What a planted mistake is."""

from dataclasses import dataclass, field

from .planting import Plant

# Layers of our names, in Models 1 and 3 and in the two encoders of Model 2.
L0, L1 = "vivit.encoder.layer.0", "vivit.encoder.layer.1"
S0, T0 = "vivit.spatial_encoder.layer.0", "vivit.temporal_encoder.layer.0"


@dataclass(frozen=True)
class Fault:
    """One mistake.

    Attributes
    ----------
    name : str
    plant : callable
        Changes a port in place.
    first_wrong : str
        The first of our tensors, in the order of execution, that comes out wrong.
    cause : str or None
        The name of the cause that must be claimed; None where none is known, and none may be claimed.
    also : tuple of str
        Other names that are as right.
    vague : tuple of str
        Names of what is true of it, and says less: neither right nor wrong.
    where : tuple of str
        Where the mistake is confined to a place: words of which one must be said.
    model : {"m1", "m2", "m3"}
    precisions : tuple of str
        Of recordings that it can be planted into; empty for all.
    place : str
        Part of the network.
    """

    name: str
    plant: Plant
    first_wrong: str
    cause: str | None
    also: tuple[str, ...] = ()
    vague: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    model: str = "m1"
    precisions: tuple[str, ...] = ()
    weights: float = 1.0
    place: str = field(default="", compare=False)

    @property
    def gradients(self) -> bool:
        """Whether the mistake is in the backward pass."""
        return self.first_wrong.startswith("gradient.")

    @property
    def right_causes(self) -> set[str]:
        """All names that may be claimed."""
        return {*self.also, *([] if self.cause is None else [self.cause])}
