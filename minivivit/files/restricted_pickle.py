"""The part of the pickle language that a state dict is written in, and nothing more.

A pickle is a program for a small stack machine. Python's own machine (`pickle.Unpickler`) can import any name, call
anything with any arguments, set attributes of what it finds, and be made to reserve gigabytes (one LONG_BINPUT) or to
overflow the C stack (the hash of a deep tuple) by a small file; refusing names in its `find_class` closes only the
first of these doors. So this is a machine of our own, which never had them: it pushes constants, fills lists and dicts,
and where a pickle says "call", it looks the name up in a table of functions that the caller wrote to be called with
anything. The opcodes are described in CPython's `pickletools`.
"""

import pickletools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pickle import UnpicklingError
from typing import Any

# These tables and the methods of the machine are the opcodes that torch.save writes for a state dict, protocols 2 to 5.
# The others are refused: they make objects of any class (INST, OBJ, NEWOBJ), take them from a registry (EXT1), ...
CONSTANTS = {b"N": None, b"\x88": True, b"\x89": False}
# Opcode: format of its argument, a number.
NUMBERS = {b"K": "<B", b"M": "<H", b"J": "<i", b"G": ">d"}
# Opcode: format of the length before its argument, UTF-8 text. The last two are Python 2's.
TEXTS = {b"\x8c": "<B", b"X": "<I", b"U": "<B", b"T": "<I"}
OPCODE_NAMES = {opcode.code: opcode.name for opcode in pickletools.opcodes}
MEMO_PUTS = {b"q": "<B", b"r": "<I"}
MEMO_GETS = {b"h": "<B", b"j": "<I"}
SMALL_TUPLES = {b"\x85": 1, b"\x86": 2, b"\x87": 3}
# Keys that are whole numbers, as in an optimiser's state, are smaller than this. A dict finds a number by its remainder
# by 2**61 - 1: of numbers without bound, a small pickle can hold so many with one remainder that it takes minutes.
MAX_NUMBER_KEY = 1 << 32


def _is_key(key: Any) -> bool:
    """Whether this may be put into a dict, known before it is hashed."""
    return type(key) is str or (type(key) is int and abs(key) < MAX_NUMBER_KEY)


@dataclass(frozen=True, slots=True)
class Global:
    """A name that the pickle refers to, "module.name". It stays a name; nothing is imported."""

    name: str


def load(
    data: bytes,
    allowed: Mapping[str, Callable[[tuple], Any] | None],
    persistent_load: Callable[[Any], Any],
) -> Any:
    """Run the pickle `data` on the restricted machine.

    Parameters
    ----------
    data : bytes
    allowed : mapping
        The names that the pickle may refer to. A function is called, with the tuple of arguments, where the pickle
        calls that name; None marks a name that may be mentioned but not called.
    persistent_load : function
        Gets what the pickle calls a persistent id, and returns what stands for it.

    Returns
    -------
    object
        Made of None, bool, int, float, str, tuple, list, dict, `Global`, and what the functions return. A dict's
        keys are str or int below 2**32: others could hash, or collide, without end.

    Raises
    ------
    pickle.UnpicklingError
        When the pickle asks for anything else, by name, or is damaged.
    """
    return load_at(data, 0, allowed, persistent_load)[0]


def load_at(
    data: bytes,
    position: int,
    allowed: Mapping[str, Callable[[tuple], Any] | None],
    persistent_load: Callable[[Any], Any],
) -> tuple[Any, int]:
    """Run the pickle that begins at `position` as `load` does; what it holds, and where it ends."""
    machine = _Machine(data, allowed, persistent_load, position)
    try:
        return machine.run(), machine.position
    except (IndexError, struct.error, UnicodeDecodeError):
        raise UnpicklingError(f"its pickle is damaged near byte {machine.position:,}") from None


