"""What a table is as data, the form that is guessed for it, and what does not fit."""

from __future__ import annotations

import hashlib

import pytest

from vecferry.errors import ConfigError, DataError
from vecferry.model import IdKind, Metric
from vecferry.tables import Column, ForeignKey, Form, Index, Join, Rank, Table, guess
from vecferry.tables.check import check
from vecferry.tables.keys import fill, id_kind, split, template
from vecferry.tables.metadata import from_metadata, to_metadata
from vecferry.tables.sql import from_sql, id_sql, ids_sql, selected
from vecferry.tables.types import is_int, is_text, vector_type

PAGES = Table(
    name="crawled_pages",
    namespace=("public",),
    columns=(
        Column(name="id", type="bigint", nullable=False, identity=True),
        Column(name="url", type="character varying", nullable=False),
        Column(name="chunk_number", type="integer", nullable=False),
        Column(name="content", type="text", nullable=False),
        Column(name="metadata", type="jsonb", nullable=False, default="'{}'::jsonb"),
        Column(name="source_id", type="text", nullable=False),
        Column(name="embedding", type="vector(1536)"),
        Column(name="words", type="tsvector", generated=True),
    ),
    primary_key=("id",),
    unique=(("url", "chunk_number"),),
    foreign_keys=(ForeignKey(columns=("source_id",), schema="public", table="sources", targets=("source_id",)),),
    indexes=(Index(name="i", columns=("embedding",), method="ivfflat", opclass="vector_cosine_ops"),),
)
FULL = Form(
    key=("url", "chunk_number"),
    id="md5({url})_{chunk_number}",
    vectors={"": "embedding"},
    document="content",
    metadata="metadata",
    columns=("url", "chunk_number", "source_id"),
    names={"source_id": "source"},
    ranks={"place": Rank(within=("url",), by=("chunk_number", "id"))},
    joins=(Join(table="sources", match={"source_id": "source_id"}, columns={"source_summary": "summary"}),),
    where="source_id <> ''",
    metric=Metric.COSINE,
)


@pytest.mark.parametrize("value", [PAGES, FULL, Table(name="t"), Form()])
def test_plain_data_comes_back(value: Table | Form) -> None:
    assert type(value).from_json(value.as_json()) == value


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(ConfigError, match="no table"):
        Table.from_json({"columns": 3})


def test_a_form_is_guessed() -> None:
    assert guess(PAGES) == Form(
        key=("id",),
        vectors={"": "embedding"},
        document="content",
        metadata="metadata",
        columns=("url", "chunk_number", "source_id"),
    )


def _table(*columns: tuple[str, str], key: tuple[str, ...] = ("id",)) -> Table:
    made = tuple(Column(name=name, type=kind, nullable=name not in key) for name, kind in columns)
    return Table(name="t", columns=made, primary_key=key)


def test_nothing_ambiguous_is_guessed() -> None:
    form = guess(_table(("id", "uuid"), ("content", "text"), ("body", "text"), ("meta", "json"), ("metadata", "jsonb")))
    assert (form.document, form.metadata) == (None, None)
    assert form.columns == ("content", "body", "meta", "metadata")


def test_a_name_alone_is_no_text_and_no_json() -> None:
    form = guess(_table(("id", "uuid"), ("content", "bytea"), ("metadata", "text")))
    assert (form.document, form.metadata, form.columns) == (None, None, ("content", "metadata"))


def test_a_text_that_is_the_key_is_the_id() -> None:
    form = guess(_table(("text", "text"), ("e", "vector(2)"), key=("text",)))
    assert (form.key, form.document, form.columns) == (("text",), None, ())


def test_several_vectors_have_their_columns_names() -> None:
    form = guess(_table(("id", "uuid"), ("a", "vector(2)"), ("b", "halfvec(3)"), ("flag", "bit(1)")))
    assert (form.vectors, form.columns) == ({"a": "a", "b": "b"}, ("flag",))


