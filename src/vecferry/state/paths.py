"""Where the ledger lies by default, and where a run keeps its snapshot of a source."""

from __future__ import annotations

import os
import re
from pathlib import Path

from platformdirs import user_state_path

VARIABLE = "VECFERRY_LEDGER"


def ledger_location(given: str | Path | None = None) -> str:
    """The ledger to use, a path or a database URL: `given`, else $VECFERRY_LEDGER, else the user's own."""
    location = given or os.environ.get(VARIABLE, "").strip() or user_state_path("vecferry") / "ledger.db"
    text = str(location)
    return text if is_url(text) else str(Path(text).expanduser().absolute())


def is_url(location: str) -> bool:
    """True for a database URL, False for a path."""
    return "://" in location


def without_password(location: str) -> str:
    """`location` as it may be printed: the password of a URL, in its user part or among its options, is `***`."""
    hidden = re.sub(r"(://[^:@/]*:).*@", r"\1***@", location)
    return re.sub(r"(?i)([?&][^=&]*(?:password|passwd|pwd)=)[^&]*", r"\1***", hidden)


def ledger_option(given: str | Path | None) -> tuple[str, ...]:
    """`--ledger` for a next command that shall use the same one; nothing where it finds it by itself."""
    if given is None or ledger_location(given) == ledger_location():
        return ()
    return "--ledger", without_password(str(given))


def snapshot_folder(location: str, run: str) -> Path:
    """The folder for the snapshot that run `run` reads until it ends: beside a ledger file, else the user's own."""
    base = user_state_path("vecferry") if is_url(location) else Path(location).parent
    return base / "snapshots" / run
