"""Qdrant: a server over gRPC or REST (`qdrant+http://…`), or an embedded folder (`qdrant:PATH`)."""

from __future__ import annotations

from vecferry.protocols import Connector, Database
from vecferry.url import StoreUrl


class QdrantConnector:
    """Opens `qdrant:` URLs; what a form of URL needs is imported when it is asked for."""

    def open(self, url: StoreUrl) -> Database:
        """Open a server or a folder.

        Raises:
            ConfigError, Unavailable, AuthFailed, NotFound, CorruptData: with a message that says what to do.
        """
        if url.host is None:
            from vecferry.connectors.qdrant.folders import open_folder

            return open_folder(url)
        from vecferry.connectors.qdrant.database import open_server

        return open_server(url)


CONNECTOR: Connector = QdrantConnector()
