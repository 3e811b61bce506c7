"""`json:FILE` and `jsonl:FILE`: backups as people write them, and our own form (docs/reference/json-backups.md)."""

from vecferry.connectors.json.database import CONNECTOR, LIMITS, JsonConnector, JsonDatabase

__all__ = ["CONNECTOR", "LIMITS", "JsonConnector", "JsonDatabase"]
