"""What goes wrong between us and a Chroma server or Cloud: it resumes, or stops with a clear word; nothing is lost.

Cloud is the double (docs/explanation/cloud-double.md); the Chroma server behind it is real.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import chromadb
import numpy as np
import pyarrow.dataset as ds
import pytest

import vecferry
from vecferry import Settings, errors
from vecferry.engine.model import Options
from vecferry.engine.stop import Stop
from vecferry.events import Event, Retried, Stage, StageStarted
from vecferry.testing.caddy import CaddyServer
from vecferry.testing.cloud_double import CloudDouble, start_cloud_double
from vecferry.testing.cloud_http import Html
from vecferry.testing.proxy import CutResponse, Delay, Fault, Pass, Reset, Throttle
from vecferry.testing.servers import ChromaServer
from vecferry.verification import elsewhere

COUNT = 700
"""records: three pages of Cloud's"""
VECTORS = np.random.default_rng(5).standard_normal((COUNT, 4)).astype(np.float32)
READING = (Stage.INSPECT, Stage.COPY, Stage.VERIFY)
Move = Callable[..., "vecferry.Migration"]


@pytest.fixture(scope="module")
def filled(chroma_server: ChromaServer) -> Iterator[CloudDouble]:
    """A Cloud double with one collection, filled by Chroma's own client. Shared: only for reading."""
    with start_cloud_double(chroma_server) as double:
        fill(double)
        yield double


@pytest.fixture
def source(filled: CloudDouble) -> Iterator[CloudDouble]:
    """The same, without what another test did to it."""
    kept = filled.quotas, filled.token
    filled.seen = type(filled.seen)()
    yield filled
    filled.inject(Pass())
    filled.quotas, filled.token = kept


@pytest.fixture
def target(cloud_double: CloudDouble) -> CloudDouble:
    """An empty Cloud double."""
    return cloud_double


@pytest.fixture
def move(tmp_path: Path, filled: CloudDouble, monkeypatch: pytest.MonkeyPatch) -> Move:
    """Migrates from one URL to another, with a ledger of the test's own; the same call again resumes."""
    monkeypatch.setenv("CHROMA_API_KEY", filled.token)

    def migrate(
        origin: str, goal: str, *, deadline: float = 60.0, at: Mapping[Stage, Callable[[], None]] | None = None
    ) -> vecferry.Migration:
        """`at`: what happens when a stage begins."""

        def observe(event: Event) -> None:
            if isinstance(event, StageStarted) and at and event.stage in at:
                at[event.stage]()

        engine = Options(deadline_seconds=deadline, commit_seconds=0.0)
        settings = Settings(ledger=str(tmp_path / "ledger.db"), reports=None, engine=engine)
        return vecferry.migrate(origin, goal, settings=settings, observer=observe)

    return migrate


def client_of(double: CloudDouble) -> chromadb.ClientAPI:
    return chromadb.CloudClient(
        tenant=double.tenant,
        database=double.database,
        api_key=double.token,
        cloud_host="127.0.0.1",
        cloud_port=double.port,
        enable_ssl=False,
    )


def fill(double: CloudDouble) -> None:
    collection = client_of(double).create_collection("audits", embedding_function=None)
    for first in range(0, COUNT, 300):
        rows = range(first, min(first + 300, COUNT))
        collection.add(
            ids=[f"audit-{n}" for n in rows],
            embeddings=VECTORS[first : rows.stop],
            documents=[f"finding {n}" for n in rows],
            metadatas=[{"client": f"c{n % 6}", "n": n, "share": n / 7} for n in rows],
        )


def archived(folder: Path) -> dict[str, tuple[str, tuple[float, ...]]]:
    """Id -> document and vector in an archive, read by pyarrow alone."""
    files = [str(file) for file in sorted(folder.rglob("*.parquet"))]
    table = ds.dataset(files).to_table(columns=["id", "document", "vector"])
    assert table.num_rows == len(set(table["id"].to_pylist())), "a record came twice"
    return {row["id"]: (row["document"], tuple(row["vector"])) for row in table.to_pylist()}


