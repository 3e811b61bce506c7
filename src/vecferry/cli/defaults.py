"""The environment variables that people have already: they stand in for a URL that is left out.

| variable                                | stands for                                       |
|-----------------------------------------|--------------------------------------------------|
| `CHROMA_DB_PATH`, `CHROMA_PERSIST_DIR`  | the source `chroma:PATH`                         |
| `CHROMA_HOST`, `CHROMA_PORT`            | the source `chroma+http://HOST:PORT` (8000);     |
| `CHROMA_SSL`                            | `chroma+https://` where this is true             |
| `CHROMA_TENANT`, `CHROMA_DATABASE`      | the source `chroma+cloud://TENANT/DATABASE`      |
| `CHROMA_API_KEY`, `CHROMA_AUTH_TOKEN`   | its key (read by the Chroma connector)           |
| `QDRANT_URL`                            | the target `qdrant+http(s)://…`, or HOST:PORT    |
| `QDRANT_HOST`, `QDRANT_PORT`            | the target `qdrant+http://HOST:PORT` (6333)      |
| `QDRANT_API_KEY`                        | the target's key (read by the Qdrant connector)  |
"""

from __future__ import annotations

import os
import re

import click

_CLOUD_HOST = "trychroma.com"
_BARE_HOST = re.compile(r"[\w.-]+(:\d+)?")
"""`localhost:6333`, or `qdrant:6333` where a container is called that: never the folder `6333`."""


def source_url(given: str | None) -> str:
    """The source's URL: the one given, or the one that the environment names."""
    url = given if given is not None else _chroma()
    if url is None:
        raise click.UsageError(
            "No source. Name one, for example chroma:./chroma_db, or set CHROMA_DB_PATH or CHROMA_PERSIST_DIR."
        )
    return url


def target_url(given: str | None) -> str:
    """The target's URL: the one given, or the one that the environment names."""
    url = given if given is not None else _qdrant()
    if url is None:
        raise click.UsageError(
            "No target. Name one, for example qdrant+http://localhost:6333, or set QDRANT_URL or QDRANT_HOST."
        )
    return url


def _chroma() -> str | None:
    if path := os.environ.get("CHROMA_DB_PATH") or os.environ.get("CHROMA_PERSIST_DIR"):
        return f"chroma:{path}"
    host, tenant, database = (os.environ.get(f"CHROMA_{name}", "") for name in ("HOST", "TENANT", "DATABASE"))
    if host and not host.endswith(_CLOUD_HOST):
        tls = os.environ.get("CHROMA_SSL", "").lower() in {"1", "true", "yes"}
        return f"chroma+{'https' if tls else 'http'}://{host}:{os.environ.get('CHROMA_PORT', '8000')}"
    return f"chroma+cloud://{tenant}/{database}" if tenant and database else None


def _qdrant() -> str | None:
    if url := os.environ.get("QDRANT_URL"):
        if _BARE_HOST.fullmatch(url):
            return f"qdrant+http://{url}"
        return url if url.startswith("qdrant") else f"qdrant+{url}"
    if host := os.environ.get("QDRANT_HOST"):
        scheme, separator, rest = host.rpartition("://")
        return f"qdrant+{scheme if separator else 'http'}://{rest}:{os.environ.get('QDRANT_PORT', '6333')}"
    return None
