"""Read `index_metadata.pickle` without executing it: a streaming parser of the few opcodes that Chroma's files hold.

Chroma keeps the map from a record's id to its label in the HNSW index in a pickle: a plain dict (1.x, written by
Rust, protocol 3) or one `PersistentData` object (0.4 to 0.6, protocol 5). Only the grammar of those two is read:

    file   := PROTO object STOP
    object := dict | class EMPTY_TUPLE NEWOBJ dict BUILD        class := GLOBAL | text text STACK_GLOBAL
    dict   := EMPTY_DICT (MARK (key value)* SETITEMS | key value SETITEM)*

Nothing is imported, called or built, whatever stands in the file. Memory does not grow with the number of ids: they
are handed on in batches, and of the memo only the texts outside the maps are kept.

Time: 0.7 µs per id of protocol 3, 1.2 µs per id of protocol 5 (each id stands in the file twice).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO

from vecferry.errors import CorruptData

BATCH = 10_000
"""Ids handed on at a time."""
BLOCK = 1 << 20
MARGIN = 1 << 16
TAIL = 16
"""Bytes that the hot loop leaves in memory, so that an entry's number is there with its text."""
MAX_TEXT = 1 << 24
"""Longest id accepted, in bytes."""
CLASS = ("chromadb.segment.impl.vector.local_persistent_hnsw", "PersistentData")
MAPS = frozenset({"id_to_label", "label_to_id", "id_to_seq_id"})
FACTS = frozenset({"dimensionality", "total_elements_added", "max_seq_id"})

_U16, _I32, _U32, _U64 = Struct("<H"), Struct("<i"), Struct("<I"), Struct("<Q")
_PROTO, _FRAME, _MEMOIZE, _STOP = 0x80, 0x95, 0x94, 0x2E
_MARK, _SETITEMS, _SETITEM, _EMPTY_DICT = 0x28, 0x75, 0x73, 0x7D
_GLOBAL, _STACK_GLOBAL, _EMPTY_TUPLE, _NEWOBJ, _BUILD = 0x63, 0x93, 0x29, 0x81, 0x62
_BINUNICODE, _SHORT_BINUNICODE = 0x58, 0x8C
_BININT, _BININT1, _BININT2 = 0x4A, 0x4B, 0x4D

