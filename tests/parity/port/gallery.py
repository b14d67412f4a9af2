"""All planted faults."""

import dataclasses

from .attention_faults import ATTENTION_FAULTS

PORT_FAULTS = [
    dataclasses.replace(fault, place=place)
    for place, faults in (("attention", ATTENTION_FAULTS),)
    for fault in faults
]
