"""The person at the terminal: what is shown before the first write, what is asked, and what an answer means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vecferry.cli import common
from vecferry.cli.common import count

if TYPE_CHECKING:
    from rich.console import Console

    from vecferry.errors import AlreadyExists
    from vecferry.planning.model import IfExists, Plan
    from vecferry.planning.targets import TargetState
    from vecferry.verification.drift import Drift

WITHOUT = "without backup"
"""What must be typed to have records removed without an archive of them."""

_CHOICES = (
    ("append", "add the source's records to it; stops where an id is there already, unless --on-conflict says more"),
    ("recreate", "delete it and write it anew; a verified backup of it is made first"),
    ("sync", "write only what it lacks or has otherwise; delete nothing"),
    ("stop", "write nothing"),
)


class Person:
    """The person at the terminal. With `yes`, or without a terminal, nobody is asked."""

    def __init__(self, console: Console, *, yes: bool) -> None:
        self._console = console
        self._yes = yes
        self._delete = False

    @property
    def _silent(self) -> bool:
        return self._yes or not common.is_interactive()

    def show(self, plan: Plan, standing: Sequence[TargetState]) -> None:
        """The plan as tables, and what stands in the target already."""
        from vecferry.cli import show

        show.the_plan(self._console, plan)
        show.standing(self._console, standing)

    def existing(self, state: TargetState) -> IfExists:
        """Append, recreate, sync or stop (what fits): asked where somebody can answer, else refused."""
        from vecferry.cli.show import plain
        from vecferry.planning.model import IfExists
        from vecferry.planning.targets import occupied

        if self._silent:
            raise state.conflict or occupied(state)
        self._console.print(plain(f"The collection '{state.target}' is in the target already."), style="bold")
        for note in (state.note, state.conflict.message if state.conflict else ""):
            if note:
                self._console.print(plain(note))
        choices = [(c, told) for c, told in _CHOICES if state.conflict is None or c in {"recreate", "stop"}]
        for choice, meaning in choices:
            self._console.print(f"  {choice:<9} {meaning}", highlight=False)
        names = [choice for choice, _ in choices]
        answer = click.prompt("What now?", type=click.Choice(names), default="stop", err=True)
        return IfExists.REFUSE if answer == "stop" else IfExists(answer)

    def outdated(self, refusal: AlreadyExists) -> None:
        """Offer to write what differs; a script gets the refusal, which names the command."""
        from vecferry.cli.show import plain

        if self._silent:
            raise refusal
        for line in refusal.message.splitlines():
            self._console.print(plain(line))
        if not click.confirm("Compare both, and write only what differs?", default=False, err=True):
            raise refusal

    def backup(self, doomed: Sequence[TargetState], *, chosen: bool) -> Path | None:
        """A folder for the archive, or None where "without backup" was typed."""
        from vecferry.cli.show import plain
        from vecferry.migration.settings import REPORTS
        from vecferry.planning.targets import unsaved

        if self._silent:
            raise unsaved(doomed)
        names = ", ".join(f"'{state.target}' ({state.records:,} records of {state.whose})" for state in doomed)
        told = "Before that" if chosen else "Before anything is deleted"
        self._console.print(plain(f"{told} a verified backup is made of {names}, and of the source."))
        question = f"Into which folder? (or type: {WITHOUT})"
        answer = str(click.prompt(question, default=str(REPORTS / "backup"), err=True)).strip()
        return None if answer.lower() == WITHOUT else Path(answer)

    def differs(self, drifts: Sequence[Drift], *, delete: bool) -> None:
        """What a synchronisation would write, as a table."""
        from vecferry.cli import show

        self._delete = delete
        show.drifts(self._console, drifts, delete=delete)

    def proceed(self, plan: Plan, drifts: Sequence[Drift]) -> bool:
        """The question before the first write."""
        synced = {collection.source for collection in plan.synced}
        drifts = [one for one in drifts if one.source in synced]
        copied = sum(c.records for c in plan.collections if c not in plan.kept and c not in plan.synced)
        asked = [f"write {count(copied + sum(one.writes for one in drifts))} to {plan.target_url}"]
        if self._delete and (extra := sum(one.extra for one in drifts)):
            asked.append(f"delete {extra:,} there")
        if doomed := [repr(c.target.name) for c in plan.collections if c.if_exists == "recreate"]:
            asked.append(f"delete what {', '.join(doomed)} holds now")
        question = " and ".join(asked)
        common.consent(f"{question[0].upper()}{question[1:]}?", yes=self._yes)
        return True
