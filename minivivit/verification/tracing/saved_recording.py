"""What was recorded from a port, in one file that says in which order it was made."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy

from minivivit.errors import InputError
from minivivit.files.safetensors_file import write_safetensors
from minivivit.verification.tensors.source import ORDER


def save_recording(path: str | os.PathLike[str], values: Mapping[str, numpy.ndarray]) -> None:
    """Write recorded values into a safetensors file, for `minivivit compare`.

    Such a file sorts its tensors. The order of execution, by which tensors are paired where names say nothing, goes
    into its metadata, ``{"order": '["first", ...]'}``, where `minivivit.verification.tensors.source` finds it.

    Parameters
    ----------
    path : path-like
        Ends in ``.safetensors``.
    values : mapping of str to numpy.ndarray
        Of float16, float32 or float64, by name, in the order of execution.

    Raises
    ------
    InputError
        For another ending, and for what the format cannot hold.
    """
    if Path(path).suffix != ".safetensors":
        raise InputError(f"{path} does not end in .safetensors, by which minivivit compare knows such a file")
    write_safetensors(path, dict(values), {ORDER: json.dumps(list(values))})
