"""Opening stores for the length of a block, and holding a source still."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from vecferry.errors import ConfigError, LedgerError
from vecferry.migration.throttled import Again, patient
from vecferry.model import Pin
from vecferry.protocols import Database, Pinnable
from vecferry.registry import open_database
from vecferry.url import StoreUrl


@contextmanager
def opened(url: str, again: Again | None = None) -> Iterator[Database]:
    """The store behind `url`, closed when the block ends; where it asks for less, it is asked `again`."""
    again = replace(again or Again(), store=shown(url))
    database = again(partial(open_database, url))
    try:
        yield patient(database, again)
    finally:
        database.close()


@contextmanager
def held_still(url: str, again: Again | None = None) -> Iterator[tuple[Database, Pin | None]]:
    """The same, held still in a temporary folder where it may change under us."""
    with TemporaryDirectory(prefix="vecferry-") as folder, opened(url, again) as database:
        yield database, pin(database, Path(folder) / "snapshot")


def pin(database: Database, folder: Path) -> Pin | None:
    """Hold `database` still in `folder`; None where it needs no holding."""
    if not isinstance(database, Pinnable):
        return None
    folder.parent.mkdir(parents=True, exist_ok=True)
    return database.pin(folder)


def pin_again(database: Database, folder: Path, known: Pin | None, run: str) -> None:
    """Read the snapshot that an unfinished run began with.

    Raises:
        LedgerError: it is gone, and another one would not be the same.
    """
    if known is None or not isinstance(database, Pinnable):
        return
    found = database.pin(folder) if folder.is_dir() else None
    if found is None or found.identity != known.identity:
        forget(folder)
        raise LedgerError(
            f"The snapshot that run {run} reads is gone from {folder}.",
            hint="Its partitions cannot be read on from another state of the source. Begin anew with --restart.",
            run=run,
        )


def check_folder(folder: Path | None, option: str) -> None:
    """Can a folder be made (or used) at `folder`? Asked before hours of work whose result would go there.

    Raises:
        ConfigError: it cannot; `option` is the one to change.
    """
    if folder is None:
        return
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not there.is_dir():
        raise ConfigError(
            f"{folder} cannot be a folder: {there} is a file.", hint=f"Choose another place with {option}."
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(
            f"{folder} cannot be written to: {there} is read-only for you.", hint=f"Choose another {option}."
        )


def forget(folder: Path) -> None:
    """Remove a snapshot that nobody reads any more."""
    shutil.rmtree(folder, ignore_errors=True)


def shown(url: str) -> str:
    """`url` without what must not be stored."""
    return str(StoreUrl.parse(url))
