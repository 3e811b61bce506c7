"""The installed `vecferry` command as a process, and what it left behind; imports nothing of the product."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.warm import MEASURED, Process

PROGRAM = Path(sysconfig.get_path("scripts")) / "vecferry"
PATIENCE = 300.0
"""Seconds after which a process that does not end is a failure of the test."""
Started = subprocess.Popen[str] | Process


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as the one JSON object that it must be."""
        return json.loads(self.out)

    @property
    def text(self) -> str:
        """All that was printed, in one line: a console folds long lines where it likes."""
        return " ".join((self.out + " " + self.err).split())

    def __str__(self) -> str:
        return f"exit {self.code}\n--- out\n{self.out}\n--- err\n{self.err}"


@dataclass
class Vecferry:
    """The command in a working directory and with a ledger of its own; `env` is added to every process."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    _started: list[Started] = field(default_factory=list)

    @property
    def ledger(self) -> Path:
        return self.folder / "state" / "ledger.db"

    def __call__(self, *arguments: str | Path, expect: int | None = 0, env: dict[str, str] | None = None) -> Done:
        """Run it to its end; `expect` is the exit code that it must have."""
        process = self.start(*arguments, env=env)
        return self.end(process, expect=expect)

    def start(
        self,
        *arguments: str | Path,
        env: dict[str, str] | None = None,
        preexec: Callable[[], None] | None = None,
        stdin: int = subprocess.DEVNULL,
        cold: bool = False,
    ) -> Started:
        """Start it, and leave it to the caller; `cold`: as a shell does, with nothing imported yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [str(PROGRAM), *map(str, arguments)]
        there = {**os.environ, "VECFERRY_LEDGER": str(self.ledger), "COLUMNS": "160", **self.env, **(env or {})}
        if cold or preexec or MEASURED in there:
            process: Started = subprocess.Popen(
                command,
                cwd=self.folder,
                env=there,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
                preexec_fn=preexec,  # noqa: PLW1509 - sets a limit of the process, before any thread of it
            )
        else:
            process = Process(command, cwd=self.folder, env=there, stdin=stdin)
        self._started.append(process)
        return process

    def talk(self, *arguments: str | Path, answers: str, expect: int | None = 0) -> Done:
        """Run it with a terminal for its standard input, on which `answers` (lines) are typed beforehand."""
        ours, theirs = os.openpty()
        try:
            os.write(ours, answers.encode())
            process = self.start(*arguments, stdin=theirs)
            return self.end(process, expect=expect)
        finally:
            os.close(theirs)
            os.close(ours)

    def end(self, process: Started, *, expect: int | None = 0) -> Done:
        """Wait for a process that was started."""
        try:
            out, err = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"The command does not end.\n--- out\n{out}\n--- err\n{err}") from None
        done = Done(process.wait(), out, err)
        assert expect is None or done.code == expect, f"expected exit {expect}: {done}"
        return done

    def close(self) -> None:
        """End what a failed test left running."""
        for process in self._started:
            if process.returncode is None:
                process.kill()
                process.communicate()


def wait_until(reached: Callable[[], bool], process: Started | None = None) -> None:
    """Look again and again, until `reached()` or the process has ended."""
    deadline = time.monotonic() + PATIENCE
    while not reached():
        if process is not None and process.poll() is not None:
            out, err = process.communicate()
            raise AssertionError(f"It ended before that (exit {process.returncode}).\n--- out\n{out}\n--- err\n{err}")
        assert time.monotonic() < deadline, "That was never reached."
        time.sleep(0.01)


def logged(log: Path) -> list[dict[str, Any]]:
    """The events of a `--log` file that are whole."""
    lines = log.read_text(encoding="utf-8").split("\n")[:-1] if log.exists() else []
    return [json.loads(line) for line in lines]


def copied(log: Path) -> int:
    """Records that a `--log` file says are durable in the target."""
    steps = [event for event in logged(log) if event["event"] == "Progress" and event["stage"] == "copy"]
    return sum(event["records"] for event in steps)


def everything_in(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Path -> (mode, modification time in ns, content) of all that lies in a folder, to compare before and after."""
    found = {}
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        found[str(path.relative_to(folder))] = (
            state.st_mode,
            state.st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
    return found
