"""Chroma servers of earlier versions are what they say, and want their token where they say."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest


def ask(server, path, headers=None, body=None):
    """Status and JSON."""
    request = urllib.request.Request(
        server.http_url + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"content-type": "application/json", **(headers or {})},
    )
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, None


@pytest.mark.parametrize("version, header", [("0.5.23", "Authorization"), ("0.6.3", "X-Chroma-Token")])
def test_an_old_server_with_its_own_token(old_chroma_server, version, header):
    """It is of the version asked for, takes records, and wants the token in one form: the other one is refused."""
    server = old_chroma_server(version, token="of-old", header=header)
    forms = {"Authorization": {"Authorization": "Bearer of-old"}, "X-Chroma-Token": {"X-Chroma-Token": "of-old"}}
    mine = forms.pop(header)
    assert ask(server, "/api/v2/version") == (200, version)
    home = "/api/v2/tenants/default_tenant/databases/default_database/collections"
    status, made = ask(server, home, mine, {"name": "old-notes", "get_or_create": True})
    assert status == 200
    assert ask(server, f"{home}/{made['id']}/add", mine, {"ids": ["a"], "embeddings": [[1.0, 2.0]]})[0] == 201
    assert ask(server, f"{home}/{made['id']}/get", mine, {})[1]["ids"] == ["a"]
    for headers in (*forms.values(), {header: "Bearer wrong"}, {}):
        assert ask(server, home, headers)[0] in {401, 403}
    assert "of-old" not in repr(server)
    assert old_chroma_server(version, token="of-old", header=header) is server
