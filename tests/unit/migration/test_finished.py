"""What finished runs moved already, on memory stores: merged targets, several runs, and who wrote last."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.unit.plan.making import fill, record
from vecferry import migration
from vecferry.errors import AlreadyExists
from vecferry.migration import Settings
from vecferry.model import CollectionSpec, VectorSpec
from vecferry.planning.model import IfExists, Policy
from vecferry.planning.options import PlanOptions
from vecferry.registry import open_database


@pytest.fixture
def stores() -> tuple[str, str]:
    name = uuid.uuid4().hex
    return f"memory:{name}-source", f"memory:{name}-target"


def put(url: str, name: str, *ids: str) -> None:
    database = open_database(url)
    fill(database, CollectionSpec(name=name, vectors=(VectorSpec(dim=3),)), [record(ident) for ident in ids])


def move(stores: tuple[str, str], folder: Path, *, dry_run: bool = False, **options: Any) -> migration.Migration:
    settings = Settings(
        plan=PlanOptions(**options), ledger=str(folder / "ledger.db"), reports=folder / "reports", dry_run=dry_run
    )
    return migration.migrate(*stores, settings=settings)


def test_merged_collections_are_kept_together(stores: tuple[str, str], tmp_path: Path) -> None:
    """Two sources in one target; a third one that is to join them is not part of what was moved."""
    merged = {"collections": ("docs=all", "faq=all")}
    put(stores[0], "docs", "a", "b")
    put(stores[0], "faq", "c")
    assert move(stores, tmp_path, **merged).differences == 0
    again = move(stores, tmp_path, **merged)
    assert [(c.source, c.if_exists) for c in again.plan.collections] == [("docs+faq", IfExists.KEEP)]
    put(stores[0], "more", "d")
    with pytest.raises(AlreadyExists, match=r"wrote|did not write"):
        move(stores, tmp_path, collections=(*merged["collections"], "more=all"))
    put(stores[0], "faq", "e")
    with pytest.raises(AlreadyExists, match="the source holds 4 records now, the target 3") as caught:
        move(stores, tmp_path, **merged, policies={"docs:list": Policy.CONVERT})
    chosen = "-c docs=all -c faq=all --accept docs:list=convert"
    assert f"vecferry sync {stores[0]} {stores[1]} {chosen} --ledger {tmp_path / 'ledger.db'}\n" in caught.value.hint


def test_a_part_of_what_was_moved(stores: tuple[str, str], tmp_path: Path) -> None:
    """A narrower choice is kept too. A dry run opens no ledger, so it says only what stands there."""
    put(stores[0], "docs", "a")
    put(stores[0], "faq", "b")
    move(stores, tmp_path)
    again = move(stores, tmp_path, collections=("faq",))
    assert (again.kept, again.records, again.differences) == (1, 1, 0)
    assert move(stores, tmp_path, dry_run=True).plan.kept == ()


def test_who_wrote_last_counts(stores: tuple[str, str], tmp_path: Path) -> None:
    """After another source was appended the collection is no longer what the first run left."""
    put(stores[0], "docs", "a")
    other = f"{stores[0]}-other"
    put(other, "docs", "b")
    move(stores, tmp_path)
    move((other, stores[1]), tmp_path, if_exists=IfExists.APPEND)
    with pytest.raises(AlreadyExists):
        move(stores, tmp_path)


def test_a_collection_without_our_card_is_not_ours(stores: tuple[str, str], tmp_path: Path) -> None:
    """A store of memory gives no card to what was there before: what was appended to it stays somebody else's."""
    put(stores[0], "docs", "a")
    put(stores[1], "docs", "theirs")
    move(stores, tmp_path, if_exists=IfExists.APPEND)
    with pytest.raises(AlreadyExists, match="holds 2 records that this run did not write"):
        move(stores, tmp_path)