def stored(double: CloudDouble) -> dict[str, tuple[str, tuple[float, ...]]]:
    """The same of a Cloud double's collection, by Chroma's own client around the double's quotas."""
    chroma = chromadb.HttpClient(
        host="127.0.0.1", port=double.chroma.port, tenant=double.tenant, database=double.database
    )
    got = chroma.get_collection("audits").get(include=["documents", "embeddings"])
    vectors = [tuple(vector.tolist()) for vector in np.asarray(got["embeddings"], np.float32)]
    return dict(zip(got["ids"], zip(got["documents"], vectors, strict=True), strict=True))


EVERYTHING = {f"audit-{n}": (f"finding {n}", tuple(VECTORS[n].tolist())) for n in range(COUNT)}


@contextmanager
def in_background(call: Callable[[], object]) -> Iterator[list[object]]:
    """Run `call` beside the test; afterwards the list holds what it returned, or raised."""
    ended: list[object] = []

    def run() -> None:
        try:
            ended.append(call())
        except errors.VecferryError as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield ended
    thread.join(180)
    assert not thread.is_alive()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --------------------------------------------------------------------------- reading


@pytest.mark.parametrize(
    "fault",
    [
        Throttle(times=3, retry_after=0.05),
        Throttle(times=2, retry_after=None),
        Throttle(times=2, status=503, retry_after=None),
        Html(times=2, status=502),
        Reset(times=2, after=9_000),
        CutResponse(times=2),
    ],
    ids=["429 with Retry-After", "429 without", "503", "502 as HTML", "an answer cut", "no answer"],
)
def test_a_read_that_fails_for_a_while(fault: Fault, source: CloudDouble, move: Move, tmp_path: Path) -> None:
    """It is waited out in every stage that reads, and in each it really happened."""
    fired = []

    def begin() -> None:
        fired.append(source.fired)
        source.inject(fault, at="get", skip=1)

    done = move(source.url, f"files:{tmp_path / 'out'}", at=dict.fromkeys(READING, begin))
    assert [*fired, source.fired] == [0, *[fault.times] * len(READING)]
    assert done.verification is not None
    assert done.verification.ok
    assert archived(tmp_path / "out") == EVERYTHING
    assert source.seen.largest_read <= 300
    assert source.seen.unlimited_reads == 0


