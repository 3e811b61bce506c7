"""Where a Supabase project's REST interface is, and what the key that we were given may see.

    supabase+https://PROJECT[.supabase.co][?option=value&…]

| option                                   | meaning                                                              |
|------------------------------------------|----------------------------------------------------------------------|
| `api_key=env:NAME`, `api_key=file:PATH`  | else SUPABASE_SERVICE_ROLE_KEY, else SUPABASE_KEY                    |
| `schema`                                 | one that the project exposes; `public`                               |
| `table`                                  | only these, separated by commas                                      |
| `page_rows`                              | rows asked for at once; 500                                          |
| `ca`, `timeout`                          | an authority of one's own; seconds that one answer may take, 60      |
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson

from vecferry.errors import ConfigError
from vecferry.secret import Secret, default_secret
from vecferry.url import StoreUrl
from vecferry.web import address as web
from vecferry.web.keys import header_value

KEY_VARIABLES = ("SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_KEY")
_OPTIONS = frozenset({"schema", "table", "page_rows", "ca", "timeout"})
_PUBLISHABLE, _SECRET = "sb_publishable_", "sb_secret_"


class Address(web.Address):
    """One project; made from a URL, holds the key and never shows it.

    Attributes:
        role: the database role that the key stands for by its own word, "" where it does not say.
    """

    scheme, usual_port, ca_option = "supabase", "443", "ca"

    def __init__(self, url: StoreUrl) -> None:
        """Take `url` apart.

        Raises:
            ConfigError: not such a URL, an option that there is not, no key.
        """
        if unknown := sorted((url.options.keys() - _OPTIONS) | (url.secrets.keys() - {"api_key"})):
            known = ", ".join(("api_key", *sorted(_OPTIONS)))
            raise ConfigError(f"supabase: URLs have no option '{unknown[0]}'.", hint=f"Known: {known}.")
        if url.transport not in ("http", "https") or not url.host:
            hint = "Write supabase+https://PROJECT.supabase.co, or postgresql:// for the database itself."
            raise ConfigError(f"{url} names no project.", hint=hint)
        self.url = url
        path = url.path.rstrip("/").removesuffix("/rest/v1")
        host = url.host if "." in url.host or url.port else f"{url.host}.supabase.co"
        root = StoreUrl(scheme="", transport=url.transport, host=host, port=url.port, path=path).base
        self.base = f"{root}/rest/v1"
        self.where = root.partition("://")[2]
        self.store = f"Supabase at {self.where}"
        self.schema = url.options.get("schema", "public")
        self.tables = tuple(name for name in url.options.get("table", "").split(",") if name)
        self.page_rows = _number(url, "page_rows", 500)
        self.timeout_s = float(_number(url, "timeout", 60))
        self.ca_file = url.options.get("ca")
        key = _key(url)
        self.role = _role(key)
        self.credentials = _credentials(key)
        self.headers: Mapping[str, str] = {} if self.schema == "public" else {"accept-profile": self.schema}

    @property
    def partial(self) -> bool:
        """True where the key is one for visitors: row-level security may hide rows from it without a word."""
        return self.role in {"anon", "authenticated"}


def _key(url: StoreUrl) -> str:
    secret: Secret | None = url.secret("api_key") or default_secret(*KEY_VARIABLES)
    if secret is None:
        raise ConfigError(
            "Supabase wants a key.",
            hint=f"Set {KEY_VARIABLES[0]} to the project's service key, or write ?api_key=env:NAME.",
        )
    return header_value(secret, "The key")


def _credentials(key: str) -> dict[str, str]:
    """Keys of the new kind are no tokens: the gateway makes one of them."""
    if key.startswith((_SECRET, _PUBLISHABLE)):
        return {"apikey": key}
    return {"apikey": key, "authorization": f"Bearer {key}"}


def _role(key: str) -> str:
    """The role in a key: a prefix of the new kind, a claim in the token of the old kind."""
    if key.startswith(_SECRET):
        return "service_role"
    if key.startswith(_PUBLISHABLE):
        return "anon"
    with suppress(ValueError, IndexError, KeyError, TypeError):
        middle = key.split(".")[1]
        claims: Any = orjson.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
        return str(claims["role"])
    return ""


def _number(url: StoreUrl, name: str, default: int) -> int:
    text = url.options.get(name, str(default))
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise ConfigError(f"{name}={text} is no whole number above 0.", hint=f"Write {name}={default}, for example.")
    return int(text)
