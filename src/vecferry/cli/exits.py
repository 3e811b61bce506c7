"""Exit codes, documented in docs/reference/exit-codes.md. Scripts may rely on them."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from vecferry.errors import (
    AlreadyExists,
    ConfigError,
    Conflict,
    ConnectorError,
    CorruptData,
    DataError,
    Interrupted,
    LedgerError,
    PlanChanged,
    RunLocked,
    UnitsFailed,
    VecferryError,
)

if TYPE_CHECKING:
    from vecferry.verification.model import Verification


class Exit(IntEnum):
    """How a command ended."""

    DONE = 0
    DIFFERENCES = 1
    """everything ran, and verification found differences, or did not get through every record"""
    USAGE = 2
    """the command line or a URL is wrong"""
    REFUSED = 3
    """refused before anything was written: losses not accepted, target not empty, no consent, a run that is held"""
    INTERRUPTED = 4
    """stopped part-way, or some units failed; run the same command again and it goes on"""
    FAILED = 5
    """a store or file cannot be used: down, wrong key, damaged"""
    BUG = 70
    """an error that vecferry did not expect; please report it"""


def exit_of(proof: Verification | None, *, strict: bool = False) -> Exit:
    """The exit code of a verification; `strict` counts what a store cannot be asked for as a difference."""
    passed = proof is None or (proof.ok if strict else proof.sound)
    return Exit.DONE if passed else Exit.DIFFERENCES


_REFUSALS = (AlreadyExists, Conflict, DataError, PlanChanged, RunLocked)


def exit_for(error: VecferryError, *, started: bool = False) -> Exit:
    """The exit code of an error; `started` says that something was written already, so that the run can be resumed."""
    if isinstance(error, ConfigError):
        return Exit.USAGE
    if isinstance(error, Interrupted | UnitsFailed) or started:
        return Exit.INTERRUPTED
    if isinstance(error, CorruptData):
        return Exit.FAILED
    if isinstance(error, _REFUSALS):
        return Exit.REFUSED
    return Exit.FAILED if isinstance(error, ConnectorError | LedgerError) else Exit.REFUSED
