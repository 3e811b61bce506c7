"""The tables of `--by`: records counted by the values of a metadata key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from vecferry.cli import common
from vecferry.cli.show import plain, table
from vecferry.planning.breakdown import KEPT, Breakdown, Group, Row
from vecferry.planning.model import Inspection
from vecferry.verification.model import Verification

if TYPE_CHECKING:
    from rich.console import Console

TOP = 30
"""Values that a terminal shows; --json and the report have up to 1,000."""
_WORDS = {Row.MISSING: "(without the key)", Row.NULL: "(null)"}
Line = tuple[object, ...]


def of_inspection(console: Console, found: Inspection) -> None:
    """One table a collection and key, with the share of each value."""
    for profile in found.profiles:
        _tables(console, profile.spec.qualified_name, profile.breakdowns)


def of_verification(console: Console, proof: Verification | None) -> None:
    """One table a collection and key, source and target side by side."""
    for one in proof.collections if proof is not None else ():
        _tables(console, one.target, one.breakdowns)


def as_data(proof: Verification | None) -> list[dict[str, Any]]:
    """The same for `--json`."""
    found = ((one.target, each) for one in (proof.collections if proof else ()) for each in one.breakdowns)
    return [{"collection": target, **common.as_data(each)} for target, each in found]


def _tables(console: Console, collection: str, breakdowns: Sequence[Breakdown]) -> None:
    for one in breakdowns:
        both = one.in_target is not None
        heads = ("value", "records", "share", *(("in the target", "") if both else ()))
        rows = [_shown(line, one, both=both) for line in lines(one)]
        title = plain(f"{collection} by {one.key}: {'more than ' if one.cut else ''}{one.values:,} values").plain
        table(console, title, heads, rows, numbers=("records", "share", "in the target"))
        if one.cut:
            console.print(f"There are more than {KEPT:,} values; those seen later are counted together.\n")


def lines(one: Breakdown) -> Iterator[tuple[str, int, int]]:
    """Value, records and records in the target of each row to show; the last is the total."""
    values = [group for group in one.groups if group.row is Row.VALUE]
    rest = [group for group in one.groups if group.row is Row.OTHERS]
    for group in values[:TOP]:
        yield group.value, group.records, group.in_target or 0
    others = [*values[TOP:], *rest]
    if others:
        yield f"(others: {_number(one, values)})", _sum(others), sum(group.in_target or 0 for group in others)
    for group in one.groups:
        if group.row in _WORDS:
            yield _WORDS[group.row], group.records, group.in_target or 0
    yield "total", one.records, one.in_target or 0


def _number(one: Breakdown, values: Sequence[Group]) -> str:
    return f"{'more than ' if one.cut else ''}{one.values - len(values[:TOP]):,} values"


def _sum(groups: Sequence[Group]) -> int:
    return sum(group.records for group in groups)


def _shown(line: tuple[str, int, int], one: Breakdown, *, both: bool) -> Line:
    value, records, there = line
    share = f"{records / one.records:.1%}" if one.records else ""
    mark = "" if records == there else f"{there - records:+,}"
    return (value, records, share, there, mark) if both else (value, records, share)
