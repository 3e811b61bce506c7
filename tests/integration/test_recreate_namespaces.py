"""A collection of the same name in another namespace of the target is another's: never dropped, nor written to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.plan.making import fill
from vecferry import migration
from vecferry.migration import Settings
from vecferry.model import CollectionSpec, Metric, VectorSpec
from vecferry.planning.model import IfExists
from vecferry.planning.options import PlanOptions
from vecferry.registry import open_database
from vecferry.testing.contracts import plain_records

NAMESPACE = ("default_tenant", "other")


@pytest.fixture(params=["files", "json", "chroma", pytest.param("server", marks=pytest.mark.chroma_server)])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "server":
        url: str = request.getfixturevalue("chroma_server").url
        return url
    return f"{request.param}:{tmp_path}/target"


def counts(url: str, name: str) -> dict[str, int | None]:
    database = open_database(url)
    try:
        return {spec.qualified_name: spec.count for spec in database.collections() if spec.name == name}
    finally:
        database.close()


@pytest.mark.parametrize("if_exists", [IfExists.SYNC, IfExists.APPEND, IfExists.REFUSE])
def test_a_namesake_in_another_namespace_is_not_what_stands_there(
    target: str, tmp_path: Path, if_exists: IfExists
) -> None:
    """Nobody is asked about it, and nothing is written into it: the collection is made where the sink writes."""
    spec = CollectionSpec(name=f"docs-{tmp_path.name}"[:60], vectors=(VectorSpec(dim=4, metric=Metric.L2),))
    theirs = replace(spec, namespace=NAMESPACE)
    fill(open_database(f"files:{tmp_path}/source"), spec, plain_records(spec, 3))
    database: Any = open_database(target)
    fill(database, theirs, plain_records(theirs, 5))
    database.close()
    options = PlanOptions(if_exists=if_exists)
    settings = Settings(plan=options, ledger=str(tmp_path / "ledger.db"), reports=None)
    done = migration.migrate(f"files:{tmp_path}/source", target, settings=settings)
    assert done.differences == 0
    assert counts(target, spec.name) == {spec.name: 3, theirs.qualified_name: 5}


def test_recreating_leaves_the_one_in_another_namespace(target: str, tmp_path: Path) -> None:
    spec = CollectionSpec(name=f"docs-{tmp_path.name}", vectors=(VectorSpec(dim=4, metric=Metric.L2),))
    theirs = replace(spec, namespace=NAMESPACE)
    fill(open_database(f"files:{tmp_path}/source"), spec, plain_records(spec, 3))
    database: Any = open_database(target)
    fill(database, theirs, plain_records(theirs, 5))
    database.close()
    settings = Settings(
        plan=PlanOptions(if_exists=IfExists.RECREATE),
        ledger=str(tmp_path / "ledger.db"),
        no_backup=True,
        reports=None,
    )
    for _ in range(2):  # the second finds both, and its own
        done = migration.migrate(f"files:{tmp_path}/source", target, settings=settings)
        assert done.differences == 0
        assert counts(target, spec.name) == {spec.name: 3, theirs.qualified_name: 5}
    database = open_database(target)
    database.drop(theirs.qualified_name)
    database.close()
    assert counts(target, spec.name) == {spec.name: 3}
