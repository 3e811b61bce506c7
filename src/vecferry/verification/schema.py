"""The schema check: does the target's collection measure, name and hold vectors as was promised? Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from vecferry.model import CollectionSpec, VectorSpec
from vecferry.verification.model import Check, Difference, Finding, Level, State


def check_schema(source: CollectionSpec, target: CollectionSpec, promised: CollectionSpec | None) -> Check:
    """Hold `target` against what its sink was asked to prepare; where nobody knows, against the source and its card."""
    wanted = promised or replace(source, indexes=target.card.indexes if target.card else source.indexes)
    facts = list(_facts(wanted, target))
    wrong = [finding for _, finding in facts if finding is not None]
    return Check(
        level=Level.SCHEMA,
        state=State.DIFFERENT if wrong else State.OK,
        scanned=len(facts),
        compared=len(facts),
        differences=len(wrong),
        findings=tuple(wrong),
        note=f"Compared: {', '.join(dict.fromkeys(name for name, _ in facts))}." if facts else "",
    )


def _facts(wanted: CollectionSpec, found: CollectionSpec) -> Iterator[tuple[str, Finding | None]]:
    """Each fact that was looked at, with the finding where it is not as it should be."""
    yield "kind of ids", _differs("id kind", wanted.id_kind, found.id_kind)
    there = {vector.name: vector for vector in found.vectors}
    for vector in wanted.vectors:
        yield from _vector(vector, there.pop(vector.name, None))
    for name in there:
        what = "a vector that was not asked for"
        yield "vector names", Finding(difference=Difference.EXTRA, id=_label(name), what=what)
    built = {(index.key, index.kind) for index in found.indexes}
    for index in wanted.indexes:
        missing = (index.key, index.kind) not in built
        what = f"no {index.kind} index on metadata key {index.key}"
        finding = Finding(difference=Difference.MISSING, id=f"index {index.key}", what=what) if missing else None
        yield "payload indexes", finding


def _vector(wanted: VectorSpec, found: VectorSpec | None) -> Iterator[tuple[str, Finding | None]]:
    label = _label(wanted.name)
    if found is None:
        yield "vector names", Finding(difference=Difference.MISSING, id=label, what="the target has no such vector")
        return
    yield "vector names", None
    yield "vector kinds", _differs(f"{label} kind", wanted.kind, found.kind)
    if wanted.dim is not None and found.dim is not None:
        yield "dimensions", _differs(f"{label} dimension", wanted.dim, found.dim)
    yield "metrics", _differs(f"{label} metric", wanted.metric, found.metric)
    yield "number types", _differs(f"{label} number type", wanted.element, found.element)


def _label(name: str) -> str:
    return f"vector '{name}'" if name else "vector"


def _differs(name: str, wanted: object, found: object) -> Finding | None:
    if wanted == found:
        return None
    return Finding(difference=Difference.CHANGED, id=name, what=f"{wanted} became {found}")
