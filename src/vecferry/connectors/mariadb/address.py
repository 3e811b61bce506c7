"""Where a MariaDB server is and how to come in, from a URL and the variables that MariaDB's own clients read."""

from __future__ import annotations

import getpass
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vecferry.errors import ConfigError
from vecferry.secret import Secret, default_secret
from vecferry.url import StoreUrl

PORT = 3306
_OPTIONS = frozenset(
    {"user", "socket", "ssl", "ssl_ca", "ssl_cert", "ssl_key", "timeout", "snapshot", "partition_rows"}
)
_SECRETS = frozenset({"password"})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_MODES = ("prefer", "off", "require", "verify")
_TIMEOUT_S = 30
_PARTITION_ROWS = 20_000
_FORM = "mariadb://HOST:3306/DATABASE?user=NAME"


class Address:
    """One database of one server; holds a reference to the password and never shows it.

    Attributes:
        where: host, port (or socket) and database, for people and for a plan's fingerprint.
        mode: of TLS; `prefer` (where the server can, and is another machine), `off`, `require`, `verify` (its
            certificate as well).
        snapshot: read each collection in one transaction, by one reader.
        partition_rows: rows of one share that is read on its own.
    """

    def __init__(self, url: StoreUrl) -> None:
        """Read `url`.

        Raises:
            ConfigError: no database, an unknown option, a file that is not there.
        """
        _check_options(url)
        self.database = url.path.strip("/")
        self.socket = url.options.get("socket")
        if not (url.host or self.socket) or not self.database or "/" in self.database:
            raise ConfigError(f"{url} names no database of a MariaDB server.", hint=f"Write {_FORM}.")
        self.host, self.port = url.host or "localhost", url.port or PORT
        self.user = url.options.get("user") or getpass.getuser()
        self.password: Secret | None = url.secret("password") or default_secret("MARIADB_PASSWORD", "MYSQL_PWD")
        self.mode, self.tls = _tls(url)
        self.timeout_s = _number(url, "timeout", _TIMEOUT_S)
        self.partition_rows = _number(url, "partition_rows", _PARTITION_ROWS)
        self.snapshot = _flag(url, "snapshot")
        place = self.socket or f"{self.host}:{self.port}"
        self.where = f"{place}/{self.database}"
        self.store = f"MariaDB at {self.where}"

    @property
    def exposes_password(self) -> bool:
        """True where anybody on the way could read what is sent, or pretend to be the server."""
        return self.mode in ("off", "prefer") and self.socket is None and self.host not in _LOOPBACK

    def arguments(self) -> dict[str, Any]:
        """What PyMySQL's `connect` takes.

        Raises:
            ConfigError: the password's reference leads nowhere.
        """
        place = {"unix_socket": self.socket} if self.socket else {"host": self.host, "port": self.port}
        password = self.password.reveal() if self.password is not None else ""
        known = {"user": self.user, "password": password.encode(), "database": self.database}
        return {**place, **known, **self.tls, "connect_timeout": self.timeout_s, "charset": "utf8mb4"}

    def __repr__(self) -> str:
        return f"Address({self.where})"


def _check_options(url: StoreUrl) -> None:
    given = {*url.options, *url.secrets}
    if unknown := sorted(given - _OPTIONS - _SECRETS):
        raise ConfigError(
            f"mariadb: URLs have no option '{unknown[0]}'.", hint=f"Known: {', '.join(sorted(_OPTIONS | _SECRETS))}."
        )


def _tls(url: StoreUrl) -> tuple[str, dict[str, Any]]:
    """The mode, and PyMySQL's arguments for it."""
    files = {name: _file(url, name) for name in ("ssl_ca", "ssl_cert", "ssl_key") if name in url.options}
    mode = url.options.get("ssl") or ("verify" if "ssl_ca" in files else "require" if files else "prefer")
    if mode not in _MODES:
        raise ConfigError(f"ssl={mode} is not known.", hint=f"Write one of {', '.join(_MODES)}.")
    near = "socket" in url.options or url.host in _LOOPBACK  # nobody listens there who could not read our memory
    if mode == "off" or (mode == "prefer" and near):
        return mode, {"ssl_disabled": True}
    return mode, {} if mode == "prefer" else {"ssl": _context(mode, files)}


def _context(mode: str, files: Mapping[str, str]) -> ssl.SSLContext:
    """Always encrypted; `verify` looks at the server's certificate and name as well.

    Raises:
        ConfigError: a file holds no certificate or key.
    """
    try:
        context = ssl.create_default_context(cafile=files.get("ssl_ca"))
        if mode != "verify":
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if "ssl_cert" in files:
            context.load_cert_chain(files["ssl_cert"], files.get("ssl_key"))
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(
            f"The certificates cannot be used: {error}.", hint="ssl_ca, ssl_cert and ssl_key are PEM files."
        ) from error
    return context


def _file(url: StoreUrl, option: str) -> str:
    path = Path(url.options[option]).expanduser()
    if not path.is_file() or not os.access(path, os.R_OK):
        raise ConfigError(f"{option}={path} cannot be read.", hint="Name a PEM file that this user may read.")
    return str(path)


def _number(url: StoreUrl, option: str, default: int) -> int:
    text = url.options.get(option, str(default))
    if not text.isdigit() or not 0 < int(text) < 1 << 31:
        raise ConfigError(f"{option}={text} is not a number above 0.", hint=f"Write {option}={default}, for example.")
    return int(text)


def _flag(url: StoreUrl, option: str) -> bool:
    text = url.options.get(option, "0")
    if text not in ("0", "1"):
        raise ConfigError(f"{option}={text} is neither 0 nor 1.", hint=f"Write {option}=1, or leave it out.")
    return text == "1"
