"""The two ways to talk to a Qdrant server: REST for everything, gRPC for the bulk where it can be reached."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import orjson

from vecferry.connectors.qdrant import failures
from vecferry.errors import ConfigError, NotFound, Unavailable, VecferryError
from vecferry.secret import Secret, default_secret
from vecferry.url import StoreUrl
from vecferry.web import address as web
from vecferry.web.client import CONNECT_S, Client
from vecferry.web.keys import header_value

REST_PORT, GRPC_PORT = 6333, 6334
_OPTIONS = frozenset({"grpc_port", "transport", "ca", "timeout"})
_TIMEOUT_S = 60.0


class Address(web.Address):
    """Where the server is and how to come in; made from a URL, holds the key and never shows it."""

    scheme, usual_port, ca_option = "qdrant", f"{REST_PORT} for REST", "ca"

    def __init__(self, url: StoreUrl) -> None:
        if unknown := sorted(url.options.keys() - _OPTIONS):
            raise ConfigError(
                f"qdrant: URLs have no option '{unknown[0]}'.",
                hint=f"Known: api_key, {', '.join(sorted(_OPTIONS))}.",
            )
        if url.transport not in ("http", "https"):
            raise ConfigError(f"{url} names no way to the server.", hint="Write qdrant+http:// or qdrant+https://.")
        self.url = url
        self.host = url.host or ""
        self.port = url.port or REST_PORT
        self.base = StoreUrl(scheme="", transport=url.transport, host=url.host, port=self.port, path=url.path).base
        self.where = self.base.partition("://")[2]
        self.store = f"Qdrant at {self.where}"
        self.transport = _choice(url, "transport", ("grpc", "rest"))
        self.grpc_port = _number(url, "grpc_port", int)
        self.timeout_s = _number(url, "timeout", float) or _TIMEOUT_S
        self.ca_file = url.options.get("ca")
        secret: Secret | None = url.secret("api_key") or default_secret("QDRANT_API_KEY")
        self.credentials = {} if secret is None else {"api-key": header_value(secret, "The key")}
        self.headers: Mapping[str, str] = {}


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


class Rest(Client):
    """The REST interface. Thread-safe."""

    def __init__(self, address: Address, *, with_key: bool = True) -> None:
        super().__init__(address, failures.of_answer, with_key=with_key)

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
            raise not_qdrant(self.store) from None

    def post_bytes(self, path: str, body: Any) -> bytes:
        """The bytes of an answer to a JSON value."""
        return self.send("POST", path, orjson.dumps(body))


def collection_path(name: str, rest: str = "") -> str:
    """The path of a collection, or of something in it."""
    return f"/collections/{quote(name, safe='')}{rest}"


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
        self._metadata, self._keys = tuple(address.credentials.items()), address.keys
        options = [*_CHANNEL, ("grpc.enable_http_proxy", int(not address.loopback))]
        host = f"[{address.host}]" if ":" in address.host else address.host
        if address.tls:
            roots = None if address.ca_file is None else _read(address.ca_file)
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
            raise failures.of_rpc(error, self._store, self._keys) from None  # it may repeat the key
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
        answer = connection.call(HEALTH, b"", timeout_s=CONNECT_S)
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
        return b"qdrant" in connection.call(HEALTH, b"", timeout_s=CONNECT_S)
    except VecferryError:
        return False
    finally:
        connection.close()
