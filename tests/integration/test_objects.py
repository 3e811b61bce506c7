"""Chroma out of archives, in a real S3-compatible server and on the disk; and what happens when the line breaks."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import obstore
import pyarrow as pa
import pytest
from obstore.store import S3Store

from tests.chroma_data import ChromaData
from vecferry import events, migration
from vecferry.errors import (
    AuthFailed,
    ConfigError,
    CorruptData,
    NotFound,
    PlanChanged,
    Unavailable,
    Unsupported,
)
from vecferry.model import Record
from vecferry.objects import cache as cache_module
from vecferry.objects.bucket import Bucket, open_bucket
from vecferry.objects.cache import cache_folder, sweep
from vecferry.planning.options import PlanOptions
from vecferry.registry import open_database
from vecferry.testing.contracts import assert_same
from vecferry.testing.contracts.base import read_all
from vecferry.testing.proxy import FaultProxy, Pass, Refuse, Throttle
from vecferry.testing.s3 import S3Server
from vecferry.url import StoreUrl


class Storage:
    """The bucket, reached by the vendor's library alone, below a prefix of one test's own."""

    def __init__(self, server: S3Server, prefix: str) -> None:
        self.server, self.prefix = server, prefix
        self.url = f"chroma+s3://{server.bucket}/{prefix}"
        self._store = S3Store(
            server.bucket,
            endpoint=server.http_url,
            access_key_id=server.access_key,
            secret_access_key=server.secret_key,
            region=server.region,
            client_options={"allow_http": True},
        )

    def put(self, key: str, data: bytes) -> str:
        obstore.put(self._store, f"{self.prefix}/{key}", data)
        return f"{self.url}/{key}"

    def keys(self) -> list[str]:
        return sorted(one["path"] for some in obstore.list(self._store, self.prefix) for one in some)

    def fetched(self, key: str) -> int:
        """How often something of this key was fetched, by the server's own log."""
        return self.server.requests("GetObject").count(f"{self.prefix}/{key}")


