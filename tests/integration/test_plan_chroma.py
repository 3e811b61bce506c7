"""Inspection and plan of directories that real Chroma versions wrote, against the truth that Chroma itself told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.chroma_data import NAMES, ChromaCollection, ChromaData
from vecferry.connectors.chroma._codec import namespace
from vecferry.errors import ConfigError
from vecferry.limits import Shape
from vecferry.planning.inspect import inspect
from vecferry.planning.losses import check
from vecferry.planning.model import Inspection, Profile, Verdict
from vecferry.planning.options import PlanOptions
from vecferry.planning.plan import make_plan
from vecferry.planning.yaml import dump_plan, load_plan
from vecferry.registry import open_database

pytestmark = pytest.mark.parametrize("name", NAMES)

TYPES = {str: "str", int: "int", float: "float", bool: "bool"}


def inspected(data: ChromaData) -> Inspection:
    database = open_database(f"chroma:{data.path}")
    try:
        return inspect(database, url=f"chroma:{data.path}")
    finally:
        database.close()


def by_truth(data: ChromaData) -> list[tuple[Profile, ChromaCollection]]:
    profiles = {profile.spec.qualified_name: profile for profile in inspected(data).profiles}
    truth = {"/".join((*namespace(one.tenant, one.database), one.name)): one for one in data.collections}
    assert profiles.keys() == truth.keys()
    return [(profiles[key], truth[key]) for key in truth]


def test_the_profile_counts_what_chroma_counts(name: str, chroma_data: Callable[[str], ChromaData]) -> None:
    """Records, dimensions, documents, uris, NULs, zero vectors and the types of every metadata key."""
    for profile, truth in by_truth(chroma_data(name)):
        records = truth.records
        shapes = {shape: seen.count for shape, seen in profile.shapes.items()}
        assert profile.records == len(records)
        assert profile.dimensions.get("", {}) == ({truth.dimension: len(records)} if records else {})
        assert shapes.get(Shape.NO_DOCUMENT, 0) == sum(record.document is None for record in records)
        assert shapes.get(Shape.URI, 0) == sum(record.uri is not None for record in records)
        assert shapes.get(Shape.ZERO_VECTOR, 0) == sum(not record.vector.any() for record in records)
        nul = sum("\x00" in (record.document or "") or _nul(record.metadata) for record in records)
        assert shapes.get(Shape.NUL_IN_TEXT, 0) == nul
        assert {key: dict(found.types) for key, found in profile.keys.items()} == _types(truth)
        if records:
            lengths = np.linalg.norm(np.array([record.vector for record in records], np.float64), axis=1)
            assert profile.norms[""].high == pytest.approx(lengths.max(), rel=1e-5)


def _nul(metadata: object) -> bool:
    return "\\x00" in repr(metadata)


def _types(truth: ChromaCollection) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for record in truth.records:
        for key, value in (record.metadata or {}).items():
            kind = f"list[{TYPES[type(value[0])]}]" if isinstance(value, list) else TYPES[type(value)]
            found.setdefault(key, Counter())[kind] += 1
    return {key: dict(counts) for key, counts in found.items()}


def test_nothing_of_a_chroma_directory_is_lost_on_qdrant(
    name: str, chroma_data: Callable[[str], ChromaData], tmp_path: Path
) -> None:
    """Every cell is exact or restorable, collections of one name are kept apart, and the plan survives its file."""
    data = chroma_data(name)
    source, target = open_database(f"chroma:{data.path}"), open_database(f"qdrant:{tmp_path / 'target'}")
    try:
        found = inspect(source, url="chroma:source")
        with pytest.raises(ConfigError, match="would both become 'shared'"):
            make_plan(found, source, target, PlanOptions(), target_url="qdrant:target")
        options = PlanOptions(name="{tenant}-{database}-{name}")
        plan = make_plan(found, source, target, options, target_url="qdrant:target")
    finally:
        source.close()
        target.close()
    check(plan)
    assert {cell.verdict for c in plan.collections for cell in c.cells} == {Verdict.EXACT, Verdict.RESTORABLE}
    assert plan.records == sum(len(one.records) for one in data.collections)
    assert load_plan(dump_plan(plan)) == plan
