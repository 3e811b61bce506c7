"""`files:DIR`: archives, a folder of Parquet files and manifests (docs/reference/archive-format.md)."""

from vecferry.connectors.files.database import CONNECTOR, LIMITS, FilesConnector, FilesDatabase

__all__ = ["CONNECTOR", "LIMITS", "FilesConnector", "FilesDatabase"]
