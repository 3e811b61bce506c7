"""Collections are found by name, and judged to fit, in one way for every store."""

from dataclasses import replace

import pytest

from vecferry.catalog import find, fit
from vecferry.errors import ConfigError, Conflict, NotFound
from vecferry.model import CollectionSpec, Element, IdKind, Metric, VectorKind, VectorSpec
from vecferry.registry import REGISTRY, connector

NAMES = [("t", "d", "docs"), ("t", "e", "docs"), ("t", "d", "notes")]
SPEC = CollectionSpec(name="x", vectors=(VectorSpec(dim=8),))


def test_a_bare_name_is_enough_where_it_is_unique():
    """Else the qualified name is asked for, and both are listed."""
    assert find(NAMES, "notes", store="s") == ("t", "d", "notes")
    assert find(NAMES, "t/e/docs", store="s") == ("t", "e", "docs")
    with pytest.raises(NotFound, match="more than one") as caught:
        find(NAMES, "docs", store="s")
    assert "t/d/docs, t/e/docs" in (caught.value.hint or "")


@pytest.mark.parametrize("names, hint", [(NAMES, "t/d/notes"), ([], "no collections")])
def test_a_name_that_is_not_there_lists_near_ones(names, hint):
    """So that a typing error is seen at once."""
    with pytest.raises(NotFound, match="t/d/note") as caught:
        find(names, "t/d/note", store="s")
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    "change",
    [{"dim": 9}, {"metric": Metric.L2}, {"element": Element.FLOAT16}, {"kind": VectorKind.MULTI}, {"name": "other"}],
)
def test_what_does_not_fit_is_a_conflict(change):
    """Dimension, metric, element, kind and name of a vector; the message names both sides."""
    with pytest.raises(Conflict, match="'x' in s has"):
        fit(SPEC, replace(SPEC, vectors=(replace(SPEC.vectors[0], **change),)), store="s")
    with pytest.raises(Conflict, match="int ids"):
        fit(SPEC, replace(SPEC, id_kind=IdKind.INT), store="s")


def test_an_unknown_dimension_fits_any_and_is_learnt():
    """An empty collection may not know it yet."""
    unknown = replace(SPEC, vectors=(VectorSpec(),))
    assert fit(unknown, SPEC, store="s") == SPEC.vectors
    assert fit(SPEC, unknown, store="s") == SPEC.vectors


def test_an_unknown_scheme_names_the_known_ones():
    """With the nearest first."""
    with pytest.raises(ConfigError) as caught:
        connector("qdrnt")
    assert "Did you mean qdrant:?" in (caught.value.hint or "")
    assert all(entry.example in (caught.value.hint or "") for entry in REGISTRY.values())
