"""What becomes of each shape in the target: a profile held against limits, cell by cell. Pure.

A cell is *exact* (held as it is), *restorable* (rewritten, with a tag of ours that undoes it on the way back), *lossy*
(something is gone for good) or *impossible* (the target refuses the record, or the whole collection). Lossy and
impossible cells have the policy `refuse` until a person accepts another one; `check` stops there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches

from vecferry.errors import ConfigError, LossRefused
from vecferry.limits import Limits, Shape
from vecferry.model import IdKind, JsonObject, Keep, VectorKind, VectorSpec
from vecferry.planning import wording
from vecferry.planning.elements import holds
from vecferry.planning.model import Cell, CollectionPlan, IfExists, Plan, Policy, Profile, Seen, Verdict
from vecferry.planning.sizes import larger_than
from vecferry.planning.values import is_reserved
from vecferry.planning.vectors import match_vectors

UNREADABLE = "unreadable"
"""Records that the source itself could not read."""
TRANSFORM = "transform"
"""Records that a transform cannot be done on."""
VECTOR = "vector"
"""A vector, or a number type, that the target does not have: `vector` or `vector.NAME`."""
METRIC = "metric"
"""A metric that the target does not have."""
SIZE = "collection-size"
"""A collection of more records than the target takes in one."""
EMPTY = "empty-collection"
"""A collection without a record, whose dimension nobody knows."""

_QUARANTINE = (Policy.QUARANTINE, Policy.REFUSE)
_CONVERT = (Policy.CONVERT, Policy.QUARANTINE, Policy.REFUSE)
_REFUSED_RECORD = frozenset(
    {
        Shape.NO_VECTOR,
        Shape.NON_FINITE_VECTOR,
        Shape.ID_TOO_LONG,
        Shape.TOO_LARGE,
        Shape.ZERO_VECTOR,
        Shape.MANY_KEYS,
        Shape.LONG_LISTS,
        Shape.LONG_KEY,
        Shape.LONG_VALUE,
        Shape.LONG_URI,
    }
)
"""Shapes whose record the target refuses where it cannot hold them; of any other shape it loses something."""
_OF_ALL = frozenset({Shape.COSINE_LENGTH, Shape.ORDER, Shape.ID_TEXT, Shape.ID_INT})
"""Shapes that a whole collection has: leaving out its records would leave nothing."""
_USELESS = frozenset({Shape.NO_VECTOR, Shape.ZERO_VECTOR})
"""Shapes of records that no search finds: where the target holds them they go along, unless a person says otherwise."""
_NO_LOSS = frozenset({Shape.NO_DOCUMENT})
"""Every store can leave a document out, so no store lists it."""


def judge(
    profile: Profile, vectors: tuple[VectorSpec, ...], limits: Limits, *, exact_vectors: Keep
) -> tuple[Cell, ...]:
    """Every cell of one collection, worst first, without policies accepted yet.

    Args:
        vectors: what the target will be given (`vecferry.planning.vectors.map_vectors`).
    """
    cells = [
        *_unreadable(profile),
        *_size(profile, limits),
        *_untransformed(profile),
        *_vectors(profile, vectors, limits),
        *_shapes(profile, vectors, limits, exact_vectors),
    ]
    order = (Verdict.IMPOSSIBLE, Verdict.LOSSY, Verdict.RESTORABLE, Verdict.EXACT)
    return tuple(sorted(cells, key=lambda cell: (order.index(cell.verdict), cell.shape)))


# --------------------------------------------------------------------------- one cell per shape of a record


def _shapes(profile: Profile, vectors: tuple[VectorSpec, ...], limits: Limits, exact: Keep) -> Iterator[Cell]:
    for shape, count, examples in _counts(profile, vectors, limits):
        if count:
            yield _shape_cell(shape, count, examples, _verdict(shape, vectors, limits, exact), limits)


def _counts(
    profile: Profile, vectors: tuple[VectorSpec, ...], limits: Limits
) -> Iterator[tuple[Shape, int, tuple[str, ...]]]:
    """Every shape with its count and examples; those that depend on the target are counted here."""
    for shape, seen in profile.shapes.items():
        if shape not in {Shape.RESERVED_KEY, Shape.NO_VECTOR}:
            yield shape, seen.count, seen.examples
    without = _without_vector(profile, vectors)
    yield Shape.NO_VECTOR, without.count, without.examples
    reserved = _reserved(profile, limits)
    yield Shape.RESERVED_KEY, reserved.count, reserved.examples
    texts = profile.id_kinds.get(IdKind.TEXT, 0) + profile.id_kinds.get(IdKind.COMPOSITE, 0)
    yield Shape.ID_TEXT, texts, ()
    yield Shape.ID_INT, profile.id_kinds.get(IdKind.INT, 0), ()
    yield Shape.ID_TOO_LONG, *larger_than(profile, "id", limits.id_bytes)
    yield Shape.LONG_URI, *larger_than(profile, "uri", limits.uri_bytes)
    sizes = [
        larger_than(profile, "document", limits.document_bytes),
        larger_than(profile, "record", record_limit(limits)),
    ]
    yield Shape.TOO_LARGE, *max(sizes)


def _without_vector(profile: Profile, vectors: tuple[VectorSpec, ...]) -> Seen:
    """The records that have no vector in the target: where it has place for one alone, those that lack that one."""
    seen = profile.shapes.get(Shape.NO_VECTOR, Seen(count=0, examples=()))
    kept = [old for old, new in match_vectors(profile.spec.vectors, vectors) if new is not None]
    if len(kept) != 1 or len(profile.spec.vectors) == 1:
        return seen
    return replace(seen, count=profile.records - sum(profile.dimensions.get(kept[0].name, {}).values()))


def _reserved(profile: Profile, limits: Limits) -> Seen:
    """The reserved keys: all of them where the profile was made for this target, else those that it lists."""
    keys = [key for key in profile.keys if is_reserved(key, limits)]
    listed = Seen(count=sum(profile.keys[key].records for key in keys), examples=tuple(keys[:5]))
    return max(profile.shapes.get(Shape.RESERVED_KEY, listed), listed, key=lambda seen: seen.count)


def record_limit(limits: Limits) -> int | None:
    """The largest record that the target takes: what it says, or what fits into one request."""
    known = [size for size in (limits.record_bytes, limits.request_bytes) if size is not None]
    return min(known, default=None)


def _verdict(shape: Shape, vectors: tuple[VectorSpec, ...], limits: Limits, exact: Keep) -> Verdict:
    if shape is Shape.COSINE_LENGTH:
        return _cosine_length(vectors, limits, exact)
    if shape in limits.restores:
        return Verdict.RESTORABLE
    if shape in _held(limits):
        return Verdict.EXACT
    return Verdict.IMPOSSIBLE if shape in _REFUSED_RECORD else Verdict.LOSSY


def _held(limits: Limits) -> frozenset[Shape]:
    """Shapes held as they are. What an id kind or a size says is said once, by its own field of the limits."""
    held = limits.keeps | _NO_LOSS
    if IdKind.TEXT in limits.id_kinds:
        held |= {Shape.ID_TEXT}
    if IdKind.INT in limits.id_kinds:
        held |= {Shape.ID_INT}
    return held - {Shape.ID_TOO_LONG, Shape.TOO_LARGE}


def _cosine_length(vectors: tuple[VectorSpec, ...], limits: Limits, exact: Keep) -> Verdict:
    scaled = any(vector.metric in limits.normalises for vector in vectors)
    if not scaled or (exact is Keep.BITS and limits.keeps_bits):
        return Verdict.EXACT
    return Verdict.RESTORABLE if Shape.COSINE_LENGTH in limits.restores else Verdict.LOSSY


def _shape_cell(shape: Shape, count: int, examples: tuple[str, ...], verdict: Verdict, limits: Limits) -> Cell:
    choices: tuple[Policy, ...] = ()
    if shape in _USELESS and verdict in {Verdict.EXACT, Verdict.RESTORABLE}:
        told = wording.useless(shape, verdict, limits)
        return Cell(
            shape=shape, verdict=verdict, count=count, examples=examples, meaning=told, choices=(Policy.QUARANTINE,)
        )
    if verdict is Verdict.IMPOSSIBLE:
        choices = _QUARANTINE
    elif verdict is Verdict.LOSSY:
        choices = tuple(policy for policy in _CONVERT if policy is not Policy.QUARANTINE or shape not in _OF_ALL)
    return _cell(shape.value, verdict, count, examples, wording.meaning(shape, verdict, limits), choices)


def _cell(
    shape: str, verdict: Verdict, count: int, examples: tuple[str, ...], meaning: str, choices: tuple[Policy, ...]
) -> Cell:
    policy = Policy.REFUSE if choices else None
    return Cell(
        shape=shape, verdict=verdict, count=count, examples=examples, meaning=meaning, policy=policy, choices=choices
    )


# --------------------------------------------------------------------------- cells of a whole collection


def _unreadable(profile: Profile) -> Iterator[Cell]:
    if profile.rejected:
        reasons = "; ".join(_reasons(profile.rejected))
        meaning = f"The source cannot give these records whole: {reasons}. They would be left out and listed."
        if "dimensions" in reasons:
            meaning += " A vector of another length is made anew from its text by re_embed: {missing: true, …}."
        yield _left_out(UNREADABLE, profile.rejected, meaning)


def _untransformed(profile: Profile) -> Iterator[Cell]:
    if profile.set_aside:
        reasons = " ".join(_reasons(profile.set_aside))
        meaning = f"The transforms cannot be done on these records, which would be left out and listed: {reasons}"
        yield _left_out(TRANSFORM, profile.set_aside, meaning)


def _reasons(found: Mapping[str, Seen]) -> Iterator[str]:
    return (f"{seen.count} × {reason}" for reason, seen in found.items())


def _left_out(shape: str, found: Mapping[str, Seen], meaning: str) -> Cell:
    """The cell of records that cannot be moved, by the reason."""
    count = sum(seen.count for seen in found.values())
    examples = tuple(text for seen in found.values() for text in seen.examples)[:5]
    return _cell(shape, Verdict.IMPOSSIBLE, count, examples, meaning, _QUARANTINE)


def _size(profile: Profile, limits: Limits) -> Iterator[Cell]:
    if limits.records is not None and profile.records > limits.records:
        yield _cell(SIZE, Verdict.IMPOSSIBLE, profile.records, (), wording.too_many(limits), (Policy.REFUSE,))


def _vectors(profile: Profile, planned: tuple[VectorSpec, ...], limits: Limits) -> Iterator[Cell]:
    """Cells for vectors that change their form or have no place."""
    for vector, target in match_vectors(profile.spec.vectors, planned):
        count = sum(profile.dimensions.get(vector.name, {}).values())
        if target is not None and not holds(target.element, vector.element):
            yield _narrowed(vector, target, count, home=_at_home(profile))
        yield from _vector(vector, target, limits, count, alone=len(profile.spec.vectors) == 1)


def _at_home(profile: Profile) -> list[JsonObject]:
    """The vectors of the collection that these records were in first, as our card tells of them."""
    known: list[JsonObject] = profile.spec.card.origin.get("vectors", []) if profile.spec.card is not None else []
    return known


def _narrowed(vector: VectorSpec, target: VectorSpec, count: int, *, home: list[JsonObject]) -> Cell:
    """A number type that does not hold every number of the source's; one that these vectors had before loses none."""
    before = any((one.get("name"), one.get("element")) == (target.name, target.element) for one in home)
    choices = () if before else (Policy.CONVERT, Policy.REFUSE)
    verdict = Verdict.RESTORABLE if before else Verdict.LOSSY
    return _cell(_label(vector), verdict, count, (), wording.narrowed(vector, target, before=before), choices)


