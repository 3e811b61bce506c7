"""Named points of a run where a test may step in: kill the process, pause it, raise. One registry lists them all.

The product only calls `reach(NAME)`; what happens there is the test's business (`vecferry.testing.faults`).
"""

from __future__ import annotations

from collections.abc import Callable

POINTS: dict[str, str] = {
    "plan.saved": "the plan is in the ledger, nothing is written yet",
    "target.dropped": "recreate: the old target collection is gone, the new one is not there",
    "sink.prepared": "the target collection exists, empty",
    "chunk.read": "a chunk is in memory",
    "batch.before": "a batch is about to be sent",
    "batch.written": "a batch is durable in the target, its checkpoint is not committed",
    "checkpoint.committed": "a checkpoint is in the ledger",
    "partition.done": "a partition is marked done",
    "collection.copied": "every partition of a collection is done, its indexes are not built",
    "collection.finished": "the indexes of a collection are built",
    "run.copied": "every collection is finished, nothing is verified",
    "run.verified": "verification is done, the run is not closed",
}
"""Point -> what is true there. A test fails where a point is never reached."""

_callback: Callable[[str], None] | None = None


def reach(point: str) -> None:
    """Tell that `point` was reached."""
    if _callback is not None:
        _callback(point)


def install(callback: Callable[[str], None] | None) -> None:
    """Call `callback` with each point that is reached from now on; None removes it. For tests."""
    global _callback  # one per process, on purpose: a crash test owns its process
    _callback = callback
