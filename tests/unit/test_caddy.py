"""A real Caddy before a real Chroma: what it wants, whom it refuses, and that the vendor's client comes through."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request

import chromadb
import pytest

from vecferry.errors import ConfigError
from vecferry.testing.caddy import CADDY

HEARTBEAT = "/api/v2/heartbeat"


def ask(caddy, path=HEARTBEAT, headers=None, *, trusted=True):
    """One GET; status and body."""
    context = ssl.create_default_context(cafile=caddy.ca_file if trusted else None)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    request = urllib.request.Request(caddy.http_url + path, headers=caddy.headers if headers is None else headers)
    try:
        with opener.open(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_the_token_opens_in_both_forms(caddy_chroma):
    """Bearer and X-Chroma-Token come through, anything else is 401; the token shows in no representation."""
    token = caddy_chroma.api_key
    for headers in ({"authorization": f"Bearer {token}"}, {"x-chroma-token": token}):
        assert "nanosecond heartbeat" in json.loads(ask(caddy_chroma, headers=headers)[1])
    for headers in ({}, {"authorization": token}, {"x-chroma-token": token + "x"}):
        assert ask(caddy_chroma, headers=headers)[0] == 401
    assert token not in repr(caddy_chroma)


def test_only_its_own_authority_is_trusted(caddy_chroma):
    """The machine's own store of authorities is not enough."""
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        ask(caddy_chroma, trusted=False)


def test_the_vendors_client_works_through_it(caddy_chroma, monkeypatch):
    """What an application does: chromadb over TLS with the token in a header."""
    monkeypatch.setenv("SSL_CERT_FILE", str(caddy_chroma.ca_file))
    host, port = caddy_chroma.http_url.removeprefix("https://").split(":")
    client = chromadb.HttpClient(host=host, port=int(port), ssl=True, headers=dict(caddy_chroma.headers))
    collection = client.create_collection("behind-caddy", embedding_function=None)
    collection.add(ids=["a"], embeddings=[[1.0, 2.0]])
    assert collection.get()["ids"] == ["a"]
    client.delete_collection("behind-caddy")


def test_a_password_a_header_and_a_path(start_caddy, chroma_server):
    """Each is wanted on its own; what stands beside the path is a page for people."""
    caddy = start_caddy(
        chroma_server.http_url, basic=("ada", "lovelace pw"), header=("X-Tenant-Gate", "blue"), path="/vectors"
    )
    assert caddy.http_url.endswith("/vectors")
    assert ask(caddy)[0] == 200
    password, gate = {"Authorization": caddy.headers["Authorization"]}, {"X-Tenant-Gate": "blue"}
    wrong = {"Authorization": "Basic " + base64.b64encode(b"ada:wrong").decode()}
    assert [ask(caddy, headers=headers)[0] for headers in (gate, {**gate, **wrong}, password)] == [401, 401, 403]
    caddy.http_url = caddy.http_url.removesuffix("/vectors")
    status, page = ask(caddy)
    assert (status, page[:6]) == (404, b"<html>")


def test_without_tls_and_with_the_server_behind_it_gone(start_caddy, start_chroma):
    """A dead server behind it is 502 without a body, as Caddy has it."""
    server = start_chroma()
    caddy = start_caddy(server.http_url, tls=False)
    assert caddy.http_url.startswith("http://")
    assert ask(caddy)[0] == 200
    server.kill()
    assert ask(caddy) == (502, b"")


def test_a_named_binary_must_be_one(monkeypatch, tmp_path):
    """A typing error in the variable is not answered by building another Caddy."""
    monkeypatch.setenv("VECFERRY_TEST_CADDY_BINARY", str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match="nothing"):
        CADDY.path()
