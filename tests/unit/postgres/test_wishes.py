"""Settings of a table: what there is not, or cannot be, is refused before anything is written."""

from dataclasses import replace

import pytest

from vecferry.connectors.postgres.ddl import own
from vecferry.connectors.postgres.indexing import statements
from vecferry.connectors.postgres.wishes import configured
from vecferry.errors import ConfigError
from vecferry.model import CollectionSpec, Element, VectorKind, VectorSpec
from vecferry.tables import Index

SPEC = CollectionSpec(name="docs", vectors=(VectorSpec(dim=3),))


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"index": "none"},
        {"index": "hnsw", "m": 100, "ef_construction": 1000},
        {"m": 2},
        {"index": "ivfflat", "lists": 100},
        {"maintenance_work_mem": "2GB"},
        {"table": {}, "form": {}},
    ],
)
def test_what_there_is(config):
    spec = replace(SPEC, config=config)
    assert configured(spec) == spec


@pytest.mark.parametrize(
    "config, said",
    [
        ({"index": "annoy"}, "hnsw"),
        ({"indx": "hnsw"}, "Did you mean index?"),
        ({"m": 1}, "2 to 100"),
        ({"m": "16"}, "whole number"),
        ({"m": True}, "whole number"),
        ({"index": "ivfflat", "m": 16}, "index=hnsw"),
        ({"lists": 16}, "index=ivfflat"),
        ({"datatype": "uint8"}, "float16"),
        ({"maintenance_work_mem": "a lot"}, "512MB"),
        ({"maintenance_work_mem": "1GB'; drop table docs"}, "512MB"),
    ],
)
def test_what_there_is_not(config, said):
    with pytest.raises(ConfigError) as caught:
        configured(replace(SPEC, config=config))
    assert said in (caught.value.hint or "")


def test_halves_are_asked_for_by_name():
    vectors = (*SPEC.vectors, VectorSpec(name="words", kind=VectorKind.SPARSE))
    made = configured(replace(SPEC, vectors=vectors, config={"datatype": "float16"}))
    assert [vector.element for vector in made.vectors] == [Element.FLOAT16, Element.FLOAT32]
    assert made.config == {}
    assert own(made, ("public",))[0].column("embedding").type == "halfvec(3)"


def test_an_index_that_is_asked_for_takes_the_source_s_place():
    table, form = own(SPEC, ("public",))
    old = (Index(name="a", columns=("embedding",), method="hnsw"), Index(name="b", columns=("uri",)))
    spec = replace(SPEC, config={"index": "ivfflat", "lists": 9})
    made = statements(spec, replace(table, indexes=old), form, "public", restored=True)
    assert [statement.name for statement in made] == ["b", "docs_embedding_ivfflat"]
