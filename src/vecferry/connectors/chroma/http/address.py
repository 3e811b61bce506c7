"""Where a Chroma server is and how to come in, from a URL and the variables that Chroma's own clients read."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from vecferry.errors import ConfigError
from vecferry.secret import Secret, default_secret
from vecferry.url import HEADER, StoreUrl
from vecferry.web import address as web
from vecferry.web.keys import header_value

PORT = 8000
CLOUD = "https://api.trychroma.com"
TOKEN_HEADERS = {"authorization": "Authorization", "x-chroma-token": "X-Chroma-Token"}
_OPTIONS = frozenset({"tenant", "database", "user", "token_header", "ca_file", "timeout"})
_CLOUD_OPTIONS = frozenset({"tenant", "database", "endpoint", "ca_file", "timeout"})
_TIMEOUT_S = 60.0


class Address(web.Address):
    """One server, or one Cloud tenant; holds keys and never shows them.

    Attributes:
        where: `base` for people and for a plan's fingerprint, with tenant and database where the URL names them.
        tenant / database: what the URL names; None: not chosen.
    """

    scheme, usual_port, ca_option = "chroma", f"{PORT} by default", "ca_file"

    def __init__(self, url: StoreUrl) -> None:
        """Read `url`.

        Raises:
            ConfigError: an option or a secret is missing, unknown or contradicts another.
        """
        self.url = url
        self.cloud = url.transport == "cloud"
        if url.transport not in ("http", "https", "cloud"):
            raise ConfigError(f"{url} names no way to Chroma.", hint="Write chroma+http://, +https:// or +cloud://.")
        _check_options(url, _CLOUD_OPTIONS if self.cloud else _OPTIONS, cloud=self.cloud)
        self.base = _endpoint(url) if self.cloud else _server(url)
        self.tenant, self.database = _namespace(url, cloud=self.cloud)
        host = self.base.partition("://")[2]
        chosen = "/".join(part for part in (self.tenant, self.database) if part)
        self.where = f"{host}/{chosen}" if chosen else host
        self.store = f"Chroma Cloud ({chosen})" if self.cloud else f"Chroma at {self.where}"
        self.timeout_s = _seconds(url)
        self.ca_file = url.options.get("ca_file")
        self.credentials = _cloud_key(url) if self.cloud else _credentials(url)
        self.headers = _headers(url)


def _check_options(url: StoreUrl, known: frozenset[str], *, cloud: bool) -> None:
    secrets = {"api_key"} if cloud else {"token", "password"}
    given = {*url.options, *url.secrets}
    if unknown := sorted(name for name in given if name not in known | secrets and not name.startswith(HEADER)):
        raise ConfigError(
            f"chroma+{url.transport}: URLs have no option '{unknown[0]}'.",
            hint=f"Known: {', '.join(sorted(known | secrets))}, {HEADER}NAME.",
        )


def _server(url: StoreUrl) -> str:
    port = url.port or (443 if url.transport == "https" else PORT)
    return StoreUrl(scheme="", transport=url.transport, host=url.host, port=port, path=url.path).base


def _endpoint(url: StoreUrl) -> str:
    """Where Cloud answers; tests and private networks name another place."""
    given = url.options.get("endpoint", CLOUD)
    parts = urlsplit(given)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise ConfigError(
            "endpoint= names no server.", hint="Write endpoint=https://HOST, as Chroma's console shows it."
        )
    return given.rstrip("/")


def _namespace(url: StoreUrl, *, cloud: bool) -> tuple[str | None, str | None]:
    tenant, database = url.options.get("tenant"), url.options.get("database")
    if not cloud:
        return tenant or None, database or None
    path = url.path.strip("/")
    if "/" in path or url.port:
        raise ConfigError(f"{url} is not TENANT/DATABASE.", hint="Write chroma+cloud://TENANT/DATABASE.")
    return tenant or url.host, database or path or None


def _seconds(url: StoreUrl) -> float:
    text = url.options.get("timeout")
    try:
        seconds = _TIMEOUT_S if text is None else float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"timeout={text} is not a number of seconds above 0.", hint="For example timeout=60.")
    return seconds


# --------------------------------------------------------------------------- keys


def _cloud_key(url: StoreUrl) -> Mapping[str, str]:
    secret = url.secret("api_key") or default_secret("CHROMA_API_KEY")
    if secret is None:
        raise ConfigError(
            "Chroma Cloud wants a key.", hint="Set CHROMA_API_KEY, or write ?api_key=env:NAME or ?api_key=file:PATH."
        )
    return {TOKEN_HEADERS["x-chroma-token"]: header_value(secret, "The key")}


def _credentials(url: StoreUrl) -> Mapping[str, str]:
    """The header that says who we are; none where nothing is given."""
    password, user = url.secret("password"), url.options.get("user")
    if (password is None) != (user is None):
        raise ConfigError("user= and password= belong together.", hint="Write ?user=NAME&password=env:NAME.")
    token = url.secret("token")
    if password is not None and user is not None:
        if token is not None:
            raise ConfigError("The URL has a token and a password.", hint="Leave one of them out.")
        pair = f"{user}:{header_value(password, 'The password')}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    token = token or default_secret("CHROMA_AUTH_TOKEN")
    return {} if token is None else _token(url, header_value(token, "The token"))


def _token(url: StoreUrl, token: str) -> Mapping[str, str]:
    given = url.options.get("token_header") or os.environ.get("CHROMA_AUTH_TOKEN_TRANSPORT_HEADER") or "authorization"
    name = TOKEN_HEADERS.get(given.lower())
    if name is None:
        raise ConfigError("token_header= is not known.", hint=f"Write one of {', '.join(TOKEN_HEADERS.values())}.")
    return {name: f"Bearer {token}" if name == "Authorization" else token}


def _headers(url: StoreUrl) -> dict[str, str]:
    """Headers that a proxy in front wants: `header.NAME=value`, or a reference where the value is a secret."""
    named: dict[str, Any] = {**url.options, **url.secrets}
    found = {}
    for option, value in named.items():
        if option.startswith(HEADER):
            name = option.removeprefix(HEADER)
            text = header_value(value, f"The header {name}") if isinstance(value, Secret) else value
            if not name or not name.isascii() or not text.isascii() or not text.isprintable() or " " in name:
                raise ConfigError(f"{option} is not a header.", hint=f"Write {HEADER}NAME=value in plain ASCII.")
            found[name] = text
    return found
