"""Pickles read as data: an interpreter of its own that knows numbers, texts, containers and tensors.

A pickle is a program for a small machine, and ``pickle.loads`` runs whatever it names. Here the standard library's
`pickletools` only splits the file into instructions; the machine below carries them out on plain values. It has no
instruction that looks up or calls anything: a global is an inert name, and only the names in the tables below mean
something, each to a function of this module or to nothing. All else is refused, and the message says what it met.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any, BinaryIO, NoReturn, cast

from clip_core.checkpoint.pickled_tensors import (
    OTHER_DTYPE_ADVICE,
    STORAGES,
    Storage,
    is_natural,
    parameter,
    strided_tensor,
)
from clip_core.errors import CheckpointFormatError

MAX_INSTRUCTIONS = 2_000_000
MAX_PICKLE_BYTES = 64_000_000
_ADVICE = (
    "Weights need numbers, texts, containers and tensors only; nothing of the file was executed. "
    "If you trust where it comes from, save its state_dict as safetensors."
)

_DTYPE_NAMES = frozenset(
    ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
)


@dataclass(frozen=True)
class Global:
    """A name that a pickle mentions; nothing is imported for it."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True)
class Inert:
    """An object beside the weights, such as an option of the training: its class is a name, its state is not kept."""

    class_name: str


@dataclass(eq=False)
class ModuleAttributes:
    """A TorchScript module: its class is only a name, its attributes are data."""

    class_name: str
    attributes: dict[Any, Any] = field(default_factory=dict)


class _Mark:
    """Where a group of values on the stack begins."""


