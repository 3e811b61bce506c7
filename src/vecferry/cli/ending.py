"""The last screen of a migration: what happened, whether it is proven, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vecferry.cli import grouped, show
from vecferry.cli.common import count
from vecferry.progress import duration
from vecferry.verification.model import Difference, Level, Verification

if TYPE_CHECKING:
    from rich.console import Console

    from vecferry.migration import Migration


def outcome(console: Console, done: Migration, stores: Sequence[str], accepted: Sequence[str] = ()) -> None:
    """The last screen of a migration: what happened, in one sentence, and what to do next.

    Args:
        stores: what a next command needs to mean the same: both URLs, and the choice of collections.
        accepted: the losses that were accepted, for a next command that writes.
    """
    assert done.run is not None
    proof = done.verification
    if proof is not None:
        show.verification(console, proof)
        grouped.of_verification(console, proof)
    _told(console, done)
    if done.run.rejected:
        console.print(
            f"[yellow]{done.run.rejected:,} records were set aside[/]; the report lists them with the reason."
        )
    show.verdict(console, proof)
    if done.report:
        console.print(f"\nReport: [bold]{done.report}[/]")
    _next(console, proof, stores, accepted)


def _told(console: Console, done: Migration) -> None:
    """What was written, or that there was nothing to be written."""
    assert done.run is not None
    plan, proof = done.plan, done.verification
    runs = ", ".join(dict.fromkeys(c.target.card.run for c in plan.kept if c.target.card is not None))
    mover = f" Run {runs} had moved them." if runs else ""
    if len(plan.kept) == len(plan.collections):
        same = proof is not None and proof.identical and not proof.differences
        found = f"nothing to do: {count(done.records)}, all identical." if same else "nothing was written."
        console.print(f"{found[0].upper()}{found[1:]}{mover}", markup=False, highlight=False)
        return
    copied = done.seconds.get("copy", 0.0)
    rate = f"; copied at {done.run.records / copied:,.0f} a second" if copied > 0.05 and not done.repairs else ""
    total = duration(sum(done.seconds.values()))
    console.print(f"[bold]{done.records:,} records[/] in {len(plan.collections)} collections, {total}{rate}.")
    if done.kept:
        told = f"{done.kept:,} of them were there before, and were not written again."
        console.print(told + (mover if plan.kept else ""), markup=False, highlight=False)
    _mended(console, done)


def _mended(console: Console, done: Migration) -> None:
    """What a synchronisation wrote, deleted and left."""
    if not done.repairs:
        return
    repairs = done.repairs
    told = [f"Added or changed: {count(sum(one.rewritten for one in repairs))}."]
    if deleted := sum(one.deleted for one in repairs):
        told.append(f"Deleted, since only the target had them: {deleted:,}.")
    if left := sum(one.extra_left for one in repairs):
        told.append(f"Left there, though only the target has them: {left:,}; --delete removes them.")
    if refused := sum(len(one.refused) for one in repairs):
        told.append(f"Refused by the target: {refused:,}.")
    console.print(" ".join(told), markup=False, highlight=False)


def _next(console: Console, proof: Verification | None, stores: Sequence[str], accepted: Sequence[str]) -> None:
    losses = [part for one in accepted for part in ("--accept", one)]
    sync = ("sync", *stores, *losses)
    console.print("\nNext:")
    if proof is None:
        steps = [("prove it", ("verify", *stores))]
    elif proof.differences:
        steps = [("write what is missing or changed, so that the target is up to date with the source", sync)]
        if _only_extra(proof):
            steps = [("delete what only the target has", (*sync, "--delete"))]
    else:
        steps = [
            ("point your app at the target, then measure both sides", ("compare", *stores)),
            ("after more writes to the source, bring the target up to date", sync),
        ]
    for why, command in steps:
        console.print(f"  {why}:")
        text = shlex.join(["vecferry", *command])
        console.print(f"    {text}", markup=False, highlight=False, soft_wrap=True)


def _only_extra(proof: Verification) -> bool:
    """Is all that differs that the target holds more?"""
    records = [
        c for one in proof.collections for c in one.checks if c.level in {Level.SCHEMA, Level.IDS, Level.CONTENT}
    ]
    found = [finding.difference for check in records for finding in check.findings]
    return bool(found) and set(found) == {Difference.EXTRA}
