"""`python -m vecferry.report` prints the JSON Schema of a report, as docs/reference/report.schema.json holds it."""

import sys

import orjson

from vecferry.report.write import json_schema

sys.stdout.buffer.write(orjson.dumps(json_schema(), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
