"""Which code serves which URL scheme: a literal table, imported only when a URL asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import cast

from vecferry.errors import ConfigError
from vecferry.protocols import Connector, Database
from vecferry.url import StoreUrl


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a connector lives, the extra that installs what it needs, and an example URL."""

    module: str
    extra: str | None
    example: str


REGISTRY = {
    "memory": Entry("vecferry.connectors.memory", None, "memory:NAME"),
    "files": Entry("vecferry.connectors.files", None, "files:DIR"),
    "json": Entry("vecferry.connectors.json", None, "json:FILE"),
    "jsonl": Entry("vecferry.connectors.json", None, "jsonl:FILE"),
    "chroma": Entry("vecferry.connectors.chroma", "chroma", "chroma:PATH"),
    "qdrant": Entry("vecferry.connectors.qdrant", "qdrant", "qdrant+http://HOST:6333 or qdrant:PATH"),
    "postgresql": Entry("vecferry.connectors.postgres", "postgres", "postgresql://HOST:5432/DATABASE?user=NAME"),
    "mariadb": Entry("vecferry.connectors.mariadb", "mariadb", "mariadb://HOST/DATABASE?user=NAME"),
    "supabase": Entry("vecferry.connectors.postgres.rest", "supabase", "supabase+https://PROJECT.supabase.co"),
}
"""URL scheme -> entry. Each module has a `CONNECTOR`."""


def connector(scheme: str) -> Connector:
    """The connector for `scheme`.

    Raises:
        ConfigError: an unknown scheme, or what it needs is not installed; says the exact command.
    """
    entry = REGISTRY.get(scheme)
    if entry is None:
        near = get_close_matches(scheme, REGISTRY, n=1)
        known = ", ".join(entry.example for entry in REGISTRY.values())
        hint = f"Did you mean {near[0]}:? " if near else ""
        raise ConfigError(f"There is no connector for '{scheme}:'.", hint=f"{hint}Known: {known}.")
    try:
        return cast(Connector, import_module(entry.module).CONNECTOR)
    except ModuleNotFoundError as error:
        if entry.extra is None or (error.name or "").startswith("vecferry"):
            raise
        raise missing_extra(f"{scheme}: URLs", entry.extra) from error


def missing_extra(what: str, extra: str) -> ConfigError:
    """The error for a thing that an extra would bring."""
    return ConfigError(f"{what} need the extra '{extra}'.", hint=f'pip install "vecferry[{extra}]"')


def open_database(url: str | StoreUrl) -> Database:
    """Open the store behind `url`; the caller closes it.

    Raises:
        ConfigError, Unavailable, AuthFailed, NotFound, CorruptData: see `Connector.open`.
    """
    parsed = StoreUrl.parse(url) if isinstance(url, str) else url
    return connector(parsed.scheme).open(parsed)
