"""The environment variables that people have already: they stand in for a URL that is left out.

| variable                                | stands for                                       |
|-----------------------------------------|--------------------------------------------------|
| `CHROMA_DB_PATH`, `CHROMA_PERSIST_DIR`  | the source `chroma:PATH`                         |
| `QDRANT_URL`                            | the target `qdrant+http(s)://…`, or HOST:PORT    |
| `QDRANT_HOST`, `QDRANT_PORT`            | the target `qdrant+http://HOST:PORT` (6333)      |
| `QDRANT_API_KEY`                        | the target's key (read by the Qdrant connector)  |
"""

from __future__ import annotations

import os
import re

import click

_BARE_HOST = re.compile(r"[\w.-]+(:\d+)?")
"""`localhost:6333`, or `qdrant:6333` where a container is called that: never the folder `6333`."""


def source_url(given: str | None) -> str:
    """The source's URL: the one given, or the one that the environment names."""
    path = os.environ.get("CHROMA_DB_PATH") or os.environ.get("CHROMA_PERSIST_DIR")
    if given is None and not path:
        raise click.UsageError(
            "No source. Name one, for example chroma:./chroma_db, or set CHROMA_DB_PATH or CHROMA_PERSIST_DIR."
        )
    return given if given is not None else f"chroma:{path}"


def target_url(given: str | None) -> str:
    """The target's URL: the one given, or the one that the environment names."""
    url = given if given is not None else _qdrant()
    if url is None:
        raise click.UsageError(
            "No target. Name one, for example qdrant+http://localhost:6333, or set QDRANT_URL or QDRANT_HOST."
        )
    return url


def _qdrant() -> str | None:
    if url := os.environ.get("QDRANT_URL"):
        if _BARE_HOST.fullmatch(url):
            return f"qdrant+http://{url}"
        return url if url.startswith("qdrant") else f"qdrant+{url}"
    if host := os.environ.get("QDRANT_HOST"):
        scheme, separator, rest = host.rpartition("://")
        return f"qdrant+{scheme if separator else 'http'}://{rest}:{os.environ.get('QDRANT_PORT', '6333')}"
    return None
