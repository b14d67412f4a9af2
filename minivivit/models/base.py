"""What the two models have in common: parameters by name, their files, their device."""

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy

from minivivit.backend import (
    Array,
    array_namespace,
    as_array,
    checked_dtype,
    get_namespace,
    leave_behind,
    to_numpy,
)
from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.files.atomic import atomic_path, make_directory
from minivivit.files.parameter_names import under_published_names
from minivivit.files.tensor_data import all_listed
from minivivit.files.weights import read_weights, write_weights
from minivivit.models.encoders.factorised_dot_product import (
    factorised_dot_product_backward,
    factorised_dot_product_forward,
)
from minivivit.models.encoders.factorised_encoder import factorised_encoder_backward, factorised_encoder_forward
from minivivit.models.encoders.factorised_self_attention import (
    factorised_self_attention_backward,
    factorised_self_attention_forward,
)
from minivivit.models.encoders.spatio_temporal import spatio_temporal_backward, spatio_temporal_forward
from minivivit.models.parameters import Tree, flatten, initial_parameters, unflatten

logger = logging.getLogger("minivivit")

# attention_type -> (forward, backward): the paper's four models.
ENCODERS: dict[str, tuple[Callable, Callable]] = {
    "spatio_temporal": (spatio_temporal_forward, spatio_temporal_backward),
    "factorised_encoder": (factorised_encoder_forward, factorised_encoder_backward),
    "factorised_self_attention": (factorised_self_attention_forward, factorised_self_attention_backward),
    "factorised_dot_product": (factorised_dot_product_forward, factorised_dot_product_backward),
}


