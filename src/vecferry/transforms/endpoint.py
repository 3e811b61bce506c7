"""Embeddings over HTTP, in the form that OpenAI gave it and others follow: `POST {url}/embeddings`.

Request: `{"model": …, "input": [texts], "encoding_format": "float", "dimensions": …}`, the key as `Authorization:
Bearer`. Answer: `{"data": [{"index": 0, "embedding": [numbers]}, …]}`; base64 of little-endian float32 is read too.
(https://platform.openai.com/docs/api-reference/embeddings/create)
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from vecferry.errors import AuthFailed, ConfigError, CorruptData, DataError, Throttled, Unavailable, VecferryError
from vecferry.registry import missing_extra
from vecferry.secret import Secret
from vecferry.transforms.model import Model
from vecferry.web.answers import seconds_to_wait
from vecferry.web.keys import Keys, header_value

if TYPE_CHECKING:
    import httpx

_TIMEOUT_S = 120.0
_CONNECT_S = 10.0
_SHOWN = 200
_LATER = frozenset({408, 409, 425, 500, 502, 503, 504, 529})


class Endpoint:
    """One model behind an HTTP interface. Thread-safe; holds connections for the length of `opened`."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._url = f"{model.url.rstrip('/')}/embeddings"
        self._key = header_value(Secret(model.api_key), "The key of re_embed") if model.api_key else ""

    @contextmanager
    def opened(self) -> Iterator[Asked]:
        """What texts can be sent to until the block ends."""
        try:
            import httpx
        except ModuleNotFoundError as error:
            raise missing_extra("Embeddings over HTTP", "re-embed") from error
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        limits = httpx.Limits(max_connections=self._model.concurrency, max_keepalive_connections=None)
        timeout = httpx.Timeout(_TIMEOUT_S, connect=_CONNECT_S)
        with httpx.Client(headers=headers, timeout=timeout, limits=limits, follow_redirects=False) as client:
            yield Asked(client, self._url, self._model, Keys(self._key))


class Asked:
    """An open connection to the model."""

    def __init__(self, client: httpx.Client, url: str, model: Model, keys: Keys) -> None:
        self._client, self._url, self._model, self._keys = client, url, model, keys

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One vector for each text, shape (texts, dim).

        Raises:
            DataError: the request as it is was refused (too long, too much); fewer or shorter texts may pass.
            Throttled, Unavailable: later it may pass.
            AuthFailed, ConfigError, CorruptData: it will not.
        """
        import httpx

        from vecferry.web.client import alone

        body: dict[str, Any] = {"model": self._model.model, "input": list(texts), "encoding_format": "float"}
        if self._model.dimensions is not None:
            body["dimensions"] = self._model.dimensions
        try:
            content, headers = orjson.dumps(body), {"Content-Type": "application/json"}
            answer = alone(self._client.post(self._url, content=content, headers=headers))
        except httpx.TimeoutException as error:
            raise Unavailable(f"{self._url} did not answer in time.", hint="Try again, or lower batch.") from error
        except httpx.HTTPError as error:
            hint = "Check the url in re_embed, and that the interface is up."
            raise Unavailable(f"{self._url} cannot be asked: {error}", hint=hint) from error
        if answer.status_code != httpx.codes.OK:
            raise self._refusal(answer)
        return self._vectors(answer.content, len(texts))

    def _refusal(self, answer: httpx.Response) -> VecferryError:
        status, said = answer.status_code, self._said(answer.content)
        if status in (401, 403):  # what it says may repeat a part of the key
            return AuthFailed(f"{self._url} refused the key ({status}).", hint="Check api_key in re_embed.")
        if status == 429:
            return Throttled(
                f"{self._url} asks for less: {said}",
                retry_after=seconds_to_wait(answer.headers.get("retry-after")),
                hint="It is tried again later by itself; lower concurrency or batch in re_embed, or raise the quota.",
            )
        if status in _LATER:
            return Unavailable(f"{self._url} answered {status}: {said}", hint="It may be starting or overloaded.")
        if status in (400, 413, 422):
            hint = "Where a text is too long, cut it with max_chars; else check model and dimensions in re_embed."
            return DataError(f"{self._url} refused ({status}): {said}", hint=hint)
        return ConfigError(f"{self._url} answered {status}: {said}", hint="Check url and model in re_embed.")

    def _said(self, body: bytes) -> str:
        text = body[:4096].decode("utf-8", "replace")
        with suppress(ValueError, KeyError, TypeError):
            text = str(orjson.loads(body)["error"]["message"])
        return " ".join(self._keys.out_of(text).split())[:_SHOWN]

    def _vectors(self, body: bytes, count: int) -> NDArray[np.float32]:
        try:
            data = sorted(orjson.loads(body)["data"], key=lambda item: item["index"])
            vectors = np.array([_vector(item["embedding"]) for item in data], np.float32)
            whole = [item["index"] for item in data] == list(range(count))
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptData(
                f"{self._url} answered what is no list of embeddings: {self._said(body)}",
                hint="Check the url in re_embed: it ends before /embeddings.",
            ) from error
        if not whole:
            raise CorruptData(f"{self._url} gave {len(data)} vectors for {count} texts.", hint="Lower batch.")
        return vectors


def _vector(value: Any) -> NDArray[np.float32]:
    if isinstance(value, str):
        return np.frombuffer(base64.b64decode(value, validate=True), "<f4").astype(np.float32)
    return np.array(value, np.float32)
