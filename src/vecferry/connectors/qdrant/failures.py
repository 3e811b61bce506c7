"""What Qdrant, the network and the operating system say when they refuse, as errors that say what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress

import grpc
import orjson

from vecferry.errors import (
    AlreadyExists,
    AuthFailed,
    ConnectorError,
    NotFound,
    StoreFull,
    Throttled,
    Unavailable,
    Unsupported,
    VecferryError,
)
from vecferry.web.answers import SHOWN, Answer, seconds_to_wait
from vecferry.web.keys import Keys

_FULL = re.compile(
    r"no space left|disk is full|out of disk|read-only file system|readonly|os error 28\b|os error 30\b", re.IGNORECASE
)
_LARGE = re.compile(r"larger than allowed|too large|message length too large|exceeds? .*limit.*bytes", re.IGNORECASE)
_MANY = re.compile(r"upsert limit exceeded|limit exceeded .* > \d+", re.IGNORECASE)
_STRICT = re.compile(r"exact search disabled|index required but not found|filter.* limit", re.IGNORECASE)
_SLOW = re.compile(r"timed? ?out|timeout", re.IGNORECASE)
_NUMBER = r"(?<![\d.])(\d+(?:\.\d+)?)(?!\.?\d)"
_AGAIN = re.compile(rf"retry[- ]after\D*{_NUMBER}|{_NUMBER} ?s(?:ec|\b)", re.IGNORECASE)
"""When to come back, in the text of a refusal: "Retry after 12s"."""


class TooLarge(ConnectorError):
    """A request is larger than the server or something in front of it takes: send less at once."""


def of_answer(answer: Answer, store: str) -> VecferryError:
    """The error of an HTTP answer that is no success."""
    status, said = answer.status, _said(answer.text)
    if status in (401, 403):
        return _auth(said, store)
    if status == 404:
        return NotFound(said or f"{store} has no such thing.", store=store, hint="Check the name and the port.")
    if status == 409:
        return AlreadyExists(said, store=store, hint="Choose another name.")
    if status == 413 or (status == 400 and _LARGE.search(said)):
        return _too_large(said, store)
    if status == 429:
        return _throttled(said, store, answer.retry_after)
    if status in (408, 502, 503, 504) or (status == 500 and _SLOW.search(said)):
        return Unavailable(f"{store} answered {status}: {said}", store=store, hint="It may be starting or overloaded.")
    return _other(f"{store} refused ({status}): {said}", said, store)


def _said(body: str) -> str:
    """What the server says about its refusal, short."""
    with suppress(orjson.JSONDecodeError, KeyError, TypeError):
        return str(orjson.loads(body)["status"]["error"])[:SHOWN]
    return body[:SHOWN].strip()


# --------------------------------------------------------------------------- gRPC


def of_rpc(error: grpc.RpcError, store: str, keys: Keys) -> VecferryError:
    """The error of a gRPC call; `keys` do not get into it."""
    code, said = error.code(), keys.out_of(error.details() or "")[:SHOWN]
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return _auth(said, store)
    if code is grpc.StatusCode.NOT_FOUND:
        return NotFound(said, store=store, hint="Check the collection's name.")
    if code is grpc.StatusCode.ALREADY_EXISTS:
        return AlreadyExists(said, store=store, hint="Choose another name.")
    if code is grpc.StatusCode.OUT_OF_RANGE or _LARGE.search(said):
        return _too_large(said, store)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and not _MANY.search(said):
        return _throttled(said, store, seconds_to_wait(_trailer(error, "retry-after")))
    if _FULL.search(said):
        return _full(said, store)
    if code in _BROKEN or (code is grpc.StatusCode.INTERNAL and (_SLOW.search(said) or "RST_STREAM" in said)):
        return Unavailable(
            f"{store} cannot be reached over gRPC: {said}", store=store, hint="It may be starting or gone."
        )
    return _other(f"{store} refused ({code.name}): {said}", said, store)


_BROKEN = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.UNKNOWN,
    }
)


def _trailer(error: grpc.RpcError, name: str) -> str | None:
    trailers: Sequence[tuple[str, str | bytes]] = error.trailing_metadata() or ()
    return next((str(value) for key, value in trailers if key == name), None)


# --------------------------------------------------------------------------- both


def _auth(said: str, store: str) -> AuthFailed:
    hint = "Give the key with ?api_key=env:NAME or ?api_key=file:PATH, or set QDRANT_API_KEY; it must allow writing."
    return AuthFailed(f"{store} refused the key: {said or 'not authorised'}", store=store, hint=hint)


def _throttled(said: str, store: str, retry_after: float | None) -> Throttled:
    if retry_after is None and (found := _AGAIN.search(said)):
        retry_after = seconds_to_wait(found[1] or found[2])
    hint = "The pace is lowered by itself; raise the collection's rate limits for more."
    return Throttled(f"{store} asks for less: {said}", retry_after=retry_after, store=store, hint=hint)


def _too_large(said: str, store: str) -> TooLarge:
    hint = "Send less at once (--batch-bytes), or raise service.max_request_size_mb of the server."
    return TooLarge(f"{store} takes no request of this size: {said}", store=store, hint=hint)


def _full(said: str, store: str) -> StoreFull:
    hint = "Make room or make it writable, then run the same command again: what is written stays."
    return StoreFull(f"{store} can store no more: {said}", store=store, hint=hint)


def _other(message: str, said: str, store: str) -> ConnectorError:
    if _FULL.search(said):
        return _full(said, store)
    if _STRICT.search(said):
        return Unsupported(message, store=store, hint="The collection's strict mode forbids it (strict_mode_config).")
    if _MANY.search(said):
        return TooLarge(message, store=store, hint="The collection's strict mode limits how much may be sent at once.")
    return ConnectorError(message, store=store, hint="The server's log says more.")