class VivitBase:
    """Parameters, dtype and device of a model; not used by itself."""

    # Names of parts that a checkpoint of the other model may lack (they are then drawn afresh) ...
    new_parts: ClassVar[tuple[str, ...]] = ()
    # ... and of parts that it may have in excess (they are then left alone).
    unused_parts: ClassVar[tuple[str, ...]] = ()

    config: VivitConfig
    params: Tree
    dtype: numpy.dtype

    def _prepare(self, config: VivitConfig, dtype: Any) -> None:
        if not isinstance(config, VivitConfig):
            raise InputError(f"config is a {type(config).__name__}; expected a VivitConfig")
        config.check()
        self.config = config
        self.dtype = checked_dtype(dtype)

    def _initialise(self, seed: int | numpy.random.Generator, backend: str | None) -> None:
        xp = get_namespace(backend)
        shapes = self.parameter_shapes()
        self._check_size(shapes)
        self.params = initial_parameters(shapes, self.config, _generator(seed), self.dtype, xp)

    @property
    def xp(self) -> Any:
        """The array library of the parameters. The model itself holds no module, so that it can be pickled."""
        leaf: Any = self.params
        while isinstance(leaf, dict):
            leaf = next(iter(leaf.values()))
        return array_namespace(leaf)

    def __repr__(self) -> str:
        config = self.config
        height, width = config.frame_size
        return (
            f"{type(self).__name__}({config.attention_type}, {config.num_frames} frames of {height} x {width}, "
            f"tubelets of {' x '.join(map(str, config.tubelet_size))}, {config.num_hidden_layers} layers, hidden size "
            f"{config.hidden_size}, {self.num_parameters():,} parameters, {self.dtype.name} on {self.xp.__name__})"
        )

    def _check_size(self, shapes: Tree) -> None:
        """A config can ask for more memory than there is; say so before the system kills the process."""
        size = sum(numpy.prod(shape, dtype=float) for shape in flatten(shapes).values()) * self.dtype.itemsize
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else float("inf")
        if size > available:
            raise InputError(
                f"the model would take {size / 1e9:,.1f} GB for its parameters, but this machine has "
                f"{available / 1e9:,.1f} GB of memory: make it smaller"
            )

    def parameter_shapes(self) -> Tree:
        """Names and shapes of the parameters, as a tree."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------------ parameters

    def state_dict(self) -> dict[str, Array]:
        """All parameters under their published names. The arrays are the model's own, not copies."""
        return flatten(self.params)

    def load_state_dict(self, state_dict: Mapping[str, Array]) -> None:
        """Take the values of all parameters from `state_dict`.

        Parameters
        ----------
        state_dict : mapping of names to arrays
            Converted to the model's dtype and copied to its device. Names as transformers has them in memory, and with
            the prefix of a wrapper (``module.``, ``_orig_mod.``), are as good; see `minivivit.files.parameter_names`.

        Raises
        ------
        InputError
            One error that lists every name that is missing or unexpected and every shape that differs; for numbers that
            are not finite, or not in the model's dtype. The model is then unchanged.

        Notes
        -----
        The numbers are copied into the arrays that the model has. So whoever holds these, an optimiser, ``vivit`` or an
        earlier `state_dict`, goes on with the new ones.
        """
        if not isinstance(state_dict, Mapping):
            raise InputError(f"the state dict is a {type(state_dict).__name__}; expected a dict of arrays by name")
        arrays = {str(name): as_array(array, str(name)) for name, array in state_dict.items()}
        arrays = under_published_names(arrays, "the state dict")
        wanted = flatten(self.parameter_shapes())
        problems = _mismatches(wanted, {name: tuple(array.shape) for name, array in arrays.items()})
        if problems:
            raise InputError(f"the state dict does not fit the model: {problems}")
        for name, array in arrays.items():
            if numpy.dtype(array.dtype).kind not in "fiu":
                raise InputError(f"the state dict holds {name} as {array.dtype}; expected real or whole numbers")
            if not bool(array_namespace(array).isfinite(array).all()):
                raise InputError(f"the state dict holds NaN or infinity in {name}; expected finite numbers")
        # All are copied before the first is written: `state_dict` may hold this model's arrays, under other names.
        new = {name: self._own(arrays[name], copy=True) for name in wanted}
        for name, array in new.items():
            if not bool(self.xp.isfinite(array).all()):
                raise InputError(f"the state dict holds numbers in {name} that {self.dtype.name} cannot hold")
        for name, array in self.state_dict().items():
            array[...] = new[name]

    def _own(self, array: Array, copy: bool = False, xp: Any = None) -> Array:
        """`array` on the model's device, or that of `xp`, and in the model's dtype."""
        xp = self.xp if xp is None else xp
        if array_namespace(array) is not xp:
            array = xp.asarray(to_numpy(array))
        with numpy.errstate(over="ignore"):  # what float32 cannot hold becomes infinity
            return array.astype(self.dtype, copy=copy)

    def _matching(self, gradient: Array, output: Array, name: str) -> Array:
        """`gradient` on the model's device and in its dtype, when it has the shape of `output`."""
        gradient = as_array(gradient, name)
        if numpy.dtype(gradient.dtype).kind not in "fiu":
            raise InputError(f"{name} has dtype {gradient.dtype}; expected real numbers")
        if gradient.shape != output.shape:
            raise InputError(f"{name} has shape {gradient.shape}; expected that of the output, {output.shape}")
        return self._own(gradient)

    def num_parameters(self) -> int:
        """How many numbers the parameters are."""
        return sum(array.size for array in self.state_dict().values())

    def to(self, backend: str) -> Self:
        """Move the parameters to another array library: "numpy", "cupy" or "auto". Returns the model itself.

        ``vivit`` moves with the model, and the model with it. An optimiser cannot: it holds the arrays from before, and
        says so at its next step. Make a new one, and load the old one's `state_dict` into it.
        """
        xp = get_namespace(backend)
        if xp is not self.xp:
            _move(self._whole.params, xp)
        return self

    @property
    def _whole(self) -> "VivitBase":
        """The model whose part this is, or itself."""
        return self

    # ------------------------------------------------------------------------------------------------ files

    @classmethod
    def from_pretrained(
        cls,
        directory: str | os.PathLike[str],
        *,
        dtype: Any = "float32",
        backend: str | None = "auto",
        config: VivitConfig | None = None,
        seed: int | numpy.random.Generator = 0,
        ignore_mismatched_sizes: bool = False,
        variant: str | None = None,
        **overrides: Any,
    ) -> Self:
        """Read a model from a directory with ``config.json`` and weights, as transformers writes it.

        Parameters
        ----------
        directory : path-like
            Holds ``model.safetensors``, shards of it with their index, or ``pytorch_model.bin``; under the published
            names, those that transformers has in memory, or either with a wrapper's prefix. Nothing is downloaded.
        dtype : {"float32", "float64"}
            What the model computes in; weights of any floating dtype are converted.
        backend : {"numpy", "cupy", "auto"}
        config : VivitConfig, optional
            Instead of the directory's.
        seed : int or numpy.random.Generator
            For parts that the directory lacks: the head where it holds a bare model, the pooler where it holds a
            classifier. A warning is logged that names them.
        ignore_mismatched_sizes : bool
            Draw parameters afresh whose shape differs, instead of refusing: a new head for fine-tuning, as in
            ``from_pretrained(directory, num_labels=8, ignore_mismatched_sizes=True)``.
        variant : str, optional
            Of the files with the weights: with "fp16", ``model.fp16.safetensors`` and so on.
        **overrides
            Fields of the config that win over the file's or `config`'s; ``add_pooling_layer`` for the bare model.

        Raises
        ------
        InputError
            When a file is missing, broken or hostile, holds NaN, or does not fit the config.
        """
        if not isinstance(directory, str | os.PathLike):
            raise InputError(f"directory is {directory!r}; expected the path of a directory with a config.json")
        model = cls.__new__(cls)
        model._set_arguments(overrides)
        unknown = sorted(overrides.keys() - vars(VivitConfig()).keys() - {"num_labels"})
        if unknown:
            raise InputError(
                f"from_pretrained does not know {', '.join(unknown)}; it takes dtype and fields of VivitConfig"
            )
        if config is None:
            config = VivitConfig.from_pretrained(directory, **overrides)
        elif overrides and isinstance(config, VivitConfig):
            config = VivitConfig.from_dict(config.to_dict(), **overrides)
        model._prepare(config, dtype)
        xp = get_namespace(backend)
        shapes = model.parameter_shapes()
        model._check_size(shapes)
        weights = model._rename(read_weights(directory, model.dtype.name, variant))
        model._load_weights(shapes, weights, str(directory), _generator(seed), ignore_mismatched_sizes, xp)
        return model

    def _set_arguments(self, overrides: dict[str, Any]) -> None:
        """Take the constructor's own arguments out of `overrides`; what is left are fields of the config."""

    def _rename(self, weights: dict[str, Array]) -> dict[str, Array]:
        """The names of this model for the weights of either model."""
        raise NotImplementedError

    def _load_weights(
        self,
        shapes: Tree,
        weights: dict[str, Array],
        source: str,
        rng: numpy.random.Generator,
        ignore_mismatched_sizes: bool,
        xp: Any,
    ) -> None:
        wanted = flatten(shapes)
        weights = {name: array for name, array in weights.items() if not self._is_unused(name, wanted)}
        found = {name: array.shape for name, array in weights.items()}
        new = self._parts_to_draw(wanted, found, ignore_mismatched_sizes)
        problems = _mismatches(
            {name: shape for name, shape in wanted.items() if name not in new},
            {name: shape for name, shape in found.items() if name not in new},
        )
        if problems:
            advice = (
                "; ignore_mismatched_sizes=True draws what has another shape afresh"
                if "wrong shape" in problems
                else ""
            )
            raise InputError(f"{source} does not fit its config: {problems}{advice}")
        if new:
            logger.warning("%s has no fitting %s: drawn afresh, to be trained", source, ", ".join(sorted(new)))
            drawn = flatten(
                initial_parameters(unflatten({name: wanted[name] for name in new}), self.config, rng, self.dtype, numpy)
            )
            weights.update(drawn)
        # popped one by one, so that a copy on another device replaces the first rather than stands beside it
        self.params = unflatten({name: xp.asarray(weights.pop(name)) for name in wanted})

    def _is_unused(self, name: str, wanted: Mapping[str, tuple]) -> bool:
        return name not in wanted and name.startswith(self.unused_parts)

    def _parts_to_draw(
        self, wanted: Mapping[str, tuple], found: Mapping[str, tuple], ignore_mismatched_sizes: bool
    ) -> set[str]:
        """Names of parameters that the weights lack and that may be drawn."""
        new = set()
        for part in self.new_parts:
            names = {name for name in wanted if name.startswith(part)}
            if not names & found.keys():
                new |= names
        if ignore_mismatched_sizes:
            new |= {name for name, shape in wanted.items() if name in found and found[name] != shape}
        return new

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        """Write ``config.json`` and ``model.safetensors`` into `directory`, as transformers does and reads.

        Each file is written beside its place and renamed into it, so none is ever half-written; both are on the disk
        before the first replaces what was there.
        """
        if Path(directory).exists() and not Path(directory).is_dir():
            raise InputError(f"{directory} is a file; expected a directory to write the model into")
        make_directory(directory)
        config = VivitConfig.from_dict(self.config.to_dict())
        config.other["architectures"] = [type(self).__name__]
        config.other.pop("torch_dtype", None)
        config.other["dtype"] = self.dtype.name
        with atomic_path(Path(directory) / "config.json") as temporary:
            temporary.write_bytes(config.to_json_string().encode())
            write_weights(directory, {name: to_numpy(array) for name, array in self.state_dict().items()})

    # ------------------------------------------------------------------------------------------------ input

    def checked_pixels(self, pixel_values: Array) -> Array:
        """`pixel_values` on the model's device and in its dtype, when they are what a model can see.

        Raises
        ------
        InputError
            When they are no array of real numbers, of another number of axes or channels, empty, or not finite.
        """
        config = self.config
        if pixel_values is None:
            raise InputError("pixel_values is missing; expected an array (batch, frames, channels, height, width)")
        pixel_values = as_array(pixel_values, "pixel_values")
        if numpy.dtype(pixel_values.dtype).kind not in "fiu":
            raise InputError(f"pixel_values has dtype {pixel_values.dtype}; expected real or whole numbers")
        shape = tuple(pixel_values.shape)
        if len(shape) != 5 or shape[2] != config.num_channels:
            raise InputError(
                f"pixel_values has shape {shape}; expected (batch, frames, channels, height, width) with "
                f"{config.num_channels} channels"
            )
        if 0 in shape:
            raise InputError(f"pixel_values has shape {shape}: it is empty")
        pixel_values = self._own(pixel_values)
        if not bool(self.xp.isfinite(pixel_values).all()):
            raise InputError(
                f"pixel_values holds NaN or infinity, or what {self.dtype} cannot hold; expected finite numbers"
            )
        return pixel_values


def _move(tree: Tree, xp: Any) -> None:
    """Replace every array of a tree by one of the library `xp`, in the dicts that there are."""
    for name, node in tree.items():
        if isinstance(node, dict):
            _move(node, xp)
        else:
            tree[name] = xp.asarray(to_numpy(node))
            leave_behind(node)


def _generator(seed: int | numpy.random.Generator) -> numpy.random.Generator:
    try:
        return numpy.random.default_rng(seed)
    except (TypeError, ValueError):
        raise InputError(f"seed is {seed!r}; expected a whole number of at least 0, or a generator") from None


def _mismatches(wanted: Mapping[str, tuple], found: Mapping[str, tuple]) -> str:
    """One line that names all that is missing, unexpected, or of another shape; empty when all fits."""
    missing = sorted(wanted.keys() - found.keys())
    unexpected = sorted(found.keys() - wanted.keys())
    shapes = [
        f"{name} is {found[name]}, expected {wanted[name]}"
        for name in wanted
        if name in found and tuple(found[name]) != tuple(wanted[name])
    ]
    parts = (("missing", missing), ("unexpected", unexpected), ("wrong shape", shapes))
    return "; ".join(f"{len(items)} {what}: {all_listed(items)}" for what, items in parts if items)
