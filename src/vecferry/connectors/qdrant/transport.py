"""The two ways to talk to a Qdrant server: REST for everything, gRPC for the bulk where it can be reached."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import httpx
import orjson

from vecferry.connectors.qdrant import failures
from vecferry.errors import ConfigError, NotFound, Unavailable, VecferryError
from vecferry.secret import Secret, default_secret
from vecferry.url import StoreUrl

REST_PORT, GRPC_PORT = 6333, 6334
_OPTIONS = frozenset({"grpc_port", "transport", "ca", "timeout"})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_TIMEOUT_S, _CONNECT_S = 60.0, 5.0
_KEEP_ALIVE_S = 2.0
"""Qdrant closes idle connections after 5 s; one that is reused at that moment breaks off."""
_JSON = {"content-type": "application/json"}
_PLAIN = {"accept-encoding": "identity"}
"""Qdrant compresses whatever a client accepts, which takes it longer than all else: half the rate of reading."""


class Address:
    """Where the server is and how to come in; made from a URL, holds the key and never shows it."""

    def __init__(self, url: StoreUrl) -> None:
        if unknown := sorted(url.options.keys() - _OPTIONS):
            raise ConfigError(
                f"qdrant: URLs have no option '{unknown[0]}'.",
                hint=f"Known: api_key, {', '.join(sorted(_OPTIONS))}.",
            )
        if url.transport not in ("http", "https"):
            raise ConfigError(f"{url} names no way to the server.", hint="Write qdrant+http:// or qdrant+https://.")
        self.url = url
        self.tls = url.transport == "https"
        self.host = url.host or ""
        self.port = url.port or REST_PORT
        self.base = StoreUrl(scheme="", transport=url.transport, host=url.host, port=self.port, path=url.path).base
        self.where = self.base.partition("://")[2]
        self.store = f"Qdrant at {self.where}"
        self.transport = _choice(url, "transport", ("grpc", "rest"))
        self.grpc_port = _number(url, "grpc_port", int)
        self.timeout_s = _number(url, "timeout", float) or _TIMEOUT_S
        self.ca = url.options.get("ca")
        secret: Secret | None = url.secret("api_key") or default_secret("QDRANT_API_KEY")
        self.key = secret.reveal() if secret else None

    @property
    def loopback(self) -> bool:
        """True where nothing that is sent leaves this machine."""
        return self.host in _LOOPBACK

    @property
    def exposes_key(self) -> bool:
        """True where the key travels over the network unencrypted."""
        return self.key is not None and not self.tls and not self.loopback

    def __repr__(self) -> str:
        return f"Address({self.base})"


def _choice(url: StoreUrl, name: str, known: tuple[str, ...]) -> str | None:
    value = url.options.get(name)
    if value is not None and value not in known:
        raise ConfigError(f"{name}={value} is not known.", hint=f"Write {name}={' or '.join(known)}.")
    return value


def _number(url: StoreUrl, name: str, kind: type[Any]) -> Any:
    value = url.options.get(name)
    try:
        number = None if value is None else kind(value)
    except ValueError:
        number = 0
    if number is not None and number <= 0:
        raise ConfigError(f"{name}={value} is not a number above 0.", hint=f"For example {name}=60.")
    return number


# --------------------------------------------------------------------------- REST


class Rest:
    """The REST interface. Thread-safe."""

    def __init__(self, address: Address, *, with_key: bool = True) -> None:
        self._store = address.store
        headers = _PLAIN | ({"api-key": address.key} if address.key and with_key else {})
        self._client = httpx.Client(
            base_url=address.base,
            headers=headers,
            timeout=httpx.Timeout(address.timeout_s, connect=_CONNECT_S),
            verify=_trust(address),
            trust_env=not address.loopback,
            limits=httpx.Limits(max_connections=32, max_keepalive_connections=32, keepalive_expiry=_KEEP_ALIVE_S),
        )

    def call(self, method: str, path: str, body: Any = None, **params: str) -> Any:
        """The `result` of an answer; `body` is a JSON value.

        Raises:
            VecferryError: see `failures`.
        """
        content = None if body is None else orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        answer = self.send(method, path, content, **params)
        try:
            return orjson.loads(answer)["result"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise not_qdrant(self._store) from None

    def post_bytes(self, path: str, body: Any) -> bytes:
        """The bytes of an answer to a JSON value."""
        return self.send("POST", path, orjson.dumps(body))

    def send(self, method: str, path: str, content: bytes | None, **params: str) -> bytes:
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
            raise failures.of_request(error, self._store) from error
        if answer.status_code >= 300:
            raise failures.of_status(answer.status_code, answer.content, answer.headers, self._store)
        return answer.content

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def collection_path(name: str, rest: str = "") -> str:
    """The path of a collection, or of something in it."""
    return f"/collections/{quote(name, safe='')}{rest}"


def _trust(address: Address) -> ssl.SSLContext | bool:
    if not address.tls or address.ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(Path(address.ca).expanduser()))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"ca={address.ca} cannot be read: {error}.", hint="Name a PEM file.") from error


def not_qdrant(store: str) -> ConfigError:
    """The error of an answer that Qdrant does not give."""
    return ConfigError(
        f"{store.partition(' at ')[2]} answers, but it is not Qdrant.",
        hint="Check the host and the port (6333 for REST).",
    )


# --------------------------------------------------------------------------- gRPC


_CHANNEL = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Qdrant compresses whatever a client accepts: 5,800 instead of 119,000 records a second on loopback.
    ("grpc.compression_enabled_algorithms_bitset", 1),
)


class Grpc:
    """Qdrant's gRPC interface, bytes in and bytes out. Thread-safe."""

    def __init__(self, address: Address, port: int) -> None:
        self._store = address.store
        self._timeout_s = address.timeout_s
        self._metadata = (("api-key", address.key),) if address.key else ()
        options = [*_CHANNEL, ("grpc.enable_http_proxy", int(not address.loopback))]
        host = f"[{address.host}]" if ":" in address.host else address.host
        if address.tls:
            roots = None if address.ca is None else _read(address.ca)
            credentials = grpc.ssl_channel_credentials(root_certificates=roots)
            self._channel = grpc.secure_channel(f"{host}:{port}", credentials, options)
        else:
            self._channel = grpc.insecure_channel(f"{host}:{port}", options)
        self._calls = {name: self._channel.unary_unary(name) for name in (HEALTH, UPSERT, SCROLL, GET)}

    def call(self, name: str, message: bytes, *, timeout_s: float | None = None) -> bytes:
        """The answer to a message.

        Raises:
            VecferryError: see `failures`.
        """
        try:  # not a future, which hands the answer from thread to thread, for 1 us a record
            answer: bytes = self._calls[name](message, timeout=timeout_s or self._timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise failures.of_rpc(error, self._store) from error
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()


HEALTH = "/qdrant.Qdrant/HealthCheck"
UPSERT = "/qdrant.Points/Upsert"
SCROLL = "/qdrant.Points/Scroll"
GET = "/qdrant.Points/Get"


def _read(path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise ConfigError(f"ca={path} cannot be read: {error.strerror}.", hint="Name a PEM file.") from error


def find_grpc(address: Address) -> Grpc | None:
    """A gRPC connection that answers, or None where REST is to be used.

    Raises:
        VecferryError: gRPC was asked for (by `transport` or `grpc_port` with `transport=grpc`) and does not answer.
    """
    if address.transport == "rest":
        return None
    port = address.grpc_port or (GRPC_PORT if address.port == REST_PORT else address.port + 1)
    connection = Grpc(address, port)
    try:
        answer = connection.call(HEALTH, b"", timeout_s=_CONNECT_S)
    except VecferryError as error:
        connection.close()
        if address.transport == "grpc":
            error.hint = f"gRPC was asked for on port {port}: check grpc_port, or leave out transport=grpc to use REST."
            raise
        return None
    if b"qdrant" in answer:
        return connection
    connection.close()
    raise not_qdrant(f"gRPC at {address.host}:{port}")


def greeting(rest: Rest, address: Address) -> Mapping[str, Any]:
    """What the server says of itself: title and version.

    Raises:
        ConfigError: it is something else, or the port is the gRPC port.
    """
    try:
        answer = orjson.loads(rest.send("GET", "/", None))
    except Unavailable as error:
        if "broke off" in error.message and _is_grpc(address):
            raise ConfigError(
                f"Port {address.port} of {address.host} is Qdrant's gRPC port.",
                hint=f"Write the REST port ({REST_PORT}) and, if it is not the next one, ?grpc_port={address.port}.",
            ) from error
        raise
    except (orjson.JSONDecodeError, NotFound) as error:
        raise not_qdrant(address.store) from error
    if not isinstance(answer, dict) or "qdrant" not in str(answer.get("title")):
        raise not_qdrant(address.store)
    return answer


def _is_grpc(address: Address) -> bool:
    connection = Grpc(address, address.port)
    try:
        return b"qdrant" in connection.call(HEALTH, b"", timeout_s=_CONNECT_S)
    except VecferryError:
        return False
    finally:
        connection.close()
