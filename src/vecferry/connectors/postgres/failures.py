"""What PostgreSQL, libpq and poolers say when they refuse, as errors that say what to do.

Only the primary message of an error is shown: its details quote values of rows. Codes: PostgreSQL's manual, appendix A.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from vecferry.errors import (
    AuthFailed,
    ConfigError,
    ConnectorError,
    DataError,
    NotFound,
    StoreFull,
    Throttled,
    Unavailable,
    VecferryError,
)

_SHOWN = 300
_AGAIN = "The same command goes on where it stopped."
_GRANT = "docs/reference/postgres.md lists the privileges that are needed, as SQL."


@contextmanager
def translated(store: str) -> Iterator[None]:
    """Errors of psycopg inside the block become ours; `store` is the URL without secrets."""
    try:
        yield
    except psycopg.Error as error:
        raise of(error, store) from error


def of(error: psycopg.Error, store: str) -> VecferryError:
    """The error of a statement or a connection."""
    said = _said(error)
    code = error.sqlstate
    if code is None:
        return _of_connection(said, store, broken=isinstance(error, psycopg.OperationalError))
    if code == "42501" and "row-level security" in said:
        return AuthFailed(f"{store} would hide rows: {said}", store=store, hint=_ROWS, sqlstate=code)
    made = _BY_CODE.get(code) or _BY_CLASS.get(code[:2])
    if made is not None:
        kind, what, hint = made
        return kind(f"{store} {what}: {said}", store=store, hint=hint, sqlstate=code)
    if code[:2] in {"22", "23", "54"}:
        return DataError(f"{store} cannot hold a record: {said}", hint="Mend it in the source.", sqlstate=code)
    return ConnectorError(f"{store} refused: {said}", store=store, hint="The server's log says more.", sqlstate=code)


def _said(error: psycopg.Error) -> str:
    return (error.diag.message_primary or str(error).partition("\n")[0]).strip()[:_SHOWN]


_LOCK = "Another session holds a lock on the table: wait for it, or raise ?lock_timeout=SECONDS."
_ROWS = (
    "Some rows are hidden from this role by row-level security. Read as a role with BYPASSRLS (Supabase: postgres or "
    "service_role), or as the table's owner; a partial copy would look complete."
)
_TIMEOUT = (
    "A time limit of the server or the role ended the statement. vecferry asks for none where it may; behind a pooler "
    f"in transaction mode it may not: use the direct connection or the session pooler (port 5432). {_AGAIN}"
)

_BY_CODE: dict[str, tuple[type[ConnectorError], str, str]] = {
    "28P01": (AuthFailed, "refused the password", "Set PGPASSWORD, or pass ?password=env:NAME or ?password=file:PATH."),
    "3D000": (NotFound, "has no such database", "Check the name behind the last slash of the URL."),
    "3F000": (NotFound, "has no such schema", "Check ?schema=NAME."),
    "42P01": (
        NotFound,
        "has no such table",
        "It was removed or renamed meanwhile; see what is there: vecferry inspect.",
    ),
    "42703": (NotFound, "has no such column", "The table was changed meanwhile; plan anew."),
    "42501": (AuthFailed, "does not allow it", _GRANT),
    "57014": (Unavailable, "ended a statement", _TIMEOUT),
    "55P03": (Unavailable, "could not get a lock", _LOCK),
    "40001": (Unavailable, "broke off a transaction", _AGAIN),
    "40P01": (Unavailable, "broke off a transaction (deadlock)", _AGAIN),
    "57P01": (Unavailable, "is shutting down", _AGAIN),
    "57P02": (Unavailable, "crashed", _AGAIN),
    "57P03": (Unavailable, "is starting or shutting down", _AGAIN),
    "57P05": (Unavailable, "closed an idle session", _AGAIN),
    "25P02": (Unavailable, "broke off a transaction", _AGAIN),
    "25P03": (Unavailable, "closed a transaction that waited", f"Raise idle_in_transaction_session_timeout. {_AGAIN}"),
    "25006": (
        StoreFull,
        "is read-only",
        "Connect to the primary, or make it writable, then run the same command again.",
    ),
    "53100": (StoreFull, "has no room left", "Make room, then run the same command again: what is written stays."),
    "53300": (Throttled, "takes no more connections", "Use fewer workers (--workers), or raise max_connections."),
    "53200": (Unavailable, "is out of memory", f"Use fewer workers (--workers). {_AGAIN}"),
    "53400": (StoreFull, "is at a limit of its configuration", "Raise the limit that it names, then run it again."),
}
_BY_CLASS: dict[str, tuple[type[ConnectorError], str, str]] = {
    "08": (Unavailable, "broke the connection", _AGAIN),
    "28": (AuthFailed, "does not let this user in", "Check the user, the database and the server's pg_hba.conf."),
    "57": (Unavailable, "broke off", _AGAIN),
    "58": (Unavailable, "has trouble with its disk", _AGAIN),
}


_CONNECTION: tuple[tuple[str, type[VecferryError], str], ...] = (
    (r"password authentication failed|no password supplied|SCRAM|wrong password|Tenant or user not found",
     AuthFailed, "Set PGPASSWORD, or pass ?password=env:NAME or ?password=file:PATH; check ?user=NAME too."),
    (r"role \".*\" does not exist|no pg_hba.conf entry|not permitted|permission denied|authentication",
     AuthFailed, "Check ?user=NAME, the database, and the server's pg_hba.conf."),
    (r"database \".*\" does not exist", NotFound, "Check the name behind the last slash of the URL."),
    (r"certificate verify failed|root certificate|certificate",
     ConfigError, "Name the authority that signed it: ?sslmode=verify-full&sslrootcert=PATH."),
    (r"does not support SSL|SSL (?:connection )?(?:is )?required|SSL error|sslmode",
     ConfigError, "Set ?sslmode=require (or disable, on a network that you trust)."),
    (r"translate host name|name or service|resolve|nodename", Unavailable, "Check the spelling of the host, and DNS."),
    (r"too many (?:clients|connections)|remaining connection slots|max clients",
     Throttled, "Use fewer workers (--workers), or raise max_connections."),
    (r"timeout expired|timed out", Unavailable, "It did not answer in time; raise it with ?connect_timeout=SECONDS."),
    (r"refused|No such file|starting up|shutting down",
     Unavailable, "Is the server running there, and is the port right (5432, a transaction pooler 6543)?"),
)  # fmt: skip
"""(what libpq or the server says when it lets nobody in, error, hint); such refusals carry no code."""


def _of_connection(said: str, store: str, *, broken: bool) -> VecferryError:
    for pattern, kind, hint in _CONNECTION:
        if re.search(pattern, said, re.IGNORECASE):
            message = f"{store} cannot be reached: {said}" if kind is not AuthFailed else f"{store}: {said}"
            return kind(message, hint=hint) if kind is ConfigError else _at(kind, message, store, hint)
    if broken:
        return Unavailable(f"{store} broke off: {said}", store=store, hint=_AGAIN)
    return ConnectorError(f"{store} failed: {said}", store=store, hint="The server's log says more.")


def _at(kind: type[VecferryError], message: str, store: str, hint: str) -> VecferryError:
    if not issubclass(kind, ConnectorError):
        return kind(message, hint=hint)
    return kind(message, store=store, hint=hint)
