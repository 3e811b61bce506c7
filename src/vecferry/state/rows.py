"""Values as rows of the ledger's tables."""

from __future__ import annotations

from collections.abc import Iterable

from vecferry.state.model import Job


def partition_rows(ident: str, job: Job, now: float) -> Iterable[dict[str, object]]:
    """Each partition of a job, as `partitions` holds it before anything is read."""
    for target in job.collections:
        for ordinal, partition in enumerate(target.partitions):
            yield {
                "run": ident,
                "collection": target.source,
                "id": partition.id,
                "ordinal": ordinal,
                "bounds": partition.bounds,
                "estimated_rows": partition.estimated_rows,
                "updated": now,
            }
