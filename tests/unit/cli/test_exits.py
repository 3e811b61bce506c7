"""Which exit code an error has."""

from __future__ import annotations

import pytest

from vecferry import errors
from vecferry.cli.exits import Exit, exit_for
from vecferry.migration.preflight import Refused

CODES = {
    errors.ConfigError: Exit.USAGE,
    errors.Unavailable: Exit.FAILED,
    errors.Throttled: Exit.FAILED,
    errors.AuthFailed: Exit.FAILED,
    errors.NotFound: Exit.FAILED,
    errors.Unsupported: Exit.FAILED,
    errors.StoreFull: Exit.FAILED,
    errors.CorruptData: Exit.FAILED,
    errors.LedgerError: Exit.FAILED,
    errors.LedgerTooNew: Exit.FAILED,
    errors.AlreadyExists: Exit.REFUSED,
    errors.Conflict: Exit.REFUSED,
    errors.DataError: Exit.REFUSED,
    errors.IdCollision: Exit.REFUSED,
    errors.LossRefused: Exit.REFUSED,
    errors.PlanChanged: Exit.REFUSED,
    errors.RunLocked: Exit.REFUSED,
    Refused: Exit.REFUSED,
    errors.Interrupted: Exit.INTERRUPTED,
    errors.UnitsFailed: Exit.INTERRUPTED,
    errors.UnitsPaused: Exit.INTERRUPTED,
}


@pytest.mark.parametrize("kind", CODES, ids=lambda kind: kind.__name__)
def test_every_error_has_its_code(kind: type[errors.VecferryError]) -> None:
    assert exit_for(kind("it happened")) is CODES[kind]


def test_no_error_is_forgotten() -> None:
    """Every class of the tree that is raised itself stands in the table above."""
    concrete = {kind for kind in vars(errors).values() if isinstance(kind, type) and kind.__module__ == errors.__name__}
    assert concrete - {errors.VecferryError, errors.ConnectorError} <= CODES.keys()


@pytest.mark.parametrize("kind", [errors.StoreFull, errors.LedgerError, errors.CorruptData, errors.Unavailable])
def test_an_error_in_mid_run_is_an_interruption(kind: type[errors.VecferryError]) -> None:
    """What was written stays, and the same command goes on: that is code 4, whatever stopped it."""
    assert exit_for(kind("it happened"), started=True) is Exit.INTERRUPTED


def test_a_wrong_request_stays_one_in_mid_run() -> None:
    assert exit_for(errors.ConfigError("it happened"), started=True) is Exit.USAGE