def _label(vector: VectorSpec) -> str:
    return f"{VECTOR}.{vector.name}" if vector.name else VECTOR


def _vector(
    vector: VectorSpec, target: VectorSpec | None, limits: Limits, count: int, *, alone: bool
) -> Iterator[Cell]:
    name = _label(vector)
    only_refuse = (Policy.REFUSE,)
    if target is None:
        choices = only_refuse if alone else (Policy.CONVERT, Policy.REFUSE)
        yield _cell(name, Verdict.IMPOSSIBLE, count, (), wording.no_place(vector, limits), choices)
        return
    if limits.max_dim is not None and (vector.dim or 0) > limits.max_dim:
        yield _cell(Shape.WRONG_DIMENSION, Verdict.IMPOSSIBLE, count, (), wording.too_wide(vector, limits), only_refuse)
    if vector.dim is None and vector.kind is VectorKind.DENSE and not count:
        yield _cell(EMPTY, Verdict.EXACT, 0, (), wording.EMPTY, ())
    if (target.element is not vector.element or target.name != vector.name) and holds(target.element, vector.element):
        yield _cell(name, Verdict.RESTORABLE, count, (), wording.reshaped(vector, target), ())
    if vector.metric not in limits.metrics:
        choices = (Policy.CONVERT, Policy.REFUSE) if target.metric is not vector.metric else only_refuse
        yield _cell(METRIC, Verdict.LOSSY, count, (), wording.no_metric(vector, target, limits), choices)


