"""Ways in: gRPC or REST found by asking, TLS, keys, wrong addresses; each failure says what to do and never the key."""

from __future__ import annotations

import http.server
import logging
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from vecferry import arrow
from vecferry.connectors.qdrant.transport import Address
from vecferry.errors import AuthFailed, ConfigError, NotFound, Unavailable, VecferryError
from vecferry.model import Card, CollectionSpec, IdKind, Record, VectorSpec
from vecferry.registry import open_database
from vecferry.testing.servers import QdrantServer
from vecferry.url import StoreUrl

CANARY = "canary-7f3a9c"


def transport(url: str) -> str:
    with closing(open_database(url)) as database:
        return database.identity.transport


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def web_server(status: int, body: bytes) -> Iterator[int]:
    """Something on the network that is not Qdrant."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def test_grpc_is_found_and_rest_taken_where_it_is_not(qdrant_server: QdrantServer) -> None:
    """The port in the URL, REST where it does not answer, either where it is asked for."""
    base = f"qdrant+{qdrant_server.http_url}"
    assert transport(qdrant_server.url) == "grpc"
    assert transport(f"{base}?grpc_port={closed_port()}") == "rest"
    assert transport(f"{base}?grpc_port={qdrant_server.http_port}") == "rest"
    assert transport(f"{qdrant_server.url}&transport=rest") == "rest"
    with pytest.raises(Unavailable) as caught:
        open_database(f"{base}?grpc_port={closed_port()}&transport=grpc")
    assert "transport=grpc" in str(caught.value)


def test_wrong_addresses_are_told_apart(qdrant_server: QdrantServer) -> None:
    """Nobody there, no such host, the gRPC port, a TLS port that is none, something else: each its own advice."""
    cases = [
        (f"qdrant+http://127.0.0.1:{closed_port()}", Unavailable, "6333"),
        ("qdrant+http://nowhere.invalid:6333", Unavailable, "DNS"),
        (f"qdrant+http://127.0.0.1:{qdrant_server.grpc_port}", ConfigError, "gRPC port"),
        (f"qdrant+https://127.0.0.1:{qdrant_server.http_port}", ConfigError, "qdrant+http://"),
        (f"{qdrant_server.url}&speed=fast", ConfigError, "speed"),
        (f"{qdrant_server.url}&timeout=soon", ConfigError, "timeout=soon"),
        (f"{qdrant_server.url}&transport=pigeon", ConfigError, "pigeon"),
    ]
    for url, kind, advice in cases:
        with pytest.raises(kind) as caught:
            open_database(url)
        assert type(caught.value) is kind
        assert advice in str(caught.value)
        assert caught.value.hint


@pytest.mark.parametrize("status,body", [(200, b"hello"), (200, b'{"title": "other"}'), (200, b"[1]"), (404, b"")])
def test_something_else_is_not_qdrant(status: int, body: bytes) -> None:
    """A web server that answers is no Qdrant, whatever it says."""
    with web_server(status, body) as port, pytest.raises(ConfigError, match="not Qdrant"):
        open_database(f"qdrant+http://127.0.0.1:{port}")


def test_the_key_opens_both_transports(
    qdrant_with_key: QdrantServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From the usual variable, from another, from a file; a record goes in and comes out over either transport."""
    assert qdrant_with_key.api_key
    (tmp_path / "key").write_text(qdrant_with_key.api_key + "\n")
    monkeypatch.setenv("MINE", qdrant_with_key.api_key)
    spec = CollectionSpec(name="keyed", vectors=(VectorSpec(dim=2),), card=Card(vectors=(VectorSpec(dim=2),)))
    for reference in ("env:MINE", f"file:{tmp_path / 'key'}"):
        for way in ("grpc", "rest"):
            with closing(open_database(f"{qdrant_with_key.url}&transport={way}&api_key={reference}")) as database:
                sink = database.sink(spec)
                sink.prepare(spec)
                sink.write(arrow.from_records(spec, [Record(id="a", vectors={"": None})]))
                source = database.source("keyed")
                assert sum(chunk.batch.num_rows for part in source.partitions() for chunk in source.read(part)) == 1
                assert database.answers_without_key() is False
    monkeypatch.setenv("QDRANT_API_KEY", qdrant_with_key.api_key)
    assert transport(qdrant_with_key.url) == "grpc"


