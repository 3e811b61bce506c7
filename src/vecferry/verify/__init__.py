"""Proof: every record compared by readers of its own, differences by id, repair on request, latency side by side."""

from vecferry.verify.compare import compare
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
from vecferry.verify.repair import repair
from vecferry.verify.run import Pair, verify

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
