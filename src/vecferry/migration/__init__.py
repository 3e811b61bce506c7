"""The whole job as functions: inspect, plan, migrate, sync, verify, compare, repair. The command line calls these."""

from vecferry.migration.backups import Backup, BackupResult, backup, backups, restore
from vecferry.migration.history import RunStatus, status
from vecferry.migration.looking import inspect, plan
from vecferry.migration.moving import Migration, migrate
from vecferry.migration.proving import Proof, compare, repair, verify
from vecferry.migration.reporting import rewrite as rewrite_report
from vecferry.migration.reporting import write_report
from vecferry.migration.retiring import Retirement, retire
from vecferry.migration.settings import Ask, Settings
from vecferry.migration.updating import sync
from vecferry.report.write import read_json as read_report

__all__ = [
    "Ask",
    "Backup",
    "BackupResult",
    "Migration",
    "Proof",
    "Retirement",
    "RunStatus",
    "Settings",
    "backup",
    "backups",
    "compare",
    "inspect",
    "migrate",
    "plan",
    "read_report",
    "repair",
    "restore",
    "retire",
    "rewrite_report",
    "status",
    "sync",
    "verify",
    "write_report",
]
