"""A MariaDB with vectors of one's own, on loopback, gone when the test is.

    with start_mariadb() as server, server.fresh_database() as database:
        database.url                        # mariadb://…, its password a reference to a file
        database.execute("CREATE TABLE …")  # by PyMySQL, around our own code
        server.kill(); server.start()       # same port, same data: the server's own crash and recovery

Debian's MariaDB 11.8 (see `debian`). The user of the tests may do everything and has a password, over TCP and over the
unix socket `server.socket`. Everything else is as a fresh installation has it: collation `utf8mb4_uca1400_ai_ci`,
strict SQL mode, `max_allowed_packet` of 16 MiB.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vecferry.testing import certificate, debian
from vecferry.testing.ports import HOST, free_ports
from vecferry.testing.process import hand_over, ran, room_for, running, unprivileged
from vecferry.testing.sql_server import PASSWORD, SqlDatabase, SqlServer, fresh_name

if TYPE_CHECKING:
    import pymysql

USER = "vecferry"
_PROGRAM = "usr/sbin/mariadbd"
_SETTINGS = {
    "innodb-flush-log-at-trx-commit": "2",  # a killed server loses nothing; only a machine that crashes may
    "innodb-buffer-pool-size": "128M",
    "innodb-log-file-size": "32M",
    "skip-name-resolve": "ON",
}
_TABLES = ("system_tables", "performance_tables", "system_tables_data", "sys_schema")


@dataclass(kw_only=True)
class MariaDBServer(SqlServer):
    """A MariaDB server."""

    scheme = "mariadb"
    name: str = "MariaDB"
    port: int = 3306
    user: str = USER

    def connect(self, database: str | None = None, **options: Any) -> pymysql.Connection[Any]:
        """A connection by PyMySQL, autocommit unless `options` say otherwise."""
        import pymysql

        known = {"host": self.host, "port": self.port, "user": self.user, "password": self.password}
        trusted = {"ssl_ca": str(self.ca_file), "ssl_verify_cert": True} if self.ca_file else {}
        return pymysql.connect(**{**known, **trusted, "database": database, "autocommit": True, **options})

    @contextmanager
    def fresh_database(self) -> Iterator[MariaDBDatabase]:
        """An empty database of a name of its own, dropped afterwards."""
        database = MariaDBDatabase(server=self, name=fresh_name())
        _executed(self.connect(), f"CREATE DATABASE {database.name}", None)
        try:
            yield database
        finally:
            with contextlib.suppress(OSError, Exception):  # PyMySQL's error for a server that is gone is its own
                _executed(self.connect(), f"DROP DATABASE {database.name}", None)

    def _answers(self) -> bool:
        """It greets whoever connects, once it has recovered."""
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=1) as line:
            return bool(line.recv(1))
        return False


@dataclass(frozen=True, slots=True)
class MariaDBDatabase(SqlDatabase[MariaDBServer]):
    """One database of a server."""

    def connect(self, **options: Any) -> pymysql.Connection[Any]:
        """A connection by PyMySQL, autocommit unless `options` say otherwise."""
        return self.server.connect(self.name, **options)

    def execute(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> list[Any]:
        """Run one SQL statement around our own code; the rows that it gives, none where it gives none."""
        return _executed(self.connect(), statement, parameters)


@contextmanager
def start_mariadb(
    *, tls: bool = False, folder: Path | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[MariaDBServer]:
    """Run a MariaDB server; `settings` are further ones of my.cnf, `folder` keeps the data of an earlier one.

    With `tls`, connections over TCP without it are refused.

    Raises:
        Unavailable: no MariaDB can be had (see `debian`), or it does not start.
    """
    program = debian.program(_PROGRAM)
    with room_for("mariadb", folder) as room:
        _prepare(room)
        secured = _certificate(room) if tls else {}

        def build() -> MariaDBServer:
            (port,) = free_ports(1)
            given = {**_SETTINGS, **secured, **(settings or {}), "bind-address": HOST, "port": str(port)}
            return MariaDBServer(
                port=port,
                ports=(port,),
                folder=room,
                socket=room / "mariadb.sock",
                ca_file=room / "ca.pem" if tls else None,
                query=f"?password=file:{room / 'password'}" + (f"&ssl_ca={room / 'ca.pem'}" if tls else ""),
                command=[*_command(program, room), f"--socket={room / 'mariadb.sock'}", *_switches(given)],
            )

        yield from running(build)


def _prepare(room: Path) -> None:
    """Make the data folder, where an earlier server left none: what mariadb-install-db does."""
    data = room / "data"
    if data.exists():
        return
    hand_over(room)
    hand_over(data)
    (room / "password").write_text(PASSWORD)
    scripts = _share() / "mariadb_"
    statements = [
        "CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket = NULL, @skip_auth_anonymous = 'y';\n",
        *(Path(f"{scripts}{name}.sql").read_text(encoding="utf-8") for name in _TABLES),
        "DELETE FROM mysql.global_priv WHERE User IN ('', 'root');\nFLUSH PRIVILEGES;\n",
        f"CREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}';\nGRANT ALL ON *.* TO {USER}@'%' WITH GRANT OPTION;\n",
    ]
    command = [*_command(debian.program(_PROGRAM), room), "--bootstrap", *_switches(_SETTINGS)]
    ran(*command, given="".join(statements))


def _command(program: Path, room: Path) -> list[str]:
    """The server with its own files, none of the machine's, and its data in `room`."""
    usr = debian.tree() / "usr"
    own = {
        "datadir": str(room / "data"),
        "basedir": str(usr),
        "plugin-dir": str(usr / "lib" / "mysql" / "plugin"),
        "lc-messages-dir": str(_share()),
        "character-sets-dir": str(_share() / "charsets"),
        "pid-file": str(room / "mariadb.pid"),
        "tmpdir": str(room),  # a server that starts removes the temporary tables of any other that it finds there
    }
    return [*unprivileged(), str(program), "--no-defaults", *_switches(own)]


def _share() -> Path:
    return debian.tree() / "usr" / "share" / "mariadb"


def _switches(settings: Mapping[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in settings.items()]


def _certificate(room: Path) -> dict[str, str]:
    """The settings that switch TLS on and everything else off."""
    issued = certificate.issue(room)
    own = {"ssl-ca": str(issued.ca), "ssl-cert": str(issued.chain), "ssl-key": str(issued.key)}
    return {**own, "require-secure-transport": "ON"}


def _executed(
    connection: pymysql.Connection[Any], statement: str, parameters: Sequence[Any] | Mapping[str, Any] | None
) -> list[Any]:
    with connection, connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())
