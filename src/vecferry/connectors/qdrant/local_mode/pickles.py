"""A reader of pickles that executes nothing: the few opcodes that plain data needs, and names only from a given table.

A pickle is a program for a stack machine. This is another machine for the same programs, with three differences: a
name resolves in a table of the caller's and nowhere else, so that nothing is imported and nothing of the pickle's
choosing is called; opcodes that data never needs are unknown; and no number in the program makes it allocate. A run of
floats, which is what a vector is, is read in one step.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vecferry.errors import CorruptData

Names = Mapping[tuple[str, str], Callable[..., Any]]
"""(module, name) as written in a pickle -> what is called in its place."""

_FLOATS = re.compile(rb"(?:G[\x00-\xff]{8})+")
_MARK = object()


def unreadable(message: str) -> CorruptData:
    """The error for a stored point that is not what qdrant-client writes."""
    return CorruptData(
        message,
        hint="Write the point again with QdrantClient(path=…), delete it there, or go on without it: it is kept aside.",
    )


def loads(raw: bytes, names: Names) -> Any:
    """The value of the pickle `raw`.

    Raises:
        CorruptData: torn, a name that is not in `names`, or an opcode that plain data never needs.
    """
    try:
        return _Machine(raw, names).run()
    except CorruptData:
        raise
    except Exception as error:  # a torn program fails in dozens of ways, each with a type of its own
        raise unreadable(f"A pickle cannot be read: {type(error).__name__}: {error}.") from error


class _Machine:
    """One run over one pickle."""

    def __init__(self, raw: bytes, names: Names) -> None:
        self._raw = raw
        self._names = names
        self._at = 0
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        while True:
            opcode = self._raw[self._at : self._at + 1]
            if opcode == b"G":
                self._floats()
                continue
            self._at += 1
            if opcode == b".":
                (value,) = self._stack  # a program that leaves more than its result is not ours
                return value
            step = _STEPS.get(opcode)
            if step is None:
                raise unreadable(f"A pickle holds the opcode {opcode!r}, which plain data never needs.")
            step(self)

    # ----------------------------------------------------------------- reading

    def _take(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        if self._at > len(self._raw):
            raise unreadable("A pickle ends too early.")
        return self._raw[start : self._at]

    def _number(self, form: str) -> int:
        value: int = struct.unpack(form, self._take(struct.calcsize(form)))[0]
        return value

    def _line(self) -> str:
        end = self._raw.index(b"\n", self._at)
        text = self._take(end - self._at).decode("utf-8")
        self._at += 1
        return text

    def _floats(self) -> None:
        run = _FLOATS.match(self._raw, self._at)
        if run is None:
            raise unreadable("A pickle ends too early.")
        self._at = run.end()
        cells = np.frombuffer(run.group(), np.uint8).reshape(-1, 9)[:, 1:]
        self._stack += np.ascontiguousarray(cells).view(">f8").ravel().tolist()

    # ----------------------------------------------------------------- steps

    def skip(self, form: str) -> None:
        self._number(form)

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def integer(self, form: str) -> None:
        self.push(self._number(form))

    def long(self) -> None:
        self.push(int.from_bytes(self._take(self._number("<B")), "little", signed=True))

    def text(self, form: str) -> None:
        self.push(self._take(self._number(form)).decode("utf-8", "surrogatepass"))

    def raw_bytes(self, form: str) -> None:
        self.push(self._take(self._number(form)))

    def put(self, form: str) -> None:
        self._memo[self._number(form)] = self._stack[-1]

    def memoize(self) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def get(self, form: str) -> None:
        self.push(self._memo[self._number(form)])

    def since_mark(self) -> list[Any]:
        """Take everything above the topmost mark, and the mark."""
        at = next(i for i in range(len(self._stack) - 1, -1, -1) if self._stack[i] is _MARK)
        items = self._stack[at + 1 :]
        del self._stack[at:]
        return items

    def tuple_of(self, size: int) -> None:
        items = tuple(self._stack[len(self._stack) - size :])
        del self._stack[len(self._stack) - size :]
        self.push(items)

    def extend(self, items: list[Any]) -> None:
        self._target(list).extend(items)

    def add(self) -> None:
        items = self.since_mark()
        self._target(set).update(items)

    def set_items(self, items: list[Any]) -> None:
        self._target(dict).update(zip(items[::2], items[1::2], strict=True))

    def _target(self, kind: type) -> Any:
        target = self._stack[-1]
        if type(target) is not kind:
            raise unreadable(f"A pickle adds items to a {type(target).__name__}.")
        return target

    def pop(self) -> Any:
        return self._stack.pop()

    def pop_pair(self) -> list[Any]:
        value = self._stack.pop()
        return [self._stack.pop(), value]

    def name(self, module: Any, name: Any) -> None:
        try:
            self.push(self._names[module, name])
        except (KeyError, TypeError):
            raise CorruptData(
                f"A pickle asks to load {module}.{name}, which qdrant-client never writes.",
                hint="It was not run. Treat the folder as hostile unless you know who wrote it.",
            ) from None

    def global_line(self) -> None:
        self.name(self._line(), self._line())

    def call(self) -> None:
        """REDUCE and NEWOBJ: call a stand-in, which is all that a name can be."""
        stand_in, arguments = self.pop_pair()
        if stand_in not in self._names.values() or type(arguments) is not tuple:
            raise unreadable("A pickle calls something that it did not name.")
        self.push(stand_in(*arguments))

    def build(self) -> None:
        state = self._stack.pop()
        restore = getattr(type(self._stack[-1]), "__setstate__", None)
        if restore is None:
            raise unreadable(f"A pickle sets the state of a {type(self._stack[-1]).__name__}.")
        restore(self._stack[-1], state)


_STEPS: dict[bytes, Callable[[_Machine], object]] = {
    b"\x80": lambda m: m.skip("<B"),  # PROTO
    b"\x95": lambda m: m.skip("<Q"),  # FRAME
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"J": lambda m: m.integer("<i"),
    b"K": lambda m: m.integer("<B"),
    b"M": lambda m: m.integer("<H"),
    b"\x8a": lambda m: m.long(),
    b"\x8c": lambda m: m.text("<B"),
    b"X": lambda m: m.text("<I"),
    b"\x8d": lambda m: m.text("<Q"),
    b"C": lambda m: m.raw_bytes("<B"),
    b"B": lambda m: m.raw_bytes("<I"),
    b"\x94": lambda m: m.memoize(),
    b"q": lambda m: m.put("<B"),
    b"r": lambda m: m.put("<I"),
    b"h": lambda m: m.get("<B"),
    b"j": lambda m: m.get("<I"),
    b"(": lambda m: m.push(_MARK),
    b")": lambda m: m.push(()),
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"t": lambda m: m.push(tuple(m.since_mark())),
    b"]": lambda m: m.push([]),
    b"a": lambda m: m.extend([m.pop()]),
    b"e": lambda m: m.extend(m.since_mark()),
    b"}": lambda m: m.push({}),
    b"s": lambda m: m.set_items(m.pop_pair()),
    b"u": lambda m: m.set_items(m.since_mark()),
    b"\x8f": lambda m: m.push(set()),
    b"\x90": lambda m: m.add(),
    b"c": lambda m: m.global_line(),
    b"\x93": lambda m: m.name(*m.pop_pair()),
    b"R": lambda m: m.call(),
    b"\x81": lambda m: m.call(),
    b"b": lambda m: m.build(),
}
