"""Which form a JSON file has, told from what stands in it: the forms in which people write backups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from vecferry.connectors.json import _own
from vecferry.connectors.json._found import Claim, Form, Found
from vecferry.connectors.json._scan import Node, lines, value, white
from vecferry.connectors.json._text import Text, corrupt

DEPTH = 3
"""Levels of objects that are looked into: file -> collections -> one of them."""
COLUMNS = {
    "id": ("ids",),
    "vector": ("embeddings", "vectors"),
    "document": ("documents", "texts"),
    "metadata": ("metadatas", "payloads"),
    "uri": ("uris",),
}
"""What a column holds -> what it is called."""
_LISTS = ("records", "data", "items", "points", "vectors", "documents", "entries", "results", "objects", "rows")
_NAMES = ("collection_name", "collection", "name")
_COUNTS = ("count", "total", "record_count", "records_count", "total_records", "num_records", "total_count")
_RECORD = {"id", "_id", "embedding", "vector", "values", "document", "text", "page_content", "metadata", "payload"}
_HEADER_BYTES = 1 << 16
_FORMS = (
    "Known are: lists side by side (ids, embeddings, documents, metadatas), a list of records, one record a line, "
    "and our own; see docs/reference/json-backups.md."
)


def collections(text: Text, *, name: str, forced: Form | None = None, trust_counts: bool = True) -> list[Found]:
    """Every collection of a file, in its order.

    Args:
        name: of a collection that has none in the file.
        forced: the form to take the file for.
        trust_counts: compare the counts of a header with what is there.

    Raises:
        CorruptData: no JSON, cut off, in no known form, or with other counts than its header says.
    """
    start = white(text, text.start)
    first = text.data[start : start + 1]
    if not first:
        raise corrupt(text.path, "is empty", "Remove it, or take the backup again.")
    if _own.is_ours(text) and forced in {None, Form.BACKUP}:
        return _own.index(text)
    found = _collections(text, start, first, name, forced)
    if forced is Form.BACKUP or (forced and any(one.form is not forced for one in found)):
        seen = found[0].form if found else "empty"
        raise corrupt(text.path, f"does not have the form '{forced}', but '{seen}'", f"Leave form={forced} out.")
    if trust_counts:
        _check_counts(text, found)
    return found


def _collections(text: Text, start: int, first: bytes, name: str, forced: Form | None) -> list[Found]:
    if first == b"[":
        node = value(text, start, depth=1)
        _nothing_behind(text, node.end)
        return _of_list(text, node, name)
    if first != b"{":
        raise text.malformed(start, "expected '{' or '['")
    if forced is Form.LINES:
        return [_lines(text, name)]
    node = value(text, start, depth=DEPTH)
    if white(text, node.end) < text.size:
        return [_lines(text, name)]
    if node.keys.keys() >= {"format", "version", "collections"} and _own.names_us(text, node.keys["format"]):
        raise corrupt(
            text.path,
            "is a backup of ours that another program has written anew: numbers may have changed",
            "Use the file as vecferry wrote it.",
        )
    if forced is None and _is_record(node):
        return [_lines(text, name)]
    found = list(_of_object(text, node, name))
    if not found:
        raise corrupt(text.path, f"is JSON, but no backup that is known: it has the keys {_keys(node)}", _FORMS)
    return found


def _keys(node: Node) -> str:
    shown = ", ".join(list(node.keys)[:8]) or "(none)"
    return shown + (", …" if len(node.keys) > 8 else "")


def _nothing_behind(text: Text, end: int) -> None:
    behind = white(text, end)
    if behind < text.size:
        raise text.malformed(behind, "expected the end of the file")


def _lines(text: Text, name: str) -> Found:
    node = lines(text)
    return Found(text=text, form=Form.LINES, name=name, rows=node.rows, parts={"": node})


def _is_record(node: Node) -> bool:
    """One record alone: a file of one line."""
    lists = (child for key, child in node.keys.items() if child.kind == "[" and key in _RECORD)
    return bool({"id", "_id"} & node.keys.keys()) and (any(lists) or len(_RECORD & node.keys.keys()) > 1)


def _of_list(text: Text, node: Node, name: str) -> list[Found]:
    """A list of records, or of collections."""
    if not node.rows:
        return [Found(text=text, form=Form.RECORDS, name=name, rows=0, parts={"": node})]
    if not _of_objects(text, node):
        raise corrupt(text.path, f"is a list, but not of objects, at {text.place(node.blocks[0])}", _FORMS)
    first = value(text, node.blocks[0], depth=2)
    if not _is_record(first) and any(_of_object(text, first, name)):
        return list(_several(text, node, name))
    return [Found(text=text, form=Form.RECORDS, name=name, rows=node.rows, parts={"": node})]


def _several(text: Text, node: Node, name: str) -> Iterator[Found]:
    """The collections of a list, one object each."""
    position = node.blocks[0]
    for number in range(node.rows):
        one = value(text, position, depth=2)
        found = list(_of_object(text, one, f"{name}-{number + 1}"))
        if not found:
            raise text.malformed(position, f"expected a collection; it has the keys {_keys(one)}")
        yield from found
        position = white(text, white(text, one.end) + 1)


def _of_object(text: Text, node: Node, name: str) -> Iterator[Found]:
    """The collections of an object; none where it holds none."""
    head = _head(text, node, name)
    if _is_columns(node):
        yield head.found(text, Form.COLUMNS, _columns(text, node))
        return
    records = _records(text, node)
    if records is not None:
        yield head.found(text, Form.RECORDS, {"": records})
        return
    listed = node.keys.get("collections")
    several = listed is not None and listed.kind == "[" and listed.rows
    inner = listed if listed is not None and listed.kind == "{" else node
    found = list(_several(text, listed, name)) if listed is not None and several else list(_named(text, inner, head))
    if found:
        found[0].claims += head.claims(sum(one.rows for one in found), "all its collections together")
    yield from found


def _named(text: Text, node: Node, head: _Head) -> Iterator[Found]:
    """Collections by name: `{"docs": {"ids": […], …}, …}`, `{"docs": [{…}, …], …}`."""
    inner = {key: child for key, child in node.keys.items() if child.kind == "{" or _of_objects(text, child)}
    for key, child in inner.items():
        called = head.name if len(inner) == 1 and (head.named or key in _LISTS) else key
        if child.kind == "{":
            for found in _of_object(text, child, called):
                if len(inner) == 1:
                    found.header = {**head.rest, **found.header}
                yield found
        else:
            only = head.rest if len(inner) == 1 else {}
            counts = head.counts if len(inner) == 1 else {}
            yield _Head(called, True, counts, only).found(text, Form.RECORDS, {"": child})


def _of_objects(text: Text, node: Node) -> bool:
    return node.kind == "[" and node.rows > 0 and text.data[node.blocks[0] : node.blocks[0] + 1] == b"{"


def _records(text: Text, node: Node) -> Node | None:
    """The list of records of an object."""
    for key in _LISTS:
        child = node.keys.get(key)
        if child is not None and (_of_objects(text, child) or (child.kind == "[" and not child.rows)):
            first = value(text, child.blocks[0], depth=2) if child.rows else None
            if first is None or _is_record(first) or not any(_of_object(text, first, key)):
                return child
    return None


def _is_columns(node: Node) -> bool:
    ids = node.keys.get("ids")
    others = {name for names in COLUMNS.values() for name in names} - {"ids"}
    return ids is not None and ids.kind == "[" and bool(others & node.keys.keys())


def _columns(text: Text, node: Node) -> dict[str, Node]:
    """The lists side by side, by what they hold."""
    ids = node.keys["ids"]
    if ids.rows and text.data[ids.blocks[0] : ids.blocks[0] + 1] == b"[":
        raise corrupt(
            text.path, "holds the result of a query, lists within lists", "Dump what the collection's get() returns."
        )
    parts = {"id": ids}
    for what, called in ((what, called) for what, names in COLUMNS.items() for called in names):
        part = node.keys.get(called)
        if what in parts or part is None or part.kind != "[" or (ids.rows and not part.rows):
            continue
        if part.rows != ids.rows:
            raise text.malformed(part.start, f"{called} has {part.rows:,} entries where ids has {ids.rows:,}")
        parts[what] = part
    return parts


@dataclass(frozen=True, slots=True)
class _Head:
    """What an object says beside its records: the collection's name, how many there are, and the rest."""

    name: str
    named: bool
    """whether it says the name itself"""
    counts: dict[str, int]
    rest: dict[str, Any]

    def found(self, text: Text, form: Form, parts: dict[str, Node]) -> Found:
        """The collection with this head."""
        rows = next(iter(parts.values())).rows
        claims = self.claims(rows, self.name)
        return Found(text=text, form=form, name=self.name, rows=rows, parts=parts, header=self.rest, claims=claims)

    def claims(self, rows: int, what: str) -> list[Claim]:
        """What it says about numbers of records, beside the numbers that are there."""
        return [Claim(key, said, rows, what) for key, said in self.counts.items()]


