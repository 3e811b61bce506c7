"""What comes back over gRPC, and the rates that a refusal's text names."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import grpc
import pytest

from vecferry.connectors.qdrant import failures
from vecferry.connectors.qdrant.transport import HEALTH, Address, Grpc
from vecferry.errors import Throttled, VecferryError
from vecferry.url import StoreUrl
from vecferry.web.answers import Answer

KEY = "ck-5a9d0c2e7b"


@contextmanager
def refusing(code: grpc.StatusCode, said: str, **trailers: str) -> Iterator[int]:
    """The port of a gRPC server that refuses every call."""

    class Handler(grpc.GenericRpcHandler):
        def service(self, _: Any) -> grpc.RpcMethodHandler:
            def refuse(_: bytes, context: grpc.ServicerContext) -> bytes:
                context.set_trailing_metadata(tuple((name.replace("_", "-"), v) for name, v in trailers.items()))
                context.abort(code, said)
                raise AssertionError

            return grpc.unary_unary_rpc_method_handler(refuse)

    server = grpc.server(ThreadPoolExecutor(1), handlers=(Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def refusal(monkeypatch: pytest.MonkeyPatch, code: grpc.StatusCode, said: str, **trailers: str) -> VecferryError:
    monkeypatch.setenv("K", KEY)
    address = Address(StoreUrl.parse("qdrant+http://127.0.0.1:6333?api_key=env:K"))
    with refusing(code, said, **trailers) as port, closing(Grpc(address, port)) as asked:
        with pytest.raises(VecferryError) as caught:
            asked.call(HEALTH, b"")
        return caught.value


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_a_key_that_is_repeated_over_grpc_is_not_told(code: grpc.StatusCode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the message, and not where the error is printed with what it came from."""
    error = refusal(monkeypatch, code, f"no such key: {KEY}")
    assert "no such key: ***" in str(error)
    assert KEY not in "".join(traceback.format_exception(error)) + str(error.facts)
    assert error.hint


@pytest.mark.parametrize("trailer,seconds", [("3", 3.0), ("1.2.3", None)])
def test_a_trailer_says_when_to_come_back(trailer: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    error = refusal(monkeypatch, grpc.StatusCode.RESOURCE_EXHAUSTED, "Rate limit", retry_after=trailer)
    assert isinstance(error, Throttled)
    assert error.retry_after == seconds


@pytest.mark.parametrize(
    "said,seconds",
    [
        ("Rate limit exceeded. Retry after 12s", 12.0),
        ("Retry-After: 2.5 s", 2.5),
        ("retry after 3.", 3.0),
        ("Come back in 4 seconds", 4.0),
        ("Retry after 1.2.3", None),
        ("Come back in 1.2.3 seconds", None),
        ("Rate limit exceeded. slow down", None),
        ("Only 100 searches are allowed", None),
    ],
)
def test_a_text_says_when_to_come_back(said: str, seconds: float | None) -> None:
    error = failures.of_answer(Answer(429, {}, said), "s")
    assert isinstance(error, Throttled)
    assert error.retry_after == seconds


def test_the_header_goes_before_the_text() -> None:
    error = failures.of_answer(Answer(429, {"retry-after": "7"}, "Retry after 2.5s"), "s")
    assert isinstance(error, Throttled)
    assert error.retry_after == 7.0
