"""What a caller decides about a migration, and the person who may be asked on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from vecferry.engine.gentle import Bound
from vecferry.engine.model import Options
from vecferry.errors import AlreadyExists
from vecferry.migration.status_sql import COLUMN
from vecferry.planning.model import IfExists, Plan
from vecferry.planning.options import PlanOptions
from vecferry.planning.targets import TargetState, unsaved
from vecferry.verification.drift import Drift
from vecferry.verification.model import VerifyOptions

REPORTS = Path("vecferry-reports")
"""Where reports go by default: a folder of the working directory, one folder a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything about a migration that is not the two stores.

    Attributes:
        plan: what is wished of the plan; `decisions` is a plan that a person edited, whose choices are taken over.
        pace: what the p95 of the source's own searches may become while it is read; None to go on as the run began, at
            full pace where it begins.
        engine: how hard to push. None of it changes what ends up in the target.
        verify: how to verify; None leaves verification out, and the result says so.
        backup: a folder for a verified archive of the source, and of what is overwritten in the target.
        no_backup: records of somebody else may be removed by `recreate` without an archive of them.
        delete_extra: what is synchronised loses the records that the source does not have.
        ledger: where runs are remembered, a path or a database URL; None for the user's own.
        reports: the folder in which the run's report is written; None for no report.
        restart: give an unfinished run of the same job up and begin anew.
        dry_run: stop after the plan; nothing is written anywhere.
        status_table: `URL[#TABLE]` of a SQL table in which every unit has a line (`vecferry.migration.status_table`).
        status_column: its first column, which holds the units' values.
    """

    plan: PlanOptions = field(default_factory=PlanOptions)
    decisions: Plan | None = None
    pace: Bound | None = None
    engine: Options = field(default_factory=Options)
    verify: VerifyOptions | None = field(default_factory=VerifyOptions)
    backup: Path | None = None
    no_backup: bool = False
    delete_extra: bool = False
    ledger: str | None = None
    reports: Path | None = REPORTS
    restart: bool = False
    dry_run: bool = False
    status_table: str | None = None
    status_column: str = COLUMN


class Ask(Protocol):
    """The person who may be asked before the first write."""

    def show(self, plan: Plan, standing: Sequence[TargetState]) -> None:
        """Show what would be done, and what stands in the target already. Called before anything is refused."""
        ...

    def existing(self, state: TargetState) -> IfExists:
        """What to do about a collection that holds records of somebody else: append, recreate, sync or refuse."""
        ...

    def outdated(self, refusal: AlreadyExists) -> None:
        """Shall what was moved already, and is not what the source holds now, be synchronised?

        Raises:
            AlreadyExists: no (`refusal` itself), or there is nobody to say so.
        """
        ...

    def backup(self, doomed: Sequence[TargetState], *, chosen: bool) -> Path | None:
        """A folder for the archive of collections that are to be removed; None where it was declined in words.

        `chosen` says that a person has just chosen to recreate one of them.

        Raises:
            AlreadyExists: nobody said either.
        """
        ...

    def differs(self, drifts: Sequence[Drift], *, delete: bool) -> None:
        """Show what of the collections that are to be synchronised differs, counted."""
        ...

    def proceed(self, plan: Plan, drifts: Sequence[Drift]) -> bool:
        """Shall the first write happen?"""
        ...


class Consent:
    """Nobody to ask: a caller in code has decided already. Records of somebody else are never touched unasked."""

    def show(self, plan: Plan, standing: Sequence[TargetState]) -> None:
        """Nobody looks."""

    def existing(self, state: TargetState) -> IfExists:  # noqa: ARG002 - the protocol's
        return IfExists.REFUSE

    def outdated(self, refusal: AlreadyExists) -> None:
        raise refusal

    def backup(self, doomed: Sequence[TargetState], *, chosen: bool) -> Path | None:  # noqa: ARG002 - the protocol's
        raise unsaved(doomed)

    def differs(self, drifts: Sequence[Drift], *, delete: bool) -> None:
        """Nobody looks."""

    def proceed(self, plan: Plan, drifts: Sequence[Drift]) -> bool:  # noqa: ARG002 - the protocol's
        return True