# --------------------------------------------------------------------------- what a person accepts


def accept(names: tuple[str, ...], cells: Iterable[Cell], policies: Mapping[str, Policy]) -> tuple[Cell, ...]:
    """`cells` with the policies that a person chose: `SHAPE` for every collection, `COLLECTION:SHAPE` for one.

    Args:
        names: what the collection is called: its name and its qualified name.

    Raises:
        ConfigError: a policy that the cell does not offer, or a shape that does not exist.
    """
    for key in policies:
        _known(key)
    return tuple(_accepted(names, cell, policies) for cell in cells)


def _accepted(names: tuple[str, ...], cell: Cell, policies: Mapping[str, Policy]) -> Cell:
    keys = [*(f"{name}:{cell.shape}" for name in names), cell.shape]
    policy = next((policies[key] for key in keys if key in policies), None)
    return cell if policy is None or not cell.choices else choose(cell, policy)


def choose(cell: Cell, policy: Policy) -> Cell:
    """`cell` with `policy`.

    Raises:
        ConfigError: the cell does not offer it.
    """
    if policy not in cell.choices:
        offered = ", ".join(cell.choices)
        raise ConfigError(f"'{cell.shape}' cannot be answered with '{policy}'.", hint=f"It offers: {offered}.")
    return replace(cell, policy=policy)


