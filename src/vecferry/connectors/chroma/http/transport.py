"""HTTP to a Chroma server: bytes and JSON in and out, refusals as errors. Thread-safe."""

from __future__ import annotations

from typing import Any

import orjson

from vecferry.connectors.chroma.http import failures
from vecferry.web.address import Address
from vecferry.web.client import Client


class Http(Client):
    """One server's interface."""

    def __init__(self, address: Address, *, with_key: bool = True) -> None:
        super().__init__(address, failures.of_answer, with_key=with_key)

    def call(self, method: str, path: str, body: Any = None, **params: str | int) -> Any:
        """The JSON value of an answer; `body` is a JSON value.

        Raises:
            VecferryError: see `failures`.
        """
        content = None if body is None else orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        return self.json(self.send(method, path, content, **params))

    def json(self, answer: bytes) -> Any:
        """An answer as a JSON value.

        Raises:
            NotChroma: it is none.
        """
        try:
            return orjson.loads(answer) if answer else None
        except orjson.JSONDecodeError:
            raise failures.not_chroma(self.store) from None
