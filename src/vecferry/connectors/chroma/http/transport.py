"""HTTP to a Chroma server: bytes and JSON in and out, refusals as errors. Thread-safe."""

from __future__ import annotations

import ssl
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import orjson

from vecferry.connectors.chroma.http import failures
from vecferry.connectors.chroma.http.address import Address
from vecferry.errors import ConfigError

_CONNECT_S = 5.0
_CONNECTIONS = 32
_KEEP_ALIVE_S = 4.0
"""Uvicorn, under the servers before 1.0, closes idle connections after 5 s; one reused at that moment breaks off."""
_KEY_BYTES = 6
"""Anything shorter is no key, and may stand in any message."""
_JSON = {"content-type": "application/json"}
_PLAIN = {"accept-encoding": "identity", "accept": "application/json"}
"""Compressing takes a server behind a proxy longer than sending what vectors compress to."""


class Http:
    """One server's interface."""

    def __init__(self, address: Address, *, with_key: bool = True) -> None:
        self.store = address.store
        headers = {**_PLAIN, **address.headers, **(address.credentials if with_key else {})}
        keys = (text.rpartition(" ")[2].encode() for text in (*address.headers.values(), *address.credentials.values()))
        self._keys = [key for key in keys if len(key) >= _KEY_BYTES]
        self._client = httpx.Client(
            base_url=address.base,
            headers=headers,
            timeout=httpx.Timeout(address.timeout_s, connect=_CONNECT_S),
            verify=_trust(address),
            trust_env=not address.loopback,
            limits=httpx.Limits(
                max_connections=_CONNECTIONS,
                max_keepalive_connections=_CONNECTIONS,
                keepalive_expiry=_KEEP_ALIVE_S,
            ),
        )

    def call(self, method: str, path: str, body: Any = None, **params: str | int) -> Any:
        """The JSON value of an answer; `body` is a JSON value.

        Raises:
            VecferryError: see `failures`.
        """
        content = None if body is None else orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        return self.json(self.send(method, path, content, **params))

    def json(self, answer: bytes) -> Any:
        """An answer as a JSON value.

        Raises:
            NotChroma: it is none.
        """
        try:
            return orjson.loads(answer) if answer else None
        except orjson.JSONDecodeError:
            raise failures.not_chroma(self.store) from None

    def send(self, method: str, path: str, content: bytes | None = None, **params: str | int) -> bytes:
        """The bytes of an answer to bytes.

        A kept-alive connection that the server closed meanwhile says so only when it is used: then the request goes
        once more, on a fresh one (RFC 9110, section 9.2.2; all of ours may be repeated).
        """
        ask = partial(self._client.request, method, path, content=content, params=params, headers=_JSON)
        try:
            try:
                answer = ask()
            except httpx.RemoteProtocolError:
                answer = ask()
        except httpx.HTTPError as error:
            raise failures.of_request(error, self.store) from error
        if answer.status_code >= 300:
            raise failures.of_answer(answer, self._without_keys(answer.content), self.store)
        return answer.content

    def _without_keys(self, body: bytes) -> bytes:
        """A refusal, whose words go into a message: some servers and proxies repeat the key that they refuse."""
        for key in self._keys:
            body = body.replace(key, b"***")
        return body

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _trust(address: Address) -> ssl.SSLContext | bool:
    if not address.tls or address.ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(Path(address.ca_file).expanduser()))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"ca_file={address.ca_file} cannot be read: {error}.", hint="Name a PEM file.") from error
