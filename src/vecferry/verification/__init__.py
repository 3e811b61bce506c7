"""Proof: every record compared by readers of its own, differences by id, repair on request, latency side by side."""

from vecferry.verification.compare import compare
from vecferry.verification.model import (
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
from vecferry.verification.repair import repair
from vecferry.verification.run import Pair, verify

__all__ = [
    "Check",
    "CollectionRepair",
    "CollectionVerification",
    "Comparison",
    "Difference",
    "Finding",
    "Latency",
    "Level",
    "Pair",
    "RepairResult",
    "State",
    "Verification",
    "VerifyOptions",
    "compare",
    "repair",
    "verify",
]
