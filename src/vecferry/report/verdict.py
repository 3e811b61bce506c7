"""The report in one sentence, from what was really checked. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from vecferry.planning.model import Verdict as Fidelity
from vecferry.report.model import CollectionFacts, Verdict, VerdictKind
from vecferry.verification.model import DATA_LEVELS, REORDERED, CollectionVerification, Difference, Level, State

_FINE = (State.OK, State.NOT_APPLICABLE)
LOW_RECALL = 0.9
"""Share of the nearest records that an index should find."""
_LOSSES = (Fidelity.LOSSY, Fidelity.IMPOSSIBLE)
_NAMES = {
    Level.SCHEMA: "schema",
    Level.COUNTS: "counts",
    Level.IDS: "ids",
    Level.CONTENT: "content",
    Level.ORDER: "order",
    Level.SEARCH: "searches",
    Level.FILTERS: "filters",
}


def judge(collections: Sequence[CollectionFacts]) -> Verdict:
    """The verdict on a migration."""
    checked = [c.verification for c in collections if c.verification is not None]
    records = sum(c.records for c in checked)
    if not checked:
        return Verdict(
            kind=VerdictKind.NOT_VERIFIED, sentence="Nothing was verified: run vecferry verify before you rely on it."
        )
    if differences := sum(c.differences for c in checked):
        touched = sum(bool(c.differences) for c in checked)
        there = f"{differences:,} difference{_s(differences)} in {touched} of {_collections(len(checked))}"
        return Verdict(kind=VerdictKind.DIFFERENT, sentence=f"{there}: {_what(checked)}.")
    if len(checked) < len(collections):
        missing = len(collections) - len(checked)
        sentence = (
            f"No difference was found, but {_collections(missing)} of {len(collections)} {_was(missing)} not verified."
        )
        return Verdict(kind=VerdictKind.INCOMPLETE, sentence=sentence)
    if not all(c.identical for c in checked):
        sentence = f"No difference was found, but {_left_out(checked, DATA_LEVELS)} could not be checked to the end."
        return Verdict(kind=VerdictKind.INCOMPLETE, sentence=sentence)
    return _proven(collections, checked, records)


def _proven(collections: Sequence[CollectionFacts], checked: Sequence[CollectionVerification], records: int) -> Verdict:
    aside = sum(c.rejections for c in collections)
    all_ = "The only record" if records == 1 else f"All {records:,} records"
    every = f"{all_} of {_collections(len(checked))} {_was(records)} compared and {_is(records)} in the target"
    if aside:
        every += f", except {aside:,} that {_was(aside)} set aside on purpose"
    if given_up(collections):
        every += ", but for what the plan gave up with consent"
    if moved := int(sum(check.figures.get(REORDERED, 0) for c in checked for check in c.checks)):
        every += f", {moved:,} of them in another order than the source's"
    asked = frozenset(Level) - DATA_LEVELS
    if any(_open(checked, level) for level in asked):
        sentence = f"{every}; {_left_out(checked, asked)} were not (all) checked.{_recall(checked)}"
    else:
        sentence = f"{every}; exact searches and filters give the same answers.{_recall(checked)}"
    proven = all(check.state in _FINE for c in checked for check in c.checks)
    return Verdict(kind=VerdictKind.PROVEN if proven else VerdictKind.RECORDS_PROVEN, sentence=sentence)


def given_up(collections: Sequence[CollectionFacts]) -> bool:
    """Does the target hold less than the source, with consent?"""
    return any(cell.verdict in _LOSSES for c in collections for cell in c.losses)


def _recall(checked: Sequence[CollectionVerification]) -> str:
    """A warning where the target's index finds too little, which is no loss but will be noticed."""
    found = [x.figures.get(f"recall@{x.figures.get('k', 0):.0f}") for c in checked for x in c.checks]
    low = [recall for recall in found if recall is not None and recall < LOW_RECALL]
    if not low:
        return ""
    return (
        f" Beware: with its index the target finds only {int(min(low) * 1000) / 10:g} % of the nearest records in "
        f"{_collections(len(low))}."
    )


def _what(checked: Sequence[CollectionVerification]) -> str:
    """What kinds of differences there are."""
    counts = {level: sum(x.differences for c in checked for x in c.checks if x.level is level) for level in Level}
    kinds = Counter(f.difference for c in checked for x in c.checks if x.level is Level.IDS for f in x.findings)
    said = []
    if counts[Level.SCHEMA]:
        said.append("the schema is not as planned")
    if kinds[Difference.MISSING]:
        said.append("records are missing from the target")
    if kinds[Difference.EXTRA]:
        said.append("the target holds records that the source does not")
    if counts[Level.COUNTS] and not counts[Level.IDS]:
        said.append("a store's own count is not what was read")
    if counts[Level.CONTENT]:
        said.append(f"{counts[Level.CONTENT]:,} record{_s(counts[Level.CONTENT])} changed")
    if counts[Level.ORDER]:
        said.append("records come in another order")
    if not said:
        said.append("the records are as they should be, but searches or filters answer otherwise")
    return ", ".join(said)


def _left_out(checked: Sequence[CollectionVerification], levels: frozenset[Level]) -> str:
    left = [level for level in Level if level in levels and _open(checked, level)]
    return " and ".join(_NAMES[level] for level in left) or "something"


def _open(checked: Sequence[CollectionVerification], level: Level) -> bool:
    return any(check.level is level and check.state not in _FINE for c in checked for check in c.checks)


def _collections(count: int) -> str:
    return f"{count:,} collection{_s(count)}"


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


def _is(count: int) -> str:
    return "is" if count == 1 else "are"
