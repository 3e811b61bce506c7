"""Requests to a project's REST interface, and what its refusals mean."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import orjson

from vecferry.connectors.postgres.rest.address import KEY_VARIABLES, Address
from vecferry.errors import (
    AuthFailed,
    ConfigError,
    ConnectorError,
    CorruptData,
    NotFound,
    Throttled,
    Unavailable,
    VecferryError,
)
from vecferry.web.answers import SHOWN, Answer
from vecferry.web.client import Client

_LOG = logging.getLogger("vecferry.postgres")
TIMED_OUT = "57014"
"""PostgreSQL's code for a statement that took longer than the role may."""
_COUNTED = re.compile(r".*/(\d+)")
_KEY = f"Set {KEY_VARIABLES[0]} to the service key of the project, or write ?api_key=env:NAME."


class Api(Client):
    """The REST interface of one project. Thread-safe."""

    def __init__(self, address: Address) -> None:
        super().__init__(address, _refused)

    def description(self) -> Any:
        """What it says of its tables, as JSON.

        Raises:
            ConfigError: there is no such interface.
        """
        try:
            return self._json(self.send("GET", "/"))
        except (NotFound, CorruptData) as error:
            raise ConfigError(
                f"{self.store} answers, but it is no REST interface of Supabase.",
                hint="Write the address of the project: supabase+https://PROJECT.supabase.co.",
            ) from error

    def rows(self, table: str, params: Mapping[str, str | int]) -> list[dict[str, Any]]:
        """The rows of one answer, which may be fewer than there are: a server has a limit and does not tell of it."""
        rows = self._json(self.exchange("GET", _path(table), params=params).content)
        if not isinstance(rows, list):
            raise self._strange()
        return rows

    def count(self, table: str, params: Mapping[str, str | int]) -> int:
        """The exact number of rows that `params` mean."""
        one = {**params, "limit": 1}  # not HEAD: its refusals have no body, and so no reason
        answer = self.exchange("GET", _path(table), params=one, headers={"prefer": "count=exact"})
        found = _COUNTED.fullmatch(answer.headers.get("content-range", ""))
        if found is None:
            raise self._strange()
        return int(found[1])

    def count_if_quick(self, table: str, params: Mapping[str, str | int]) -> int | None:
        """As `count`; None where counting takes longer than the project allows."""
        try:
            return self.count(table, params)
        except Unavailable as error:
            if error.facts.get("sqlstate") != TIMED_OUT:
                raise
        _LOG.warning("Counting '%s' takes longer than %s allows: it is not counted.", table, self.store)
        return None

    def _json(self, content: bytes) -> Any:
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError:
            raise self._strange() from None

    def _strange(self) -> CorruptData:
        return CorruptData(
            f"{self.store} sent an answer that is not PostgREST's.",
            hint="Does something stand before it that answers in its place? Try again, or use postgresql://.",
        )


def _path(table: str) -> str:
    return f"/{quote(table, safe='')}"


def _refused(answer: Answer, store: str) -> VecferryError:
    """The error of an answer that is no success: `{"code", "message", "details", "hint"}`, or a page of the gateway."""
    status, (code, said) = answer.status, _said(answer.text)
    if code == TIMED_OUT:
        hint = "Ask for less at once: ?page_rows=100; or use postgresql://, where the timeout can be raised."
        return Unavailable(f"{store} took too long for a page: {said}", store=store, hint=hint, sqlstate=code)
    if status in (401, 403):
        return AuthFailed(f"{store} refused the key: {said}", store=store, hint=_KEY)
    if status == 404:
        hint = "Is the schema exposed (?schema=NAME), and is it the right project?"
        return NotFound(f"{store} has no such table: {said}", store=store, hint=hint)
    if status == 429:
        hint = "The pace is lowered by itself."
        return Throttled(f"{store} asks for less: {said}", retry_after=answer.retry_after, store=store, hint=hint)
    if status == 408 or status >= 500:
        hint = "The project may be paused, starting or overloaded."
        return Unavailable(f"{store} answered {status}: {said}", store=store, hint=hint)
    return ConnectorError(f"{store} refused ({status}): {said}", store=store, hint="See the project's API logs.")


def _said(body: str) -> tuple[str, str]:
    """(code, message) of a refusal; details are left out, since they quote values."""
    with suppress(orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        told = orjson.loads(body)
        return str(told.get("code", "")), str(told["message"])[:SHOWN]
    return "", body[:SHOWN].strip()
