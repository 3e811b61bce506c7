"""What `migrate` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vecferry.engine.model import RunResult
from vecferry.planning.model import Plan
from vecferry.report.model import SourcePace
from vecferry.verification.drift import Drift
from vecferry.verification.model import CollectionRepair, Verification


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """How a migration went.

    Attributes:
        run: None where it was a dry run.
        verification: None where it was left out.
        drifts: what of the synchronised collections differed, counted before the first write; empty where the run was
            resumed. repairs: what was done about it, by this process.
        seconds: stage -> seconds: inspect, backup, copy, index, verify, parity.
        report: the folder's HTML report; `report.json` lies beside it.
        pace: what became of the pace that was to be kept.
    """

    plan: Plan
    run: RunResult | None = None
    verification: Verification | None = None
    drifts: tuple[Drift, ...] = ()
    repairs: tuple[CollectionRepair, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    report: Path | None = None
    pace: SourcePace | None = None

    @property
    def records(self) -> int:
        """Records that are durable in the target, those included that a finished run had moved."""
        return self.run.records + self.run.kept if self.run else 0

    @property
    def kept(self) -> int:
        """Those of them that a finished run had moved, so that this one wrote nothing of them."""
        return self.run.kept if self.run else 0

    @property
    def differences(self) -> int | None:
        """Differences found; None where nobody looked."""
        return self.verification.differences if self.verification else None