@pytest.mark.parametrize("skip", range(10))
def test_too_many_requests_before_anything_is_read(
    skip: int, source: CloudDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the store is opened (4 requests), listed (3) and its collection opened (3): it is asked again later."""
    monkeypatch.setenv("CHROMA_API_KEY", source.token)
    source.inject(Throttle(times=2, retry_after=0.0), skip=skip)
    told: list[Event] = []
    found = vecferry.inspect(source.url, observer=told.append)
    assert source.fired == 2
    assert [profile.records for profile in found.profiles] == [COUNT]
    assert len([event for event in told if isinstance(event, Retried) and source.tenant in event.collection]) == 2


def test_too_many_requests_while_the_process_that_helps_to_verify_opens(
    source: CloudDouble, target: CloudDouble, move: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It opens the target ahead of its first job, which may fail without a word, and then for it, which may not."""
    monkeypatch.setattr(elsewhere, "LEAST_RECORDS", 1)
    refuse = partial(target.inject, Throttle(times=3, retry_after=0.0), at="heartbeat")
    done = move(source.url, target.url, at={Stage.INDEX: refuse})
    assert target.fired == 3
    assert done.verification is not None
    assert done.verification.ok


def test_a_stop_while_it_waits_for_a_store_to_open(
    source: CloudDouble, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nobody has to sit out a minute that a store asked for."""
    monkeypatch.setenv("CHROMA_API_KEY", source.token)
    source.inject(Throttle(times=1, retry_after=60.0))
    stop = Stop()
    settings = Settings(ledger=str(tmp_path / "ledger.db"), reports=None)

    def interrupt(event: Event) -> None:
        if isinstance(event, Retried):
            stop.request()

    began = time.monotonic()
    with pytest.raises(errors.Interrupted, match="Stopped on request"):
        vecferry.migrate(source.url, f"files:{tmp_path}/out", settings=settings, observer=interrupt, stop=stop)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    "side,stage,skip",
    [
        ("source", Stage.INSPECT, 0),
        ("source", Stage.INSPECT, 2),
        ("source", Stage.INDEX, 0),
        ("target", Stage.INDEX, 0),
    ],
    ids=["source, to plan", "source, to copy", "source, to verify", "target, to verify"],
)
def test_too_many_requests_when_a_collection_is_looked_up_again(
    side: str, stage: Stage, skip: int, source: CloudDouble, target: CloudDouble, move: Move
) -> None:
    """In the middle of a run too, where its collections are found by their names."""
    double = {"source": source, "target": target}[side]
    refuse = partial(double.inject, Throttle(times=2, retry_after=0.0), at="collections", skip=skip)
    done = move(source.url, target.url, at={stage: refuse})
    assert double.fired == 2
    assert done.verification is not None
    assert done.verification.ok
    assert stored(target) == EVERYTHING


def test_slow_answers_are_given_up_and_asked_for_again(source: CloudDouble, move: Move, tmp_path: Path) -> None:
    """Behind `timeout`, not for ever."""
    slow = partial(source.inject, Delay(seconds=30, times=2), at="get", skip=1)
    done = move(f"{source.url}&timeout=0.5", f"files:{tmp_path / 'out'}", at={Stage.COPY: slow})
    assert source.fired == 2
    assert done.records == COUNT
    assert archived(tmp_path / "out") == EVERYTHING


def test_a_server_killed_in_the_middle_of_a_page(
    start_chroma: Callable[..., ChromaServer], move: Move, tmp_path: Path
) -> None:
    """The run stops as resumable; once the server is back, the same command goes on and all is there."""
    server = start_chroma()
    with start_cloud_double(server) as double:
        fill(double)
        goal = f"files:{tmp_path / 'out'}"
        hold = partial(double.inject, Delay(seconds=60), at="get", skip=1)
        with in_background(lambda: move(double.url, goal, deadline=0.5, at={Stage.COPY: hold})) as ended:
            until(lambda: double.fired > 0)
            server.kill()
            double.inject(Pass())
        (error,) = ended
        assert isinstance(error, errors.Interrupted | errors.Unavailable), error
        assert error.hint
        server.start()
        assert move(double.url, goal).records == COUNT
        assert archived(tmp_path / "out") == EVERYTHING


def test_a_key_that_is_revoked_in_the_middle(source: CloudDouble, move: Move, tmp_path: Path) -> None:
    """It stops at once, names the key, never shows it, and goes on where it was once the key is right again."""
    goal, key = f"files:{tmp_path / 'out'}", source.token
    hold = partial(source.inject, Delay(seconds=60), at="get", skip=1)
    with in_background(lambda: move(source.url, goal, at={Stage.COPY: hold})) as ended:
        until(lambda: source.fired > 0)
        source.token = "another"
        source.inject(Pass())
    (error,) = ended
    assert isinstance(error, errors.AuthFailed), error
    assert "api_key" in str(error)
    assert key not in str(error)
    source.token = key
    assert move(source.url, goal).records == COUNT
    assert archived(tmp_path / "out") == EVERYTHING


@pytest.mark.parametrize("stage", [None, Stage.COPY], ids=["from the start", "in the middle"])
def test_a_login_page_instead_of_chroma(stage: Stage | None, source: CloudDouble, move: Move, tmp_path: Path) -> None:
    """200 and HTML is what captive portals answer: nothing is taken for data, and the run can go on later."""
    goal, page = f"files:{tmp_path / 'out'}", Html(status=200)
    if stage is None:
        source.inject(page)
    with pytest.raises(errors.ConfigError, match="not Chroma") as caught:
        move(source.url, goal, at={Stage.COPY: partial(source.inject, page, at="get", skip=1)})
    assert caught.value.hint
    assert source.fired > 0
    source.inject(Pass())
    assert move(source.url, goal).records == COUNT
    assert archived(tmp_path / "out") == EVERYTHING


def test_an_authority_that_nobody_knows(caddy_chroma: CaddyServer, move: Move, tmp_path: Path) -> None:
    """The certificate is not trusted, the hint says how to trust it, and nothing is written."""
    with pytest.raises(errors.ConfigError, match="not trusted") as caught:
        move(f"chroma+{caddy_chroma.http_url}", f"files:{tmp_path / 'out'}")
    assert "ca_file" in str(caught.value.hint)
    assert not list((tmp_path / "out").rglob("*.parquet"))


@pytest.mark.parametrize("token", [None, "wrong"])
def test_a_wrong_token_at_a_proxy(
    token: str | None, caddy_chroma: CaddyServer, move: Move, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused by the real Caddy before Chroma: the error names the options for keys, and nothing is written."""
    if token:
        monkeypatch.setenv("CHROMA_AUTH_TOKEN", token)
    with pytest.raises(errors.AuthFailed) as caught:
        move(f"chroma+{caddy_chroma.http_url}?ca_file={caddy_chroma.ca_file}", f"files:{tmp_path / 'out'}")
    assert "token=" in str(caught.value.hint)
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_a_smaller_plan_than_the_page_says(source: CloudDouble, move: Move, tmp_path: Path) -> None:
    """A tenant may read fewer records at a time than is documented: the refusal says how many, and is obeyed."""
    source.quotas = replace(source.quotas, results_per_read=70)
    assert move(source.url, f"files:{tmp_path / 'out'}").records == COUNT
    assert archived(tmp_path / "out") == EVERYTHING


# --------------------------------------------------------------------------- writing


@pytest.mark.parametrize(
    "fault",
    [
        Throttle(times=5, retry_after=0.05),
        Throttle(times=2, status=503, retry_after=None),
        Html(times=2, status=502),
        CutResponse(times=2),
    ],
    ids=["429", "503", "502 as HTML", "no answer"],
)
def test_a_write_that_fails_for_a_while(fault: Fault, source: CloudDouble, target: CloudDouble, move: Move) -> None:
    """Refused, or carried out without an answer: afterwards each record is there once, as it was."""
    target.inject(fault, at="add", skip=1)
    done = move(source.url, target.url)
    assert target.fired == fault.times
    assert done.verification is not None
    assert done.verification.ok
    assert stored(target) == EVERYTHING
    assert target.seen.largest_write <= 300


def test_a_quota_that_is_hit_in_the_middle(source: CloudDouble, target: CloudDouble, move: Move) -> None:
    """It stops with Cloud's own words, what is written stays, and a larger plan lets the same command finish."""
    target.quotas = replace(target.quotas, collection_records=450)
    with pytest.raises(errors.ConnectorError, match="exceeds limit of 450") as caught:
        move(source.url, target.url)
    assert not caught.value.retryable
    assert "same command" in str(caught.value.hint)
    there = stored(target)
    assert 0 < len(there) <= 450
    assert there.items() <= EVERYTHING.items()
    target.quotas = replace(target.quotas, collection_records=COUNT)
    assert move(source.url, target.url).records == COUNT
    assert stored(target) == EVERYTHING


def test_a_smaller_write_quota_than_the_page_says(source: CloudDouble, target: CloudDouble, move: Move) -> None:
    """Likewise for writing: fewer records at a time, none of them lost."""
    target.quotas = replace(target.quotas, records_per_write=50)
    assert move(source.url, target.url).records == COUNT
    assert stored(target) == EVERYTHING


def test_a_target_killed_in_the_middle_of_a_write(
    source: CloudDouble, start_chroma: Callable[..., ChromaServer], move: Move
) -> None:
    """The run stops as resumable; when the server is back, the same command leaves each record there once."""
    server = start_chroma()
    with start_cloud_double(server) as double:
        double.inject(Delay(seconds=60), at="add", skip=1)
        with in_background(lambda: move(source.url, double.url, deadline=0.5)) as ended:
            until(lambda: double.fired > 0)
            server.kill()
            double.inject(Pass())
        (error,) = ended
        assert isinstance(error, errors.Interrupted | errors.Unavailable), error
        server.start()
        assert move(source.url, double.url).records == COUNT
        assert stored(double) == EVERYTHING


def test_few_requests_at_a_time_are_respected(source: CloudDouble, target: CloudDouble, move: Move) -> None:
    """Under the documented quotas nothing is refused for being too much at once."""
    assert move(source.url, target.url).records == COUNT
    for double in (source, target):
        assert double.seen.refused[429] == 0
        assert max(double.seen.most["read"], double.seen.most["write"]) <= 10
