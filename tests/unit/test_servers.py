"""The servers that other tests stand on: they start, answer, crash, come back, and leave nothing behind."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.servers import check_gone
from vecferry.errors import Unavailable
from vecferry.testing import servers
from vecferry.url import StoreUrl

_DIRECT = urllib.request.ProxyHandler({})


def ask(url, *, method="GET", body=None, headers=None, context=None):
    handlers = [_DIRECT] + ([urllib.request.HTTPSHandler(context=context)] if context else [])
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(
        url, data=data, method=method, headers={"content-type": "application/json", **(headers or {})}
    )
    with urllib.request.build_opener(*handlers).open(request, timeout=20) as answer:
        return json.load(answer)


def test_qdrant_answers_on_both_ports(qdrant_server):
    """REST answers with the pinned version, and the gRPC port of the URL listens."""
    url = StoreUrl.parse(qdrant_server.url)
    assert ask(qdrant_server.http_url)["version"] == "1.16.3"
    assert url.port == qdrant_server.http_port
    socket.create_connection((url.host, int(url.options["grpc_port"])), timeout=5).close()


def test_qdrant_survives_its_own_kill(start_qdrant):
    """After kill -9 the same ports serve the same data: what the crash tests rely on."""
    server = start_qdrant()
    spec = {"vectors": {"size": 2, "distance": "Dot"}}
    ask(f"{server.http_url}/collections/kept", method="PUT", body=spec)
    first = server.pid
    server.kill()
    assert server.pid is None
    server.start()
    assert server.pid not in {first, None}
    assert [c["name"] for c in ask(f"{server.http_url}/collections")["result"]["collections"]] == ["kept"]


def test_a_stopped_server_leaves_nothing(start_qdrant):
    """Process, ports and folder are gone after the with-block."""
    with servers.start_qdrant() as server:
        pid, folder, port = server.pid, server.folder, server.http_port
    check_gone(pid, folder, port)


def test_a_server_does_not_outlive_killed_tests(tmp_path):
    """kill -9 on the test run takes its servers along: nobody finds a Qdrant running the next day."""
    code = (
        "import os, signal; from pathlib import Path; from vecferry.testing.servers import start_qdrant\n"
        "with start_qdrant(folder=Path('room')) as server:\n"
        "    print(server.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    server = Path(f"/proc/{int(killed.stdout)}/cmdline")
    deadline = time.monotonic() + 120
    while server.exists() and server.read_bytes():  # empty: dead, and not yet collected by its new parent
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_key_is_wanted(qdrant_with_key):
    """Without the key 401, with it an answer; and the key shows in no representation of the server."""
    url = f"{qdrant_with_key.http_url}/collections"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        ask(url)
    assert ask(url, headers={"api-key": qdrant_with_key.api_key})["status"] == "ok"
    assert qdrant_with_key.api_key not in repr(qdrant_with_key)


def test_tls_is_signed_by_the_given_authority_only(qdrant_with_tls):
    """The named authority is accepted, the machine's own store of authorities is not enough."""
    url = f"{qdrant_with_tls.http_url}/collections"
    assert ask(url, context=ssl.create_default_context(cafile=qdrant_with_tls.ca_file))["status"] == "ok"
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        ask(url, context=ssl.create_default_context())


def test_chroma_answers(chroma_server):
    """The server of the installed chromadb says what it is."""
    assert StoreUrl.parse(chroma_server.url).port == chroma_server.port
    assert ask(f"{chroma_server.http_url}/api/v2/heartbeat")["nanosecond heartbeat"] > 0


def test_the_users_own_settings_do_not_reach_the_server(start_qdrant, monkeypatch):
    """A QDRANT__ variable of the developer's shell would make tests pass or fail by accident."""
    monkeypatch.setenv("QDRANT__SERVICE__API_KEY", "mine")
    server = start_qdrant()
    assert ask(f"{server.http_url}/collections")["status"] == "ok"


@pytest.mark.parametrize("which", [0, 1], ids=["http", "grpc"])
def test_a_taken_port_is_not_waited_for(monkeypatch, which):
    """Whichever port a stranger holds, the server is started again on others instead of waiting for the deadline."""
    with socket.socket() as stranger:
        stranger.bind((servers.HOST, 0))
        stranger.listen()
        taken = stranger.getsockname()[1]
        honest, asked = servers.free_ports, []

        def once_taken(count):
            ports = honest(count)
            if not asked:
                ports[which] = taken
            asked.append(ports)
            return ports

        monkeypatch.setattr(servers, "free_ports", once_taken)
        with servers.start_qdrant() as server:
            assert taken not in {server.http_port, server.grpc_port}
        assert len(asked) == 2


def test_a_server_that_dies_shows_its_log(start_qdrant):
    """The failure holds what the server said, so that CI's log is enough."""
    with pytest.raises(Unavailable, match=r"missing\.pem"):
        start_qdrant(settings={"QDRANT__SERVICE__ENABLE_TLS": "true", "QDRANT__TLS__CERT": "missing.pem"})


def test_a_running_server_is_named_and_never_stopped(qdrant_server):
    """What VECFERRY_TEST_QDRANT_URL names is used as it is, in either spelling."""
    for text in (qdrant_server.url, qdrant_server.url.removeprefix("qdrant+")):
        named = servers.running_qdrant(text)
        assert (named.url, named.pid, named.log()) == (qdrant_server.url, None, "")
        named.stop()
        named.kill()
    assert ask(qdrant_server.http_url)["version"]


def test_paused_holds_answers_back(start_qdrant):
    """A paused server keeps its connections and says nothing; afterwards it answers again."""
    server = start_qdrant()
    with server.paused(), socket.create_connection((servers.HOST, server.http_port), timeout=1) as line:
        line.sendall(b"GET / HTTP/1.0\r\n\r\n")
        line.settimeout(0.3)
        with pytest.raises(TimeoutError):
            line.recv(1)
    assert ask(server.http_url)["version"]


def test_a_folder_is_kept(tmp_path: Path):
    """Data in a named folder outlive the server: for directories that a test wants to look into."""
    with servers.start_chroma(folder=tmp_path / "room") as server:
        assert server.pid
    assert (tmp_path / "room" / "data" / "chroma.sqlite3").exists()