def test_a_column_that_reads_as_a_json_key_leaves_the_json_column_whole() -> None:
    assert guess(_table(("id", "uuid"), ("metadata", "jsonb"), ("metadata.x", "text"))).metadata is None


def test_a_unique_key_without_nulls_serves_as_key() -> None:
    columns = (Column(name="a", type="text"), Column(name="b", type="text", nullable=False))
    assert guess(Table(name="t", columns=columns, unique=(("a",), ("b",)))).key == ("b",)
    assert guess(Table(name="t", columns=columns, unique=(("a",),))).key == ()


def test_kinds_of_ids() -> None:
    table = _table(("id", "bigint"), ("u", "uuid"), ("t", "varchar(36)"))
    assert id_kind(table, Form(key=("id",))) is IdKind.INT
    assert id_kind(table, Form(key=("u",))) is IdKind.UUID
    assert id_kind(table, Form(key=("t",))) is IdKind.TEXT
    assert id_kind(table, Form(key=("t", "id"))) is IdKind.COMPOSITE
    assert id_kind(table, Form(key=("t", "id"), id="{t}-{id}", columns=("t", "id"))) is IdKind.TEXT


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("vector(3)", ("vector", 3)),
        ("vector", ("vector", None)),
        ("extensions.halfvec(4)", ("halfvec", 4)),
        ("sparsevec", ("sparsevec", None)),
        ("bit(64)", ("bit", 64)),
        ("bit", None),
        ("bit(1)", None),
        ("bit varying(3)", None),
        ("text", None),
    ],
)
def test_vector_types(kind: str, expected: tuple[str, int | None] | None) -> None:
    assert vector_type(kind) == expected


def test_types_of_both_stores() -> None:
    assert all(map(is_int, ["bigint", "integer", "smallint", "bigint(20)", "int(10) unsigned", "tinyint(1)"]))
    assert not any(map(is_int, ["interval", "interval second", "text", "numeric(10,0)", "int4range"]))
    assert all(map(is_text, ["text", "character varying(255)", "varchar(36)", "longtext", "character(3)", "citext"]))
    assert not any(map(is_text, ["bytea", "json", '"char"', "text[]", "tsvector"]))


# --------------------------------------------------------------------------- the rule of the metadata


def test_the_example_of_the_rule() -> None:
    form = Form(metadata="metadata", columns=("url",))
    made = to_metadata(form, {"url": "a"}, '{"url": 1, "n": 2}')
    assert made == {"url": "a", "metadata.url": 1, "n": 2}
    assert from_metadata(form, made) == ({"url": "a"}, {"url": 1, "n": 2}, False)


def test_a_json_column_alone_is_the_metadata() -> None:
    form = Form(metadata="metadata")
    assert to_metadata(form, {}, '{"a":null}') == {"a": None}
    assert to_metadata(form, {}, "{}") == {}
    assert to_metadata(form, {}, None) is None
    assert from_metadata(form, None) == ({}, {}, True)


def test_names_ranks_and_parents_are_not_written_back() -> None:
    values = {"url": "u", "chunk_number": 1, "source": "s", "place": 0, "source_summary": None}
    made = to_metadata(FULL, values, '{"place": 7}')
    assert made == {**values, "metadata.place": 7}
    assert from_metadata(FULL, made) == ({"url": "u", "chunk_number": 1, "source_id": "s"}, {"place": 7}, False)


def test_what_is_no_json_is_said() -> None:
    with pytest.raises(DataError, match="no JSON"):
        to_metadata(Form(metadata="m"), {}, "{")


# --------------------------------------------------------------------------- ids with a shape of their own


def test_a_template_is_filled() -> None:
    made = fill(template("md5({url})_{n}"), {"url": "https://a", "n": 3})
    assert made == f"{hashlib.md5(b'https://a').hexdigest()}_3"
    assert fill(template("doc_{BUID}_{BMID}_{chunk}"), {"BUID": 1, "BMID": 2, "chunk": 0}) == "doc_1_2_0"


