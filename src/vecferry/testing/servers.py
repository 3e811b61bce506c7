"""Real servers for tests: a Qdrant and a Chroma of one's own, on loopback, gone when the test is.

with start_qdrant() as server:            # or api_key="...", tls=True, settings={...}
    client = QdrantClient(url=server.http_url)
    server.kill(); server.start()         # same ports, same data: the server's own crash and recovery
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vecferry.errors import Unavailable
from vecferry.testing import certificate
from vecferry.testing.ports import HOST, free_ports
from vecferry.testing.process import HttpServer, room_for, running
from vecferry.testing.qdrant_binary import qdrant_binary
from vecferry.url import StoreUrl


@dataclass(kw_only=True)
class QdrantServer(HttpServer):
    """A Qdrant server; `http_url` is its REST address."""

    http_port: int
    grpc_port: int

    @property
    def url(self) -> str:
        """The store URL, without key."""
        return f"qdrant+{self.http_url}?grpc_port={self.grpc_port}"


@dataclass(kw_only=True)
class ChromaServer(HttpServer):
    """A Chroma server (`chroma run`)."""

    port: int

    @property
    def url(self) -> str:
        """The store URL."""
        return f"chroma+{self.http_url}"


@contextmanager
def start_qdrant(
    *,
    api_key: str | None = None,
    tls: bool = False,
    folder: Path | None = None,
    settings: Mapping[str, str] | None = None,
    cluster: bool = False,
) -> Iterator[QdrantServer]:
    """Run a Qdrant server; `settings` are further `QDRANT__…` variables, `folder` keeps the data of an earlier one.

    With `cluster` it is a cluster of one node, which has shard keys.

    Raises:
        Unavailable, Unsupported: the binary cannot be had (see `qdrant_binary`), or the server does not start.
    """
    binary = qdrant_binary()
    with room_for("qdrant", folder) as room:
        secured = _certificate(room) if tls else {}
        extra = {**secured, **({"QDRANT__SERVICE__API_KEY": api_key} if api_key else {}), **(settings or {})}

        def build() -> QdrantServer:
            http_port, grpc_port, peers_port = free_ports(3)
            peers = _cluster(peers_port) if cluster else {}
            return QdrantServer(
                name="Qdrant",
                http_url=f"{'https' if tls else 'http'}://{HOST}:{http_port}",
                http_port=http_port,
                grpc_port=grpc_port,
                ports=(http_port, grpc_port, *([peers_port] if cluster else [])),
                folder=room,
                api_key=api_key,
                ca_file=room / "ca.pem" if tls else None,
                command=[str(binary), *(["--uri", f"http://{HOST}:{peers_port}"] if cluster else [])],
                environment={**_qdrant_environment(room, http_port, grpc_port), **peers, **extra},
                ready_path="/readyz",
            )

        yield from running(build)


@contextmanager
def start_chroma(
    *,
    folder: Path | None = None,
    program: Path | None = None,
    settings: Mapping[str, str] | None = None,
    ready_path: str = "/api/v2/heartbeat",
) -> Iterator[ChromaServer]:
    """Run a Chroma server (`chroma run`) of the chromadb installed here, or of `program` (another environment's).

    `settings` are further environment variables; `folder` keeps the data of an earlier one, in `folder/data`.

    Raises:
        Unavailable: chromadb is not installed, or the server does not start.
    """
    chroma = program or _installed_chroma()
    with room_for("chroma", folder) as room:

        def build() -> ChromaServer:
            (port,) = free_ports(1)
            return ChromaServer(
                name="Chroma",
                http_url=f"http://{HOST}:{port}",
                port=port,
                ports=(port,),
                folder=room,
                command=[str(chroma), "run", "--path", str(room / "data"), "--host", HOST, "--port", str(port)],
                environment={"ANONYMIZED_TELEMETRY": "False", "DO_NOT_TRACK": "1", **(settings or {})},
                ready_path=ready_path,
            )

        yield from running(build)


def running_qdrant(url: str) -> QdrantServer:
    """Somebody else's server, named by a store URL; never stopped by us."""
    parsed = StoreUrl.parse(url if url.startswith("qdrant") else f"qdrant+{url}")
    http_port = parsed.port or 6333
    grpc_port = int(parsed.options.get("grpc_port", "6334"))
    key = parsed.secret("api_key")
    return QdrantServer(
        name="Qdrant",
        http_url=f"{parsed.transport or 'http'}://{parsed.host}:{http_port}",
        http_port=http_port,
        grpc_port=grpc_port,
        folder=Path(os.devnull),
        api_key=key.reveal() if key else None,
    )


def running_chroma(url: str) -> ChromaServer:
    """Somebody else's server, named by a store URL; never stopped by us."""
    parsed = StoreUrl.parse(url if url.startswith("chroma") else f"chroma+{url}")
    port = parsed.port or 8000
    http_url = f"{parsed.transport or 'http'}://{parsed.host}:{port}"
    return ChromaServer(name="Chroma", http_url=http_url, port=port, folder=Path(os.devnull))


def chroma_program() -> Path | None:
    """The `chroma` command of this environment, None where chromadb is not installed."""
    program = Path(sysconfig.get_path("scripts")) / "chroma"
    return program if program.exists() else None


def _qdrant_environment(room: Path, http_port: int, grpc_port: int) -> dict[str, str]:
    return {
        "QDRANT__SERVICE__HOST": HOST,
        "QDRANT__SERVICE__HTTP_PORT": str(http_port),
        "QDRANT__SERVICE__GRPC_PORT": str(grpc_port),
        "QDRANT__STORAGE__STORAGE_PATH": str(room / "storage"),
        "QDRANT__STORAGE__SNAPSHOTS_PATH": str(room / "snapshots"),
        "QDRANT__TELEMETRY_DISABLED": "true",
        "QDRANT__LOG_LEVEL": "INFO",
    }


def _cluster(port: int) -> dict[str, str]:
    return {"QDRANT__CLUSTER__ENABLED": "true", "QDRANT__CLUSTER__P2P__PORT": str(port)}


def _certificate(room: Path) -> dict[str, str]:
    """The settings that switch TLS on."""
    issued = certificate.issue(room)
    return {
        "QDRANT__SERVICE__ENABLE_TLS": "true",
        "QDRANT__TLS__CERT": str(issued.chain),
        "QDRANT__TLS__KEY": str(issued.key),
        "QDRANT__TLS__CA_CERT": str(issued.ca),
    }


def _installed_chroma() -> Path:
    program = chroma_program()
    if program is None:
        raise Unavailable("chromadb is not installed here.", hint='pip install "vecferry[chroma-local]"')
    return program
