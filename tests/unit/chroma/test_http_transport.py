"""What a server says when it refuses goes into messages; a key that it repeats does not."""

from __future__ import annotations

import httpx
import pytest

from vecferry.connectors.chroma.http.address import Address
from vecferry.connectors.chroma.http.transport import Http
from vecferry.errors import VecferryError
from vecferry.url import StoreUrl

KEY = "ck-5a9d0c2e7b"


@pytest.mark.parametrize(
    "options", ["token=env:K", "token=env:K&token_header=x-chroma-token", "header.x-api-key=env:K"]
)
@pytest.mark.parametrize("status", [400, 401, 403, 409, 422, 429, 500, 503])
def test_a_key_that_is_repeated_is_not_told(options: str, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K", KEY)
    http = Http(Address(StoreUrl.parse(f"chroma+http://localhost:8000?{options}")))
    answer = httpx.Response(status, json={"error": "E", "message": f"no such key: {KEY}"})
    monkeypatch.setattr(http._client, "request", lambda *_, **__: answer)
    with pytest.raises(VecferryError) as error:
        http.call("GET", "/api/v2/version")
    assert KEY not in f"{error.value} {error.value.hint} {error.value.facts}"
    assert "no such key" in str(error.value)
    http.close()
