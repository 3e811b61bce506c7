"""`memory:NAME`: stores that live in this process. The model that the contract tests compare every store with."""

from vecferry.connectors.memory.database import CONNECTOR, LIMITS, MemoryConnector, MemoryDatabase

__all__ = ["CONNECTOR", "LIMITS", "MemoryConnector", "MemoryDatabase"]
