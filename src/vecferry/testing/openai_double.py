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
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import numpy as np
import orjson
from numpy.typing import NDArray

DIM = 8
_LONGEST = 8192
"""Characters of one text that are taken; the real thing counts tokens."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is no list of embeddings."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b'{"error": {"message": "refused by the double", "type": "double"}}'


def vector_of(model: str, text: str, dim: int = DIM) -> NDArray[np.float32]:
    """The vector of a text: length 1, float32."""
    seed = int.from_bytes(hashlib.blake2b(f"{model}\0{text}".encode(), digest_size=8).digest(), "big")
    vector = np.random.default_rng(seed).standard_normal(dim).astype(np.float32)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


class OpenAiDouble:
    """Runs in threads of this process on a port of its own, until the block ends.

    Attributes:
        paid: text -> how often it was answered. models: model -> texts answered.
        requests: requests that came, refused ones included; busiest: most of them at a time.
        refuse: called with the number of the request (from 1) and its texts; its refusal is the answer.
    """

    def __init__(self, *, key: str = "", base64_answers: bool = False) -> None:
        self.paid: Counter[str] = Counter()
        self.models: Counter[str] = Counter()
        self.requests = self.busiest = self._busy = 0
        self.refuse: Callable[[int, list[str]], Refusal | None] = lambda _number, _texts: None
        self._key, self._base64 = key, base64_answers
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        """What `re_embed.url` takes."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                status, headers, answer = double._answer(self.path, dict(self.headers), body)
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's
                """Quiet."""

        return Handler

    def _answer(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        with self._lock:
            self.requests += 1
            number = self.requests
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)
        try:
            refusal = self._refusal(path, headers, body, number)
            if refusal is not None:
                return refusal.status, refusal.headers, refusal.body
            return 200, {}, self._embedded(orjson.loads(body))
        finally:
            with self._lock:
                self._busy -= 1

    def _refusal(self, path: str, headers: Mapping[str, str], body: bytes, number: int) -> Refusal | None:
        if path != "/v1/embeddings":
            return Refusal(404, {"Content-Type": "text/html"}, b"<html>Not Found</html>")
        if self._key and headers.get("Authorization") != f"Bearer {self._key}":
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
