"""Presets: recognised by their tables, strict about their fields, and one form for each table."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import yaml

from vecferry.errors import ConfigError
from vecferry.model import CollectionSpec, IdKind, VectorSpec
from vecferry.planning.made import make
from vecferry.planning.presets import Preset, load_preset, parse_preset, preset_schema, proposed, skeleton
from vecferry.planning.recipe import load_recipe
from vecferry.tables import Column, ForeignKey, Form, Join, Table, guess
from vecferry.tables.check import check
from vecferry.tables.keys import id_kind
from vecferry.tables.wish import Wish, shape


def _table(name: str, *columns: str, key: str = "", parent: tuple[str, str, str] | None = None) -> Table:
    """Columns as `name type`; `parent`: (own column, table, its column)."""
    pairs = [text.split(" ", 1) for text in columns]
    made = tuple(Column(name=name, type=kind, nullable=name != key) for name, kind in pairs)
    keys = (
        ()
        if parent is None
        else (ForeignKey(columns=(parent[0],), schema="public", table=parent[1], targets=(parent[2],)),)
    )
    return Table(name=name, namespace=("public",), columns=made, primary_key=(key,) if key else (), foreign_keys=keys)


SOURCES = _table("sources", "source_id text", "summary text", "total_word_count integer", key="source_id")
_PAGE = ("id bigint", "url varchar(255)", "chunk_number integer", "content text", "metadata jsonb", "source_id text")
PAGES = _table("crawled_pages", *_PAGE, "embedding vector(3)", key="id", parent=("source_id", "sources", "source_id"))
CODE = _table(
    "code_examples",
    *_PAGE,
    "summary text",
    "embedding vector(3)",
    key="id",
    parent=("source_id", "sources", "source_id"),
)
BRAG = _table(
    "BRAG",
    *("BID bigint(20)", "BUID bigint(20)", "BMID bigint(20)", "BGROUPKEY varchar(64)", "BTYPE int(11)"),
    *("BSTART bigint(20)", "BEND bigint(20)", "BTEXT longtext", "BEMBED vector(3)", "BCREATED bigint(20)"),
    key="BID",
)
LANGCHAIN = [
    _table(
        "langchain_pg_embedding",
        *("id character varying", "collection_id uuid", "embedding vector", "document character varying"),
        "cmetadata jsonb",
        key="id",
        parent=("collection_id", "langchain_pg_collection", "uuid"),
    ),
    _table("langchain_pg_collection", "uuid uuid", "name character varying", "cmetadata json", key="uuid"),
]
OLD = [
    _table(
        "langchain_pg_embedding",
        *("uuid uuid", "collection_id uuid", "embedding vector", "document character varying", "cmetadata json"),
        "custom_id character varying",
        key="uuid",
        parent=("collection_id", "langchain_pg_collection", "uuid"),
    ),
    LANGCHAIN[1],
]
STORE = _table(
    "mine", "langchain_id uuid", "content text", "embedding vector(3)", "langchain_metadata json", key="langchain_id"
)
INDEX = _table(
    "data_x", "id bigint", "text varchar", "metadata_ jsonb", "node_id varchar", "embedding vector(3)", key="id"
)
DOCUMENTS = _table("documents", "id bigint", "content text", "metadata jsonb", "embedding vector(3)", key="id")
MARIA = [
    _table(
        "langchain_embedding",
        *("id varchar(36)", "collection_id uuid", "content text", "metadata json", "embedding vector(3)"),
        key="id",
    ),
    _table("langchain_collection", "id uuid", "label varchar(256)", "metadata json", key="id"),
]


@pytest.mark.parametrize(
    "name, store, tables",
    [
        ("crawl4ai-rag", "postgresql", [CODE, PAGES, SOURCES]),
        ("synaplan-brag", "mariadb", [BRAG]),
        ("langchain-pgvector", "postgresql", LANGCHAIN),
        ("langchain-pgvector-old", "postgresql", OLD),
        ("langchain-pgvectorstore", "postgresql", [STORE]),
        ("langchain-mariadb", "mariadb", MARIA),
        ("llamaindex-pgvector", "postgresql", [INDEX]),
        ("supabase-documents", "postgresql", [DOCUMENTS]),
    ],
)
def test_every_preset_knows_its_tables_and_fits_them(name: str, store: str, tables: list[Table]) -> None:
    assert [preset.name for preset in proposed(tables, store)] == [name]
    assert proposed(tables[:-1], store) == [] or len(tables) > 1
    for wish, table in load_preset(name).found(tables):
        form = shape(table, wish)
        assert form.vectors == (
            {} if table is SOURCES else {"": next(c.name for c in table.columns if "vector" in c.type)}
        )
    assert load_preset(name).about


def test_the_other_store_has_other_presets() -> None:
    assert proposed([BRAG], "postgresql") == []


def test_pages_come_first_and_their_sources_last() -> None:
    found = load_preset("crawl4ai-rag").found([SOURCES, CODE, PAGES])
    assert [table.name for _, table in found] == ["crawled_pages", "code_examples", "sources"]


_SOURCE = {"source_id": "source_id"}


def test_the_form_of_a_crawled_page() -> None:
    [(wish, table), *_] = load_preset("crawl4ai-rag").found([PAGES])
    assert shape(table, wish) == Form(
        key=("id",),
        id="md5({url})_{chunk_number}",
        vectors={"": "embedding"},
        document="content",
        metadata="metadata",
        columns=("id", "url", "chunk_number", "source_id"),
        joins=(Join(table="sources", schema="public", match=_SOURCE, columns={"source_summary": "summary"}),),
        metric=wish.metric,
    )


def test_the_form_of_a_chunk_of_synaplan() -> None:
    [(wish, table)] = load_preset("synaplan-brag").found([BRAG])
    form = shape(table, wish)
    assert {*form.keys} == {
        *("user_id", "file_id", "chunk_index", "start_line", "end_line", "group_key", "file_type", "created", "BID")
    }
    assert (form.document, id_kind(table, form)) == ("BTEXT", IdKind.TEXT)


# --------------------------------------------------------------------------- wishes


def test_what_is_not_said_is_guessed_and_null_is_none() -> None:
    assert shape(DOCUMENTS, Wish()).document == "content"
    form = shape(DOCUMENTS, Wish(document=None, metadata=None))
    assert (form.document, form.columns) == (None, ("content", "metadata"))


def test_a_vector_that_is_not_wanted_is_left_out() -> None:
    form = shape(DOCUMENTS, Wish(vectors={}))
    assert (form.vectors, form.columns) == ({}, ())


def test_a_list_of_embedded_columns_is_named_after_its_table() -> None:
    form = shape(PAGES, Wish(embed={"sources": ("summary", "total_word_count")}))
    assert form.borrowed == ("sources_summary", "sources_total_word_count")


def test_a_parent_that_no_key_leads_to_is_refused() -> None:
    with pytest.raises(ConfigError, match="no foreign keys to 'sources'") as caught:
        shape(DOCUMENTS, Wish(embed={"sources": ("summary",)}))
    assert caught.value.hint


# --------------------------------------------------------------------------- files


def test_a_users_own_file_is_a_preset(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("tables:\n  - table: notes\n    document: body\n    columns: [author]\n")
    preset = load_preset(str(file))
    assert (preset.name, preset.tables[0].document, preset.tables[0].columns) == ("mine", "body", ("author",))


@pytest.mark.parametrize(
    "text, message",
    [
        ("tables:\n  - tabel: x\n", "line 2"),
        ("tables:\n  - table: x\n    documnt: y\n", "no field 'documnt'"),
        ("tables:\n  - table: x\n    layout: nope\n", "no layout 'nope'"),
        ("tables:\n  - table: x\n    transforms: [{}]\n", "does nothing"),
        ("tables: {", "not YAML"),
        ("[]", "object"),
    ],
)
def test_what_is_no_preset_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_preset(text, name="mine.yaml")
    assert caught.value.hint


def test_a_preset_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="no preset 'crawl5ai'") as caught:
        load_preset("crawl5ai")
    assert "crawl4ai-rag" in str(caught.value.hint)


def test_the_schema_takes_every_preset_of_ours() -> None:
    folder = Path(__import__("vecferry").__file__).parent / "presets"
    for file in folder.glob("*.yaml"):
        jsonschema.validate(yaml.safe_load(file.read_text()), preset_schema())
    assert Preset(tables=()).tables == ()


def test_the_published_schema_is_in_step() -> None:
    """It is `json.dumps(preset_schema(), indent=2)`."""
    file = Path(__file__).parents[3] / "docs" / "reference" / "preset.schema.json"
    assert json.loads(file.read_text()) == preset_schema()


def test_the_example_of_the_how_to_is_a_preset() -> None:
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "write-a-preset.md").read_text(encoding="utf-8")
    first, second, third = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    preset = parse_preset(first, name="manuals.yaml")
    manuals = _table("manuals", "id integer", "title text", "lang text", key="id")
    chunks = _table(
        "chunks",
        *("manual_id integer", "page integer", "body text", "extra jsonb", "embedding vector(3)", "draft boolean"),
        parent=("manual_id", "manuals", "id"),
    )
    forms = [shape(table, wish) for wish, table in preset.found([manuals, chunks])]
    assert forms[0].keys == ("manual", "page", "draft", "manuals_title", "manuals_lang")
    assert (forms[1].vectors, forms[1].columns) == ({}, ("title", "lang"))
    assert load_recipe(second).transforms[0].re_embed is not None
    wish = parse_preset(third, name="shop.yaml").tables[0]
    spec = CollectionSpec(name="docs", id_kind=IdKind.INT, vectors=(VectorSpec(dim=3),))
    assert wish.make is not None
    made = make(spec, wish, wish.make, "docs").config
    table, form = Table.from_json(made["table"]), Form.from_json(made["form"])
    check(table, form)
    assert [column.type for column in table.columns] == ["bigint", "text", "jsonb", "vector(3)", "jsonb"]
    with pytest.raises(ConfigError, match="has 2 vectors") as refused:
        make(replace(spec, vectors=(VectorSpec(dim=3), VectorSpec(name="b", dim=3))), wish, wish.make, "docs")
    assert refused.value.hint
    assert all(f"`{name}`" in page for name in PRESETS)


PRESETS = tuple(path.stem for path in (Path(__file__).parents[3] / "src" / "vecferry" / "presets").glob("*.yaml"))


def test_a_skeleton_is_a_preset_that_says_what_was_guessed() -> None:
    preset = parse_preset(skeleton([DOCUMENTS, BRAG]), name="mine.yaml")
    assert [shape(table, wish) for wish, table in preset.found([DOCUMENTS, BRAG])] == [guess(DOCUMENTS), guess(BRAG)]
    assert "embed: {sources: [COLUMN" in skeleton([PAGES])


SHOP = """
tables:
  - table: t
    key: [id]
    vectors: {"": embedding}
    document: body
    metadata: extra
    make:
      columns:
        - {name: id, type: "{id}", nullable: false}
        - {name: body, type: text}
        - {name: extra, type: jsonb}
        - {name: embedding, type: "vector({dim})"}
        - {name: owner, type: text, default: "'{name}{uuid}'"}
      primary_key: [id]
      parent:
        column: owner
        table: {name: p, columns: [{name: id, type: text}], primary_key: [id]}
        row: {id: "{name}"}
