"""Archives in a bucket pass the contracts of archives on a disk; `seed` and `dump` go through the vendor's library."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import S3Store

from tests.contract import test_files as on_disk
from vecferry.model import CollectionSpec, Record
from vecferry.testing.s3 import S3Server


class TestFilesInBucket(on_disk.TestFiles):
    @pytest.fixture
    def url(self, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        for name, value in s3_server.variables.items():
            monkeypatch.setenv(name, value)
        self.local = tmp_path / "mirror"
        self.store: Any = S3Store(
            s3_server.bucket,
            endpoint=s3_server.http_url,
            access_key_id=s3_server.access_key,
            secret_access_key=s3_server.secret_key,
            region=s3_server.region,
            client_options={"allow_http": True},
        )
        self.prefix = f"{tmp_path.name}-{os.getpid()}/archive"
        return f"files+s3://{s3_server.bucket}/{self.prefix}"

    def seed(self, url: str, spec: CollectionSpec, records: Sequence[Record]) -> None:
        super().seed(f"files:{self.local}", spec, records)
        for file in self.local.rglob("*"):
            if file.is_file():
                obstore.put(self.store, f"{self.prefix}/{file.relative_to(self.local)}", file)

    def dump(self, url: str, spec: CollectionSpec) -> list[Record]:
        keys = sorted(one["path"] for some in obstore.list(self.store, self.prefix) for one in some)
        for key in keys:
            name = key.removeprefix(f"{self.prefix}/")
            stem = name.rpartition("/")[2].split("-")
            journal = stem[0] == "journal"
            file = self.local / (f"{name.rpartition('/')[0]}/journal-{stem[1]}.jsonl" if journal else name)
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("ab" if journal else "wb") as out:  # sorted: the lines in the order of their names
                out.write(bytes(obstore.get(self.store, key).bytes()))
        return super().dump(f"files:{self.local}", spec)
