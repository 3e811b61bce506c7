"""One model asked for many texts: each text once, what is known from the cache, the rest in concurrent requests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vecferry.errors import CorruptData, DataError
from vecferry.transforms.cache import Cache, key_of
from vecferry.transforms.endpoint import Endpoint
from vecferry.transforms.local import Local
from vecferry.transforms.model import Model

PROBE = "vecferry"
"""The one text that is embedded before anything is planned: it proves url, key and model, and shows the dimension."""

Ask = Callable[[Sequence[str]], NDArray[np.float32]]


class Provider(Protocol):
    """What answers for a model."""

    def opened(self) -> AbstractContextManager[Ask]:
        """What texts can be sent to, by several threads at once, until the block ends."""
        ...


class Embedder:
    """Thread-safe. With `paying` false only the probe is embedded, and stands for every text: that is for planning.

    Attributes:
        dim: of the model's vectors.
    """

    def __init__(self, model: Model, cache: Cache, *, paying: bool = True) -> None:
        self._model, self._cache, self._paying = model, cache, paying
        self._provider: Provider = Endpoint(model) if model.url else Local(model)
        self._identity = [model.url.rstrip("/"), model.model, model.local, model.call, model.dimensions]
        self._lock = threading.Lock()
        self._probe = self._embed([PROBE])[0]
        self.dim = len(self._probe)
        if model.dimensions not in (None, self.dim):
            raise DataError(
                f"The model gives {self.dim} dimensions where {model.dimensions} were asked for.",
                hint="Leave dimensions out of re_embed, or choose a model that can be shortened.",
            )

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One vector for each text, shape (texts, dim).

        Raises:
            Throttled, Unavailable: trying again later helps; what was paid until then is kept.
            DataError: the model refuses a text, or gives another dimension than before.
            AuthFailed, ConfigError, CorruptData: see the provider.
        """
        if not self._paying:
            return np.tile(self._probe, (len(texts), 1))
        vectors = self._embed([self._prepared(text) for text in texts])
        if vectors.shape[1:] != (self.dim,):
            raise CorruptData(
                f"The model gave {vectors.shape[1:]} dimensions, and {self.dim} before.",
                hint="The model behind this name has changed: name its version, and begin anew with --restart.",
            )
        return vectors

    def _prepared(self, text: str) -> str:
        return f"{self._model.prefix}{text}"[: self._model.max_chars]

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        keys = [key_of(self._identity, text) for text in texts]
        with self._lock:  # two threads with the same text pay once
            known = self._cache.load(set(keys))
            missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
            if missing:
                known |= self._pay(missing)
        try:
            return np.stack([known[key] for key in keys]) if keys else np.empty((0, self.dim), np.float32)
        except ValueError as error:
            raise CorruptData("The model gave vectors of several dimensions.", hint="Name its version.") from error

    def _pay(self, texts: dict[bytes, str]) -> dict[bytes, NDArray[np.float32]]:
        """Embed these, and keep each request's answer as soon as it is there; the first error ends it."""
        keys, size = list(texts), self._model.batch
        groups = [keys[start : start + size] for start in range(0, len(keys), size)]
        found: dict[bytes, NDArray[np.float32]] = {}
        with self._provider.opened() as ask, ThreadPoolExecutor(self._model.concurrency) as pool:
            jobs = [pool.submit(self._request, ask, {key: texts[key] for key in group}) for group in groups]
            try:
                for job in as_completed(jobs):
                    found |= job.result()
            finally:
                pool.shutdown(cancel_futures=True)  # what is on its way is waited for, and kept
        return found

    def _request(self, ask: Ask, texts: dict[bytes, str]) -> dict[bytes, NDArray[np.float32]]:
        """One request; one that is refused for what it holds is halved, down to the text that is at fault."""
        try:
            vectors = ask(list(texts.values()))
        except DataError as error:
            if isinstance(error, CorruptData) or len(texts) == 1:
                raise
            keys = list(texts)
            halves = keys[: len(keys) // 2], keys[len(keys) // 2 :]
            return {k: v for half in halves for k, v in self._request(ask, {key: texts[key] for key in half}).items()}
        if not np.isfinite(vectors).all():
            raise DataError("The model gave NaN or infinity for a text.", hint="Filter or mend the text.")
        made = dict(zip(texts, vectors, strict=True))
        self._cache.store(made)
        return made


class Embedders:
    """The embedders of one process, one for each model."""

    def __init__(self, cache: Cache, *, paying: bool = True) -> None:
        self._cache, self._paying = cache, paying
        self._made: dict[Model, Embedder] = {}
        self._lock = threading.Lock()

    def of(self, model: Model) -> Embedder:
        """The embedder of `model`; the first call asks it for one text.

        Raises:
            as `Embedder.embed`.
        """
        with self._lock:
            if model not in self._made:
                self._made[model] = Embedder(model, self._cache, paying=self._paying)
            return self._made[model]
