"""Puts a report together from what the other layers return. Pure, but for the clock and the machine's facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from vecferry.model import Pin, Rejection, StoreIdentity
from vecferry.planning.flows import flows_of
from vecferry.planning.model import CollectionPlan, Plan, Verdict
from vecferry.report.machine import this_machine
from vecferry.report.model import CollectionFacts, Report, RunFacts, StoreFacts
from vecferry.report.verdict import judge
from vecferry.transforms import told
from vecferry.verification.model import CollectionVerification, Comparison, Verification
from vecferry.version import __version__

KEPT = 1000
"""Rejected records that a report lists, per collection."""


def store_facts(identity: StoreIdentity, url: str) -> StoreFacts:
    """A store for the report; `url` is the text form of a `StoreUrl`, which holds no secret."""
    return StoreFacts(
        url=url, kind=identity.kind, where=identity.where, version=identity.version, transport=identity.transport
    )


def of_migration(
    plan: Plan,
    *,
    verification: Verification | None,
    comparisons: Sequence[Comparison] = (),
    run: RunFacts | None = None,
    seconds: Mapping[str, float] | None = None,
    copied: Mapping[str, int] | None = None,
    rejected: Mapping[str, Sequence[Rejection]] | None = None,
) -> Report:
    """The report of a migration.

    Args:
        seconds: stage -> seconds; by default those that `run` saw.
        copied: source collection -> records that are durable in the target.
        rejected: source collection -> records that were kept out of it.
    """
    verified = {found.source: found for found in verification.collections} if verification else {}
    compared = {comparison.collection: comparison for comparison in comparisons}
    facts = [
        _planned(
            collection,
            verified.get(collection.source),
            compared.get(collection.source),
            (copied or {}).get(collection.source),
            (rejected or {}).get(collection.source, ()),
        )
        for collection in plan.collections
    ]
    return _report(
        store_facts(plan.source, plan.source_url),
        store_facts(plan.target, plan.target_url),
        facts,
        pin=plan.pin,
        run=run,
        seconds=_seconds(run, seconds, verification),
    )


def of_verification(
    source: StoreFacts,
    target: StoreFacts,
    verification: Verification,
    *,
    pin: Pin | None = None,
    run: RunFacts | None = None,
) -> Report:
    """The report of a verification alone, whoever moved the records."""
    facts = [_found(found) for found in verification.collections]
    return _report(source, target, facts, pin=pin, run=run, seconds=_seconds(run, None, verification))


def _report(
    source: StoreFacts,
    target: StoreFacts,
    collections: Sequence[CollectionFacts],
    *,
    pin: Pin | None,
    run: RunFacts | None,
    seconds: Mapping[str, float],
) -> Report:
    return Report(
        created=datetime.now(UTC),
        vecferry=__version__,
        verdict=judge(collections),
        source=source,
        target=target,
        pin=pin,
        run=run,
        seconds=seconds,
        collections=tuple(collections),
        machine=this_machine(),
    )


def _planned(
    plan: CollectionPlan,
    verification: CollectionVerification | None,
    comparison: Comparison | None,
    copied: int | None,
    rejected: Sequence[Rejection],
) -> CollectionFacts:
    return CollectionFacts(
        source=plan.source,
        target=plan.target.qualified_name,
        records=plan.records,
        bytes=plan.bytes,
        copied=copied,
        vectors=plan.target.vectors,
        layout=plan.target.card.layout if plan.target.card else "",
        indexes=tuple(f"{index.key} ({index.kind})" for index in plan.target.indexes),
        transforms=tuple(told(flows_of([plan])[0])),
        losses=tuple(cell for cell in plan.cells if cell.verdict is not Verdict.EXACT),
        rejections=len(rejected),
        rejected=tuple(rejected[:KEPT]),
        verification=verification,
        comparison=comparison,
    )


def _found(verification: CollectionVerification) -> CollectionFacts:
    return CollectionFacts(
        source=verification.source,
        target=verification.target,
        records=verification.records,
        bytes=0,
        vectors=(),
        layout="",
        verification=verification,
        comparison=None,
    )


def _seconds(
    run: RunFacts | None, given: Mapping[str, float] | None, verification: Verification | None
) -> dict[str, float]:
    """Stage -> seconds, from the best source that there is."""
    return {**(run.seconds if run else {}), **(verification.seconds if verification else {}), **(given or {})}