Emit = Callable[[list[str], list[int]], None]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the pickle says besides the map."""

    max_seq_id: int | None
    total_elements_added: int | None
    ids: int


def parse(path: Path, emit: Emit) -> Facts:
    """Hand the ids of `path` and their labels to `emit`, in batches, in the file's order.

    Raises:
        CorruptData: torn, or anything but the map that Chroma writes.
    """
    try:
        with path.open("rb") as file:
            return _Parser(file, emit).run()
    except (struct.error, IndexError, UnicodeDecodeError, _Unexpected) as error:
        raise CorruptData(
            f"{path.parent.name}/{path.name} is torn or not the id map that Chroma writes ({error}); "
            "nothing in it was executed.",
            hint="Restore this file from a backup of the Chroma directory.",
        ) from error


class _Unexpected(Exception):
    """Something that Chroma never writes."""


_NOTHING = object()
_FIXED = {_BININT: 5, _BININT1: 2, _BININT2: 3, 0x4E: 1, 0x68: 2, 0x6A: 5, _MEMOIZE: 1}
"""Opcode -> its size with its argument."""


class _Parser:
    """A cursor over the file: `buf[pos:]` is what is not read yet of the part in memory."""

    def __init__(self, file: BinaryIO, emit: Emit) -> None:
        self._file, self._emit = file, emit
        self._buf, self._pos, self._eof = b"", 0, False
        self._memo: dict[int, str] = {}
        self._memoized = 0
        self._last: object = None
        self._back: list[tuple[int, object]] = []
        self._ready: object = _NOTHING

    def run(self) -> Facts:
        self._expect(_PROTO)
        if self.take(1)[0] > 5:
            raise _Unexpected("unknown pickle protocol")
        op = self._op()
        found = self._attributes() if op == _EMPTY_DICT else self._instance(op)
        self._expect(_STOP)
        if self._pos < len(self._buf) or self._file.read(1):
            raise _Unexpected("bytes behind the end")
        if "id_to_label" not in found:
            raise _Unexpected("no id_to_label")
        return Facts(found.get("max_seq_id"), found.get("total_elements_added"), found["id_to_label"])

    # ------------------------------------------------------------------- bytes and opcodes

    def _fill(self, need: int) -> None:
        """Have at least `need` bytes in memory, or all that are left."""
        while len(self._buf) - self._pos < need and not self._eof:
            more = self._file.read(max(BLOCK, need))
            self._eof = not more
            self._buf, self._pos = self._buf[self._pos :] + more, 0

    def take(self, size: int) -> bytes:
        if size > MAX_TEXT:
            raise _Unexpected(f"a text of {size} bytes")
        self._fill(size)
        part = self._buf[self._pos : self._pos + size]
        if len(part) < size:
            raise _Unexpected("it ends too early")
        self._pos += size
        return part

    def _op(self) -> int:
        """The next opcode that means something: frames are skipped, memo entries counted."""
        if self._back:
            op, self._ready = self._back.pop()
            return op
        while True:
            op = self.take(1)[0]
            if op == _FRAME:
                self.take(8)
            elif op == _MEMOIZE:
                if isinstance(self._last, str):
                    self._memo[self._memoized] = self._last
                self._memoized += 1
            else:
                self._last = None
                return op

    def _expect(self, wanted: int) -> None:
        if (op := self._op()) != wanted:
            raise _Unexpected(f"opcode 0x{op:02x} where 0x{wanted:02x} belongs")

    def _named(self, op: int) -> Any:
        """A scalar outside the maps: its text is remembered, as a later opcode may refer to it."""
        self._last = value = self._scalar(op)
        return value

    def _scalar(self, op: int) -> Any:
        """The text, number or None that `op` begins."""
        if self._ready is not _NOTHING:
            value, self._ready = self._ready, _NOTHING
            return value
        read = _SCALARS.get(op)
        if read is None:
            raise _Unexpected(f"opcode 0x{op:02x}")
        return read(self)

    def recall(self, index: int) -> object:
        return self._memo.get(index, _NOTHING)

    # ------------------------------------------------------------------- the object

    def _instance(self, op: int) -> dict[str, Any]:
        """The attributes of the one class that is allowed."""
        name = self._global() if op == _GLOBAL else self._stack_global(op)
        if name != CLASS:
            raise _Unexpected(f"it asks for {'.'.join(name)}")
        for wanted in (_EMPTY_TUPLE, _NEWOBJ, _EMPTY_DICT):
            self._expect(wanted)
        found = self._attributes()
        self._expect(_BUILD)
        return found

    def _global(self) -> tuple[str, str]:
        self._fill(MARGIN)
        parts = self._buf[self._pos : self._pos + 512].split(b"\n", 2)
        if len(parts) < 3:
            raise _Unexpected("a class without a name")
        self._pos += len(parts[0]) + len(parts[1]) + 2
        return parts[0].decode(), parts[1].decode()

    def _stack_global(self, op: int) -> tuple[str, str]:
        module, name = str(self._named(op)), str(self._named(self._op()))
        self._expect(_STACK_GLOBAL)
        return module, name

    def _attributes(self) -> dict[str, Any]:
        """The items of the outer dict; of a map, the number of its entries."""
        found: dict[str, Any] = {}
        op = self._op()
        while op == _MARK:
            while (op := self._op()) != _SETITEMS:
                self._attribute(op, found)
            op = self._op()
        self._back.append((op, _NOTHING))
        return found

    def _attribute(self, op: int, found: dict[str, Any]) -> None:
        name = self._named(op)
        if not isinstance(name, str) or name in found or name not in MAPS | FACTS:
            raise _Unexpected(f"an attribute {str(name)[:60]!r}")
        if name in FACTS:
            found[name] = value = self._scalar(self._op())
            if value is not None and type(value) is not int:
                raise _Unexpected(f"{name} is no number")
        else:
            self._expect(_EMPTY_DICT)
            found[name] = self._map(_Batch(self._emit) if name == "id_to_label" else None)

    # ------------------------------------------------------------------- the maps

    def _map(self, into: _Batch | None) -> int:
        """Read a map's entries into `into`; returns their number. None only walks over them."""
        while (op := self._op()) == _MARK:
            while (op := self._entries(into) if into else self._walk()) != _SETITEMS:
                key = self._scalar(op)
                if into:
                    into.add(key, self._scalar(self._op()))
        if op in _SCALARS:
            self._single(op, into)
        else:
            self._back.append((op, _NOTHING))
        return into.flush() if into else 0

    def _walk(self) -> int:
        """Pass by the scalars of a map that is not needed, to see that the file is whole; returns the opcode behind."""
        u32, sizes = _U32.unpack_from, _FIXED
        while True:
            self._fill(MARGIN)
            buf, pos, memoized = self._buf, self._pos, self._memoized
            end = len(buf) - TAIL
            while pos < end:
                op = buf[pos]
                if op in sizes:
                    step = sizes[op]
                    memoized += op == _MEMOIZE
                elif op == _BINUNICODE:
                    step = 5 + u32(buf, pos + 1)[0]
                elif op in (_SHORT_BINUNICODE, 0x8A):
                    step = 2 + buf[pos + 1]
                else:
                    break
                if pos + step > end:
                    break
                pos += step
            moved = pos > self._pos
            self._pos, self._memoized = pos, memoized
            if not moved:
                return self._op()

    def _single(self, op: int, into: _Batch | None) -> None:
        """`key value SETITEM` belongs to the map; anything else behind it is the outer dict's next attribute."""
        key, second = self._named(op), self._op()
        if second == _EMPTY_DICT:
            self._back += [(second, _NOTHING), (op, key)]
            return
        value, third = self._scalar(second), self._op()
        if third == _SETITEM:
            if into:
                into.add(key, value)
        else:
            self._back += [(third, _NOTHING), (second, value), (op, key)]

    def _entries(self, into: _Batch) -> int:
        """The hot loop: texts, each followed by a number, until anything else comes; returns its opcode, taken."""
        u32, i32, ids, labels = _U32.unpack_from, _I32.unpack_from, into.ids, into.labels
        put_id, put_label = ids.append, labels.append
        while True:
            self._fill(MARGIN)
            buf, pos, memoized = self._buf, self._pos, self._memoized
            end = min(len(buf) - TAIL, pos + MARGIN)
            while pos < end:
                if (op := buf[pos]) == _BINUNICODE:
                    start = pos + 5
                    stop = start + u32(buf, pos + 1)[0]
                elif op == _SHORT_BINUNICODE:
                    start = pos + 2
                    stop = start + buf[pos + 1]
                else:
                    break
                if stop > end:
                    break
                behind = stop + 1 if buf[stop] == _MEMOIZE else stop
                if (op := buf[behind]) == _BININT:
                    put_label(i32(buf, behind + 1)[0])
                    pos = behind + 5
                elif op == _BININT2:
                    put_label(buf[behind + 1] | buf[behind + 2] << 8)
                    pos = behind + 3
                elif op == _BININT1:
                    put_label(buf[behind + 1])
                    pos = behind + 2
                else:
                    break
                put_id(buf[start:stop].decode())
                memoized += behind - stop
            moved = pos > self._pos
            self._pos, self._memoized = pos, memoized
            into.full()
            if not moved:
                return self._op()


