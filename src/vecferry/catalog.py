"""What every connector asks of its list of collections: which one is meant, and does what is there fit? Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches

from vecferry.errors import Conflict, NotFound
from vecferry.model import Card, CollectionSpec, VectorSpec


def find(names: Iterable[tuple[str, ...]], wanted: str, *, store: str) -> tuple[str, ...]:
    """Of `names` (namespace and name, outermost first) the one that `wanted` means: qualified, or bare if unique.

    Raises:
        NotFound: none, or more than one; the hint lists near names.
    """
    paths = {"/".join(path): path for path in names}
    if wanted in paths:
        return paths[wanted]
    bare = [text for text, path in paths.items() if path[-1] == wanted]
    if len(bare) == 1:
        return paths[bare[0]]
    near = bare or get_close_matches(wanted, paths, n=3) or sorted(paths)[:3]
    raise NotFound(
        f"There is more than one collection '{wanted}'." if bare else f"There is no collection '{wanted}' in {store}.",
        store=store,
        hint=f"There are: {', '.join(near)}." if near else f"{store} holds no collections.",
    )


def named_in_full(path: tuple[str, ...], wanted: str) -> bool:
    """Whether `wanted` is all of `path`. What is removed must be: a bare name is one of no namespace, or the sink's."""
    return "/".join(path) == wanted


def gone(name: str, *, store: str) -> NotFound:
    """The error for a collection that was there a moment ago."""
    return NotFound(
        f"The collection '{name}' is gone from {store}.",
        store=store,
        hint=f"It was removed or renamed meanwhile. What is there now: vecferry inspect {store}",
    )


def fit(existing: CollectionSpec, wanted: CollectionSpec, *, store: str) -> tuple[VectorSpec, ...]:
    """The vectors of `existing`, with dimensions that only `wanted` knows filled in.

    Raises:
        Conflict: `existing` has other vectors, dimensions, metrics, element types or kinds of ids.
    """
    asked = {vector.name: vector for vector in wanted.vectors}
    if {vector.name for vector in existing.vectors} != asked.keys():
        names = [[vector.name or "(unnamed)" for vector in spec.vectors] for spec in (existing, wanted)]
        raise _conflict(existing, f"the vectors {names[0]}", f"{names[1]}", store)
    vectors = tuple(_merge(existing, vector, asked[vector.name], store) for vector in existing.vectors)
    if existing.id_kind is not wanted.id_kind:
        raise _conflict(existing, f"{existing.id_kind} ids", f"{wanted.id_kind} ids", store)
    return vectors


def _merge(existing: CollectionSpec, known: VectorSpec, asked: VectorSpec, store: str) -> VectorSpec:
    dim = known.dim if known.dim is not None else asked.dim
    filled = replace(known, dim=dim)
    if replace(asked, dim=dim if asked.dim is None else asked.dim) != filled:
        raise _conflict(existing, _words(known), _words(asked), store)
    return filled


def _words(vector: VectorSpec) -> str:
    name = f" '{vector.name}'" if vector.name else ""
    dim = "an unknown dimension" if vector.dim is None else f"{vector.dim} dimensions"
    return f"a {vector.kind} {vector.element} vector{name} of {dim} under {vector.metric}"


def _conflict(existing: CollectionSpec, found: str, wanted: str, store: str) -> Conflict:
    return Conflict(
        f"The collection '{existing.name}' in {store} has {found}; asked for was {wanted}.",
        store=store,
        hint="Choose another target name, or let the existing collection be replaced (--if-exists recreate).",
    )


def merged_card(old: Card, new: Card) -> Card:
    """The card of a collection that gets records of another run: the profile covers both."""
    types = {key: dict(counts) for key, counts in old.key_types.items()}
    for key, counts in new.key_types.items():
        known = types.setdefault(key, {})
        for kind, count in counts.items():
            known[kind] = max(count, known.get(kind, 0))
    return replace(new, key_types=types)
