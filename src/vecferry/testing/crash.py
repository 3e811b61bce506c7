"""Kills a process at a named point of its run, and says which points it reached. For crash tests.

    python -m vecferry.testing.crash --at batch.written --nth 3 --log FILE -- vecferry migrate SOURCE TARGET --yes

runs the module `vecferry` with those arguments, and sends SIGKILL to itself when `batch.written` is reached for the
third time. Nothing is flushed, closed or said: what is on disk then is what a power cut or the kernel would leave.
"""

from __future__ import annotations

import argparse
import os
import runpy
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from vecferry import hooks

SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
"""What may happen at the point: the process dies, or it is frozen until somebody sends SIGCONT."""
_SETTLE = 0.2
"""Seconds that the thread waits at the point: a signal to the own process takes effect a moment after `os.kill`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Where a process is hit: at the `nth` time (from 1) that it reaches `point`."""

    point: str
    nth: int = 1
    signal: str = "kill"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a process ended, and how often it reached each point."""

    returncode: int
    stdout: str
    stderr: str
    reached: Mapping[str, int]

    @property
    def killed(self) -> bool:
        return self.returncode == -signal.SIGKILL


def run(
    module: str,
    arguments: Sequence[str],
    *,
    log: Path,
    fault: Fault | None = None,
    timeout: float = 120.0,
    env: Mapping[str, str] | None = None,
) -> Outcome:
    """Run `python -m module arguments` to its end, or until `fault` hits it."""
    log.unlink(missing_ok=True)
    done = subprocess.run(
        command(module, arguments, log=log, fault=fault),
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=None if env is None else {**os.environ, **env},
    )
    return Outcome(returncode=done.returncode, stdout=done.stdout, stderr=done.stderr, reached=reached(log))


def command(module: str, arguments: Sequence[str], *, log: Path, fault: Fault | None = None) -> list[str]:
    """The command line of such a process, for tests that start it themselves."""
    hit = ["--at", fault.point, "--nth", str(fault.nth), "--signal", fault.signal] if fault else []
    return [sys.executable, "-m", "vecferry.testing.crash", "--log", str(log), *hit, "--", module, *arguments]


def reached(log: Path) -> Counter[str]:
    """How often a process reached each point, from its log."""
    return Counter(log.read_text().split()) if log.exists() else Counter()


def arm(log: Path, fault: Fault | None) -> None:
    """From now on, log every point that this process reaches, and let `fault` hit it."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    seen: Counter[str] = Counter()
    lock = Lock()

    def reach(point: str) -> None:
        with lock:
            os.write(descriptor, f"{point}\n".encode())
            seen[point] += 1
            if fault is not None and (point, seen[point]) == (fault.point, fault.nth):
                os.kill(os.getpid(), SIGNALS[fault.signal])
                time.sleep(_SETTLE)

    hooks.install(reach)


def main(arguments: Sequence[str]) -> None:
    """Arm this process, then become the module that is to be tested."""
    parser = argparse.ArgumentParser(prog="python -m vecferry.testing.crash", description=__doc__)
    parser.add_argument("--log", type=Path, required=True, help="file that takes one line per point reached")
    parser.add_argument("--at", choices=sorted(hooks.POINTS), help="point to be hit at")
    parser.add_argument("--nth", type=int, default=1, help="how often the point must be reached for that")
    parser.add_argument("--signal", choices=sorted(SIGNALS), default="kill")
    parser.add_argument("module", help="module to run, as with python -m")
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    fault = Fault(point=options.at, nth=options.nth, signal=options.signal) if options.at else None
    arm(options.log, fault)
    sys.argv = [options.module, *options.rest]
    runpy.run_module(options.module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