@pytest.mark.parametrize("text", ["", "doc", "{a", "a}", "sha1({a})}", "{}", "md5(url)", "{a}\\"])
def test_what_is_no_template_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no template"):
        template(text)


@pytest.mark.parametrize("text", ["7", "[1]", "[1,null]", "[1.5,2]", "[true,2]", "no", '{"a":1,"b":2}'])
def test_what_is_no_composite_id_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="no composite"):
        split(text, 2)


# --------------------------------------------------------------------------- what does not fit


@pytest.mark.parametrize(
    "form, message",
    [
        (Form(), "no key"),
        (Form(key=("nid",)), "no column 'nid'"),
        (Form(key=("id",), vectors={"": "content"}), "no vectors"),
        (Form(key=("id",), document="embedding"), "no text"),
        (Form(key=("id",), metadata="content"), "no JSON"),
        (Form(key=("id",), columns=("url", "source_id"), names={"source_id": "url"}), "'url'"),
        (Form(key=("id",), columns=("url",), names={"url": "metadata.u"}, metadata="metadata"), "JSON column"),
        (Form(key=("url", "chunk_number"), columns=("url",)), "would not come back"),
        (Form(key=("id",), id="{words_}"), "no column 'words_'"),
        (Form(key=("id",), ranks={"r": Rank(within=("x",), by=("id",))}), "no column 'x'"),
        (Form(key=("id",), joins=(Join(table="s", match={"y": "id"}, columns={}),)), "no column 'y'"),
    ],
)
def test_a_form_that_does_not_fit_is_refused(form: Form, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        check(PAGES, form)
    assert caught.value.hint


def test_a_form_that_fits_is_taken() -> None:
    check(PAGES, FULL)
    check(PAGES, guess(PAGES))


# --------------------------------------------------------------------------- SQL of both stores


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def test_the_shared_sql_quotes_every_name() -> None:
    hostile = 'x"; drop table y; --'
    table = _table(("id", "int"), (hostile, "text"))
    form = Form(
        key=("id",), columns=(hostile,), joins=(Join(table=hostile, match={hostile: hostile}, columns={"k": hostile}),)
    )
    text = " ".join([*selected(table, form, _quote).values(), from_sql(table, form, _quote)])
    assert _quote(hostile) in text
    assert hostile not in text.replace(_quote(hostile), "")


def test_the_shared_sql() -> None:
    made = selected(PAGES, FULL, _quote)
    assert list(made) == list(FULL.keys)
    assert made["source"] == 't."source_id"'
    assert made["source_summary"] == 'p0."summary"'
    assert from_sql(PAGES, FULL, _quote) == (
        '"public"."crawled_pages" t LEFT JOIN "public"."sources" p0 ON p0."source_id" = t."source_id"'
    )
    assert id_sql(PAGES, FULL, _quote) == """concat(md5(t."url"), '_', t."chunk_number")"""


def test_numbers_in_an_id_narrow_the_rows_down() -> None:
    table = _table(("id", "bigint"), ("user", "bigint"), ("url", "text"))
    ranks = {"n": Rank(within=("user",), by=("id",))}
    form = Form(key=("id",), id="doc_{user}_{n}", columns=("id", "user"), ranks=ranks)
    made = ids_sql(table, form, ["doc_7_0", "doc_8_1", "doc_x_1", "other"], _quote, repr)
    assert made == f"""t."user" IN (7, 8) AND {id_sql(table, form, _quote)} IN ('doc_7_0', 'doc_8_1')"""
    assert ids_sql(table, form, ["doc_x_1"], _quote, repr) == "FALSE"
    text = Form(key=("id",), id="{url}_{user}", columns=("id", "user", "url"))
    assert ids_sql(table, text, ["a_b_1"], _quote, repr) == """concat(t."url", '_', t."user") IN ('a_b_1')"""
