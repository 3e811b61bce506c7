"""`postgresql://HOST:PORT/DATABASE`: PostgreSQL with pgvector, Supabase included."""

from vecferry.connectors.postgres.database import CONNECTOR, PostgresConnector, PostgresDatabase
from vecferry.connectors.postgres.facts import LIMITS

__all__ = ["CONNECTOR", "LIMITS", "PostgresConnector", "PostgresDatabase"]
