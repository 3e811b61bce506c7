"""The filter parity check: predicates counted exactly on the target and by the reference evaluator on the source."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial

from vecferry.errors import Unsupported
from vecferry.protocols import FilterCountable, Searchable, Source
from vecferry.verification.model import Check, Difference, Finding, Level, State
from vecferry.verification.predicates import Counts, show
from vecferry.verification.tries import Tries


def check_filters(expected: Counts, target: Source, tries: Tries) -> Check:
    """Ask the target for each predicate's count; one that it cannot answer exactly is left out, and said to be."""
    begun = time.monotonic()
    if not isinstance(target, FilterCountable | Searchable):
        return Check(
            level=Level.FILTERS, state=State.NOT_APPLICABLE, note="The target is no store that answers queries."
        )
    if not isinstance(target, FilterCountable):
        return not_checked("The target counts no filters through this connector.", len(expected.predicates))
    findings, skipped = _differing(expected, target, tries)
    compared = len(expected.predicates) - skipped.total()
    if not compared:
        return not_checked("The target answers none of the predicates exactly.", 0, skipped)
    return Check(
        level=Level.FILTERS,
        state=State.DIFFERENT if findings else State.OK,
        scanned=len(expected.predicates),
        compared=compared,
        skipped=dict(skipped),
        differences=len(findings),
        findings=tuple(findings),
        note=f"{compared} predicates drawn from the collection's own metadata, counted exactly on both sides.",
        seconds=time.monotonic() - begun,
    )


def _differing(expected: Counts, target: FilterCountable, tries: Tries) -> tuple[list[Finding], Counter[str]]:
    """The predicates whose counts differ, and why how many were left out."""
    findings: list[Finding] = []
    skipped: Counter[str] = Counter()
    for node, wanted in zip(expected.predicates, expected.counts, strict=True):
        try:
            found = tries.call("counting a filter", partial(target.count_where, node))
        except Unsupported as error:
            skipped[error.message] += 1
            continue
        if found != wanted:
            what = f"matches {wanted:,} records of the source, {found:,} of the target"
            findings.append(Finding(difference=Difference.CHANGED, id=show(node), what=what))
    return findings, skipped


def not_checked(note: str, predicates: int, skipped: Counter[str] | None = None) -> Check:
    """A check that was not made."""
    return Check(
        level=Level.FILTERS,
        state=State.NOT_CHECKED,
        skipped=dict(skipped) if skipped else {note: predicates},
        note=note,
    )
