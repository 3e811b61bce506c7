# /// script
# requires-python = ">=3.11"
# dependencies = ["vecferry[chroma-local]"]
# ///
"""Archive a Chroma directory as Parquet and read it with pyarrow alone. Run: python examples/weekly_backup.py."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow.parquet as pq

import vecferry
from vecferry.demo import write_chroma
from vecferry.migration import Settings


def main() -> None:
    """Write the archive, verified, and look into it without vecferry."""
    with tempfile.TemporaryDirectory() as folder:
        write_chroma(Path(folder) / "chroma")
        settings = Settings(ledger=f"{folder}/ledger.db", reports=None)
        done = vecferry.migrate(f"chroma:{folder}/chroma", f"files:{folder}/archive", settings=settings)
        assert done.differences == 0

        parts = sorted((Path(folder) / "archive").rglob("*.parquet"))
        rows = sum(pq.read_metadata(part).num_rows for part in parts)
        assert rows == done.records
        print(f"{done.records} records in {len(parts)} Parquet files; columns: {pq.read_schema(parts[0]).names}")


if __name__ == "__main__":
    main()
