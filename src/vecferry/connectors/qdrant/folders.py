"""`qdrant:PATH`: what kind of folder is it, the edge engine's or one of qdrant-client's local mode?"""

from __future__ import annotations

from vecferry.connectors.qdrant.embedded.database import open_embedded
from vecferry.connectors.qdrant.local_mode import LocalModeDatabase, is_local_mode
from vecferry.protocols import Database
from vecferry.url import StoreUrl


def open_folder(url: StoreUrl) -> Database:
    """The database in the folder of `url`.

    Raises:
        ConfigError: a file, or the extra is missing. NotFound: a folder with something else in it.
    """
    path = url.local_path
    return LocalModeDatabase(path) if is_local_mode(path) else open_embedded(path)
