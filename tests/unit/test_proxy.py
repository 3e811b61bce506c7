"""The fault proxy does to the line what it says, and nothing else: every test that uses it relies on that."""

from __future__ import annotations

import http.client
import json
import socket
import time
import uuid
from contextlib import closing

import grpc
import pytest
from qdrant_client import QdrantClient, models

from vecferry.testing.proxy import (
    CutResponse,
    Delay,
    FaultProxy,
    Pass,
    Refuse,
    Reset,
    Stall,
    Throttle,
    Way,
    _Frames,
)


@pytest.fixture
def proxy(qdrant_server):
    with FaultProxy(qdrant_server.http_port) as proxy:
        yield proxy


@pytest.fixture
def grpc_proxy(qdrant_server):
    with FaultProxy(qdrant_server.grpc_port) as proxy:
        yield proxy


@pytest.fixture
def direct(qdrant_server):
    """The vendor's client, around the proxy."""
    with closing(QdrantClient(url=qdrant_server.http_url)) as client:
        yield client


@pytest.fixture
def collection(direct):
    """A fresh collection, made around the proxy."""
    name = f"proxy-{uuid.uuid4()}"
    direct.create_collection(name, models.VectorParams(size=2, distance=models.Distance.DOT))
    yield name
    direct.delete_collection(name)


def ask(port, method="GET", path="/", body=None, timeout=60.0):
    """One request on a connection of its own; the status and the answer."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        line.request(method, path, json.dumps(body) if body else None, {"content-type": "application/json"})
        answer = line.getresponse()
        return answer, answer.read()
    finally:
        line.close()


def grpc_client(grpc_proxy):
    return QdrantClient(
        host="127.0.0.1",
        port=1,  # nobody: everything that is not gRPC would fail
        grpc_port=grpc_proxy.port,
        prefer_grpc=True,
        check_compatibility=False,
        timeout=60,
    )


def point(number):
    return models.PointStruct(id=number, vector=[float(number), 1.0], payload={"n": number})


def test_it_passes_everything_through(proxy):
    """Without a fault it is invisible."""
    answer, body = ask(proxy.port)
    assert (answer.status, json.loads(body)["version"]) == (200, "1.16.3")
    assert (proxy.connections, proxy.fired) == (1, 0)


def test_reset_breaks_the_answer_off(proxy):
    """After so many bytes of the answer the client gets a reset, not an orderly end."""
    proxy.fault = Reset(after=20, times=1)
    with pytest.raises(ConnectionResetError):
        ask(proxy.port)
    assert proxy.fired == 1
    assert ask(proxy.port)[0].status == 200


def test_reset_of_a_request_keeps_it_from_the_server(proxy, collection, direct):
    """Half a request is no request: the server does nothing."""
    proxy.fault = Reset(after=100, way=Way.REQUEST)
    body = {"points": [{"id": n, "vector": [1.0, 2.0]} for n in range(100)]}
    with pytest.raises(ConnectionError):
        ask(proxy.port, "PUT", f"/collections/{collection}/points?wait=true", body)
    assert direct.count(collection).count == 0


def test_bytes_are_counted_from_the_moment_the_fault_is_set(proxy):
    """A long-lived connection is not broken for what it carried before."""
    line = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
    for _ in range(5):
        line.request("GET", "/")
        line.getresponse().read()
    proxy.fault = Reset(after=1000)
    line.request("GET", "/")
    assert line.getresponse().read()
    assert (proxy.fired, proxy.connections) == (0, 1)
    line.close()


def test_a_stall_ends_with_the_next_fault(proxy):
    """Nothing comes and nothing breaks; when the hole closes, the answer arrives on the same connection."""
    proxy.fault = Stall()
    line = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=0.5)
    line.request("GET", "/")
    with pytest.raises(TimeoutError):
        line.sock.recv(1)
    assert proxy.fired == 1
    proxy.fault = Pass()
    line.sock.settimeout(60)
    assert line.sock.recv(4) == b"HTTP"
    line.close()


def test_delay_holds_both_ways(proxy):
    """The request and the answer each come later."""
    ask(proxy.port)
    proxy.fault = Delay(seconds=0.2)
    began = time.monotonic()
    assert ask(proxy.port)[0].status == 200
    assert time.monotonic() - began >= 0.4


def test_a_cut_response_was_carried_out(proxy, collection, direct):
    """The client sees a broken connection, the server has the points: the case that makes retries dangerous."""
    proxy.fault = CutResponse(times=1)
    body = {"points": [{"id": 7, "vector": [1.0, 2.0]}]}
    with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
        ask(proxy.port, "PUT", f"/collections/{collection}/points?wait=true", body)
    assert proxy.fired == 1
    assert direct.count(collection).count == 1


def test_a_cut_grpc_response_was_carried_out(grpc_proxy, collection, direct):
    """Likewise on HTTP/2, where a connection's first bytes from the server are no answer."""
    client = grpc_client(grpc_proxy)
    grpc_proxy.fault = CutResponse(skip=1, times=1)
    client.upsert(collection, [point(1)], wait=True)
    with pytest.raises(grpc.RpcError) as caught:
        client.upsert(collection, [point(2)], wait=True)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert grpc_proxy.fired == 1
    client.upsert(collection, [point(3)], wait=True)
    client.close()
    stored, _ = direct.scroll(collection)
    assert [one.id for one in stored] == [1, 2, 3]