class _Limited:
    """The part of a file that a pickle may take, so that no claimed length fills the memory."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.left = MAX_PICKLE_BYTES
        self.tell = file.tell

    def read(self, count: int) -> bytes:
        return self._taken(self.file.read(min(count, self.left + 1)))

    def readline(self) -> bytes:
        return self._taken(self.file.readline(self.left + 1))

    def _taken(self, content: bytes) -> bytes:
        if len(content) > self.left:
            raise ValueError(f"longer than {MAX_PICKLE_BYTES} bytes")
        self.left -= len(content)
        return content


def read_pickle(file: BinaryIO, source: str) -> Any:
    """The value that the pickle at the position of ``file`` describes; the position is then behind it.

    Args:
        file: must be able to tell and seek.
        source: the file's name, for messages.

    Raises:
        CheckpointFormatError: the pickle asks for anything but numbers, texts, containers and tensors; is cut; or is
            too long.
    """
    return _Machine(source).run(file)


class _Machine:
    def __init__(self, source: str) -> None:
        self.source = source
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self.copied = 0

    def run(self, file: BinaryIO) -> Any:
        try:
            for count, (opcode, argument, _) in enumerate(pickletools.genops(cast("IO[bytes]", _Limited(file)))):
                if count >= MAX_INSTRUCTIONS:
                    self.refuse(f"it is longer than {MAX_INSTRUCTIONS} instructions")
                if opcode.name == "STOP":
                    return self.pop()
                self.step(opcode.name, argument)
        except CheckpointFormatError:
            raise
        except (ValueError, IndexError, KeyError, TypeError, OverflowError, RecursionError, MemoryError) as error:
            # pickletools reports cut and malformed instructions as ValueError, the stack and memo as the others
            raise CheckpointFormatError(
                f"{self.source}: its pickle is cut or malformed: {str(error)[:200]}. Fetch or save the file again."
            ) from error
        raise CheckpointFormatError(f"{self.source}: its pickle has no end. Fetch or save the file again.")

    def step(self, name: str, argument: Any) -> None:
        if name in _PLAIN_VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _INSTRUCTIONS:
            _INSTRUCTIONS[name](self, argument)
        else:
            self.refuse(f"it uses the instruction {name}")

    def refuse(self, problem: str, advice: str = _ADVICE) -> NoReturn:
        raise CheckpointFormatError(f"{self.source}: refused, since {problem}. {advice}")

    def copy(self, count: int) -> None:
        """Counts elements that an instruction copies out of a container, which it could repeat without end."""
        self.copied += count
        if self.copied > MAX_INSTRUCTIONS:
            self.refuse(f"it copies more than {MAX_INSTRUCTIONS} elements")

    def pop(self) -> Any:
        value = self.stack.pop()
        if isinstance(value, _Mark):
            raise ValueError("a group of values where one value belongs")
        return value

    def top(self, kind: type | tuple[type, ...]) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise ValueError(f"{type(self.stack[-1]).__name__} where a container belongs")
        return self.stack[-1]

    def pop_group(self) -> list[Any]:
        for position in range(len(self.stack) - 1, -1, -1):
            if isinstance(self.stack[position], _Mark):
                group = self.stack[position + 1 :]
                del self.stack[position:]
                return group
        raise ValueError("the end of a group that has no beginning")

    def proto(self, version: Any) -> None:
        if version > 5:
            self.refuse(f"its protocol {version} is unknown")

    def put(self, index: Any) -> None:
        self.memo[int(index)] = self.stack[-1]

    def memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def get(self, index: Any) -> None:
        self.stack.append(self.memo[int(index)])

    def discard(self, _: Any) -> None:
        self.stack.pop()

    def discard_group(self, _: Any) -> None:
        self.pop_group()

    def duplicate(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def group_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self.pop_group()))

    def small_tuple(self, size: int) -> None:
        values = [self.pop() for _ in range(size)]
        self.stack.append(tuple(reversed(values)))

    def group_list(self, _: Any) -> None:
        self.stack.append(self.pop_group())

    def group_dict(self, _: Any) -> None:
        group = self.pop_group()
        self.stack.append({})
        self.set_pairs(group)

    def append(self, _: Any) -> None:
        value = self.pop()
        self.top(list).append(value)

    def appends(self, _: Any) -> None:
        group = self.pop_group()
        self.top(list).extend(group)

    def set_item(self, _: Any) -> None:
        value = self.pop()
        key = self.pop()
        self.set_pairs([key, value])

    def set_items(self, _: Any) -> None:
        self.set_pairs(self.pop_group())

    def set_pairs(self, group: list[Any]) -> None:
        mapping = self.top(dict)
        for key, value in zip(group[::2], group[1::2], strict=True):
            if not isinstance(key, str | float | None) and not is_natural(key):  # hashing what is nested could not end
                raise ValueError(f"{type(key).__name__} as a key")
            mapping[key] = value

    def name_global(self, argument: Any) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(self.checked_global(module, name))

    def stack_global(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a global whose name is no text")
        self.stack.append(self.checked_global(module, name))

    def checked_global(self, module: str, name: str) -> Global:
        found = Global(module, name)
        if str(found) == "torch._utils._rebuild_tensor_v3":
            self.refuse("it holds tensors of float8 or of another rare dtype", OTHER_DTYPE_ADVICE)
        is_class = module == "__torch__" or module.startswith("__torch__.")
        is_torch = module == "torch" and (name in STORAGES or name in _DTYPE_NAMES)
        if not (is_class or is_torch or str(found) in _CALLS or str(found) in _INERT):
            self.refuse(f"it names {str(found)[:120]!r}")
        return found

    def reduce(self, _: Any) -> None:
        arguments, called = self.pop(), self.pop()
        if not isinstance(called, Global) or not isinstance(arguments, tuple):
            self.refuse(f"it calls a {type(called).__name__}")
        if str(called) in _INERT:
            self.stack.append(Inert(str(called)))
            return
        if str(called) not in _CALLS:
            self.refuse(f"it calls {str(called)[:120]!r}")
        self.copy(sum(len(value) for value in arguments if isinstance(value, dict | list | tuple)))
        self.stack.append(_CALLS[str(called)](*arguments))

    def new_object(self, _: Any) -> None:
        arguments, made = self.pop(), self.pop()
        inert = isinstance(made, Global) and str(made) in _INERT
        if not isinstance(made, Global) or not (inert or made.module.startswith("__torch__")) or arguments != ():
            self.refuse(f"it makes an object of {_shown(made)}")
        self.stack.append(Inert(str(made)) if inert else ModuleAttributes(str(made)))

    def build(self, _: Any) -> None:
        state = self.pop()
        target = self.stack[-1]
        if isinstance(target, ModuleAttributes) and isinstance(state, dict):
            self.copy(len(state))
            target.attributes.update(state)
            return
        noted = isinstance(target, dict) and isinstance(state, dict)  # a state dict's notes on module versions
        if not (noted or isinstance(target, Inert)):
            self.refuse(f"it sets the state of a {type(target).__name__}")

    def persistent(self, _: Any) -> None:
        reference = self.pop()
        if not isinstance(reference, tuple) or len(reference) not in (5, 6) or reference[0] != "storage":
            self.refuse("it refers to something outside that is no tensor storage")
        kind, key, _location, size = reference[1:5]
        if not isinstance(kind, Global) or kind.module != "torch" or kind.name not in STORAGES:
            self.refuse(f"it refers to a storage of the kind {_shown(kind)}")
        if not isinstance(key, str) or not is_natural(size) or (len(reference) == 6 and reference[5] is not None):
            self.refuse("it refers to a storage with a malformed key, size or view")
        storage = Storage(key, STORAGES[kind.name], size)
        if self.storages.setdefault(key, storage) != storage:  # torch takes all for what the first says
            self.refuse(f"it says of the storage {key[:40]!r} that it has two kinds or sizes")
        self.stack.append(storage)


def _shown(value: Any) -> str:
    """For messages: a name, or only the type of anything else, which could be endless as a text."""
    return repr(str(value)[:120]) if isinstance(value, Global) else type(value).__name__


def _ordered_dict(pairs: Any = ()) -> dict[Any, Any]:
    if any(not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[0], str) for pair in pairs):
        raise ValueError("a dictionary that is not made of pairs")
    return dict(pairs)


def _same(value: Any = None, *_: Any) -> Any:
    return value


_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": strided_tensor,
    "torch._utils._rebuild_tensor_v2": strided_tensor,
    "torch._utils._rebuild_parameter": parameter,
    "torch.Size": _same,
    "torch.device": _same,
    "torch.jit._pickle.build_intlist": _same,
    "torch.jit._pickle.build_doublelist": _same,
    "torch.jit._pickle.build_boollist": _same,
    "torch.jit._pickle.build_tensorlist": _same,
    "torch.jit._pickle.restore_type_tag": _same,
}
"""What a pickle may call, and what that does here."""

_PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
_INERT = frozenset(
    (
        *("argparse.Namespace", "collections.Counter", "_codecs.encode"),
        *("numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"),
        *(f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in _PATHS),
    )
)
"""What training checkpoints hold beside the weights: options, paths, scores, states of schedulers."""

_PLAIN_VALUES = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    )
)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "MARK": _Mark,
}
_INSTRUCTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.proto,
    "FRAME": lambda machine, size: None,
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "POP": _Machine.discard,
    "DUP": _Machine.duplicate,
    "POP_MARK": _Machine.discard_group,
    "TUPLE": _Machine.group_tuple,
    "TUPLE1": lambda machine, _: machine.small_tuple(1),
    "TUPLE2": lambda machine, _: machine.small_tuple(2),
    "TUPLE3": lambda machine, _: machine.small_tuple(3),
    "LIST": _Machine.group_list,
    "DICT": _Machine.group_dict,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "GLOBAL": _Machine.name_global,
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.new_object,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}
