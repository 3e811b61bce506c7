"""Whether a collection on a server was written to, told without reading its vectors.

A server numbers what is written to it and tells nobody: so the ids, documents, metadata and URIs are read, and compared
by a digest. A vector that was replaced alone, with all else as it was, is not seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from vecferry.connectors.chroma.http.collection import Collection
from vecferry.connectors.chroma.http.ids import Ids

_COLUMNS = ["documents", "metadatas", "uris"]


def watch(collection: Collection) -> Callable[[], bool]:
    """Begin to watch; what it returns says whether the collection was written to since."""
    before = _digest(collection)
    return lambda: _digest(collection) != before


def _digest(collection: Collection) -> str:
    """Of every record in the order of the server's list, without vectors."""
    made = hashlib.blake2b(digest_size=16)
    with TemporaryDirectory(prefix="vecferry-watch-") as folder:
        ids = Ids(collection, Path(folder) / "ids.arrow", page=collection.listed)
        total, start = len(ids), 0
        while start < total:
            wanted = ids.between(start, min(total, start + collection.most))
            found = collection.get(ids=wanted, include=_COLUMNS)
            told = dict(zip(found["ids"], zip(*(found[name] for name in _COLUMNS), strict=True), strict=True))
            rows = [(text, told.get(text)) for text in wanted]
            made.update(orjson.dumps(rows, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS))
            start += len(wanted)
    return made.hexdigest()