def _known(key: str) -> None:
    shape = key.rpartition(":")[2]
    names = [*(item.value for item in Shape), UNREADABLE, SIZE, TRANSFORM, METRIC, VECTOR]
    if shape not in names and not shape.startswith(f"{VECTOR}."):
        near = get_close_matches(shape, names, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(names)}."
        raise ConfigError(f"There is no shape '{shape}' to accept.", hint=hint)


def refused(plan: Plan) -> list[tuple[CollectionPlan, Cell]]:
    """The cells that stop the plan; what is kept as a finished run wrote it cannot lose anything more."""
    written = [collection for collection in plan.collections if collection.if_exists is not IfExists.KEEP]
    return [(c, cell) for c in written for cell in c.cells if cell.policy is Policy.REFUSE]


def check(plan: Plan) -> None:
    """Stop before the first write where a lossy or impossible cell is not accepted.

    Raises:
        LossRefused: lists every such cell, and the flag that would accept each.
    """
    stopped = refused(plan)
    if not stopped:
        return
    lines = [f"  {c.source}: {cell.count:,} × {cell.shape}{_shown(cell)}: {cell.meaning}" for c, cell in stopped]
    flags = {f"--accept {cell.shape}={cell.choices[0]}" for _, cell in stopped if len(cell.choices) > 1}
    closed = sorted({cell.shape for _, cell in stopped if len(cell.choices) == 1})
    hint = f"Accept with {' '.join(sorted(flags))}, or set `policy:` in the plan file." if flags else ""
    if closed:
        hint += f" {', '.join(closed)} cannot be accepted: leave the collection out, or choose another target."
    examples = [example for _, cell in stopped for example in cell.examples]
    raise LossRefused("The target cannot hold everything:\n" + "\n".join(lines), hint=hint.strip(), ids=examples[:20])


def _shown(cell: Cell) -> str:
    return f" ({', '.join(cell.examples[:3])})" if cell.examples else ""
