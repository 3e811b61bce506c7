"""The files connector passes the contracts; `seed` and `dump` follow the documented format with pyarrow and json."""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vecferry.arrow import from_records
from vecferry.connectors.files import LIMITS
from vecferry.model import CollectionSpec, Record
from vecferry.testing.contracts import SinkContract, SourceContract

HEAD = {"format": "vecferry-archive", "version": 1}


class TestFiles(SourceContract, SinkContract):
    limits = LIMITS
    many = 600

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"files:{tmp_path}/archive"

    def seed(self, url: str, spec: CollectionSpec, records: Sequence[Record]) -> None:
        root = Path(url.removeprefix("files:"))
        folder = root / f"{spec.name.lower()}-{sha256(spec.name.encode()).hexdigest()[:16]}"
        folder.mkdir(parents=True)
        parts = []
        for number in range(0, len(records), 150):
            file = folder / f"part-{number:08}-00000000.parquet"
            columns = from_records(spec, records[number : number + 150])
            plain = [c.storage if isinstance(c, pa.ExtensionArray) else c for c in columns.columns]
            pq.write_table(pa.table(plain, names=columns.schema.names), file, compression="zstd")
            parts.append({"file": file.name, "rows": columns.num_rows, **proof(file), "digest": ""})
        text = json.dumps(HEAD | {"spec": msgspec.to_builtins(spec), "parts": parts})
        (folder / "collection-000001.json").write_text(text)
        listed = (
            json.loads((root / "manifest.json").read_text())["collections"] if (root / "manifest.json").exists() else []
        )
        listed.append(
            {
                "namespace": [],
                "name": spec.name,
                "folder": folder.name,
                "manifest": "collection-000001.json",
                "records": len(records),
                **proof(folder / "collection-000001.json"),
            }
        )
        (root / "manifest.json").write_text(json.dumps(HEAD | {"collections": listed}))

    def dump(self, url: str, spec: CollectionSpec) -> list[Record]:
        root = Path(url.removeprefix("files:"))
        entry = next(
            e for e in json.loads((root / "manifest.json").read_text())["collections"] if e["name"] == spec.name
        )
        manifest = root / entry["folder"] / entry["manifest"]
        entries = json.loads(manifest.read_text())["parts"]
        journal = manifest.with_name(manifest.name.replace("collection", "journal") + "l")
        for line in journal.read_text().splitlines() if journal.exists() else ():
            entries += json.loads(line.partition(" ")[2])
        rows: dict[str, dict[str, Any]] = {}
        for one in entries:
            rows |= (
                {row["id"]: row for row in pq.read_table(manifest.with_name(one["file"])).to_pylist()}
                if "file" in one
                else {}
            )
            rows = {key: row for key, row in rows.items() if key not in one.get("removed", ())}
        return [
            Record(
                id=row["id"],
                vectors={"": np.array(row["vector"], np.float32)},
                document=row["document"],
                uri=row["uri"],
                metadata=json.loads(row["metadata"]),
            )
            for row in rows.values()
        ]


def proof(file: Path) -> dict[str, Any]:
    return {"bytes": file.stat().st_size, "sha256": sha256(file.read_bytes()).hexdigest()}
