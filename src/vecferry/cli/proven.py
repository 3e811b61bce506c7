"""What a person reads of a proof: a verification, a comparison, a repair, and the verdict in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vecferry.cli.show import plain, table
from vecferry.verification.model import (
    Check,
    CollectionVerification,
    Comparison,
    Latency,
    Level,
    RepairResult,
    State,
    Verification,
)

if TYPE_CHECKING:
    from rich.console import Console

_MARKS = {
    State.OK: "[green]ok[/]",
    State.DIFFERENT: "[red bold]differs[/]",
    State.NOT_CHECKED: "[yellow]not checked[/]",
    State.NOT_APPLICABLE: "[dim]–[/]",
}
_STATE = {
    State.OK: "[green]ok[/]",
    State.DIFFERENT: "[red]different[/]",
    State.NOT_CHECKED: "[yellow]not checked[/]",
    State.NOT_APPLICABLE: "[dim]nothing to check[/]",
}


def verification(console: Console, proof: Verification) -> None:
    """One line a collection, one column a check; below, whatever is not plainly ok, and the first differences."""
    from rich.text import Text

    levels = list(dict.fromkeys(check.level for one in proof.collections for check in one.checks))
    rows = [
        (
            one.target,
            one.records,
            *(Text.from_markup(_MARKS[_worst_state(one, level)]) for level in levels),
            _recall(one),
        )
        for one in proof.collections
    ]
    table(console, "Verification", ("collection", "records", *levels, "recall"), rows, numbers=("records", "recall"))
    remarks = [
        (one.target, check.level, Text.from_markup(_STATE[check.state]), _remark(check))
        for one in proof.collections
        for check in one.checks
        if check.state in {State.DIFFERENT, State.NOT_CHECKED} or check.skipped
    ]
    if remarks:
        table(console, "Remarks", ("collection", "check", "result", "remark"), remarks)
    _findings(console, proof)


def _worst_state(one: CollectionVerification, level: Level) -> State:
    """The worst of the checks of one level (a collection with several vectors has several searches)."""
    found = {check.state for check in one.checks if check.level is level}
    order = (State.DIFFERENT, State.NOT_CHECKED, State.OK, State.NOT_APPLICABLE)
    return next((state for state in order if state in found), State.NOT_CHECKED)


def _recall(one: CollectionVerification) -> str:
    """How much of the exact answers the target's own search finds; the worst of its vectors."""
    figures = [check.figures for check in one.checks if check.level is Level.SEARCH]
    found = [f[f"recall@{f['k']:.0f}"] for f in figures if "k" in f and f"recall@{f['k']:.0f}" in f]
    return f"{min(found):.1%}" if found else ""


def _findings(console: Console, proof: Verification) -> None:
    findings = [
        (one.target, check.level, found.difference, found.id, found.what)
        for one in proof.collections
        for check in one.checks
        for found in check.findings
    ]
    if findings:
        more = f" (the first 20 of {len(findings):,}; more in the report)" if len(findings) > 20 else ""
        heads = ("collection", "check", "difference", "id", "what")
        table(console, f"Differences{more}", heads, findings[:20])


def _remark(check: Check) -> str:
    skipped = ", ".join(f"{count:,} skipped: {why}" for why, count in check.skipped.items())
    return " ".join(part for part in (check.note, skipped) if part)


def comparisons(console: Console, found: Sequence[Comparison]) -> None:
    """Source and target side by side."""
    rows = [
        (one.collection, side, *_latency(latency), one.note if latency is None else "")
        for one in found
        for side, latency in (("source", one.source), ("target", one.target))
    ]
    heads = ("collection", "side", "store", "p50 ms", "p95 ms", "queries/s", "remark")
    table(console, "The same queries, both sides", heads, rows, numbers=("p50 ms", "p95 ms", "queries/s"))


def _latency(latency: Latency | None) -> tuple[str, str, str, str]:
    if latency is None:
        return ("", "not measured", "", "")
    return (latency.store, f"{latency.p50_ms:.2f}", f"{latency.p95_ms:.2f}", f"{latency.queries_per_second:,.0f}")


def verdict(console: Console, proof: Verification | None) -> None:
    """The proof in one sentence."""
    if proof is None:
        console.print("[yellow]Not verified.[/]")
    elif proof.differences:
        console.print(f"[red]{proof.differences:,} differences found.[/]")
    elif not proof.ok:
        console.print("[yellow]No difference found, but not everything was checked; see above.[/]")
    else:
        console.print("[green]Every record was compared, and nothing differs.[/]")


def repairs(console: Console, done: RepairResult) -> None:
    """What was written again."""
    numbers = ("written again", "deleted", "extra, left there", "set aside")
    rows = [(one.target, one.rewritten, one.deleted, one.extra_left, one.set_aside) for one in done.collections]
    table(console, "Repaired", ("collection", *numbers), rows, numbers=numbers)
    if aside := sum(one.set_aside for one in done.collections):
        console.print(plain(_LEFT_BE.format(aside)))
    refused = [(one.target, *item) for one in done.collections for item in one.refused.items()]
    if refused:
        more = f" (the first {_SHOWN} of {len(refused):,})" if len(refused) > _SHOWN else ""
        table(console, f"Refused by the target{more}", ("collection", "id", "why"), refused[:_SHOWN])


_SHOWN = 20
_LEFT_BE = (
    "Set aside: {:,} records that the run which wrote the target left out on purpose; they were left out again. "
    "`vecferry sync` judges them anew."
)
