"""What the SQL servers of tests have in common: a user with a password, and databases with store URLs."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from vecferry.testing.ports import HOST
from vecferry.testing.process import Server
from vecferry.url import StoreUrl

PASSWORD = "the-password-of-the-test-server"
S = TypeVar("S", bound="SqlServer")


@dataclass(kw_only=True)
class SqlServer(Server):
    """A server with databases; a class of one kind gives `name`, and the usual `port` and `user`.

    Attributes:
        socket: its unix socket (PostgreSQL: the folder of it), None for a server that is not ours.
        query: what the options of a store URL have to say, `password=…`.
    """

    scheme: ClassVar[str]
    host: str = HOST
    port: int
    user: str
    password: str = field(default=PASSWORD, repr=False)
    socket: Path | None = None
    query: str = ""

    @classmethod
    def named_by(cls, url: str) -> Self:
        """Somebody else's server, by a store URL of a user who may create databases; never stopped by us."""
        parsed = StoreUrl.parse(url)
        password = parsed.secret("password")
        said: dict[str, Any] = {"host": parsed.host, "port": parsed.port, "user": parsed.options.get("user")}
        return cls(
            **{name: value for name, value in said.items() if value},
            password=password.reveal() if password else "",
            query=f"?password={password.reference}" if password else "",
            folder=Path(os.devnull),
        )

    def url(self, database: str) -> str:
        """The store URL of a database, its password a reference."""
        return f"{self.scheme}://{self.user}@{self.host}:{self.port}/{database}{self.query}"


@dataclass(frozen=True, slots=True)
class SqlDatabase(Generic[S]):
    """One database of a server."""

    server: S
    name: str

    @property
    def url(self) -> str:
        """The store URL, its password a reference."""
        return self.server.url(self.name)

    def url_with(self, **options: str) -> str:
        """The store URL with further options: `url_with(schema="rag")`."""
        return "&".join([self.url, *(f"{name}={value}" for name, value in options.items())])


def fresh_name() -> str:
    """A name that no database has."""
    return f"vf_{uuid.uuid4().hex}"
