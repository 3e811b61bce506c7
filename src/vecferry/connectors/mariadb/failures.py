"""What MariaDB and the network say when they refuse, as errors that say what to do."""

from __future__ import annotations

import re

import pymysql

from vecferry.errors import (
    AlreadyExists,
    AuthFailed,
    ConnectorError,
    DataError,
    NotFound,
    StoreFull,
    Throttled,
    Unavailable,
    Unsupported,
    VecferryError,
)

_SHOWN = 300
_AUTH = frozenset({1044, 1045, 1141, 1142, 1143, 1227, 1370, 1698, 1820, 1862, 2059, 4151})
_MISSING = frozenset({1049, 1051, 1109, 1146, 1932})
_BUSY = frozenset({1040, 1203, 1226})
_AGAIN = {
    1205: "Another transaction holds a lock for longer than innodb_lock_wait_timeout.",
    1213: "Two transactions waited for each other, and MariaDB ended ours.",
    1020: "The rows changed while they were written.",
    1317: "Somebody ended the statement.",
    1969: "The statement ran longer than max_statement_time.",
}
_GONE = frozenset({1053, 1077, 1079, 1152, 1159, 1160, 1161, 1184, 1189, 1190, 1927, 2002, 2003, 2006, 2013, 2055})
_LARGE = frozenset({1153, 1301, 1105})
_FULL = frozenset({3, 1021, 1114, 1290, 1836, 1041})
_DATA = frozenset({1048, 1062, 1110, 1138, 1216, 1264, 1292, 1364, 1366, 1406, 1452, 1690, 3140, 4025, 4078})
_INSECURE = 3159
_SPACE = re.compile(r"no space left|disk (is )?full|errno: ?(28|122)\b|error (28|122)\b", re.IGNORECASE)
_PACKET = re.compile(r"max_allowed_packet|packet.*too (big|large)", re.IGNORECASE)
_TLS = re.compile(r"\bSSL\b|certificate|TLS", re.IGNORECASE)


class TooLarge(ConnectorError):
    """A statement is larger than max_allowed_packet: send less at once."""


def of(error: Exception, store: str) -> VecferryError:
    """`error`, raised by PyMySQL or the network, as one of ours. Messages never hold the password."""
    code, said = _parts(error)
    if code in _AUTH:
        return _auth(code, said, store)
    if code in _MISSING:
        return NotFound(f"{store}: {said}", store=store, hint="Check the name of the database and of the table.")
    if code in _BUSY:
        return Throttled(f"{store} takes no more connections: {said}", store=store, hint="Use fewer workers.")
    if code in _LARGE and _PACKET.search(said):
        hint = "Raise max_allowed_packet on the server, or send less at once (--batch-bytes)."
        return TooLarge(f"{store} takes no statement of this size: {said}", store=store, hint=hint, too_large=True)
    if code in _FULL or _SPACE.search(said):
        hint = "Make room, or make it writable; what was written stays, and the same command goes on."
        return StoreFull(f"{store} cannot write: {said}", store=store, hint=hint)
    return _passing(code, said, store) or _lasting(code, said, store)


def _parts(error: Exception) -> tuple[int, str]:
    """(MariaDB's number, 0 where there is none; its words, short)."""
    code, *rest = error.args or (0,)
    if not isinstance(code, int):
        code, rest = 0, [str(error)]
    words = " ".join(str(part) for part in rest) or type(error).__name__
    return code, words if len(words) <= _SHOWN else f"{words[:_SHOWN]}…"


def _auth(code: int, said: str, store: str) -> AuthFailed:
    if code in (1044, 1045, 1698, 2059):
        hint = "Check user=, and the password: ?password=env:NAME, ?password=file:PATH or MARIADB_PASSWORD."
    else:
        hint = "Grant what docs/reference/mariadb.md lists: SELECT to read; CREATE, INSERT, UPDATE … to write."
    return AuthFailed(f"{store} does not let us in: {said}", store=store, hint=hint)


def _passing(code: int, said: str, store: str) -> VecferryError | None:
    """What may be gone when it is tried again."""
    if code in _AGAIN:
        return Unavailable(f"{store}: {said}", store=store, hint=f"{_AGAIN[code]} It is tried again.")
    if code in _GONE or (code == 0 and not _TLS.search(said)):
        if _TLS.search(said):
            hint = "Name the authority that signed its certificate: ssl_ca=FILE; or its right host name."
            return ConnectorError(f"{store} cannot be trusted: {said}", store=store, hint=hint)
        hint = "Check that the server runs and can be reached; the same command goes on where it stopped."
        return Unavailable(f"{store} cannot be reached: {said}", store=store, hint=hint)
    return None


def _lasting(code: int, said: str, store: str) -> VecferryError:
    if code in _DATA:
        return DataError(f"{store} refused a record: {said}", hint="Mend it in the source, or leave it out.", code=code)
    if code == 1050:
        return AlreadyExists(f"{store}: {said}", store=store, hint="Choose another target name.")
    if code in (1118, 1071, 4161, 1235):
        return Unsupported(
            f"{store} cannot make such a table: {said}", store=store, hint="Choose fewer dimensions, or a shorter key."
        )
    if code == _INSECURE:
        return ConnectorError(f"{store} wants TLS: {said}", store=store, hint="Write ?ssl_ca=FILE, or ?ssl=require.")
    if _TLS.search(said):
        hint = "The server may speak no TLS (ssl=off), or its certificate is of another authority (ssl_ca=FILE)."
        return ConnectorError(f"{store}: {said}", store=store, hint=hint)
    hint = "The server's words say what it is about; docs/reference/mariadb.md lists what vecferry asks of it."
    return ConnectorError(f"{store} refused ({code}): {said}", store=store, hint=hint, code=code)


ERRORS = (pymysql.Error, OSError, EOFError)
"""What a call of PyMySQL may raise over a broken connection or a refusal."""
