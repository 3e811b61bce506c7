"""Code as a user would write it, checked by mypy and never run: a change that breaks it breaks users."""

from __future__ import annotations

from typing import assert_type

from vecferry.errors import Throttled, VecferryError
from vecferry.secret import Secret
from vecferry.url import StoreUrl

url = StoreUrl.parse("qdrant+http://localhost:6333?grpc_port=6334&api_key=env:QDRANT_API_KEY")
assert_type(url.scheme, str)
assert_type(url.secret("api_key"), Secret | None)


def react(error: VecferryError) -> float | None:
    """Facts stand as attributes, so that nobody parses a message."""
    assert_type(error.hint, str | None)
    return error.retry_after if isinstance(error, Throttled) else None
