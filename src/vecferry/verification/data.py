"""The data checks of one collection: counts, ids, content and order, out of one scan of each side."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from vecferry.limits import Shape
from vecferry.protocols import Countable, Source
from vecferry.verification.describe import differences
from vecferry.verification.diff import BucketDiff, OrderCheck, compare
from vecferry.verification.lookup import AT_ONCE, records_by_id
from vecferry.verification.model import REORDERED, Check, Difference, Finding, Level, State
from vecferry.verification.passes import Pass
from vecferry.verification.scan import Side
from vecferry.verification.spill import Rows

_REPEATED = "stands in the source more than once; a target holds one record per id"
_WRITTEN = "differed when it was scanned, but not when it was fetched again: it is being written"
_DOUBLED = "the target returned this id more than once"


@dataclass(slots=True)
class _Found:
    """A count of all differences, and the first of them by id."""

    limit: int
    count: int = 0
    findings: list[Finding] = field(default_factory=list)

    def add(self, difference: Difference, rows: Rows, side: Side, what: str = "") -> None:
        self.count += len(rows)
        texts = side.texts_of(rows[: self.limit - len(self.findings)])
        self.findings += [Finding(difference=difference, id=text, what=what) for text in texts]


def check_data(one: Pass) -> list[Check]:
    """Scan both sides and compare them.

    Raises:
        Interrupted, ConnectorError, DataError: from either side.
    """
    begun = time.monotonic()
    one.scan()
    scanned = time.monotonic() - begun
    ids, content = _Found(one.options.max_findings), _Content(one)
    order = OrderCheck(one.folder, one.left, limit=one.options.spill_bytes)
    matched = 0
    for diff in compare(one.left, one.right):
        matched += diff.matched
        _add_ids(ids, diff, one)
        content.add(diff.changed)
        order.add(diff)
    return [
        _counts(one),
        _ids(one, ids, matched),
        content.check(matched, seconds=scanned),
        _order(one, order),
    ]


def _add_ids(ids: _Found, diff: BucketDiff, one: Pass) -> None:
    ids.add(Difference.MISSING, diff.missing, one.left)
    if one.shared:
        one.others += len(diff.extra)
    else:
        ids.add(Difference.EXTRA, diff.extra, one.right)
    ids.add(Difference.MISSING, diff.repeated, one.left, _REPEATED)
    ids.add(Difference.EXTRA, diff.doubled, one.right, _DOUBLED)


def _skipped(one: Pass) -> dict[str, int]:
    """What was not compared, and why."""
    planned = Counter(one.options.set_aside.get(one.name, {}).values())
    aside = one.left.set_aside | planned  # what both know is one and the same
    return {f"set aside by the plan: {reason}": count for reason, count in aside.items()} | _unread(one)


def _unread(one: Pass) -> dict[str, int]:
    """Records that a side could not read; they keep a check from being ok."""
    source = {f"the source cannot read it: {reason}": n for reason, n in one.left.unreadable.items()}
    target = {f"the target cannot read it: {reason}": n for reason, n in one.right.unreadable.items()}
    return source | target


def _state(differences: int, unread: Mapping[str, int]) -> State:
    if differences:
        return State.DIFFERENT
    return State.NOT_CHECKED if unread else State.OK


# --------------------------------------------------------------------------- counts


def _counts(one: Pass) -> Check:
    """What each side says it holds, and what was really read."""
    figures = {"source": one.left.records, "target": one.right.records}
    findings = [
        finding
        for label, side, store, aside in (
            ("source", one.left, one.source, len(one.set_aside)),
            ("target", one.right, one.target, 0),
        )
        if (finding := _told(one, label, side, store, aside, figures)) is not None
    ]
    short = abs(one.left.records + one.others - one.right.records)
    return Check(
        level=Level.COUNTS,
        state=_state(short + len(findings), {}),
        scanned=one.left.records,
        compared=min(one.left.records, one.right.records),
        skipped=_skipped(one),
        differences=short + len(findings),
        findings=tuple(findings),
        figures={name: float(value) for name, value in figures.items()},
        note=f"{one.left.records:,} records in the source, {one.right.records:,} in the target, all of them read."
        f"{_of_others(one)}",
    )


def _of_others(one: Pass) -> str:
    return f" {one.others:,} of the target's are not from this source, and stay there." if one.others else ""


def _told(one: Pass, label: str, side: Side, store: Source, aside: int, figures: dict[str, int]) -> Finding | None:
    """Hold a store's own count against what was read: a store may answer before it has everything back in memory."""
    if not isinstance(store, Countable):
        return None
    told = figures[f"{label}_says"] = one.tries.call("counting", store.count)
    unreadable = side.unreadable.total()
    if told - aside in range(side.records, side.records + unreadable + 1) or told == side.records:
        return None
    what = f"says that it holds {told:,} records, but {side.records:,} were read"
    return Finding(difference=Difference.CHANGED, id=label, what=what)


# --------------------------------------------------------------------------- ids


def _ids(one: Pass, ids: _Found, matched: int) -> Check:
    return Check(
        level=Level.IDS,
        state=_state(ids.count, _unread(one)),
        scanned=one.left.records,
        compared=matched,
        skipped=_skipped(one),
        differences=ids.count,
        findings=tuple(ids.findings),
    )


