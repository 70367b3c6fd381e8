"""Reads the values of a pickle without running code that it names.

Unpickling calls the functions that a file names. Here the opcodes are interpreted for containers, numbers and texts.
Functions in a table of the caller are called; every other object is replaced by a `Foreign`, which is never built.

The standard library's `pickle.Unpickler` with its own `find_class` stops such calls, too, but two kinds of hostile
files remain. It hashes any object that a file uses as the key of a dictionary: tuples that share tuples 80 levels deep
(a file of 700 bytes) would take 2^80 steps. And it reserves memory for an index in the file (16 GB for 8 bytes). Here
keys are texts or integers, and the memory is bounded by the size of the file.
"""
from __future__ import annotations

import pickletools
from typing import BinaryIO, Callable

LITERALS = {"INT", "LONG", "LONG1", "LONG4", "BININT", "BININT1", "BININT2", "FLOAT", "BINFLOAT", "UNICODE",
            "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES",
            "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
CONSTANTS: dict[str, Callable] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_DICT": dict, "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
NO_EFFECT = {"PROTO", "FRAME", "STOP"}
LONGEST_KEY_BITS = 60  # the hashes of such integers differ


class Foreign:
    """Replaces a class, function or object that is not built. name: module and name of the class."""

    def __init__(self, name: str):
        self.name = name[:200]


class Stateful:
    """An object whose state follows in the file; a known function returns it."""

    def set_state(self, state) -> None:
        raise NotImplementedError


def read_pickle(file: BinaryIO, known: dict, refer: Callable):
    """The object of the next pickle in `file`.

    known: {"module.name": function called with the arguments in the file, or a value that `refer` knows}.
    refer: a persistent reference of the file -> what it stands for.
    Raises ValueError for a pickle that is broken or uses what no file of tensors needs.
    """
    machine = _Machine(known, refer)
    try:
        for opcode, argument, _position in pickletools.genops(file):
            machine.step(opcode.name, argument)
        return machine.stack.pop()
    except IndexError:
        raise ValueError("the pickle takes more than it has put down") from None


def dictionary(pairs=()) -> dict:
    """A dictionary of (key, value); keys that are neither text nor a short integer become a Foreign each."""
    return {key if type(key) is str or type(key) is int and key.bit_length() < LONGEST_KEY_BITS
            else Foreign(f"{type(key).__name__} as the key of a dictionary"): value for key, value in pairs}


class _Machine:
    """The stack machine of pickle (documented in pickletools), reduced to what a file of tensors needs."""

    MARK = object()

    def __init__(self, known: dict, refer: Callable):
        self.stack: list = []
        self.memo: dict = {}
        self.known = known
        self.refer = refer

    def step(self, name: str, argument) -> None:
        stack = self.stack
        if name in LITERALS:
            stack.append(argument)
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name]())
        elif name in TUPLES:
            stack[-TUPLES[name]:] = [tuple(self._top(TUPLES[name]))]
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[argument])
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name == "MARK":
            stack.append(self.MARK)
        elif name == "GLOBAL":
            stack.append(self._named(*argument.split(" ", 1)))
        elif name == "INST":
            stack.append(self._called(self._named(*argument.split(" ", 1)), tuple(self._to_mark())))
        elif name not in NO_EFFECT:
            getattr(self, "_" + name.lower(), self._unknown)()

    def _named(self, module: str, name: str):
        return self.known.get(f"{module}.{name}") or Foreign(f"{module}.{name}")

    def _called(self, function, arguments):
        if isinstance(function, Foreign):
            return Foreign(function.name)
        if not callable(function) or not isinstance(arguments, tuple):
            raise ValueError("the pickle calls something that is no function")
        return function(*arguments)

    def _top(self, count: int) -> list:
        if len(self.stack) < count:
            raise IndexError
        return self.stack[-count:]

    def _to_mark(self) -> list:
        values = []
        while self.stack[-1] is not self.MARK:
            values.append(self.stack.pop())
        self.stack.pop()
        return values[::-1]

    def _unknown(self) -> None:
        raise ValueError("the pickle uses an opcode that no file of tensors needs")

    def _tuple(self) -> None:
        self.stack.append(tuple(self._to_mark()))

    def _list(self) -> None:
        self.stack.append(self._to_mark())

    def _dict(self) -> None:
        values = self._to_mark()
        self.stack.append(dictionary(zip(values[::2], values[1::2])))

    def _append(self) -> None:
        self._extend([self.stack.pop()])

    def _appends(self) -> None:
        self._extend(self._to_mark())

    def _extend(self, values: list) -> None:
        if isinstance(self.stack[-1], Foreign):
            return
        if not isinstance(self.stack[-1], list):
            raise ValueError("the pickle appends to something that is no list")
        self.stack[-1].extend(values)

    def _setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    def _setitems(self) -> None:
        self._update(self._to_mark())

    def _update(self, values: list) -> None:
        if isinstance(self.stack[-1], Foreign):
            return
        if not isinstance(self.stack[-1], dict):
            raise ValueError("the pickle sets a key of something that is no dictionary")
        self.stack[-1].update(dictionary(zip(values[::2], values[1::2])))

    def _stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("the pickle names a class by something that is no text")
        self.stack.append(self._named(module, name))

    def _reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.stack.append(self._called(function, arguments))

    _newobj = _reduce

    def _newobj_ex(self) -> None:
        self.stack.pop()
        self._reduce()

    def _obj(self) -> None:
        function, *arguments = self._to_mark() or [None]
        self.stack.append(self._called(function, tuple(arguments)))

    def _build(self) -> None:
        """State of an object: the versions of layers that a dictionary of weights carries, or that of a Foreign."""
        state = self.stack.pop()
        if isinstance(self.stack[-1], Stateful):
            self.stack[-1].set_state(state)
        elif not isinstance(self.stack[-1], (dict, Foreign)):
            raise ValueError("the pickle gives a state to something that is no dictionary")

    def _binpersid(self) -> None:
        self.stack.append(self.refer(self.stack.pop()))