@pytest.fixture
def storage(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Storage:
    for name, value in s3_server.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("VECFERRY_CACHE", str(tmp_path / "cache"))
    return Storage(s3_server, f"{tmp_path.name}-{os.getpid()}")


@pytest.fixture
def data(chroma_data: Callable[[str], ChromaData]) -> ChromaData:
    return chroma_data("1.5.9")


@pytest.fixture
def truth(data: ChromaData) -> dict[str, list[Record]]:
    return contents(f"chroma:{data.path}")


def contents(url: str) -> dict[str, list[Record]]:
    database = open_database(url)
    try:
        names = [spec.qualified_name for spec in database.collections()]
        return {name: read_all(database.source(name)) for name in names}
    finally:
        database.close()


def same(found: dict[str, list[Record]], wanted: dict[str, list[Record]]) -> None:
    assert found.keys() == wanted.keys()
    assert sum(map(len, wanted.values())) > 50
    for name, records in wanted.items():
        assert_same(found[name], records)


def packed(folder: Path, kind: str = "tar.gz", inside: str = "backup/chroma_db") -> bytes:
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in folder.rglob("*"):
                archive.write(file, f"{inside}/{file.relative_to(folder)}")
        return out.getvalue()
    with tarfile.open(fileobj=out, mode="w:gz" if kind in {"tar.gz", "tgz"} else "w") as tar:
        tar.add(folder, inside)
    return bytes(pa.compress(out.getvalue(), "zstd", asbytes=True)) if kind == "tar.zst" else out.getvalue()


def unpacked(tmp_path: Path) -> list[Path]:
    return [*(tmp_path / "cache" / "open").iterdir(), *tmp_path.rglob("chroma.sqlite3")]


# --------------------------------------------------------------------------- what is read


@pytest.mark.parametrize("kind", ["tar.gz", "tgz", "tar.zst", "tar", "zip"])
def test_an_archive_in_a_bucket_reads_like_the_directory(storage, data, truth, tmp_path, kind):
    same(contents(storage.put(f"chroma.{kind}", packed(data.path, kind))), truth)
    assert unpacked(tmp_path) == []


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_an_archive_on_the_disk_reads_like_the_directory(data, truth, tmp_path, kind, monkeypatch):
    monkeypatch.setenv("VECFERRY_CACHE", str(tmp_path / "cache"))
    (tmp_path / f"a.{kind}").write_bytes(packed(data.path, kind))
    same(contents(f"chroma:{tmp_path}/a.{kind}"), truth)
    assert unpacked(tmp_path) == []


def test_a_prefix_reads_like_the_directory(storage, data, truth, tmp_path):
    for file in data.path.rglob("*"):
        if file.is_file():
            storage.put(f"live/chroma_db/{file.relative_to(data.path)}", file.read_bytes())
    same(contents(f"{storage.url}/live/chroma_db"), truth)
    same(contents(f"{storage.url}/live/"), truth)
    assert unpacked(tmp_path) == []


def test_the_archive_is_the_store_and_its_state_the_pin(storage, data, tmp_path):
    url = storage.put("chroma.tar.gz", packed(data.path))
    pins = []
    for number in (1, 2):
        database = open_database(url)
        assert database.identity.kind == "chroma"
        assert database.identity.where.startswith(f"s3://{storage.server.bucket}@")
        pins.append(database.pin(tmp_path / str(number)).identity)
        database.close()
    assert pins[0] == pins[1]
    storage.put("chroma.tar.gz", packed(data.path, inside="elsewhere"))
    database = open_database(url)
    assert database.pin(tmp_path / "3").identity != pins[0]
    with pytest.raises(PlanChanged, match="was replaced since this run began") as caught:
        database.pin(tmp_path / "1")
    assert "--restart" in (caught.value.hint or "")
    database.close()


def test_an_archive_cannot_be_written(storage, data):
    database = open_database(storage.put("chroma.tar.gz", packed(data.path)))
    with pytest.raises(Unsupported, match="packed"):
        database.sink(database.collections()[0])
    database.close()


# --------------------------------------------------------------------------- the cache


def test_what_is_unchanged_is_not_fetched_again(storage, data, truth):
    url = storage.put("chroma.tar.gz", packed(data.path))
    same(contents(url), truth)
    fetched = storage.fetched("chroma.tar.gz")
    assert fetched > 0
    same(contents(url), truth)
    assert storage.fetched("chroma.tar.gz") == fetched
    storage.put("chroma.tar.gz", packed(data.path, "zip"))
    same(contents(url), truth)
    assert storage.fetched("chroma.tar.gz") == 2 * fetched


def test_a_person_is_told_of_a_long_download(storage, data, monkeypatch):
    monkeypatch.setattr(cache_module, "NOTICED_BYTES", 1_000)
    url, told = storage.put("chroma.tar.gz", packed(data.path)), []
    with events.listening(told.append):
        for _ in range(2):
            open_database(url).close()
    (notice,) = told
    assert notice.message == f"Fetching s3://{url.partition('://')[2]}: 0 MB."


def test_a_damaged_cache_is_fetched_again(storage, data, truth, tmp_path):
    url = storage.put("chroma.tar.gz", packed(data.path))
    contents(url)
    fetched = storage.fetched("chroma.tar.gz")
    (kept,) = [file for file in (tmp_path / "cache" / "fetched").iterdir() if not file.suffix]
    with kept.open("r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    same(contents(url), truth)
    assert storage.fetched("chroma.tar.gz") == 2 * fetched


def test_old_things_are_swept_and_those_in_use_are_not(storage, data, tmp_path):
    url = storage.put("chroma.tar.gz", packed(data.path))
    database = open_database(url)
    folder = cache_folder()
    (opened,) = (folder / "open").iterdir()
    (folder / "open" / "of-a-killed-process").mkdir()
    sweep(folder)
    assert list((folder / "open").iterdir()) == [opened]
    assert len(list((folder / "fetched").iterdir())) == 2
    sweep(folder, now=time.time() + 8 * 86_400)
    assert list((folder / "fetched").iterdir()) == []
    assert len(database.collections()) > 1
    database.close()
    assert list((folder / "open").iterdir()) == []


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "PIECE_BYTES", 16_384)


@pytest.fixture
def proxied(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with FaultProxy(storage.server.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.http_url)
        yield proxy


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    from vecferry.objects import bucket

    monkeypatch.setitem(bucket._RETRY, "max_retries", 1)


@pytest.fixture
def cut(proxied: FaultProxy, small_pieces: None, impatient: None, monkeypatch: pytest.MonkeyPatch) -> FaultProxy:
    """From the seventh piece on the server answers 503, until `fault = Pass()`."""
    original, asked = Bucket.read_range, count(1)

    def read_range(self, stat, start, end):
        if next(asked) == 7:
            proxied.fault = Throttle(status=503, retry_after=None)
        return original(self, stat, start, end)

    monkeypatch.setattr(Bucket, "read_range", read_range)
    return proxied


def test_a_download_that_was_cut_goes_on_where_it_was(storage, data, truth, tmp_path, cut):
    archive = packed(data.path)
    assert len(archive) > 10 * 16_384
    url = storage.put("chroma.tar.gz", archive)
    with pytest.raises(Unavailable, match="cannot be reached") as caught:
        contents(url)
    assert caught.value.hint
    (part,) = (tmp_path / "cache" / "fetched").glob("*.part")
    there = part.stat().st_size
    assert 2 * 16_384 <= there < len(archive)
    assert part.read_bytes() == archive[:there]
    before = storage.fetched("chroma.tar.gz")
    cut.fault = Pass()
    same(contents(url), truth)
    assert storage.fetched("chroma.tar.gz") - before == -(-(len(archive) - there) // 16_384)


def test_a_cut_download_of_an_archive_that_changed_begins_anew(storage, data, truth, cut):
    url = storage.put("chroma.tar.gz", packed(data.path))
    with pytest.raises(Unavailable):
        contents(url)
    storage.put("chroma.tar.gz", packed(data.path, inside="other"))
    cut.fault = Pass()
    same(contents(url), truth)


def test_an_archive_replaced_while_it_is_fetched_is_never_mixed(storage, data, truth, small_pieces, monkeypatch):
    url = storage.put("chroma.tar.gz", packed(data.path))
    original, calls = Bucket.read_range, []

    def read_range(self, stat, start, end):
        calls.append(start)
        if len(calls) == 3:
            storage.put("chroma.tar.gz", packed(data.path, inside="another"))
        return original(self, stat, start, end)

    monkeypatch.setattr(Bucket, "read_range", read_range)
    same(contents(url), truth)


def test_a_killed_download_goes_on(storage, data, truth, tmp_path, small_pieces):
    archive = packed(data.path)
    url = storage.put("chroma.tar.gz", archive)
    program = (
        "import os, sys\n"
        "from vecferry.objects import cache\n"
        "from vecferry.registry import open_database\n"
        "cache.PIECE_BYTES = 16_384\n"
        "pieces = cache._pieces\n"
        "def cut(*given):\n"
        "    for number, piece in enumerate(pieces(*given)):\n"
        "        if number == 5: os._exit(9)\n"
        "        yield piece\n"
        "cache._pieces = cut\n"
        "open_database(sys.argv[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", program, url], check=False, timeout=300)
    assert done.returncode == 9
    (part,) = (tmp_path / "cache" / "fetched").glob("*.part")
    assert part.stat().st_size == 5 * 16_384
    assert len(list((tmp_path / "cache" / "open").iterdir())) == 1
    before = storage.fetched("chroma.tar.gz")
    same(contents(url), truth)
    assert storage.fetched("chroma.tar.gz") - before == -(-(len(archive) - 5 * 16_384) // 16_384)
    assert unpacked(tmp_path) == []


def test_errors_of_the_server_are_tried_again(storage, data, truth, proxied):
    url = storage.put("chroma.tar.gz", packed(data.path))
    proxied.fault = Throttle(status=500, retry_after=None, times=2)
    same(contents(url), truth)
    assert proxied.fired == 2


def test_a_server_that_is_down_is_said(storage, data, proxied, impatient):
    proxied.fault = Refuse()
    with pytest.raises(Unavailable, match="nobody answers there") as caught:
        contents(f"{storage.url}/chroma.tar.gz")
    assert "AWS_ENDPOINT_URL" in (caught.value.hint or "")


def test_a_server_in_trouble_is_said(storage, proxied, impatient):
    proxied.fault = Throttle(status=503, retry_after=None)
    with pytest.raises(Unavailable, match=r"the server cannot answer \(HTTP 503\)"):
        contents(f"{storage.url}/chroma.tar.gz")


# --------------------------------------------------------------------------- keys and names


def test_r2_has_variables_of_its_own(storage, data, truth, monkeypatch):
    url = storage.put("chroma.tar.gz", packed(data.path))
    for name in storage.server.variables:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-somewhere-else")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-somewhere-else")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-somewhere-else")
    monkeypatch.setenv("R2_ENDPOINT_URL", storage.server.http_url)
    monkeypatch.setenv("R2_ACCESS_KEY_ID", storage.server.access_key)
    monkeypatch.setenv("R2_SECRET_ACCESS_KEY", storage.server.secret_key)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    same(contents(f"{url}?region=us-east-1"), truth)


def test_everything_can_stand_in_the_url_as_a_reference(storage, data, truth, monkeypatch, tmp_path):
    url = storage.put("chroma.tar.gz", packed(data.path))
    for name in storage.server.variables:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MY_KEY", storage.server.access_key)
    (tmp_path / "secret").write_text(storage.server.secret_key)
    options = f"endpoint={storage.server.http_url}&access_key_id=env:MY_KEY&secret_access_key=file:{tmp_path}/secret"
    same(contents(f"{url}?{options}&region=us-east-1&cache={tmp_path}/mine"), truth)
    assert list((tmp_path / "mine" / "fetched").iterdir())


def test_tls_by_an_authority_of_ones_own(start_s3, data, truth, monkeypatch, tmp_path):
    server = start_s3(tls=True)
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    bucket, _ = open_bucket(StoreUrl.parse(f"chroma+s3://{server.bucket}/x?ca={server.ca_file}"))
    bucket.write("chroma.tar.gz", packed(data.path))
    same(contents(f"chroma+s3://{server.bucket}/chroma.tar.gz?ca={server.ca_file}"), truth)
    from vecferry.objects import bucket as module

    monkeypatch.setitem(module._RETRY, "max_retries", 0)
    with pytest.raises(Unavailable):
        contents(f"chroma+s3://{server.bucket}/chroma.tar.gz")


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_keys_are_said_without_a_word_of_them(storage, data, monkeypatch, name):
    url = storage.put("chroma.tar.gz", packed(data.path))
    monkeypatch.setenv(name, "canary-in-the-mine")
    with pytest.raises(AuthFailed, match="may not be used with these keys") as caught:
        contents(url)
    assert "canary" not in str(caught.value) + repr(caught.value.facts)
    assert storage.server.access_key not in str(caught.value)


def test_half_a_pair_of_keys_is_refused(storage, monkeypatch):
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ConfigError, match="secret_access_key is missing"):
        contents(f"{storage.url}/chroma.tar.gz")


def test_a_missing_key_names_its_neighbours(storage, data):
    storage.put("chroma-2026.tar.gz", b"x")
    storage.put("unrelated", b"x")
    with pytest.raises(NotFound, match=r"There is no s3://.*/chroma-2025.tar.gz") as caught:
        contents(f"{storage.url}/chroma-2025.tar.gz")
    assert f"{storage.prefix}/chroma-2026.tar.gz" in (caught.value.hint or "")


def test_a_missing_bucket_is_said(storage):
    with pytest.raises(NotFound, match="There is no bucket"):
        contents("chroma+s3://no-such-bucket/chroma.tar.gz")


@pytest.mark.parametrize(
    "options, word",
    [
        ("max_bytes=many", "no number"),
        ("max_bites=1", "max_bites"),
        ("endpoint=nowhere", "not an address"),
        ("endpoint=http://user:pw@host", "not an address"),
        ("anonymous=perhaps", "neither true nor false"),
        ("timeout=-1", "seconds"),
        ("newer=write", "newer"),
        ("api_key=env:X", "api_key"),
        ("secret_access_key=AKIA-canary", "carries the value"),
        ("secret_key=canary", "no option 'secret_key'"),
        ("ca=/nowhere/ca.pem", "cannot be read"),
    ],
)
def test_options_without_sense_are_refused_before_anything_is_asked(storage, options, word):
    before = len(storage.server.requests("GetObject") + storage.server.requests("HeadObject"))
    with pytest.raises(ConfigError, match=word) as caught:
        contents(f"{storage.url}/chroma.tar.gz?{options}")
    assert caught.value.hint
    assert "canary" not in str(caught.value)
    assert "pw" not in str(caught.value)
    assert len(storage.server.requests("GetObject") + storage.server.requests("HeadObject")) == before


# --------------------------------------------------------------------------- what is refused


def test_limits_stand_in_the_url(storage, data, truth, tmp_path):
    url = storage.put("chroma.tar.gz", packed(data.path))
    with pytest.raises(CorruptData, match="more than 50,000 bytes"):
        contents(f"{url}?max_bytes=50000")
    with pytest.raises(CorruptData, match="more than 3 files"):
        contents(f"{url}?max_files=3")
    same(contents(f"{url}?max_bytes=1G&max_files=1000"), truth)
    assert unpacked(tmp_path) == []


def test_two_directories_in_one_archive_are_refused(storage, data, tmp_path):
    for name in ("one", "two"):
        (tmp_path / "both" / name).mkdir(parents=True)
        (tmp_path / "both" / name / "chroma.sqlite3").write_bytes((data.path / "chroma.sqlite3").read_bytes())
    url = storage.put("chroma.tar.gz", packed(tmp_path / "both"))
    with pytest.raises(CorruptData, match=r"2 Chroma directories: .*one, .*two"):
        contents(url)


def test_an_archive_without_a_directory_is_refused(storage, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "readme").write_text("no database")
    with pytest.raises(NotFound, match=r"no chroma\.sqlite3"):
        contents(storage.put("chroma.tar.gz", packed(tmp_path / "docs")))


def test_what_is_no_archive_is_refused(storage):
    with pytest.raises(CorruptData, match="web page"):
        contents(storage.put("chroma.tar.gz", b"<html>Access denied</html>"))


def test_a_missing_archive_on_the_disk_names_its_neighbours(tmp_path, monkeypatch):
    monkeypatch.setenv("VECFERRY_CACHE", str(tmp_path / "cache"))
    (tmp_path / "chroma.tar.gz").write_bytes(b"x")
    with pytest.raises(NotFound) as caught:
        contents(f"chroma:{tmp_path}/chrome.tar.gz")
    assert "chroma.tar.gz" in (caught.value.hint or "")


# --------------------------------------------------------------------------- the story


@pytest.mark.qdrant
def test_from_object_storage_to_qdrant_nothing_is_left_behind(storage, data, truth, qdrant_server, tmp_path):
    """The archive is moved and proven; afterwards this machine holds the archive in the cache, and no directory."""
    url = storage.put("chroma.tar.gz", packed(data.path))
    truth = {name: truth[name] for name in truth if name.endswith(("tail_l2", "synced_cosine", "types"))}
    assert len(truth) == 3
    settings = migration.Settings(
        plan=migration_plan(tuple(truth), storage.prefix), ledger=str(tmp_path / "ledger.db"), reports=None
    )
    done = migration.migrate(url, qdrant_server.url, settings=settings)
    assert done.verification is not None
    assert done.verification.sound
    assert done.records == sum(map(len, truth.values()))
    assert unpacked(tmp_path) == []
    again = migration.migrate(url, qdrant_server.url, settings=settings)
    assert again.kept == done.records
    assert unpacked(tmp_path) == []


def test_a_run_does_not_go_on_with_another_archive(storage, data, truth, tmp_path):
    """Killed in the middle; somebody replaces the archive: refused. The earlier one is put back: it goes on."""
    archive = packed(data.path)
    url, target, ledger = storage.put("chroma.tar.gz", archive), f"files:{tmp_path}/target", str(tmp_path / "ledger.db")
    settings = migration.Settings(plan=PlanOptions(collections=("tail_l2", "types")), ledger=ledger, reports=None)
    program = (
        "import os, sys\n"
        "from vecferry import hooks, migration\n"
        "from vecferry.planning.options import PlanOptions\n"
        "hooks.install(lambda point: os._exit(9) if point == 'checkpoint.committed' else None)\n"
        "settings = migration.Settings(plan=PlanOptions(collections=('tail_l2', 'types')), ledger=sys.argv[3])\n"
        "migration.migrate(*sys.argv[1:3], settings=settings)\n"
    )
    command = [sys.executable, "-c", program, url, target, ledger]
    assert subprocess.run(command, cwd=tmp_path, check=False, timeout=300).returncode == 9
    storage.put("chroma.tar.gz", packed(data.path, inside="newer"))
    with pytest.raises(PlanChanged, match="was replaced since this run began"):
        migration.migrate(url, target, settings=settings)
    storage.put("chroma.tar.gz", archive)
    done = migration.migrate(url, target, settings=settings)
    assert done.run is not None
    assert done.run.resumed > 0
    assert done.verification is not None
    assert done.verification.sound
    for name in ("tail_l2", "types"):
        assert_same(contents(target)[name], truth[name])
    assert unpacked(tmp_path) == []


def migration_plan(names: tuple[str, ...], prefix: str):
    return PlanOptions(collections=names, name=prefix.replace("_", "-") + "-{tenant}-{database}-{name}")
