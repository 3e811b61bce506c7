"""Where a server is and how to come in: what every store's address has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import urlsplit

from vecferry.web.keys import Keys

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Address:
    """One server. Holds keys and never shows them; a store's own class fills it from a URL.

    Attributes:
        scheme: of the store's URLs.
        usual_port: which port the store has by default, as a hint says it.
        ca_option: the option of its URLs that names an authority.
        base: `http(s)://host:port/path` of the interface.
        where: the same for people, and for a plan's fingerprint.
        store: what messages call the server.
        credentials: headers that say who we are; empty where nothing is given.
        headers: those that a proxy in front wants.
        ca_file: the PEM file of an authority of one's own.
        timeout_s: how long one answer may take.
    """

    scheme: ClassVar[str]
    usual_port: ClassVar[str]
    ca_option: ClassVar[str]
    base: str
    where: str
    store: str
    credentials: Mapping[str, str]
    headers: Mapping[str, str]
    ca_file: str | None
    timeout_s: float

    @property
    def tls(self) -> bool:
        return self.base.startswith("https:")

    @property
    def loopback(self) -> bool:
        """True where nothing that is sent leaves this machine."""
        return urlsplit(self.base).hostname in _LOOPBACK

    @property
    def exposes_key(self) -> bool:
        """True where a key travels over the network unencrypted."""
        return bool(self.credentials) and not self.tls and not self.loopback

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know about such a connection."""
        if not self.exposes_key:
            return ()
        return (f"The key for {self.where} travels unencrypted; use {self.scheme}+https://.",)

    @property
    def keys(self) -> Keys:
        """The keys, without the words that stand before them in a header (Bearer, Basic)."""
        values = (*self.credentials.values(), *self.headers.values())
        return Keys(*(value.rpartition(" ")[2] for value in values))

    def __repr__(self) -> str:
        return f"Address({self.base})"
