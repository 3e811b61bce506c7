"""Where things stand in a JSON text of any size, found without parsing it: objects by key, lists by every 64th element.

One regular expression steps from bracket to bracket; strings and lists of numbers are one step each, so that vectors
cost a pass of C code. What lies between is parsed later, block by block, by a real parser, which also judges it.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

from vecferry.connectors.json._text import Text

BLOCK = 64
"""Elements of a list between two places that are remembered."""
MAX_KEYS = 10_000
_RELEASE_BYTES = 16 << 20

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_STEP = re.compile(rb"(" + _STRING + rb'|\[[-+0-9.eE, \t\r\n]*+\])|([\[{])|([\]}])|(")', re.DOTALL)
"""1: a string, or a list of nothing but numbers; 2, 3: a bracket; 4: a string without an end."""
_LEAF, _OPEN, _CLOSE = 1, 2, 3
_KEY = re.compile(_STRING, re.DOTALL)
_WHITE = re.compile(rb"[ \t\r\n]*")
_SCALAR = re.compile(rb"-?(?:\d[-+0-9.eE]*|Infinity)|true|false|null|NaN")
_PIECE = re.compile(rb",|[^\s,]+")
_COMMAS = frozenset({b",", b", ", b",\n", b",\r\n", b" , "})
_PARTNER = {ord("]"): ord("["), ord("}"): ord("{")}


@dataclass(slots=True)
class Node:
    """One value of the text: `kind` is its first character, `start` and `end` its span.

    Attributes:
        keys: of an object, where it was looked into.
        rows, blocks: of a list, where it was looked into: elements, and where every 64th begins.
    """

    kind: str
    start: int
    end: int
    keys: dict[str, Node] = field(default_factory=dict)
    rows: int = 0
    blocks: array[int] = field(default_factory=lambda: array("q"))

    def block(self, number: int) -> tuple[int, int]:
        """Span of the elements of one block; a comma and white space may stand behind the last."""
        last = number + 1 == len(self.blocks)
        return self.blocks[number], self.end - 1 if last else self.blocks[number + 1]


def value(text: Text, start: int, *, depth: int) -> Node:
    """The value that begins at `start`; objects are looked into `depth` levels down, lists where depth allows it.

    Raises:
        CorruptData: the text ends too early, or is no JSON; says where and what was expected.
    """
    kind = text.data[start : start + 1].decode("latin-1")
    if kind == "{" and depth:
        return _object(text, start, depth)
    if kind == "[" and depth:
        return _list(text, start)
    if kind in {"{", "["}:
        return Node(kind, start, _skip(text, start))
    found = (_KEY if kind == '"' else _SCALAR).match(text.data, start)
    if found is None:
        raise text.malformed(start, "a string without an end" if kind == '"' else "expected a JSON value")
    return Node(kind, start, found.end())


def white(text: Text, position: int) -> int:
    """Where the next thing that is not white space stands."""
    found = _WHITE.match(text.data, position)
    return found.end() if found else position


def key(raw: bytes) -> str:
    """The text of a JSON string in a header."""
    return str(json.loads(raw))


def _object(text: Text, start: int, depth: int) -> Node:
    node = Node("{", start, start)
    position = white(text, start + 1)
    if text.data[position : position + 1] == b"}":
        node.end = position + 1
        return node
    while True:
        name, position = _name(text, position)
        child = value(text, position, depth=depth - 1 if text.data[position : position + 1] == b"{" else depth)
        node.keys[name] = child
        if len(node.keys) > MAX_KEYS:
            raise text.malformed(start, f"an object with more than {MAX_KEYS:,} keys, where a list was expected")
        position = white(text, child.end)
        mark = text.data[position : position + 1]
        if mark == b"}":
            node.end = position + 1
            return node
        if mark != b",":
            raise text.malformed(position, "expected ',' or '}'")
        position = white(text, position + 1)


def _name(text: Text, position: int) -> tuple[str, int]:
    """A key, and where its value begins."""
    found = _KEY.match(text.data, position)
    if found is None:
        raise text.malformed(position, "expected a key in quotes")
    colon = white(text, found.end())
    if text.data[colon : colon + 1] != b":":
        raise text.malformed(colon, "expected ':'")
    return key(found.group()), white(text, colon + 1)


def _skip(text: Text, start: int) -> int:
    """Where the object or list that begins at `start` ends."""
    stack = bytearray()
    for step in _STEP.finditer(text.data, start):
        _follow(text, stack, step)
        if not stack:
            return step.end()
    raise _cut(text, start)


def _follow(text: Text, stack: bytearray, step: re.Match[bytes]) -> None:
    """Keep the open brackets in `stack`."""
    kind = step.lastindex
    if kind == _OPEN:
        stack += step.group()
    elif kind == _CLOSE:
        if stack.pop() != _PARTNER[ord(step.group())]:
            raise text.malformed(step.start(), f"'{step.group().decode()}' closes what another bracket opened")
    elif kind != _LEAF:
        raise text.malformed(text.size, f"the string that begins at byte {step.start()} has no end")


def _cut(text: Text, start: int) -> Exception:
    opened = text.data[start : start + 1].decode("latin-1")
    return text.malformed(text.size, f"the '{opened}' of {text.place(start)} is never closed")


def _list(text: Text, start: int) -> Node:
    """A list with the places of its elements."""
    node = Node("[", start, start)
    stack, position, release = bytearray(), start + 1, start + _RELEASE_BYTES
    for step in _STEP.finditer(text.data, start + 1):
        if not stack:
            if _between(text, node, position, step.start(), closes=step.lastindex == _CLOSE):
                node.end = step.end()
                return node
            _begin(node, step.start())
        _follow(text, stack, step)
        if not stack:
            position = step.end()
            if position > release:
                text.release()
                release = position + _RELEASE_BYTES
    raise _cut(text, start)


def _begin(node: Node, start: int) -> None:
    if node.rows % BLOCK == 0:
        node.blocks.append(start)
    node.rows += 1


def _between(text: Text, node: Node, start: int, end: int, *, closes: bool) -> bool:
    """What stands between two elements: a comma, and elements that are no string, list or object. True at the end."""
    gap = text.data[start:end]
    if node.rows and gap in _COMMAS and not closes:
        return False
    wanted = node.rows == 0  # whether a value comes next, or a comma
    for piece in _PIECE.finditer(gap):
        here = start + piece.start()
        if (piece.group() == b",") is wanted:
            raise text.malformed(here, "expected a value" if wanted else "expected ',' or ']'")
        if wanted and _SCALAR.fullmatch(piece.group()) is None:
            raise text.malformed(here, "expected a JSON value")
        if wanted:
            _begin(node, here)
        wanted = not wanted
    if (closes and wanted and node.rows) or not (closes or wanted):
        raise text.malformed(end, "expected a value" if closes else "expected ',' or ']'")
    if closes and text.data[end : end + 1] != b"]":
        raise text.malformed(end, "expected ',' or ']'")
    return closes


def elements(text: bytes) -> Iterator[tuple[int, int]]:
    """Span of each object in a piece of a list of objects, as far as brackets tell."""
    depth, begin = 0, 0
    for step in _STEP.finditer(text):
        if step.lastindex == _OPEN:
            begin = begin if depth else step.start()
            depth += 1
        elif step.lastindex == _CLOSE and depth:
            depth -= 1
            if not depth:
                yield begin, step.end()


def lines(text: Text) -> Node:
    """A text of one object a line, as if its lines were the elements of a list. Empty lines do not count."""
    node, position = Node("\n", text.start, text.size), text.start
    release = position + _RELEASE_BYTES
    while position < text.size:
        end = text.data.find(b"\n", position)
        end = text.size if end < 0 else end
        begin = white(text, position)
        if begin < end:
            if text.data[begin : begin + 1] != b"{":
                raise text.malformed(begin, "expected '{': one object a line")
            _begin(node, begin)
        position = end + 1
        if position > release:
            text.release()
            release = position + _RELEASE_BYTES
    node.end = text.size + 1
    return node
