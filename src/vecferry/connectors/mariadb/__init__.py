"""`mariadb://HOST:PORT/DATABASE`: MariaDB 11.7 and later, whose tables hold vectors."""

from vecferry.connectors.mariadb.database import MariaConnector
from vecferry.connectors.mariadb.facts import LIMITS

__all__ = ["CONNECTOR", "LIMITS", "MariaConnector"]

CONNECTOR = MariaConnector()