class _Machine:
    """The stack, the marks on it, the memo, and the position in the program."""

    def __init__(
        self,
        data: bytes,
        allowed: Mapping[str, Callable[[tuple], Any] | None],
        persistent_load: Callable,
        position: int,
    ):
        self.data, self.position = data, position
        self.allowed, self.persistent_load = allowed, persistent_load
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        while (opcode := self.take(1)) != b".":
            if not (self.push(opcode) or self.fill(opcode) or self.refer(opcode)):
                name = OPCODE_NAMES.get(opcode.decode("latin-1"), repr(opcode))
                raise UnpicklingError(f"its pickle uses the opcode {name}, which no state dict needs: refused")
        return self.stack.pop()

    def take(self, count: int) -> bytes:
        taken = self.data[self.position : self.position + count]
        if len(taken) < count:
            raise IndexError
        self.position += count
        return taken

    def number(self, code: str) -> Any:
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def line(self) -> str:
        end = self.data.find(b"\n", self.position)
        if end < 0:
            raise IndexError
        return self.take(end + 1 - self.position)[:-1].decode("utf-8")

    def pop_to_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def push(self, opcode: bytes) -> bool:
        """Opcodes that push something new: constants, numbers, text, empty containers."""
        stack = self.stack
        if opcode in CONSTANTS:
            stack.append(CONSTANTS[opcode])
        elif opcode in NUMBERS:
            stack.append(self.number(NUMBERS[opcode]))
        elif opcode == b"\x8a":  # LONG1
            stack.append(int.from_bytes(self.take(self.number("<B")), "little", signed=True))
        elif opcode in TEXTS:
            stack.append(self.take(self.number(TEXTS[opcode])).decode("utf-8", "surrogatepass"))
        elif opcode == b"}":
            stack.append({})
        elif opcode == b"]":
            stack.append([])
        elif opcode == b")":
            stack.append(())
        else:
            return False
        return True

    def fill(self, opcode: bytes) -> bool:
        """Opcodes that put what is on the stack into tuples, lists and dicts."""
        stack = self.stack
        if opcode == b"(":  # MARK
            self.marks.append(len(stack))
        elif opcode == b"t":  # TUPLE
            stack.append(tuple(self.pop_to_mark()))
        elif opcode in SMALL_TUPLES:
            count = SMALL_TUPLES[opcode]
            stack[-count:] = [tuple(stack[-count + i] for i in range(count))]
        elif opcode == b"a":  # APPEND
            self.extend([stack.pop()])
        elif opcode == b"e":  # APPENDS
            self.extend(self.pop_to_mark())
        elif opcode == b"s":  # SETITEM
            value, key = stack.pop(), stack.pop()
            self.set_items([key, value])
        elif opcode == b"u":  # SETITEMS
            self.set_items(self.pop_to_mark())
        else:
            return False
        return True

    def extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise UnpicklingError("its pickle appends to something that is no list: refused")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        keys = items[::2]
        if type(self.stack[-1]) is not dict or len(items) % 2 or not all(map(_is_key, keys)):
            raise UnpicklingError(
                "its pickle fills something that is no dict with names or small numbers as keys: refused"
            )
        self.stack[-1].update(zip(keys, items[1::2], strict=True))

    def refer(self, opcode: bytes) -> bool:
        """Opcodes for the memo, names, calls, and state."""
        stack = self.stack
        if opcode in MEMO_PUTS:
            self.memo[self.number(MEMO_PUTS[opcode])] = stack[-1]
        elif opcode == b"\x94":  # MEMOIZE
            self.memo[len(self.memo)] = stack[-1]
        elif opcode in MEMO_GETS:
            stack.append(self.recall(self.number(MEMO_GETS[opcode])))
        elif opcode == b"\x80":  # PROTO
            self.take(1)
        elif opcode == b"\x95":  # FRAME: a hint for buffered reading
            self.take(8)
        elif opcode == b"c":  # GLOBAL
            module, name = self.line(), self.line()
            stack.append(self.find(module, name))
        elif opcode == b"\x93":  # STACK_GLOBAL
            name, module = stack.pop(), stack.pop()
            stack.append(self.find(module, name))
        elif opcode == b"Q":  # BINPERSID
            stack.append(self.persistent_load(stack.pop()))
        elif opcode == b"R":  # REDUCE
            arguments, function = stack.pop(), stack.pop()
            stack.append(self.call(function, arguments))
        elif opcode == b"b":  # BUILD: torch hangs the modules' version numbers on a state dict; not needed
            stack.pop()
            if type(stack[-1]) is not dict:
                raise UnpicklingError("its pickle sets the state of something that is no dict (BUILD): refused")
        else:
            return False
        return True

    def recall(self, index: int) -> Any:
        if index not in self.memo:
            raise IndexError
        return self.memo[index]

    def find(self, module: Any, name: Any) -> Global:
        full_name = f"{module}.{name}" if type(module) is str and type(name) is str else ""
        if full_name not in self.allowed:
            name = repr(full_name[:100]) if full_name else "something that is no name"
            raise UnpicklingError(f"its pickle refers to {name}: refused, only tensors and dicts are read")
        return Global(full_name)

    def call(self, function: Any, arguments: Any) -> Any:
        target = self.allowed.get(function.name) if type(function) is Global else None
        if target is None or type(arguments) is not tuple:
            what = function.name if type(function) is Global else f"an object of type {type(function).__name__}"
            raise UnpicklingError(f"its pickle calls {what} (REDUCE), which is not allowed: refused")
        return target(arguments)
