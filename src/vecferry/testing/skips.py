"""The only reasons for which a test of vecferry may be skipped. A skip with any other reason is a failure.

`skip("qdrant-server", detail)` in a fixture, a test or a module; `reason("...")` where a mark wants text. Under
`CI=true` a reason that is about a missing server fails instead: on CI everything that can be run is run.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import NoReturn

import pytest


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a test may be skipped: a sentence for the summary, and whether CI accepts it."""

    sentence: str
    accepted_in_ci: bool = False


REASONS = {
    "qdrant-server": Reason("no Qdrant server could be had: nothing was tested against a real Qdrant"),
    "chroma-server": Reason("no Chroma server could be had: nothing was tested against a real Chroma server"),
    "s3-server": Reason("no S3-compatible server could be had: nothing was tested against real object storage"),
    "postgres-server": Reason("no PostgreSQL could be had: nothing was tested against a real PostgreSQL"),
    "postgres-powers": Reason(
        "the PostgreSQL that could be had is PyPI's small one, which lacks what the test is about"
    ),
    "pgbouncer": Reason("no PgBouncer could be had: nothing was tested behind a real pooler"),
    "mariadb-server": Reason("no MariaDB could be had: nothing was tested against a real MariaDB"),
    "old-chroma": Reason(
        "an old chromadb could not be installed: its committed directories are tested, fresh ones and its server not"
    ),
    "framework": Reason("a framework's package could not be had: its layout was not read by its own classes"),
    "caddy": Reason("no Caddy could be had: nothing was tested behind a real reverse proxy"),
    "chromadb": Reason("chromadb is not installed: nothing was compared with Chroma itself"),
    "browser": Reason("no Chromium with playwright: the report was not looked at in a browser", accepted_in_ci=True),
    "unsupported-power": Reason("this store lacks the optional power that the test is about", accepted_in_ci=True),
    "platform": Reason("this operating system cannot do what the test needs", accepted_in_ci=True),
    "python-version": Reason("a package that the test needs has no wheel for this Python", accepted_in_ci=True),
    "compiler": Reason("no C compiler was at hand: the Python code alone was tested", accepted_in_ci=True),
    "root-user": Reason("root ignores the file permissions that the test relies on", accepted_in_ci=True),
}

_KEY = re.compile(r"\[([a-z0-9-]+)\] ")


def reason(key: str, detail: str = "") -> str:
    """The text of a skip for a registered reason.

    Raises:
        KeyError: the reason is not in `REASONS`.
    """
    return f"[{key}] {REASONS[key].sentence}" + (f" ({detail})" if detail else "")


def skip(key: str, detail: str = "") -> NoReturn:
    """Skip the running test for a registered reason, or fail it where CI does not accept that reason."""
    text = reason(key, detail)
    if on_ci() and not REASONS[key].accepted_in_ci:
        pytest.fail(f"CI=true, and {text}", pytrace=False)
    pytest.skip(text, allow_module_level=True)


def key_of(text: str) -> str | None:
    """The registered key that a skip's text begins with, or None."""
    found = _KEY.match(text.removeprefix("Skipped: "))
    return found[1] if found and found[1] in REASONS else None


def on_ci() -> bool:
    """True under `CI=true`, as every CI service sets it."""
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}