def test_refuse_is_a_server_that_is_down(proxy):
    """Connections are refused, open ones are reset, and later the same port answers again."""
    open_line = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
    open_line.request("GET", "/")
    open_line.getresponse().read()
    proxy.fault = Refuse()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=60)
    with pytest.raises(ConnectionError):
        open_line.sock.recv(1)
    open_line.close()
    proxy.fault = Pass()
    assert ask(proxy.port)[0].status == 200


def test_throttle_answers_in_place_of_the_server(proxy, collection, direct):
    """The first requests get 429 with Retry-After and reach nobody; the next one passes whole."""
    proxy.fault = Throttle(times=2, retry_after=0.5)
    path, body = f"/collections/{collection}/points?wait=true", {"points": [{"id": 1, "vector": [1.0, 2.0]}] * 5000}
    for _ in range(2):
        answer, _ = ask(proxy.port, "PUT", path, body)
        assert (answer.status, answer.headers["Retry-After"]) == (429, "0.5")
    assert direct.count(collection).count == 0
    assert ask(proxy.port, "PUT", path, body)[0].status == 200
    assert (proxy.fired, direct.count(collection).count) == (2, 1)


def test_throttle_may_be_silent_about_when(proxy):
    """Not every server says when to come back; some say it with another status."""
    proxy.fault = Throttle(status=503, retry_after=None)
    answer, _ = ask(proxy.port)
    assert (answer.status, answer.headers["Retry-After"]) == (503, None)


def test_a_server_that_is_down_is_a_broken_line():
    """The proxy cannot refuse on behalf of a dead server, but it resets at once."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with (
            FaultProxy(nobody.getsockname()[1]) as proxy,
            pytest.raises((ConnectionError, http.client.RemoteDisconnected)),
        ):
            ask(proxy.port)


def frame(kind, stream, payload):
    return len(payload).to_bytes(3) + bytes([kind, 0]) + stream.to_bytes(4) + payload


@pytest.mark.parametrize("step", [1, 2, 7, 9, 10, 64, 4096])
def test_answers_are_found_however_the_bytes_arrive(step):
    """Frames are followed across pieces; settings and trailers are no answers, a payload is never read as a frame."""
    stream = (
        frame(4, 0, b"\0" * 12)
        + frame(1, 1, b"headers")
        + frame(0, 1, frame(1, 9, b"not a frame"))
        + frame(1, 1, b"trailers")
        + frame(8, 0, b"\0\0\1\0")
        + frame(1, 3, b"")
    )
    frames = _Frames()
    found = sum(len(frames.answers(stream[at : at + step])) for at in range(0, len(stream), step))
    assert found == 2
    assert frames.answered == {1, 3}
