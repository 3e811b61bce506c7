"""The last screen of a migration: what happened, whether it is proven, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from vecferry.cli import grouped, show
from vecferry.cli.common import count
from vecferry.progress import duration
from vecferry.state.paths import without_password
from vecferry.verification.model import Difference, Level, Verification

if TYPE_CHECKING:
    from rich.console import Console

    from vecferry.migration import Migration


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """What a next command needs to mean the same.

    Attributes:
        stores: both URLs.
        chosen: the choice of collections, and what is changed on the way, as options.
        writes: what one that writes needs besides: the losses that were accepted, and what is to be deleted.
        ledger: where runs are remembered, as an option; empty where the environment says it.
    """

    stores: tuple[str, str]
    chosen: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    ledger: tuple[str, ...] = ()

    @classmethod
    def of(cls, source: str, target: str, given: Mapping[str, Any]) -> Again:
        """From the options of the command that runs: `collections`, `transform`, `accepted`, `delete`, `ledger`."""
        transform = given.get("transform")
        return cls(
            stores=(source, target),
            chosen=(*_each("-c", given["collections"]), *_each("--transform", [transform] if transform else [])),
            writes=(*_each("--accept", given["accepted"]), *(["--delete"] if given.get("delete") else [])),
            ledger=ledger_given(),
        )

    def command(self, name: str, *more: str) -> str:
        """The command line of `name`, to be pasted into a shell: `verify`, `sync`, `compare`."""
        writes = (*self.writes, *(part for part in more if part not in self.writes)) if name == "sync" else more
        ledger = self.ledger if name in _REMEMBER else ()
        return shlex.join(["vecferry", name, *self.stores, *self.chosen, *writes, *ledger])


_REMEMBER = frozenset({"verify", "sync"})
"""Commands that have `--ledger`."""


def _each(option: str, values: Iterable[object]) -> tuple[str, ...]:
    return tuple(part for value in values for part in (option, str(value)))


def ledger_given() -> tuple[str, ...]:
    """`--ledger` as the command that runs was given it; nothing where the environment or nobody said it."""
    context = click.get_current_context()
    if context.get_parameter_source("ledger") is not ParameterSource.COMMANDLINE:
        return ()
    return "--ledger", without_password(context.params["ledger"])


def outcome(console: Console, done: Migration, again: Again) -> None:
    """The last screen of a migration: what happened, in one sentence, and what to do next."""
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
    _next(console, proof, again)


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


def _next(console: Console, proof: Verification | None, again: Again) -> None:
    console.print("\nNext:")
    if proof is None:
        steps = [("prove it", again.command("verify"))]
    elif proof.differences:
        steps = [_mending(proof, again)]
    else:
        steps = [
            ("point your app at the target, then measure both sides", again.command("compare")),
            ("after more writes to the source, bring the target up to date", again.command("sync")),
        ]
    for why, command in steps:
        console.print(f"  {why}:")
        console.print(f"    {command}", markup=False, highlight=False, soft_wrap=True)


def _mending(proof: Verification, again: Again) -> tuple[str, str]:
    """What a next command would do about the differences, and that command."""
    if _only_extra(proof):
        return "delete what only the target has", again.command("sync", "--delete")
    return "write what is missing or changed, so that the target is up to date with the source", again.command("sync")


def _only_extra(proof: Verification) -> bool:
    """Is all that differs that the target holds more?"""
    records = [
        c for one in proof.collections for c in one.checks if c.level in {Level.SCHEMA, Level.IDS, Level.CONTENT}
    ]
    found = [finding.difference for check in records for finding in check.findings]
    return bool(found) and set(found) == {Difference.EXTRA}
