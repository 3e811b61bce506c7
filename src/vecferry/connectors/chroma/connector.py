"""Which of the ways to Chroma a URL names: a folder, a packed one, a server, Cloud."""

from __future__ import annotations

from pathlib import Path

from vecferry.connectors.chroma.catalog import FILE
from vecferry.connectors.chroma.database import FOLDER_HINT, ChromaDatabase
from vecferry.errors import ConfigError, CorruptData, NotFound
from vecferry.objects.packed import is_packed
from vecferry.protocols import Database
from vecferry.url import StoreUrl


class ChromaConnector:
    """Opens `chroma:PATH`, the folder of `chromadb.PersistentClient(path=PATH)`; the file in it will do as well.

    A server is `chroma+http://HOST:PORT`, Cloud `chroma+cloud://TENANT/DATABASE` (see `http`).
    Packed, it is `chroma:PATH.tar.gz`, `chroma+s3://BUCKET/KEY` or `chroma+gs://BUCKET/KEY` (see `packed`).
    """

    def open(self, url: StoreUrl) -> Database:
        if url.transport in ("http", "https", "cloud"):
            from vecferry.connectors.chroma.http.database import open_server

            return open_server(url)
        if is_packed(url):
            from vecferry.connectors.chroma.packed import open_packed_chroma

            return open_packed_chroma(url)
        if url.host is not None:
            raise ConfigError(
                f"'{url}' names no way to Chroma.",
                hint="Write chroma:PATH, chroma+http://HOST:PORT, chroma+https://HOST or chroma+cloud://TENANT/DATABASE.",
            )
        unknown = url.options.keys() - {"newer"}
        if unknown or url.options.get("newer", "read") != "read" or url.secrets:
            raise ConfigError(f"'{url}' has an option that chroma: does not know.", hint="Known: ?newer=read.")
        return ChromaDatabase(_directory(url.local_path), newer="newer" in url.options)


CONNECTOR = ChromaConnector()


def _directory(path: Path) -> Path:
    """The directory behind `path`.

    Raises:
        NotFound: something else stands there.  CorruptData: its database is empty or torn.
    """
    if path.name == FILE and path.is_file():
        path = path.parent
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return path
    file = path / FILE
    if not file.is_file():
        near = sorted(found.parent for found in path.glob(f"*/{FILE}")) if path.is_dir() else []
        raise NotFound(
            f"{path} is not a Chroma directory: it holds no {FILE}.",
            store=f"chroma:{path}",
            hint=f"Did you mean chroma:{near[0]}?" if near else FOLDER_HINT,
        )
    if file.stat().st_size < 512:
        raise CorruptData(
            f"{file} is {'empty' if not file.stat().st_size else 'torn'}: it has {file.stat().st_size} bytes.",
            hint="Restore it from a backup.",
        )
    return path
