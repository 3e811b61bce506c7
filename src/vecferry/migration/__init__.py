"""The whole job as functions: inspect, plan, migrate, verify, compare, repair. The command line is a shell over these."""

from vecferry.migration.history import RunStatus, status
from vecferry.migration.looking import inspect, plan
from vecferry.migration.moving import Migration, migrate
from vecferry.migration.proving import compare, repair, verify
from vecferry.migration.settings import Ask, Settings

__all__ = [
    "Ask",
    "Migration",
    "RunStatus",
    "Settings",
    "compare",
    "inspect",
    "migrate",
    "plan",
    "repair",
    "status",
    "verify",
]
