"""What a student's code finds where the package and other libraries would be: names that say no, or ask the grader.

Of the package there is nothing here. Its functions that a task allows are computed by the grader: a call of one sends
the arguments there. What may be imported and not used costs nothing: an import gives a module whose functions raise.
"""

import importlib.machinery
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

import numpy

# Libraries that students import by habit, within a function too.
FRAMEWORKS = ("torch", "tensorflow", "jax", "keras", "flax", "transformers", "cupy", "sklearn", "autograd", "numba")
OTHERS = ("einops", "matplotlib", "pandas", "IPython")
ALLOWED = "allowed are NumPy, Python's own library, and erf, erfc and ndtr of scipy.special"
OF_SCIPY = ("erf", "erfc", "ndtr")


class NotAllowedError(RuntimeError):
    """A library that the assignment does not allow was used."""


# Asks the grader for the value of a function of the package: (name, arguments, keywords) -> value.
Ask = Callable[[str, tuple, dict], Any]


class Function:
    """A function of the package, which only the grader can compute."""

    def __init__(self, name: str, ask: Ask):
        self.__name__ = self.__qualname__ = name
        self._ask = ask

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self._ask(self.__name__, arguments, keywords)

    def __getitem__(self, key: Any) -> Any:
        return self._ask(self.__name__, (), {})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Function(f"{self.__name__}.{name}", self._ask)

    def __repr__(self) -> str:
        return f"<{self.__name__}, which is not here while grading>"


class _Module(types.ModuleType):
    """A module of functions that ask, whatever their names."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Function(f"{self.__name__}.{name}", self.__dict__["_ask"])


class Finder:
    """Finds modules that are not here: the package always, frameworks while a student's function runs.

    At a cell's top a framework's import fails, as it would where none is installed.
    """

    def __init__(self, ask: Ask):
        self.ask, self.in_call = ask, False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Python's question to every finder."""
        top = name.partition(".")[0]
        if (
            top == "minivivit"
            or (self.in_call and top in FRAMEWORKS + OTHERS)
            or (top == "scipy" and "scipy" in sys.modules)
        ):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: Any) -> types.ModuleType:
        """Python's demand for the module that was found."""
        module = _Module(spec.name)
        module.__dict__["_ask"] = self.ask
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing is left to be done."""


def keep_of_scipy(finder: Finder) -> None:
    """Leave of SciPy, where it is imported, the functions that are allowed."""
    special = vars(sys.modules["scipy.special"]) if "scipy.special" in sys.modules else {}
    kept = {name: special[name] for name in OF_SCIPY if name in special}
    for name in [name for name in sys.modules if name.partition(".")[0] == "scipy"]:
        del sys.modules[name]
    for name in ("scipy", "scipy.special"):
        module = _Module(name)
        module.__dict__.update(_ask=finder.ask, __path__=[])
        sys.modules[name] = module
    vars(sys.modules["scipy"])["special"] = sys.modules["scipy.special"]
    vars(sys.modules["scipy.special"]).update(kept)


def stand_in_for_tqdm() -> types.ModuleType:
    """tqdm without its bar."""
    module = types.ModuleType("tqdm")

    def tqdm(iterable: Iterable | None = None, *arguments: Any, **keywords: Any) -> Any:
        return [] if iterable is None else iterable

    def trange(*arguments: int, **keywords: Any) -> range:
        return range(*arguments)

    vars(module).update(tqdm=tqdm, trange=trange, auto=module, notebook=module, __path__=[])
    return module


class Model:
    """The model that a student's function is handed: its parameters are here, and the grader computes with them."""

    def __init__(self, config: dict[str, Any], state: dict[str, numpy.ndarray], ask: Ask):
        self.config = types.SimpleNamespace(**config)
        self.dtype = str(next(iter(state.values())).dtype)
        self._state, self._ask = state, ask

    def state_dict(self) -> dict[str, numpy.ndarray]:
        """The parameters' own arrays, by name."""
        return dict(self._state)

    def load_state_dict(self, state: dict[str, numpy.ndarray]) -> None:
        """Copy other parameters into the model's."""
        for name, array in self._state.items():
            array[...] = state[name]

    def loss_and_gradients(self, *arguments: Any, **keywords: Any) -> tuple[Any, dict[str, numpy.ndarray]]:
        """The loss, and its gradient by every parameter and by the clips."""
        return self._ask("model.loss_and_gradients", (self._state, *arguments), keywords)

    def forward(self, *arguments: Any, **keywords: Any) -> types.SimpleNamespace:
        """Loss (None without labels) and logits."""
        loss, logits = self._ask("model.forward", (self._state, *arguments), keywords)
        return types.SimpleNamespace(loss=loss, logits=logits)

    __call__ = forward
