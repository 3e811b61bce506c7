"""Proof: every record compared by readers of its own, differences by id, repair on request, latency side by side."""

from vecferry.verify.model import (
    Check,
    CollectionRepair,
    CollectionVerification,
    Comparison,
    Difference,
    Finding,
    Latency,
    Level,
    RepairResult,
    State,
    Verification,
    VerifyOptions,
)
from vecferry.verify.run import verify

__all__ = [
    "Check",
    "CollectionRepair",
    "CollectionVerification",
    "Comparison",
    "Difference",
    "Finding",
    "Latency",
    "Level",
    "RepairResult",
    "State",
    "Verification",
    "VerifyOptions",
    "verify",
]
