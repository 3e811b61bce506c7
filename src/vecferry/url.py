"""Store URLs: one grammar for every connector.

    SCHEME:PATH[?option=value&…]            a folder or a name:  memory:NAME  chroma:PATH  qdrant:PATH  files:DIR
    SCHEME+FORM:PATH[?option=value&…]       a file of a form of its own:  qdrant+snapshot:FILE
    SCHEME+TRANSPORT://HOST[:PORT][/PATH][?option=value&…]       a server:    qdrant+https://HOST:6333?grpc_port=6334
    SCHEME://[USER@]HOST[:PORT]/DATABASE[?option=value&…]        a SQL server:    postgresql://app@HOST/shop

Secrets never stand in a URL: `api_key=env:NAME` and `api_key=file:PATH` are references. A SQL server's user name is no
secret; a server behind a socket has no HOST but the option `host` (PostgreSQL) or `socket` (MariaDB).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from vecferry.errors import ConfigError
from vecferry.secret import Secret

SECRET_OPTIONS = frozenset(
    {"api_key", "token", "password", "access_key_id", "secret_access_key", "session_token"}  # the last three: buckets
)
_MISSPELT = frozenset(
    {"apikey", "key", "auth", "authtoken", "accesstoken", "secret", "passwd", "pwd", "pass"}
    | {"accesskey", "accesskeyid", "secretkey", "secretaccesskey", "sessiontoken", "awsaccesskeyid"}
    | {"awssecretaccesskey", "awssessiontoken"}
)


HEADER = "header."
"""`header.NAME=value`: an HTTP header that a proxy before a server wants; a reference where its name says secret."""
_SECRET_HEADER = re.compile(r"auth|cookie|credential|key|pass|secret|session|token", re.IGNORECASE)


_ALIASES = {"postgres": "postgresql"}
_SQL = {"postgresql": "PGPASSWORD", "mariadb": "MARIADB_PASSWORD"}
"""Schemes of SQL servers, with the variable that their own clients take the password from."""
_FILES = frozenset({("qdrant", "snapshot")})
"""Forms of a store that lie in one file, as (scheme, form)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreUrl:
    """A parsed store URL. Its text form holds no secret and is safe to print, log and store."""

    scheme: str
    transport: str | None = None
    host: str | None = None
    port: int | None = None
    path: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> StoreUrl:
        """Parse `text`.

        Raises:
            ConfigError: not a store URL, or a secret stands in it. The message never repeats the secret.
        """
        head, separator, rest = text.partition(":")
        if not separator or not head or "/" in head or "\\" in head or len(head) == 1:
            raise ConfigError(
                f"'{_shown(text)}' is not a store URL.",
                hint="Write SCHEME:PATH or SCHEME+http://HOST:PORT, for example chroma:./chroma_db or qdrant+http://localhost:6333.",
            )
        scheme, _, transport = head.lower().partition("+")
        scheme = _ALIASES.get(scheme, scheme)
        return (
            _parse_server(scheme, transport, text) if rest.startswith("//") else _parse_local(scheme, transport, rest)
        )

    @property
    def local_path(self) -> Path:
        """The folder or file of a URL without host, `~` expanded, absolute."""
        return Path(self.path).expanduser().absolute()

    @property
    def base(self) -> str:
        """`http(s)://host:port/path` of a server URL."""
        port = f":{self.port}" if self.port else ""
        host = f"[{self.host}]" if self.host and ":" in self.host else self.host
        return f"{self.transport}://{host}{port}{quote(self.path).rstrip('/')}"

    def secret(self, name: str) -> Secret | None:
        """The reference given for `name`, or None."""
        return self.secrets.get(name)

    def __str__(self) -> str:
        shown = {**self.options, **{name: secret.reference for name, secret in self.secrets.items()}}
        query = "?" + "&".join(f"{k}={quote(v, safe='/:~')}" for k, v in sorted(shown.items())) if shown else ""
        plus = f"+{self.transport}" if self.transport else ""
        if self.host is None:
            return f"{self.scheme}{plus}:{self.path}{query}"
        port = f":{self.port}" if self.port else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}{plus}://{host}{port}{quote(self.path)}{query}"


