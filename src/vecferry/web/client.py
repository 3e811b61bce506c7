"""HTTP to a store's server: bytes in and out; a refusal, or no answer, as an error that says what to do."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import httpx

from vecferry.errors import AuthFailed, ConfigError, VecferryError
from vecferry.web.address import Address
from vecferry.web.answers import Answer
from vecferry.web.failures import of_request

CONNECT_S = 5.0
_CONNECTIONS = 32
_IDLE_S = 2.0
"""Qdrant, and uvicorn under Chroma before 1.0, close idle connections after 5 s; one reused just then breaks off."""
_HEADERS = {"accept-encoding": "identity", "accept": "application/json", "content-type": "application/json"}
"""Compressing takes a server, or a proxy before it, longer than sending what vectors compress to."""

Refused = Callable[[Answer, str], VecferryError]
"""A refusal, and what messages call the store, to the error of it."""
C = TypeVar("C", bound="Client")


class Client:
    """Connections to one server. Thread-safe."""

    def __init__(self, address: Address, refused: Refused, *, with_key: bool = True) -> None:
        self.store = address.store
        self._address, self._refused, self._keys = address, refused, address.keys
        self._client = httpx.Client(
            base_url=address.base,
            headers={**_HEADERS, **address.headers, **(address.credentials if with_key else {})},
            timeout=httpx.Timeout(address.timeout_s, connect=CONNECT_S),
            verify=_trust(address),
            trust_env=not address.loopback,
            limits=httpx.Limits(
                max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS, keepalive_expiry=_IDLE_S
            ),
        )

    def send(self, method: str, path: str, content: bytes | None = None, **params: str | int) -> bytes:
        """The bytes of an answer to bytes.

        Raises:
            VecferryError: as `exchange`.
        """
        return self.exchange(method, path, content, params=params).content

    def exchange(
        self,
        method: str,
        path: str,
        content: bytes | None = None,
        *,
        params: Mapping[str, str | int],
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """A whole answer, where its headers say something too.

        A kept-alive connection that the server closed meanwhile says so only when it is used: then the request goes
        once more, on a fresh one (RFC 9110, section 9.2.2; all of ours may be repeated).

        Raises:
            VecferryError: the store refused, or did not answer.
        """
        ask = partial(self._client.request, method, path, content=content, params=params, headers=headers)
        try:
            try:
                answer = ask()
            except httpx.RemoteProtocolError:
                answer = ask()
        except httpx.HTTPError as error:
            raise of_request(error, self._address) from error
        if answer.status_code >= 300:
            said = self._keys.out_of(answer.content.decode("utf-8", "replace"))
            raise self._refused(Answer(answer.status_code, answer.headers, said), self.store)
        return alone(answer)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def alone(answer: httpx.Response) -> httpx.Response:
    """A whole answer that goes, with its request, as soon as nobody needs it.

    It and its stream hold each other: until garbage is looked for, which is seldom (`vecferry.process`), megabytes of
    bodies would stay, of every request one more.
    """
    answer.stream = httpx.ByteStream(b"")
    return answer


def answers_without_key(address: Address, connect: Callable[..., C], ask: Callable[[C], object]) -> bool | None:
    """Does a server answer what `ask` asks over a connection without key? None where we were given no key.

    Args:
        connect: makes a connection to `address`, `with_key` or without; it is closed afterwards.
    """
    if not address.credentials:
        return None
    client = connect(address, with_key=False)
    try:
        ask(client)
    except AuthFailed:
        return False
    finally:
        client.close()
    return True


def _trust(address: Address) -> ssl.SSLContext | bool:
    if not address.tls or address.ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(Path(address.ca_file).expanduser()))
    except (OSError, ssl.SSLError) as error:
        text = f"{address.ca_option}={address.ca_file} cannot be read: {error}."
        raise ConfigError(text, hint="Name a PEM file.") from error
