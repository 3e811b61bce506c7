"""An archive that would go with the source proves nothing: it is refused before anything is read or written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from vecferry.arrow import from_records
from vecferry.errors import ConfigError
from vecferry.migration.retiring import Retirement, folder_name, retire
from vecferry.model import CollectionSpec, Metric, VectorSpec
from vecferry.registry import open_database
from vecferry.testing.contracts import plain_records
from vecferry.url import StoreUrl


@pytest.fixture
def source(tmp_path: Path) -> str:
    spec = CollectionSpec(name="docs", vectors=(VectorSpec(dim=4, metric=Metric.L2),))
    sink = open_database(f"files:{tmp_path}/app").sink(spec)
    sink.prepare(spec)
    sink.write(from_records(spec, plain_records(spec, 5)))
    sink.finish()
    (tmp_path / "link").symlink_to("app")
    return f"files:{tmp_path}/app"


def yes(_: Retirement) -> bool:
    return True


@pytest.mark.parametrize("other", ["app", "app/", "app/../app", "link", "app/within", "link/within"])
@pytest.mark.parametrize("option", ["archive", "into"])
def test_an_archive_in_the_source_is_refused(source: str, tmp_path: Path, other: str, option: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="would be removed with"):
        retire(
            source,
            agree=yes,
            unverified=True,
            ledger=str(tmp_path / "ledger.db"),
            **{option: f"files:{tmp_path}/{other}"},
        )
    assert sorted(tmp_path.rglob("*")) == before
    assert [spec.count for spec in open_database(source).collections()] == [5]


@pytest.mark.parametrize("url", ["qdrant+http://localhost:6333", "chroma+https://example.org", "chroma+cloud://t/d"])
def test_a_server_is_no_archive(source: str, url: str) -> None:
    """It may be the source itself under another name; nothing tells."""
    with pytest.raises(ConfigError, match="is a server"):
        retire(source, agree=yes, archive=url, unverified=True)


def test_one_prefix_of_a_bucket_is_one_place() -> None:
    with pytest.raises(ConfigError, match="would be removed with"):
        retire("files+s3://bucket/a", agree=yes, archive="files+s3://bucket/a/", unverified=True)


def test_another_folder_is_taken(source: str, tmp_path: Path) -> None:
    into = f"files:{tmp_path}/app-archive"
    done = retire(source, agree=yes, into=into, unverified=True, ledger=str(tmp_path / "ledger.db"))
    assert done is not None
    assert [spec.count for spec in open_database(into).collections()] == [5]
    assert not list(open_database(source).collections())


@pytest.mark.parametrize(
    "name, folder",
    [
        ("chroma_db", "chroma_db"),
        ("localhost:6333", "localhost-6333"),
        ("docs?form=x#1 & 'more'", "docs-form-x-1-more"),
        ("../../etc/passwd", "etc-passwd"),
        ("отчёт 2026/日本", "отчёт-2026-日本"),
        ("e\u0301t\u00e9", "été"),
        ("a\n\x1b[31mb%2F", "a-31mb-2F"),
        ("☃", "archive"),
        ("", "archive"),
        ("語" * 300, "語" * 40),
    ],
)
def test_the_folder_of_an_archive_needs_no_quotes(name: str, folder: str, tmp_path: Path) -> None:
    """Neither in a shell nor in a URL, whatever the collection or the host is called."""
    assert folder_name(name) == folder
    assert StoreUrl.parse(f"files:{tmp_path}/{folder_name(name)}").local_path.parent == tmp_path
    assert shlex.quote(folder).strip("'") == folder


def test_an_odd_name_gets_an_archive_that_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = CollectionSpec(name="what? a/b #1", vectors=(VectorSpec(dim=4, metric=Metric.L2),))
    sink = open_database("files:app").sink(spec)
    sink.prepare(spec)
    sink.write(from_records(spec, plain_records(spec, 5)))
    sink.finish()
    done = retire("files:app", agree=yes, unverified=True, ledger=str(tmp_path / "ledger.db"))
    assert done is not None
    assert re.fullmatch(r"files:vecferry-archives/what-a-b-1-\d{8}-\d{6}-\w{6}", done.archive)
    assert [(s.name, s.count) for s in open_database(done.archive).collections()] == [(spec.name, 5)]
