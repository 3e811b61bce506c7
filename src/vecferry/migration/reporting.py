"""The report of a run as two files: `report.html` for people, `report.json` for programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vecferry.engine.model import RunResult
from vecferry.model import Rejection
from vecferry.planning.model import Plan
from vecferry.report.build import of_migration
from vecferry.report.model import Report, RunFacts
from vecferry.report.write import read_json, write_html, write_json
from vecferry.state.ledger import Ledger
from vecferry.verification.model import Verification


def of_run(
    plan: Plan,
    result: RunResult,
    proof: Verification | None,
    facts: RunFacts,
    ledger: Ledger,
) -> Report:
    """The report of a run that has just ended."""
    rejected: dict[str, list[Rejection]] = {}
    for kept in ledger.rejections(result.run):
        rejected.setdefault(kept.collection, []).append(kept.rejection)
    copied = {c.source: c.records for c in result.collections if not c.kept}
    return of_migration(
        plan,
        verification=proof,
        run=facts,
        seconds=_seconds(result, facts),
        copied=copied,
        rejected=rejected,
    )


def _seconds(result: RunResult, facts: RunFacts) -> Mapping[str, float]:
    """The ledger's times, which hold those of earlier processes of this run too; this process's where it has none."""
    return {**facts.seconds, **result.seconds}


def write_report(report: Report, folder: Path) -> Path:
    """Write both files into `folder`; returns the HTML file.

    Raises:
        StoreFull: the folder cannot be written to.
    """
    write_json(report, folder / "report.json")
    return write_html(report, folder / "report.html")


def rewrite(path: Path, output: Path | None = None) -> Path:
    """Write the HTML page of a `report.json` again.

    Raises:
        ConfigError: no such file. CorruptData: it is no report. StoreFull: the place cannot be written to.
    """
    return write_html(read_json(path), output or path.with_suffix(".html"))
