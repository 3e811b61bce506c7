"""A report as files: JSON with a published schema, and one self-contained HTML page. Written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import NamedTemporaryFile

import msgspec

from vecferry.errors import ConfigError, CorruptData, StoreFull
from vecferry.report.model import FORMAT, Report
from vecferry.report.page import render

_SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"


def to_json(report: Report) -> bytes:
    """The report as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def json_schema() -> dict[str, object]:
    """The JSON Schema of `to_json`; docs/reference/report.schema.json is this."""
    return {"$schema": _SCHEMA_ID, "title": "vecferry report", **msgspec.json.schema(Report)}


def read_json(path: Path) -> Report:
    """A report that `write_json` wrote.

    Raises:
        ConfigError: there is no such file, or a later vecferry wrote it.
        CorruptData: it is no report.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"The report {path} cannot be read: {error.strerror}.",
            hint="Name the run's folder of reports, or the report.json in it.",
        ) from error
    try:
        version = msgspec.json.decode(raw, type=dict[str, object]).get("version")
        if isinstance(version, int) and version > FORMAT:
            raise ConfigError(
                f"The report {path} was written by a later vecferry.", hint="Update: pip install -U vecferry"
            )
        return msgspec.json.decode(raw, type=Report)
    except msgspec.MsgspecError as error:
        raise CorruptData(
            f"{path} is no report of vecferry: {error}",
            hint="Name the report.json of a run, or the folder that holds it.",
        ) from error


def write_json(report: Report, path: Path) -> Path:
    """Write the JSON file.

    Raises:
        StoreFull: the place cannot be written to.
    """
    return _write(path, to_json(report))


def write_html(report: Report, path: Path) -> Path:
    """Write the HTML page.

    Raises:
        StoreFull: the place cannot be written to.
    """
    return _write(path, render(report).encode("utf-8"))


def _write(path: Path, content: bytes) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                os.chmod(file.name, 0o644)  # noqa: PTH101 - a report is to be read by others
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise StoreFull(
            f"The report cannot be written to {path}: {error.strerror}.", hint="Choose another folder with --report."
        ) from error
    return path
