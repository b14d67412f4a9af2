"""All planted faults."""

import dataclasses

from .attention_faults import ATTENTION_FAULTS
from .factorised_faults import FACTORISED_FAULTS
from .gradient_faults import GRADIENT_FAULTS
from .input_faults import INPUT_FAULTS
from .layer_faults import LAYER_FAULTS
from .precision_faults import PRECISION_FAULTS

PORT_FAULTS = [
    dataclasses.replace(fault, place=place)
    for place, faults in (
        ("input", INPUT_FAULTS),
        ("attention", ATTENTION_FAULTS),
        ("layers", LAYER_FAULTS),
        ("factorised", FACTORISED_FAULTS),
        ("gradients", GRADIENT_FAULTS),
        ("precision", PRECISION_FAULTS),
    )
    for fault in faults
]
