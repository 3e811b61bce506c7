"""`--pace` on a real PostgreSQL: the source is asked, a line that becomes slow is felt, and all of it arrives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from vecferry.engine.gentle import FLOOR, Bound
from vecferry.errors import ConfigError
from vecferry.events import Eased, Event, Progress
from vecferry.migration import Settings, asking, migrate, status
from vecferry.testing.postgres import PostgresDatabase
from vecferry.testing.proxy import Delay, FaultProxy, Pass
from vecferry.verification.model import VerifyOptions

ROWS = 400


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PAUSE_S", 0.01)


@pytest.fixture
def chunks(postgres: PostgresDatabase) -> PostgresDatabase:
    postgres.execute(
        "CREATE TABLE chunks (id int PRIMARY KEY, content text, embedding vector(3));"
        f"INSERT INTO chunks SELECT n, 'text', ARRAY[n, 1, n % 7]::vector FROM generate_series(1, {ROWS}) n;"
        "CREATE INDEX ON chunks USING hnsw (embedding vector_l2_ops)"
    )
    return postgres


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        pace=Bound.parse("8x"),
        verify=VerifyOptions(queries=2),
        ledger=str(tmp_path / "ledger.db"),
        reports=tmp_path / "reports",
    )


def test_a_source_that_becomes_slow_is_read_more_slowly(
    chunks: PostgresDatabase, settings: Settings, tmp_path: Path
) -> None:
    """Its line is made slow as soon as its idle p95 is known, until a cut was seen; the run goes on meanwhile."""
    eased: list[Eased] = []
    with FaultProxy(chunks.server.port) as proxy:
        url = chunks.url_with(chunk_rows="50").replace(f":{chunks.server.port}/", f":{proxy.port}/")

        def seen(event: Event) -> None:
            if isinstance(event, Eased):
                eased.append(event)
                proxy.fault = Delay(seconds=0.05) if not event.cuts else Pass()

        done = migrate(url, f"files:{tmp_path / 'target'}", settings=settings, observer=seen)
    assert done.verification is not None
    assert done.verification.ok
    assert done.records == ROWS
    first, last = eased[0], eased[-1]
    assert first.idle > 0
    assert first.bound == pytest.approx(8 * first.idle, rel=0.01)
    cut = next(event for event in eased if event.cuts)
    assert cut.reason == "the source answers slowly"
    assert cut.p95 > cut.bound
    assert FLOOR <= cut.per_second < max(event.per_second for event in eased)

    (run,) = status(settings.ledger)
    assert run.pace is not None
    assert run.pace.idle == first.idle
    assert 1 <= run.pace.cuts <= last.cuts, "what comes behind the end of the run is not noted"
    assert done.report is not None
    told = json.loads(done.report.with_suffix(".json").read_text())["run"]["pace"]
    assert (told["collection"], told["idle"], told["bound"]) == ("public/chunks", first.idle, first.bound)
    assert 1 <= told["cuts"] <= last.cuts
    assert told["least"] <= cut.per_second
    assert "The source was read gently" in done.report.read_text()


def test_a_bound_below_what_it_takes_anyway_is_refused(
    chunks: PostgresDatabase, settings: Settings, tmp_path: Path
) -> None:
    """Measured before a record is read, and before anything is written."""
    target, seen = tmp_path / "target", list[Event]()
    with pytest.raises(ConfigError, match=r"at p95 before anything is read: --pace 0\.001ms cannot be kept"):
        migrate(
            chunks.url,
            f"files:{target}",
            settings=replace(settings, pace=Bound.parse("0.001ms")),
            observer=seen.append,
        )
    assert not any(isinstance(event, Progress) for event in seen)
    assert not target.exists()
    assert status(settings.ledger) == []
