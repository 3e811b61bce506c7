"""A PgBouncer of one's own before a PostgreSQL server: the pooler that most people have, and what Supabase's is like.

    with start_pgbouncer(server, mode="transaction") as pooler:
        pooler.url("postgres")

Everybody is trusted by it; it goes on as the server's superuser.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vecferry.testing import debian
from vecferry.testing.ports import HOST, free_ports
from vecferry.testing.postgres import PostgresServer
from vecferry.testing.process import Server, hand_over, room_for, running, unprivileged


@dataclass(kw_only=True)
class Pooler(Server):
    """A PgBouncer."""

    port: int
    user: str

    def url(self, database: str) -> str:
        """The store URL of a database behind it."""
        return f"postgresql://{self.user}@{HOST}:{self.port}/{database}"


@contextmanager
def start_pgbouncer(server: PostgresServer, *, mode: str) -> Iterator[Pooler]:
    """Run one before `server`; `mode` is `session` or `transaction`.

    Raises:
        Unavailable: it cannot be had (see `debian`), or does not start.
    """
    program = debian.program("usr/sbin/pgbouncer")
    with room_for("pgbouncer", None) as room:

        def build() -> Pooler:
            (port,) = free_ports(1)
            (room / "users.txt").write_text(f'"{server.user}" ""\n')
            login = f"user={server.user} password={server.password}"
            (room / "pgbouncer.ini").write_text(
                f"[databases]\n* = host={server.host} port={server.port} {login}\n"
                f"[pgbouncer]\nlisten_addr = {HOST}\nlisten_port = {port}\nunix_socket_dir =\npool_mode = {mode}\n"
                f"auth_type = trust\nauth_file = {room / 'users.txt'}\n"
            )
            hand_over(room)
            command = [*unprivileged(), str(program), str(room / "pgbouncer.ini")]
            return Pooler(name="PgBouncer", port=port, user=server.user, ports=(port,), folder=room, command=command)

        yield from running(build)
