"""Qdrant: a server (`qdrant+http://…`), an embedded folder (`qdrant:PATH`), a snapshot (`qdrant+snapshot:FILE`)."""

from __future__ import annotations

from vecferry.protocols import Connector, Database
from vecferry.url import StoreUrl


class QdrantConnector:
    """Opens `qdrant:` URLs; what a form of URL needs is imported when it is asked for."""

    def open(self, url: StoreUrl) -> Database:
        """Open a server, a folder or a snapshot.

        Raises:
            ConfigError, Unavailable, AuthFailed, NotFound, CorruptData: with a message that says what to do.
        """
        if url.transport in ("snapshot", "s3", "gs"):
            from vecferry.connectors.qdrant.snapshots.database import open_snapshot

            return open_snapshot(url)
        if url.host is None:
            from vecferry.connectors.qdrant.folders import open_folder

            return open_folder(url)
        from vecferry.connectors.qdrant.database import open_server

        return open_server(url)


CONNECTOR: Connector = QdrantConnector()
