"""What Chroma, its Cloud, proxies and the network say when they refuse, as errors that say what to do."""

from __future__ import annotations

import re
from contextlib import suppress

import orjson

from vecferry.errors import (
    AlreadyExists,
    AuthFailed,
    ConfigError,
    ConnectorError,
    DataError,
    NotFound,
    StoreFull,
    Throttled,
    Unavailable,
    Unsupported,
    VecferryError,
)
from vecferry.web.answers import SHOWN, Answer

_FULL = re.compile(
    r"no space left|disk is full|database or disk is full|read-?only (file system|database)", re.IGNORECASE
)
_QUOTA = re.compile(r"quota|exceeded the limit|limit exceeded|exceeds? .*(quota|limit)", re.IGNORECASE)
_MANY = re.compile(
    r"batch size .*(exceed|greater|maximum)|cannot submit more than|too many sql variables", re.IGNORECASE
)
_FEWER = re.compile(
    r"'(?:Number of records|Number of results|Limit value|Number of IDs to filter by in a query)' exceeded quota limit"
    r".*exceeds limit of ([1-9]\d*)"
)
"""Cloud's words for more records in one request than this tenant may have; the number is not the same for all."""
_RECORD = re.compile(
    r"'(?:ID size|Document size|URI size|Number of metadata dictionary keys|Size of metadata dictionary"
    r"|Embedding dimension|Sparse vector populated dimension)[^']*' exceeded quota limit for action "
    r"'(?:Add|Upsert|Update)'"
)
"""Cloud's words for a quota that a single record breaks, whatever comes with it."""
_PLAIN = re.compile(r"HTTP request .*HTTPS", re.IGNORECASE)
"""What Caddy, nginx and Go's server say where TLS is meant."""


class TooLarge(ConnectorError):
    """A request is larger than the server or something in front of it takes: send less at once.

    The fact `most` is the number of records that it would take, where it says so.
    """


class QuotaExceeded(ConnectorError):
    """A quota of the tenant that no waiting changes. What is written stays; the same command goes on."""


class NotChroma(ConfigError):
    """Something else answers there."""


def of_answer(answer: Answer, store: str) -> VecferryError:
    """The error of an HTTP answer that is no success."""
    status, (kind, said) = answer.status, _said(answer.text)
    if status in (401, 403) or kind in ("AuthError", "PermissionDenied"):
        return _auth(said, store)
    if status == 400 and _PLAIN.search(said):
        return ConfigError(f"{store} speaks TLS on this port.", hint="Write chroma+https://.")
    if "text/html" in answer.headers.get("content-type", ""):
        return _page(status, store)
    if status == 429:
        return _throttled(answer, said, store)
    fewer = _FEWER.search(said)
    if status == 413 or fewer or _MANY.search(said):
        hint = "Send less at once (--batch-bytes), or raise the limit of the server or of the proxy before it."
        text, most = f"{store} takes no request of this size: {said}", int(fewer[1]) if fewer else None
        return TooLarge(text, store=store, hint=hint, too_large=True, most=most)
    if kind == "NotFoundError" or status in (404, 410):
        return NotFound(
            said or f"{store} has no such thing.", store=store, hint="Check the name, the tenant and the port."
        )
    if status == 409:
        return AlreadyExists(said, store=store, hint="Choose another name.")
    if _RECORD.search(said) and status < 500:
        hint = "Mend the record in the source, or leave it out: the plan lists what its own numbers forbid."
        return DataError(f"{store} does not take every record: {said}", hint=hint)
    if _QUOTA.search(said) and status < 500:
        return quota(said, store)
    return _other(status, said, store)


def quota(said: str, store: str) -> QuotaExceeded:
    """The error of a quota that waiting does not change."""
    hint = (
        "Nothing that was written is lost. Ask for more in the store's console, or leave out what does not fit "
        "(the plan lists it), then run the same command again."
    )
    return QuotaExceeded(f"{store} has a quota that this breaks: {said}", store=store, hint=hint)


def _said(body: str) -> tuple[str, str]:
    """(kind, message) of a refusal. Chroma: `{"error": KIND, "message": TEXT}`; 0.5 puts both into `error`."""
    with suppress(orjson.JSONDecodeError, AttributeError):
        found = orjson.loads(body)
        kind, text = str(found.get("error", "")), str(found.get("message") or found.get("detail") or "")
        if not text:
            kind, _, text = kind.partition("(")
            text = text.strip("')\"") or kind
        return kind, text[:SHOWN]
    return "", body[:SHOWN].strip()


def _auth(said: str, store: str) -> AuthFailed:
    hint = (
        "Give ?token=env:NAME (and ?token_header=X-Chroma-Token where the server wants that header), "
        "?user=NAME&password=env:NAME, or for Cloud ?api_key=env:NAME; it must allow this tenant and database."
    )
    return AuthFailed(f"{store} refused the key: {said or 'not authorised'}", store=store, hint=hint)


def _page(status: int, store: str) -> VecferryError:
    """A web page: a proxy's own words, or another service."""
    if status >= 500 or status in (408, 425):
        hint = "The proxy before it answers, Chroma does not: it may be starting, overloaded or down."
        return Unavailable(f"{store}: a web page with status {status} came back.", store=store, hint=hint)
    return not_chroma(store)


def _throttled(answer: Answer, said: str, store: str) -> Throttled:
    return Throttled(
        f"{store} asks for less: {said or 'too many requests'}",
        retry_after=answer.retry_after,
        store=store,
        hint="The pace is lowered by itself, and the request is made again.",
    )


def _other(status: int, said: str, store: str) -> VecferryError:
    if _FULL.search(said):
        hint = "Make room or make it writable, then run the same command again: what is written stays."
        return StoreFull(f"{store} can store no more: {said}", store=store, hint=hint)
    if status in (408, 425, 502, 503, 504):
        hint = "It may be starting or overloaded; the request is made again."
        return Unavailable(f"{store} answered {status}: {said}", store=store, hint=hint)
    if status in (405, 501):
        return Unsupported(f"{store} cannot do this: {said}", store=store, hint="A newer Chroma may.")
    if status in (400, 422):
        return DataError(f"{store} refused the request: {said}", hint="The message says what it does not take.")
    hint = "The server's log says more. What is written stays; run the same command again."
    return ConnectorError(f"{store} refused ({status}): {said}", store=store, hint=hint)


def not_chroma(store: str) -> NotChroma:
    """The error of an answer that Chroma does not give."""
    return NotChroma(
        f"{store} answers, but it is not Chroma.",
        hint="Check the host, the port (8000 by default) and, behind a proxy, the path in the URL.",
    )