"""


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("    key: [id]\n", "", "without saying its key"),
        ('    vectors: {"": embedding}\n', "", "without saying its vectors"),
        ("    document: body\n", "", "without saying its document"),
        ("    metadata: extra\n", "    metadata: null\n", "without saying its metadata"),
        ("document: body", "document: text", "without its column 'text'"),
        ("      primary_key: [id]\n", "      primary_key: [id, part]\n", "without its column 'part'"),
        ("column: owner", "column: parent", "without its column 'parent'"),
        ('row: {id: "{name}"}', "row: {}", "needs a key of one column"),
    ],
)
def test_a_table_that_cannot_be_made_so_is_refused_when_its_preset_is_read(old: str, new: str, said: str) -> None:
    """Not when the source was read already; and no record is to lose what its table has no column for."""
    assert SHOP.count(old) == 1
    with pytest.raises(ConfigError, match=said) as refused:
        parse_preset(SHOP.replace(old, new), name="shop.yaml")
    assert refused.value.hint


def test_names_are_filled_in_once() -> None:
    """What a collection is called is no pattern itself."""
    wish = parse_preset(SHOP, name="shop.yaml").tables[0]
    assert wish.make is not None
    spec = CollectionSpec(name="t", vectors=(VectorSpec(dim=3),))
    made = make(spec, wish, wish.make, "a {uuid}").config["made"]
    assert made["parent"]["row"] == {"id": "a {uuid}"}
