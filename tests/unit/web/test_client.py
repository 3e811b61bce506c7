"""One request and what becomes of it: sent once more, refused, or not answered; for both stores that speak HTTP."""

from __future__ import annotations

import gc
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from vecferry.connectors.chroma.http.address import Address as ChromaAddress
from vecferry.connectors.chroma.http.transport import Http
from vecferry.connectors.qdrant.transport import Address as QdrantAddress
from vecferry.connectors.qdrant.transport import Rest
from vecferry.errors import ConfigError, Throttled, Unavailable, VecferryError
from vecferry.url import StoreUrl
from vecferry.web.address import Address
from vecferry.web.client import Client, answers_without_key
from vecferry.web.failures import of_request

KEY = "ck-5a9d0c2e7b"
STORES = {"chroma": (ChromaAddress, Http, "token", "8000"), "qdrant": (QdrantAddress, Rest, "api_key", "6333")}
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


def refusal(status: int, said: str, *headers: str) -> bytes:
    body = f'{{"error": "E", "message": "{said}", "status": {{"error": "{said}"}}}}'.encode()
    lines = [f"HTTP/1.1 {status} No", f"content-length: {len(body)}", "content-type: application/json", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextmanager
def answering(*connections: list[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """(port, requests so far) of a server that gives each connection these answers, one a request, and closes it."""
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answers in connections:
                with listener.accept()[0] as connection:
                    for answer in answers:
                        seen.append(connection.recv(65_536))
                        connection.sendall(answer)
                    if connection.recv(65_536):  # a request that it does not answer any more
                        seen.append(b"unanswered")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], seen


@pytest.fixture(params=list(STORES))
def store(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def address(store: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Address]:
    """The address of that store, with a key, for the rest of a URL behind its scheme."""
    monkeypatch.setenv("K", KEY)
    kind, _, option, _ = STORES[store]
    return lambda rest: kind(StoreUrl.parse(f"{store}+{rest}{'&' if '?' in rest else '?'}{option}=env:K"))


@pytest.fixture
def client(store: str, address: Callable[[str], Address]) -> Callable[[int], Client]:
    return lambda port: STORES[store][1](address(f"http://127.0.0.1:{port}"))  # type: ignore[arg-type]


def test_a_connection_that_was_closed_meanwhile_costs_nothing(client: Callable[[int], Client]) -> None:
    """The second request goes out on a connection that nobody answers on, and then once more on a fresh one."""
    with answering([OK], [OK]) as (port, seen), closing(client(port)) as asked:
        assert [asked.send("GET", "/"), asked.send("GET", "/")] == [b"{}", b"{}"]
    assert [one == b"unanswered" for one in seen] == [False, True, False]
    assert all(KEY.encode() in one for one in seen if one != b"unanswered")


def test_an_answer_goes_without_the_garbage_collector(client: Callable[[int], Client]) -> None:
    """Megabytes of bodies would stay with it: it is looked for seldom."""
    with answering([OK]) as (port, _), closing(client(port)) as asked:
        gc.disable()
        try:
            answer = weakref.ref(asked.exchange("POST", "/", b"{}", params={}))
            assert answer() is None
        finally:
            gc.enable()


def test_once_more_and_not_for_ever(client: Callable[[int], Client]) -> None:
    with answering([], []) as (port, seen), closing(client(port)) as asked:
        with pytest.raises(Unavailable, match="broke off") as caught:
            asked.send("GET", "/")
        assert caught.value.facts["broke_off"] is True
    assert len(seen) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 429, 500, 503])
def test_a_key_that_is_repeated_is_not_told(status: int, client: Callable[[int], Client]) -> None:
    with answering([refusal(status, f"{'x' * 280} no such key: {KEY}")]) as (port, _), closing(client(port)) as asked:
        with pytest.raises(VecferryError) as caught:
            asked.send("GET", "/")
        said = f"{caught.value} {caught.value.facts}"
    assert "x" * 280 in said
    assert KEY[:4] not in said


@pytest.mark.parametrize("header,seconds", [("1.5", 1.5), ("1.2.3", None), ("soon", None)])
def test_it_is_read_when_to_come_back(header: str, seconds: float | None, client: Callable[[int], Client]) -> None:
    answer = refusal(429, "slow down.", f"Retry-After: {header}")
    with answering([answer]) as (port, _), closing(client(port)) as asked:
        with pytest.raises(Throttled) as caught:
            asked.send("GET", "/")
        assert caught.value.retry_after == seconds


@pytest.mark.parametrize(
    "error,kind,said,advice",
    [
        (httpx.ConnectError("Connection refused"), Unavailable, "cannot be reached: Connection refused", "{port}"),
        (httpx.ConnectTimeout("timed out"), Unavailable, "cannot be reached: timed out", "{port}"),
        (httpx.ConnectTimeout(""), Unavailable, "cannot be reached: no answer", "{port}"),
        (httpx.ConnectError("[Errno -2] Name or service not known"), Unavailable, "host of {store}", "DNS"),
        (httpx.ReadTimeout("timed out"), Unavailable, "did not answer in time", "?timeout="),
        (httpx.ReadError("Connection reset"), Unavailable, "broke off: Connection reset", "{scheme}+https://"),
        (httpx.ConnectError("[SSL: WRONG_VERSION_NUMBER]"), ConfigError, "does not speak TLS", "{scheme}+http://"),
        (httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] x"), ConfigError, "is not trusted", "{ca}=PATH"),
    ],
)
def test_each_way_to_get_no_answer_has_its_own_advice(
    error: httpx.HTTPError,
    kind: type[VecferryError],
    said: str,
    advice: str,
    store: str,
    address: Callable[[str], Address],
) -> None:
    where = address("https://example.org")
    words = {"store": where.store, "scheme": store, "port": STORES[store][3], "ca": where.ca_option}
    outer = type(error)("said by a wrapper")
    outer.__cause__ = error
    for one in (error, outer) if kind is ConfigError else (error,):
        found = of_request(one, where)
        assert type(found) is kind
        assert said.format(**words) in found.message
        assert advice.format(**words) in str(found.hint)


def test_an_authority_that_cannot_be_read_names_its_option(
    store: str, address: Callable[[str], Address], tmp_path: Path
) -> None:
    option = address("https://example.org").ca_option
    (tmp_path / "ca.pem").write_text("nothing")
    for path in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
        with pytest.raises(ConfigError, match=f"^{option}={path} cannot be read"):
            STORES[store][1](address(f"https://example.org?{option}={path}"))  # type: ignore[arg-type]


def test_no_representation_shows_a_key(
    store: str, address: Callable[[str], Address], client: Callable[[int], Client]
) -> None:
    where = address("http://example.org")
    with closing(client(1)) as asked:
        assert all(KEY not in text for text in (repr(where), str(where), repr(where.keys), repr(asked)))
    assert where.exposes_key
    assert [f"{store}+https://" in told and KEY not in told for told in where.warnings] == [True]
    assert not address("http://[::1]:1").exposes_key
    assert not address("https://example.org").exposes_key
    assert address("https://example.org").warnings == ()


@pytest.mark.parametrize("status,open_", [(200, True), (401, False), (403, False)])
def test_a_server_that_answers_without_the_key_is_noticed(
    status: int, open_: bool, store: str, address: Callable[[str], Address]
) -> None:
    answer = OK if status == 200 else refusal(status, "no")
    with answering([answer]) as (port, seen):
        where, asked = address(f"http://127.0.0.1:{port}"), list[Client]()

        def ask(client: Client) -> object:
            asked.append(client)
            return client.send("GET", "/")

        assert answers_without_key(where, STORES[store][1], ask) is open_
        assert KEY.encode() not in seen[0]
    with pytest.raises(RuntimeError, match="closed"):
        asked[0].send("GET", "/")
