"""A double of an OpenAI-compatible embeddings interface: it answers, counts what would be paid, and fails when told to.

It knows `POST /v1/embeddings` as docs say it is (https://platform.openai.com/docs/api-reference/embeddings/create), and
nothing else of the real thing: no tokens are counted, no model runs. The vector of a text is drawn from its hash, so
the same text always has the same one, and another model gives another.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from vecferry.testing.http_double import HttpDouble, Refusal, Reply

DIM = 8
_LONGEST = 8192
"""Characters of one text that are taken; the real thing counts tokens."""


def vector_of(model: str, text: str, dim: int = DIM) -> NDArray[np.float32]:
    """The vector of a text: length 1, float32."""
    seed = int.from_bytes(hashlib.blake2b(f"{model}\0{text}".encode(), digest_size=8).digest(), "big")
    vector = np.random.default_rng(seed).standard_normal(dim).astype(np.float32)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


class OpenAiDouble(HttpDouble):
    """The interface, for the time of a `with` block.

    Attributes:
        paid: text -> how often it was answered. models: model -> texts answered.
        requests: requests that came, refused ones included; busiest: most of them at a time.
        refuse: called with the number of the request (from 1) and its texts; its refusal is the answer.
    """

    def __init__(self, *, key: str = "", base64_answers: bool = False) -> None:
        super().__init__(self._answer)
        self.paid: Counter[str] = Counter()
        self.models: Counter[str] = Counter()
        self.requests = self.busiest = self._busy = 0
        self.refuse: Callable[[int, list[str]], Refusal | None] = lambda _number, _texts: None
        self._key, self._base64 = key, base64_answers
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """What `re_embed.url` takes."""
        return f"{self.http_url}/v1"

    def _answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        with self._lock:
            self.requests += 1
            number = self.requests
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)
        try:
            refusal = self._refusal(f"{method} {target}", headers, body, number)
            if refusal is not None:
                return refusal.reply
            return 200, {}, self._embedded(orjson.loads(body))
        finally:
            with self._lock:
                self._busy -= 1

    def _refusal(self, asked: str, headers: Mapping[str, str], body: bytes, number: int) -> Refusal | None:
        if asked != "POST /v1/embeddings":
            return Refusal(404, {"Content-Type": "text/html"}, b"<html>Not Found</html>")
        if self._key and headers.get("authorization") != f"Bearer {self._key}":
            return Refusal(401, {}, b'{"error": {"message": "Incorrect API key provided: sk-wr***ng"}}')
        texts = orjson.loads(body)["input"]
        if any(not text or len(text) > _LONGEST for text in texts):
            return Refusal(400, {}, b'{"error": {"message": "This model\'s maximum context length is 8192 tokens"}}')
        return self.refuse(number, texts)

    def _embedded(self, asked: Any) -> bytes:
        texts, model, dim = asked["input"], asked["model"], asked.get("dimensions", DIM)
        with self._lock:
            self.paid.update(texts)
            self.models[model] += len(texts)
        vectors = [vector_of(model, text, dim) for text in texts]
        data = [{"object": "embedding", "index": i, "embedding": self._form(v)} for i, v in enumerate(vectors)]
        return orjson.dumps({"object": "list", "data": data[::-1], "model": model})

    def _form(self, vector: NDArray[np.float32]) -> Any:
        return base64.b64encode(vector.astype("<f4").tobytes()).decode() if self._base64 else vector.tolist()