def _head(text: Text, node: Node, name: str) -> _Head:
    said = {key: _small(text, child) for key, child in node.keys.items() if key not in _SKIPPED}
    said = {key: value for key, value in said.items() if value is not None}
    counts = {key: value for key, value in said.items() if key in _COUNTS and type(value) is int}
    own_name = next((said[key] for key in _NAMES if isinstance(said.get(key), str) and said[key]), "")
    own = said.get("metadata")
    rest = {**said, **own} if isinstance(own, dict) else said
    return _Head(
        own_name or name,
        bool(own_name),
        counts,
        {key: value for key, value in rest.items() if key not in {*_NAMES, *counts, "metadata"}},
    )


_SKIPPED = frozenset({name for names in COLUMNS.values() for name in names} | set(_LISTS) | {"included", "collections"})


def _holds(text: Text, node: Node) -> bool:
    """Whether there are records somewhere in a value."""
    return _of_objects(text, node) or _is_columns(node) or any(_holds(text, child) for child in node.keys.values())


def _small(text: Text, node: Node) -> Any:
    """A value of a header; None for what is long, or holds records."""
    if _holds(text, node) or node.end - node.start > _HEADER_BYTES:
        return None
    try:
        return orjson.loads(text.data[node.start : node.end])
    except ValueError:  # NaN, or past the limits of the parser: nothing that a header needs
        return None


def _check_counts(text: Text, found: list[Found]) -> None:
    """A header that counts other records than there are tells of a backup that is not whole."""
    for claim in (claim for one in found for claim in one.claims):
        if claim.said != claim.rows:
            raise corrupt(
                text.path,
                f"says {claim.key} = {claim.said:,} and holds {claim.rows:,} records ({claim.what})",
                "The backup is not whole: take it again. If that number means something else, add ?count=ignore.",
            )
