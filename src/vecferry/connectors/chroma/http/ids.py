"""The ids of a collection, in the server's order: fetched once, kept in a file, read through a memory map.

A server tells positions, no keys to go on behind: whoever pages by offset skips records when others are deleted
meanwhile. So the ids come first, without anything else, and the records by their ids. The list is paged too, as a
store may cut its answers, but each page begins with the last id that is known already: where another one stands there,
records before it are gone, and the page is asked for again further ahead. What is added meanwhile stands at the end.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from threading import Lock

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from vecferry.connectors.chroma.http.collection import Collection
from vecferry.errors import StoreFull


class Ids:
    """Thread-safe. Where fetching breaks off, the next call goes on where it stopped."""

    def __init__(self, collection: Collection, file: Path, *, page: int) -> None:
        """`file` is used where it is there, and made where it is not."""
        self._collection, self._file, self._page = collection, file, page
        self._lock = Lock()
        self._loaded: pa.ChunkedArray | None = None
        self._parts: list[pa.Array] = []
        self._at = 0

    @property
    def kept(self) -> bool:
        """Whether the list is there already, from this process or an earlier one."""
        return self._file.exists()

    def __len__(self) -> int:
        return len(self._all())

    def between(self, start: int, stop: int) -> list[str]:
        """The ids at these places."""
        found: list[str] = self._all().slice(start, stop - start).to_pylist()
        return found

    def places(self, ids: list[str]) -> dict[str, int]:
        """Id -> its place, for those that are there."""
        mask = pc.is_in(self._all(), value_set=pa.array(ids, pa.string()))
        rows = pc.indices_nonzero(mask)
        return dict(zip(self._all().take(rows).to_pylist(), rows.to_pylist(), strict=True))

    def digest(self, start: int, stop: int) -> str:
        """A short fingerprint of the ids at these places."""
        return hashlib.blake2b(orjson.dumps(self.between(start, stop)), digest_size=8).hexdigest()

    # ----------------------------------------------------------------------- within

    def _all(self) -> pa.ChunkedArray:
        with self._lock:
            if self._loaded is None:
                if not self._file.exists():
                    while self._fetch():
                        pass
                    self._keep()
                with pa.memory_map(str(self._file)) as file:
                    self._loaded = pa.ipc.open_file(file).read_all().column("id")
                self._parts = []
            return self._loaded

    def _fetch(self) -> bool:
        """Fetch one page behind what is known; False where nothing stands behind it."""
        asked = self._collection.get(include=[], limit=self._page, offset=self._at)
        found: list[str] = asked["ids"]
        last = set(self._parts[-1].to_pylist()) if self._parts else set()
        if self._at and (not found or found[0] not in last) and not self._known(found[:1]):
            self._at = max(0, self._at - self._page)
            return True
        new = [text for text in found if text not in last]
        if new:
            self._parts.append(pa.array(new, pa.string()))
        self._at += max(0, len(found) - 1)
        return len(found) > 1

    def _known(self, ids: list[str]) -> bool:
        """Whether an id stands in any page: asked only where records were deleted meanwhile."""
        wanted = pa.array(ids, pa.string())
        return bool(ids) and any(pc.any(pc.is_in(part, value_set=wanted)).as_py() for part in self._parts)

    def _keep(self) -> None:
        """Into the file, each id once: one that was deleted and added again meanwhile came twice."""
        table = pa.table({"id": pa.chunked_array(self._parts, pa.string()).unique()})
        half = self._file.with_suffix(".partial")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with pa.ipc.new_file(str(half), table.schema) as writer:
                writer.write_table(table)
            half.rename(self._file)
        except OSError as error:
            raise StoreFull(
                f"The list of ids cannot be kept in {self._file.parent}: {error.strerror}.",
                hint="Name a folder that can be written and has room (TMPDIR says where temporary files go).",
            ) from error
