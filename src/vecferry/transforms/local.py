"""Embeddings in this process: a model of a library that is installed, or a function of the user's own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecferry.errors import ConfigError, DataError
from vecferry.transforms.model import Model

Function = Callable[[Sequence[str]], NDArray[np.float32]]
_ONE = threading.Lock()
"""Models in one process take turns: their libraries use all cores by themselves, and few of them bear two callers."""


class Local:
    """One model in this process."""

    def __init__(self, model: Model) -> None:
        self._ask = _called(model.call) if model.call else _loaded(model.local)
        self._name = model.call or model.local

    @contextmanager
    def opened(self) -> Iterator[Function]:
        """What texts can be given to."""
        yield self._embed

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        with _ONE:
            try:
                vectors = np.asarray(self._ask(list(texts)), np.float32)
            except Exception as error:  # whatever the user's code raises
                hint = "Mend the function, or the text that it cannot embed; what was embedded is kept."
                raise DataError(f"{self._name} failed: {type(error).__name__}: {error}", hint=hint) from error
        if vectors.ndim != 2 or len(vectors) != len(texts):
            shape = "x".join(map(str, vectors.shape))
            raise ConfigError(
                f"{self._name} gave an array of shape {shape} for {len(texts)} texts.",
                hint="It must give one row for each text: shape (texts, dim), float32.",
            )
        return vectors


@cache
def _called(name: str) -> Callable[[list[str]], Any]:
    module, _, attribute = name.partition(":")
    try:
        found: Callable[[list[str]], Any] = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"'{name}' cannot be imported: {error}.", hint="Install the module, or put its folder on PYTHONPATH."
        ) from error
    return found


@cache
def _loaded(name: str) -> Callable[[list[str]], Any]:
    library, _, model = name.partition(":")
    if library not in _LIBRARIES or not model:
        known = ", ".join(f"{known}:NAME" for known in _LIBRARIES)
        raise ConfigError(f"'{name}' names no local model.", hint=f"Known: {known}; or write call: module:function.")
    try:
        return _LIBRARIES[library](model)
    except ImportError as error:
        raise ConfigError(f"The model '{name}' needs {library}.", hint=f"pip install {library}") from error
    except (OSError, ValueError, LookupError, AttributeError) as error:  # how the libraries say that there is none
        said = str(error).rstrip(".")
        raise ConfigError(f"The model '{name}' cannot be loaded: {said}.", hint="Check its name or path.") from error


def _model2vec(name: str) -> Callable[[list[str]], Any]:
    loaded: Callable[[list[str]], Any] = import_module("model2vec").StaticModel.from_pretrained(name).encode
    return loaded


def _sentence_transformers(name: str) -> Callable[[list[str]], Any]:
    loaded: Callable[[list[str]], Any] = import_module("sentence_transformers").SentenceTransformer(name).encode
    return loaded


def _wordllama(name: str) -> Callable[[list[str]], Any]:
    loaded: Callable[[list[str]], Any] = import_module("wordllama").WordLlama.load(config=name).embed
    return loaded


_LIBRARIES: dict[str, Callable[[str], Callable[[list[str]], Any]]] = {
    "model2vec": _model2vec,
    "sentence-transformers": _sentence_transformers,
    "wordllama": _wordllama,
}
