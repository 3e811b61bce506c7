"""Transforms through the whole job, over memory stores: backup, edited plan, sync, repair, the same command again."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.plan.making import fill
from tests.unit.transforms import support
from tests.unit.transforms.support import SPEC, record
from vecferry import migration
from vecferry.arrow import to_records
from vecferry.errors import AlreadyExists, NotFound
from vecferry.migration import Settings
from vecferry.model import Record
from vecferry.planning.options import PlanOptions
from vecferry.planning.recipe import load_recipe
from vecferry.planning.yaml import dump_plan, load_plan
from vecferry.registry import open_database
from vecferry.transforms.embedder import PROBE

EMBED = "[{rename: {k: key}}, {re_embed: {call: 'tests.unit.transforms.support:lengths', metric: l2}}]"


@pytest.fixture
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    monkeypatch.setenv("VECFERRY_EMBEDDINGS", str(tmp_path / "embeddings.sqlite"))
    support.CALLS.clear()
    name = uuid.uuid4().hex
    return f"memory:{name}-source", f"memory:{name}-target"


def put(url: str, *idents: str) -> None:
    fill(open_database(url), SPEC, [record(ident, {"k": ident}, f"text of {ident}") for ident in idents])


def records(url: str, name: str = "docs") -> dict[str, Record]:
    source = open_database(url).source(name)
    chunks = [chunk for partition in source.partitions() for chunk in source.read(partition)]
    return {one.id: one for chunk in chunks for one in to_records(chunk.batch, source.describe())}


def settings(folder: Path, recipe: str = EMBED, **options: Any) -> Settings:
    plan = PlanOptions(transforms=load_recipe(recipe))
    return Settings(plan=plan, ledger=str(folder / "ledger.db"), reports=None, **options)


def paid() -> list[str]:
    return [text for texts in support.CALLS for text in texts]


def test_the_backup_is_of_the_source_as_it_is(stores: tuple[str, str], tmp_path: Path) -> None:
    """Old vectors, old keys: what was thrown away on the way is in the archive."""
    put(stores[0], "a", "b")
    done = migration.migrate(*stores, settings=settings(tmp_path, backup=tmp_path / "backup"))
    assert done.differences == 0
    assert records(stores[1])["a"].metadata == {"key": "a"}
    (archive,) = (tmp_path / "backup").glob("*/source")
    kept = records(f"files:{archive}")
    assert kept["a"].vectors[""].tolist() == [1, 2, 3]
    assert kept["a"].metadata == {"k": "a"}


def test_the_same_command_again_writes_nothing_and_pays_nothing(stores: tuple[str, str], tmp_path: Path) -> None:
    """With other transforms it is another form, and refused; verification without them finds every record changed."""
    put(stores[0], "a", "b")
    migration.migrate(*stores, settings=settings(tmp_path))
    again = migration.migrate(*stores, settings=settings(tmp_path))
    assert (again.kept, again.differences) == (2, 0)
    with pytest.raises(AlreadyExists, match="--transform"):
        migration.migrate(*stores, settings=settings(tmp_path, EMBED.replace("key", "other")))
    assert sorted(paid()) == sorted([PROBE, "text of a", "text of b"])
    assert migration.verify(*stores, transforms=load_recipe(EMBED)).verification.ok
    assert migration.verify(*stores).verification.collections[0].differences > 2


def test_sync_pays_for_what_is_new(stores: tuple[str, str], tmp_path: Path) -> None:
    put(stores[0], "a", "b")
    migration.migrate(*stores, settings=settings(tmp_path))
    put(stores[0], "c")
    done = migration.sync(*stores, settings=settings(tmp_path))
    assert [(one.added, one.changed, one.extra) for one in done.drifts] == [(1, 0, 0)]
    assert (done.differences, sorted(records(stores[1]))) == (0, ["a", "b", "c"])
    assert sorted(paid()) == sorted([PROBE, "text of a", "text of b", "text of c"])


def test_a_record_without_a_document_is_set_aside_and_stays_so(stores: tuple[str, str], tmp_path: Path) -> None:
    """It is in the ledger with its reason; verification names it as left out and proves the rest."""
    from vecferry.planning.model import Policy

    put(stores[0], "a")
    fill(open_database(stores[0]), SPEC, [record("mute", {"k": 1})])
    wished = settings(tmp_path)
    wished = replace(wished, plan=replace(wished.plan, policies={"transform": Policy.QUARANTINE}))
    done = migration.migrate(*stores, settings=wished)
    assert done.run is not None
    assert (done.records, done.run.rejected, done.differences) == (1, 1, 0)
    assert done.verification is not None
    assert done.verification.ok
    skipped = {
        reason: count
        for c in done.verification.collections
        for check in c.checks
        for reason, count in check.skipped.items()
    }
    assert skipped == {"set aside by the plan: It has no document to make a vector from.": 1}


def test_transforms_written_into_a_plan_file(stores: tuple[str, str], tmp_path: Path) -> None:
    """A person adds one to a plan that had none; a name that is only the plan's says what it reads."""
    put(stores[0], "a", "b")
    text = dump_plan(migration.plan(*stores, options=PlanOptions()))
    first, second = text.replace("\n    target:", "\n    transforms: [{filter: {k: a}}]\n    target:"), text
    done = migration.migrate(
        *stores, settings=Settings(decisions=load_plan(first), ledger=str(tmp_path / "l"), reports=None)
    )
    assert (done.records, done.differences, list(records(stores[1]))) == (1, 0, ["a"])
    wrong = second.replace("source: docs", "source: docs@b")
    with pytest.raises(NotFound, match="docs@b"):
        migration.migrate(
            *stores, settings=Settings(decisions=load_plan(wrong), ledger=str(tmp_path / "l2"), reports=None)
        )
