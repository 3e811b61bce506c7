"""The whole job as functions: inspect, plan, migrate, sync, verify, compare, repair. The command line calls these."""

from vecferry.engine.gentle import Bound
from vecferry.migration.history import PaceStatus, RunStatus, UnitStatus, status, watch
from vecferry.migration.holding import pause, resume, stay
from vecferry.migration.looking import inspect, plan
from vecferry.migration.moving import migrate
from vecferry.migration.proving import Proof, compare, repair, verify
from vecferry.migration.removing import bring_back
from vecferry.migration.reporting import rewrite as rewrite_report
from vecferry.migration.reporting import write_report
from vecferry.migration.result import Migration
from vecferry.migration.retiring import Retirement, retire
from vecferry.migration.settings import Ask, Settings
from vecferry.migration.updating import sync
from vecferry.report.write import read_json as read_report

__all__ = [
    "Ask",
    "Bound",
    "Migration",
    "PaceStatus",
    "Proof",
    "Retirement",
    "RunStatus",
    "Settings",
    "UnitStatus",
    "bring_back",
    "compare",
    "inspect",
    "migrate",
    "pause",
    "plan",
    "read_report",
    "repair",
    "resume",
    "retire",
    "rewrite_report",
    "status",
    "stay",
    "sync",
    "verify",
    "watch",
    "write_report",
]
