"""What every command shares: consoles, JSON output, listeners, questions."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from vecferry.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from vecferry.engine.stop import Stop
    from vecferry.events import Observer
    from vecferry.planning.presets import Preset
    from vecferry.transforms import Recipe

PIPE_WIDTH = 140
"""Columns of output that goes into a pipe or a file."""


def recipe(path: Path | None) -> Recipe:
    """The transforms of `--transform`; none without it.

    Raises:
        ConfigError: the file cannot be read, or says what cannot be done.
    """
    from vecferry.planning.recipe import load_recipe
    from vecferry.transforms import Recipe

    return Recipe() if path is None else load_recipe(read_text(path, "transform file"), name=str(path))


def preset(name: str | None) -> Preset | None:
    """The preset of `--preset`.

    Raises:
        ConfigError: there is none of that name, nor a file, or the file is no preset.
    """
    from vecferry.planning.presets import load_preset

    return None if name is None else load_preset(name)


def read_text(path: Path, what: str) -> str:
    """The text of a file that a person wrote.

    Raises:
        ConfigError: it cannot be read, or is no text in UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"The {what} {path} cannot be read: {error.strerror}.", hint="Check the path and its permissions."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"The {what} {path} is not text in UTF-8.", hint="Name a YAML file.") from error


def output(*, as_json: bool) -> Console:
    """The console for results: standard output, or standard error where that is kept for JSON."""
    from rich.console import Console

    return _console(Console(stderr=as_json, highlight=False))


def messages() -> Console:
    """The console for progress and questions: standard error."""
    from rich.console import Console

    return _console(Console(stderr=True, highlight=False))


def _console(console: Console) -> Console:
    """`console`, wide enough for a table where no terminal says how wide it is."""
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console


def print_json(value: object) -> None:
    """`value` (dataclasses, mappings, …) as one JSON object on standard output."""
    import msgspec

    data = value if isinstance(value, Mapping) else msgspec.to_builtins(value, str_keys=True)
    click.echo(msgspec.json.format(msgspec.json.encode(data), indent=2).decode())


def as_data(value: object) -> Any:
    """`value` as mappings and lists that JSON can say."""
    import msgspec

    return msgspec.to_builtins(value, str_keys=True)


@contextmanager
def watched(console: Console, *, quiet: bool, log: Path | None) -> Iterator[tuple[Observer, Stop]]:
    """Who is told what happens in the block, and what Ctrl-C asks to stop."""
    from vecferry.engine.stop import Stop
    from vecferry.progress import observer

    stop = Stop()
    with observer(console, quiet=quiet, log=log) as observe, stoppable(stop):
        yield observe, stop


@contextmanager
def stoppable(stop: Stop) -> Iterator[None]:
    """Ctrl-C or SIGTERM once asks `stop`; a second time stops at once. Either way the run can be resumed."""

    def ask(_number: int, _frame: FrameType | None) -> None:
        first = not stop.requested
        stop.request()
        if first:
            click.echo("\nFinishing the batches in flight. Press Ctrl-C again to stop at once.", err=True)
        else:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_interactive() -> bool:
    """Can a question be asked?"""
    return sys.stdin is not None and sys.stdin.isatty()


def consent(question: str, *, yes: bool) -> None:
    """Ask before the first write.

    Raises:
        Refused: the answer is no, or there is no terminal to ask on and no `--yes`.
    """
    from vecferry.migration.preflight import Refused

    if yes:
        return
    if not is_interactive():
        raise Refused(
            "Nothing was written: there is no terminal to ask on.", hint="Add --yes to go ahead without a question."
        )
    if not click.confirm(question, default=False, err=True):
        raise Refused("Nothing was written: you did not agree.")


def count(records: int) -> str:
    """So many records, in words."""
    return "1 record" if records == 1 else f"{records:,} records"