def test_a_key_that_nobody_asks_for_is_noticed(qdrant_server: QdrantServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers without the key that we were told to use stands open."""
    monkeypatch.setenv("QDRANT_API_KEY", CANARY)
    with closing(open_database(qdrant_server.url)) as database:
        assert database.answers_without_key() is True
    monkeypatch.delenv("QDRANT_API_KEY")
    with closing(open_database(qdrant_server.url)) as database:
        assert database.answers_without_key() is None


def test_the_key_never_shows(
    qdrant_with_key: QdrantServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong key, over either transport, at every log level: no message, trace, representation or log repeats it."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("QDRANT_API_KEY", CANARY)
    shown: list[str] = []
    for way in ("grpc", "rest"):
        with pytest.raises(AuthFailed) as caught:
            open_database(f"{qdrant_with_key.url}&transport={way}")
        error: BaseException = caught.value
        shown += ["".join(traceback.format_exception(error)), repr(error), str(caught.value.facts)]
        assert "QDRANT_API_KEY" in str(error)
    address = Address(StoreUrl.parse(qdrant_with_key.url))
    shown += [repr(address), str(address), caplog.text]
    assert all(CANARY not in text for text in shown)


def test_a_key_in_the_clear_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over plain http a key is safe on this machine only."""
    monkeypatch.setenv("QDRANT_API_KEY", CANARY)
    for url, exposed in {
        "qdrant+http://example.org:6333": True,
        "qdrant+https://example.org:6333": False,
        "qdrant+http://127.0.0.1:6333": False,
        "qdrant+http://[::1]:6333": False,
        "qdrant+http://localhost": False,
    }.items():
        assert Address(StoreUrl.parse(url)).exposes_key is exposed, url
    monkeypatch.delenv("QDRANT_API_KEY")
    assert not Address(StoreUrl.parse("qdrant+http://example.org:6333")).exposes_key


def test_tls_with_an_authority_of_ones_own(qdrant_with_tls: QdrantServer) -> None:
    """Both transports with `ca=`; without it the certificate is refused, and plain http is told what is wrong."""
    base = qdrant_with_tls.url
    assert transport(f"{base}&ca={qdrant_with_tls.ca_file}") == "grpc"
    assert transport(f"{base}&ca={qdrant_with_tls.ca_file}&transport=rest") == "rest"
    with pytest.raises(ConfigError) as caught:
        open_database(base)
    assert "ca=PATH" in str(caught.value)
    with pytest.raises(ConfigError):
        open_database(f"{base}&ca=/nowhere.pem")
    with pytest.raises(VecferryError) as plain:
        open_database(base.replace("https://", "http://"))
    assert "qdrant+https://" in str(plain.value)


def test_a_server_that_goes_is_unavailable(start_qdrant: Callable[..., QdrantServer]) -> None:
    """Killed, held and back again: retryable while it is gone, within the timeout asked for, and then as before."""
    server = start_qdrant()
    spec = CollectionSpec(name="gone", id_kind=IdKind.TEXT, vectors=(VectorSpec(dim=2),))
    for way in ("grpc", "rest"):
        with closing(open_database(f"{server.url}&transport={way}&timeout=2")) as database:
            sink = database.sink(spec)
            sink.prepare(spec)
            batch = arrow.from_records(spec, [Record(id="a", vectors={"": None})])
            with server.paused(), pytest.raises(Unavailable) as held:
                sink.write(batch)
            server.kill()
            with pytest.raises(Unavailable) as killed:
                sink.write(batch)
            assert held.value.retryable
            assert killed.value.retryable
            server.start()
            written = 0
            while not written:
                try:
                    written = sink.write(batch).rows
                except Unavailable:  # the channel waits a moment before it tries again
                    continue
            assert database.source("gone").count() == 1


def test_near_names_are_offered(qdrant_server: QdrantServer) -> None:
    """A collection that is not there is answered with those that are like it."""
    spec = CollectionSpec(name="near-harbour", vectors=(VectorSpec(dim=2),))
    with closing(open_database(qdrant_server.url)) as database:
        database.sink(spec).prepare(spec)
        with pytest.raises(NotFound) as caught:
            database.source("near-harbor")
    assert "near-harbour" in (caught.value.hint or "")
