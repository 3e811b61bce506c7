"""`vecferry.testing.crash.run` for many tests: its processes begin with vecferry imported (`tests.warm`)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests import warm
from vecferry.testing import crash
from vecferry.testing.crash import Fault, Outcome, command, reached


def run(
    module: str,
    arguments: Sequence[str],
    *,
    log: Path,
    fault: Fault | None = None,
    env: Mapping[str, str] | None = None,
) -> Outcome:
    """Run a module to its end, or until `fault` hits it."""
    if warm.MEASURED in os.environ:
        return crash.run(module, arguments, log=log, fault=fault, env=env)
    log.unlink(missing_ok=True)
    process = start(module, arguments, log=log, fault=fault, env=env)
    try:
        out, err = process.communicate(120)
    finally:
        process.kill()
    return Outcome(returncode=process.wait(), stdout=out, stderr=err, reached=reached(log))


def start(
    module: str, arguments: Sequence[str], *, log: Path, fault: Fault | None, env: Mapping[str, str] | None = None
) -> warm.Process:
    """Start it, and leave it to the caller."""
    args = command(module, arguments, log=log, fault=fault)[2:]  # without `python -m`
    return warm.Process(args, cwd=Path.cwd(), env={**os.environ, **(env or {})})
