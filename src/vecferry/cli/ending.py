"""The last screen of a migration: what happened, whether it is proven, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from vecferry.cli import grouped, proven
from vecferry.cli.common import count
from vecferry.progress import duration
from vecferry.state.paths import ledger_option
from vecferry.verification.model import DATA_LEVELS, Difference, Level, Verification

if TYPE_CHECKING:
    from rich.console import Console

    from vecferry.migration import Migration
    from vecferry.report.model import SourcePace


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """What a next command needs to mean the same.

    Attributes:
        stores: both URLs.
        chosen: the choice of collections, and what is changed on the way, as options.
        writes: what one that writes needs besides: the losses that were accepted, and what is to be deleted.
        preset: how tables are read, as an option.
        ledger: where runs are remembered, as an option; empty where the environment says it.
        form: what `migrate` was told of the form in which records stand in the target, as options.
    """

    stores: tuple[str, str]
    chosen: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    preset: tuple[str, ...] = ()
    ledger: tuple[str, ...] = ()
    form: tuple[str, ...] = ()

    @classmethod
    def of(cls, source: str, target: str, given: Mapping[str, Any]) -> Again:
        """From the options of the command that runs.

        Those are `collections`, `transform`, `preset`, `accepted`, `delete`, `ledger`.
        """
        transform, preset = given.get("transform"), given.get("preset")
        return cls(
            stores=(source, target),
            chosen=(*_each("-c", given["collections"]), *_each("--transform", [transform] if transform else [])),
            writes=(*_each("--accept", given["accepted"]), *(["--delete"] if given.get("delete") else [])),
            preset=() if preset is None else ("--preset", preset),
            ledger=ledger_option(given["ledger"]),
            form=_form(),
        )

    def verify(self) -> str:
        """The command line that compares every record, to be pasted into a shell; so are the others."""
        return self._command("verify", *self.chosen, *self.preset, *self.ledger)

    def compare(self) -> str:
        return self._command("compare", *self.chosen, *self.preset)

    def sync(self, *, delete: bool = False) -> str:
        wish = ["--delete"] if delete and "--delete" not in self.writes else []
        return self._command("sync", *self.chosen, *self.preset, *self.writes, *wish, *self.ledger)

    def recreate(self, pairs: Iterable[tuple[str, str]]) -> str:
        """The command line that makes collections of the target anew. Args: `pairs` of source and target names."""
        chosen = _each("-c", (f"{source}={target.rpartition('/')[2]}" for source, target in pairs))
        if "--plan" in self.form or "--transform" in self.chosen:  # these say what goes where
            chosen = () if "--plan" in self.form else self.chosen
        writes = [part for part in self.writes if part != "--delete"]
        return self._command("migrate", *chosen, *self.form, *writes, "--if-exists", "recreate", *self.ledger)

    def _command(self, name: str, *options: str) -> str:
        return shlex.join(["vecferry", name, *self.stores, *options])


_FORM = ("plan_file", "preset", "layout", "exact_vectors", "indexes", "tenant_key", "config", "name")
"""Parameters of `migrate`: what of a plan may be said beside the choice of collections."""


def _form() -> tuple[str, ...]:
    context = click.get_current_context()
    options = {one.name: one.opts[0] for one in context.command.params}
    said = [n for n in _FORM if context.get_parameter_source(n) is ParameterSource.COMMANDLINE]
    values = {name: context.params[name] for name in said}
    return tuple(
        part
        for name, value in values.items()
        for part in _each(options[name], value if isinstance(value, tuple) else [value])
    )


def _each(option: str, values: Iterable[object]) -> tuple[str, ...]:
    return tuple(part for value in values for part in (option, str(value)))


def outcome(console: Console, done: Migration, again: Again) -> None:
    """The last screen of a migration: what happened, in one sentence, and what to do next."""
    assert done.run is not None
    proof = done.verification
    if proof is not None:
        proven.verification(console, proof)
        grouped.of_verification(console, proof)
    _told(console, done)
    if done.run.rejected:
        console.print(
            f"[yellow]{done.run.rejected:,} records were set aside[/]; the report lists them with the reason."
        )
    proven.verdict(console, proof)
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
    if done.pace is not None:
        console.print(_pace(done.pace), markup=False, highlight=False)
    _mended(console, done)


def _pace(pace: SourcePace) -> str:
    """What became of the pace of the source."""
    p95, idle, bound = (f"{seconds * 1000:.1f}" for seconds in (pace.p95, pace.idle, pace.bound))
    cuts = f"{pace.cuts:,} time{'' if pace.cuts == 1 else 's'}"
    return (
        f"The source's searches took {p95} ms at p95 while it was read: {idle} ms before, {bound} ms at most. The pace "
        f"ended at {pace.per_second:,.0f} records a second and was cut {cuts}."
    )


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
        steps = [("prove it", again.verify())]
    elif proof.differences:
        steps = [_mending(proof, again)]
    else:
        steps = [
            ("point your app at the target, then measure both sides", again.compare()),
            ("after more writes to the source, bring the target up to date", again.sync()),
        ]
    for why, command in steps:
        console.print(f"  {why}:")
        console.print(f"    {command}", markup=False, highlight=False, soft_wrap=True)


def _mending(proof: Verification, again: Again) -> tuple[str, str]:
    """What a next command would do about the differences, and that command."""
    differing = [(one, check) for one in proof.collections for check in one.checks if check.differences]
    if {check.level for _, check in differing} & DATA_LEVELS == {Level.ORDER}:
        pairs = [(one.source, one.target) for one, check in differing if check.level is Level.ORDER]
        return "write it anew, since a synchronisation moves no record into the source's order", again.recreate(pairs)
    records = [check for _, check in differing if check.level in {Level.SCHEMA, Level.IDS, Level.CONTENT}]
    if {finding.difference for check in records for finding in check.findings} == {Difference.EXTRA}:
        return "delete what only the target has", again.sync(delete=True)
    return "write what is missing or changed, so that the target is up to date with the source", again.sync()
