"""`chroma:PATH`: Chroma directories, 0.4 to 1.x: read without chromadb, written through it (extra chroma-local)."""

from vecferry.connectors.chroma._codec import LIMITS
from vecferry.connectors.chroma.connector import CONNECTOR, ChromaConnector
from vecferry.connectors.chroma.database import ChromaDatabase

__all__ = ["CONNECTOR", "LIMITS", "ChromaConnector", "ChromaDatabase"]