# --------------------------------------------------------------------------- content


class Changed:
    """Records that differ, looked at one by one to say how; rounding by a server is told apart where it may happen.

    That is: only in collections with records that vecferry did not write, whose store scales vectors itself. What
    vecferry wrote must come back to the bit.
    """

    def __init__(self, one: Pass) -> None:
        self._one = one
        card = one.target_spec.card
        scaled = any(vector.metric in one.limits.normalises for vector in one.target_spec.vectors)
        self.tolerant = scaled and (card is None or card.adopted)
        self.close = 0

    def ids(self, rows: Rows) -> list[str]:
        """The ids of those of `rows` that really differ; they are looked at only where rounding may be the reason."""
        return [one.id for one in self.findings(rows)] if self.tolerant else self._one.left.texts_of(rows)

    def count(self, rows: Rows) -> int:
        """How many of `rows` really differ."""
        return sum(1 for _ in self.findings(rows)) if self.tolerant else len(rows)

    def findings(self, rows: Rows) -> Iterator[Finding]:
        """Those of `rows` that really differ; the others are counted in `close`."""
        for start in range(0, len(rows), AT_ONCE):
            yield from self._look(self._one.left.texts_of(rows[start : start + AT_ONCE]))

    def _look(self, ids: list[str]) -> Iterator[Finding]:
        one = self._one
        source = records_by_id(one.source, ids, one.expected, one.tries)
        target = records_by_id(one.target, ids, one.found, one.tries)
        for id_ in ids:
            fields = differences(source[id_], target[id_]) if id_ in source and id_ in target else []
            if self.tolerant and fields and all(field.close for field in fields):
                self.close += 1
            else:
                what = "; ".join(field.text for field in fields) or _WRITTEN
                yield Finding(difference=Difference.CHANGED, id=id_, what=what)


class _Content:
    """How many records differ, and the first of them with how."""

    def __init__(self, one: Pass) -> None:
        self._one, self._changed = one, Changed(one)
        self._count = 0
        self._findings: list[Finding] = []

    def add(self, rows: Rows) -> None:
        """The changed records of one bucket; past the findings that are kept they are only counted."""
        room = self._one.options.max_findings - len(self._findings)
        looked = rows if self._changed.tolerant else rows[:room]
        findings = list(self._changed.findings(looked))
        self._count += len(findings) + len(rows) - len(looked)
        self._findings += findings[:room]

    def check(self, compared: int, *, seconds: float) -> Check:
        one = self._one
        close = self._changed.close
        note = "Every record's id, vectors, document, uri and metadata, as the target gives it back."
        if close:
            note = (
                f"{close:,} vectors differ from the source's by rounding alone (1 - cosine at most 1e-6): this "
                "collection was not written by vecferry, and its store scales vectors itself."
            )
        return Check(
            level=Level.CONTENT,
            state=_state(self._count, _unread(one)),
            scanned=one.left.records,
            compared=compared,
            skipped=_skipped(one),
            differences=self._count,
            findings=tuple(self._findings),
            figures={"within_tolerance": float(close)} if self._changed.tolerant else {},
            note=note,
            seconds=seconds,
        )


# --------------------------------------------------------------------------- order


def _order(one: Pass, order: OrderCheck) -> Check:
    """Whether reading the target in its order gives the source's order."""
    if not one.left.records:
        return Check(level=Level.ORDER, state=State.NOT_APPLICABLE, note="The source is empty.")
    if order.without_source == one.left.records or (not order.compared and not order.without_target):
        return Check(level=Level.ORDER, state=State.NOT_APPLICABLE, note="The source has no order of its own.")
    if not order.compared and Shape.ORDER not in one.limits.keeps | one.limits.restores:
        note = f"{one.limits.store} keeps no order of records."
        return Check(level=Level.ORDER, state=State.NOT_CHECKED, skipped={note: order.without_target}, note=note)
    wrong, ids = order.out_of_order(one.options.max_findings)
    lost = order.without_target
    if wrong and not lost and one.target_name in one.options.reordered:
        return _reordered(wrong, order)
    what = "comes before a record that it follows in the source"
    return Check(
        level=Level.ORDER,
        state=_state(wrong + lost, {}),
        scanned=order.compared + lost,
        compared=order.compared,
        skipped={"the source has no place for it": order.without_source} if order.without_source else {},
        differences=wrong + lost,
        findings=tuple(Finding(difference=Difference.CHANGED, id=id_, what=what) for id_ in ids),
        figures={"without_order_in_target": float(lost)} if lost else {},
        note="Records come back in the order in which the source returns them.",
    )


def _reordered(wrong: int, order: OrderCheck) -> Check:
    """Another order in what was synchronised or repaired: told, and no difference, as nothing there could mend it."""
    comes = "record comes" if wrong == 1 else "records come"
    return Check(
        level=Level.ORDER,
        state=State.NOT_CHECKED,
        scanned=order.compared,
        compared=order.compared,
        skipped={"the source has no place for it": order.without_source} if order.without_source else {},
        figures={REORDERED: float(wrong)},
        note=f"{wrong:,} {comes} back in another order than the source's: what differed was written where it stood, or "
        "at the end, and nothing is moved; --if-exists recreate restores the order.",
    )