def _parse_local(scheme: str, transport: str, rest: str) -> StoreUrl:
    path, _, query = rest.partition("?")
    if transport and (scheme, transport) not in _FILES:
        raise ConfigError(
            f"'{scheme}+{transport}:' names no host.",
            hint=f"Write {scheme}+http://HOST:PORT for a server, or {scheme}:PATH for a folder.",
        )
    if not path:
        raise ConfigError(f"'{scheme}:' names no path.", hint=f"Write {scheme}:PATH, for example {scheme}:./data.")
    options, secrets = _options(query)
    return StoreUrl(scheme=scheme, transport=transport or None, path=path, options=options, secrets=secrets)


def _parse_server(scheme: str, transport: str, text: str) -> StoreUrl:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:  # its own message may repeat a part of a password
        raise ConfigError(
            f"'{_shown(text)}' is not a store URL: its host or port cannot be read.",
            hint=f"Write {scheme}+http://HOST:PORT; an IPv6 address stands in brackets.",
        ) from None
    if scheme in _SQL and not transport:
        return _parse_sql(scheme, text, parts, port)
    if parts.username or parts.password:
        raise ConfigError(
            f"'{_shown(text)}' carries a user name or a password.",
            hint="Take it out and pass a reference: ?api_key=env:NAME or ?api_key=file:PATH.",
        )
    if not parts.hostname:
        raise ConfigError(f"'{_shown(text)}' names no host.", hint=f"Write {scheme}+http://HOST:PORT.")
    options, secrets = _options(parts.query)
    path = unquote(parts.path) if parts.path != "/" else ""
    return StoreUrl(
        scheme=scheme,
        transport=transport or None,
        host=parts.hostname,
        port=port,
        path=path,
        options=options,
        secrets=secrets,
    )


def _parse_sql(scheme: str, text: str, parts: SplitResult, port: int | None) -> StoreUrl:
    """A URL whose user name may stand before the host. An `@` elsewhere is taken for the rest of a password."""
    if parts.password is not None or "@" in parts.path or "@" in parts.query.partition("=")[0] or "#" in text:
        raise ConfigError(
            f"'{_shown(text)}' carries a password, or a character that must be written as %40 or %23.",
            hint=f"Take the password out: ?password=env:NAME, ?password=file:PATH, or set {_SQL[scheme]}. "
            "Treat it as leaked if it stood there: URLs end up in shell histories.",
        )
    options, secrets = _options(parts.query)
    user = unquote(parts.username or "")
    if user and options.setdefault("user", user) != user:
        raise ConfigError(f"'{_shown(text)}' names two users.", hint="Name one, before the @ or with ?user=NAME.")
    if not parts.hostname and not options.keys() & {"host", "socket"}:
        raise ConfigError(f"'{_shown(text)}' names no host.", hint=f"Write {scheme}://HOST:PORT/DATABASE?user=NAME.")
    path = unquote(parts.path) if parts.path != "/" else ""
    host = parts.hostname or ""
    return StoreUrl(scheme=scheme, host=host, port=port, path=path, options=options, secrets=secrets)


def _options(query: str) -> tuple[dict[str, str], dict[str, Secret]]:
    pairs = dict(parse_qsl(query, keep_blank_values=True))
    secrets = {name: Secret(value) for name, value in pairs.items() if _is_secret(name, value)}
    for name, secret in secrets.items():
        if secret.reference.partition(":")[0] not in {"env", "file"}:
            raise ConfigError(
                f"The URL carries the value of {name}.",
                hint=f"Pass a reference instead: {name}=env:NAME or {name}=file:PATH. "
                "Treat the key as leaked: URLs end up in shell histories.",
            )
    for name in pairs.keys() - secrets.keys():
        if name.lower().replace("-", "").replace("_", "") in _MISSPELT:
            raise ConfigError(f"There is no option '{name}'.", hint="Write api_key=env:NAME or api_key=file:PATH.")
    return {name: value for name, value in pairs.items() if name not in secrets}, secrets


def _is_secret(name: str, value: str) -> bool:
    """Does this option hold a secret, which must be a reference?"""
    if not name.startswith(HEADER):
        return name in SECRET_OPTIONS
    return value.startswith(("env:", "file:")) or _SECRET_HEADER.search(name.removeprefix(HEADER)) is not None


def _shown(text: str) -> str:
    """`text` for an error message: the query cut away, and whatever stands before an `@`, as they may hold a secret."""
    scheme, separator, rest = text.partition("://")
    if "@" in rest:
        return f"{scheme}://…"
    return f"{scheme}{separator}{rest}".partition("?")[0]