class _Batch:
    """Entries of id_to_label on their way to `emit`."""

    def __init__(self, emit: Emit) -> None:
        self.ids: list[str] = []
        self.labels: list[int] = []
        self._emit, self._count = emit, 0

    def add(self, key: Any, value: Any) -> None:
        """One entry that the hot loop did not understand."""
        if type(key) is not str or type(value) is not int:
            raise _Unexpected("an entry that is not an id with its label")
        self.ids.append(key)
        self.labels.append(value)

    def full(self) -> None:
        """Hand the entries on where they are many."""
        if len(self.ids) >= BATCH:
            self.flush()

    def flush(self) -> int:
        """Hand the entries on; returns how many there have been in all."""
        if self.ids:
            self._count += len(self.ids)
            self._emit(self.ids, self.labels)
            self.ids.clear()
            self.labels.clear()
        return self._count


_SCALARS: dict[int, Callable[[_Parser], Any]] = {
    _BINUNICODE: lambda p: p.take(_U32.unpack(p.take(4))[0]).decode(),
    _SHORT_BINUNICODE: lambda p: p.take(p.take(1)[0]).decode(),
    0x8D: lambda p: p.take(_U64.unpack(p.take(8))[0]).decode(),  # BINUNICODE8
    _BININT: lambda p: _I32.unpack(p.take(4))[0],
    _BININT1: lambda p: p.take(1)[0],
    _BININT2: lambda p: _U16.unpack(p.take(2))[0],
    0x8A: lambda p: int.from_bytes(p.take(p.take(1)[0]), "little", signed=True),  # LONG1
    0x43: lambda p: int.from_bytes(p.take(p.take(1)[0]), "big"),  # SHORT_BINBYTES: a sequence number of 0.4
    0x4E: lambda _: None,  # NONE
    0x68: lambda p: p.recall(p.take(1)[0]),  # BINGET
    0x6A: lambda p: p.recall(_U32.unpack(p.take(4))[0]),  # LONG_BINGET
}
