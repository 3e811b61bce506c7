"""The report: what was moved, what was checked and what was not, as JSON and as one page that anybody can read."""

from vecferry.report.build import of_migration, of_verification, store_facts
from vecferry.report.model import Report, RunFacts, StoreFacts, Verdict, VerdictKind
from vecferry.report.recorder import Recorder
from vecferry.report.write import json_schema, read_json, to_json, write_html, write_json

__all__ = [
    "Recorder",
    "Report",
    "RunFacts",
    "StoreFacts",
    "Verdict",
    "VerdictKind",
    "json_schema",
    "of_migration",
    "of_verification",
    "read_json",
    "store_facts",
    "to_json",
    "write_html",
    "write_json",
]
