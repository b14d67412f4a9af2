"""Which faults cannot be seen, in which recordings, and why."""

from .measure import Column

HIDDEN: dict[Column, dict[str, str]] = {}
