"""What the catalog says of tables and views: columns, keys, indexes, leaf partitions, row-level security.

Every question asks for all tables at once, so that a schema of a thousand tables costs six statements.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vecferry.connectors.postgres.access import Connection
from vecferry.connectors.postgres.ddl import CARDS
from vecferry.errors import Unsupported
from vecferry.tables import Column, ForeignKey, Index, Table

_VECTOR_TYPE = re.compile(r"(?:(?:\"[^\"]*\"|\w+)\.)?(vector|halfvec|sparsevec)\b(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Found:
    """A table as the catalog says it, and what only this session needs.

    Attributes:
        oid: the server's own identifier, which changes when a table is dropped and made anew.
        estimate: rows as the last ANALYZE knew them, -1 where there was none.
        readable: may we read any column of it?
    """

    table: Table
    oid: int
    estimate: int
    readable: bool


@dataclass(frozen=True, slots=True)
class Extension:
    """pgvector: the schema that its types and operators live in, and its version."""

    schema: str
    version: str


_RELATIONS = """
SELECT c.oid::bigint, n.nspname, c.relname, c.relkind, c.relrowsecurity, c.reltuples::bigint,
       pg_catalog.pg_get_partkeydef(c.oid), c.reloptions,
       pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%%'
  AND c.relname <> %(cards)s AND (%(schemas)s::text[] IS NULL OR n.nspname = ANY(%(schemas)s))
  AND (%(tables)s::text[] IS NULL OR c.relname = ANY(%(tables)s))
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
"""
_COLUMNS = """
SELECT a.attrelid::bigint, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
       a.attgenerated <> '', a.attidentity <> '', pg_catalog.pg_get_expr(d.adbin, d.adrelid),
       CASE WHEN a.attcollation <> t.typcollation THEN l.collname END
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
WHERE a.attrelid = ANY(%s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""
_KEYS = """
SELECT k.conrelid::bigint, k.contype, k.conname,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u(n, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY u.place),
       f.nspname, r.relname,
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u(n, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n ORDER BY u.place)
FROM pg_catalog.pg_constraint k LEFT JOIN pg_catalog.pg_class r ON r.oid = k.confrelid
LEFT JOIN pg_catalog.pg_namespace f ON f.oid = r.relnamespace
WHERE k.conrelid = ANY(%s::oid[]) AND k.contype IN ('p', 'u', 'f') ORDER BY k.conrelid, k.conname
"""
_INDEXES = """
SELECT i.indrelid::bigint, c.relname, m.amname, i.indisunique AND i.indisvalid, o.opcname, c.reloptions,
       pg_catalog.pg_get_expr(i.indpred, i.indrelid), pg_catalog.pg_get_indexdef(i.indexrelid),
       ARRAY(SELECT pg_catalog.pg_get_indexdef(i.indexrelid, n, true) FROM generate_series(1, i.indnkeyatts) n),
       ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY u(n, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.n AND u.n > 0
             WHERE u.place <= i.indnkeyatts ORDER BY u.place)
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_am m ON m.oid = c.relam JOIN pg_catalog.pg_opclass o ON o.oid = i.indclass[0]
WHERE i.indrelid = ANY(%s::oid[]) AND i.indislive
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u'))
ORDER BY i.indrelid, c.relname COLLATE "C"
"""
_LEAVES = """
SELECT p.oid::bigint, n.nspname, c.relname
FROM unnest(%s::oid[]) p(oid) CROSS JOIN LATERAL pg_catalog.pg_partition_tree(p.oid) t
JOIN pg_catalog.pg_class c ON c.oid = t.relid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE t.isleaf AND t.relid <> p.oid ORDER BY p.oid, n.nspname COLLATE "C", c.relname COLLATE "C"
"""


def extension(connection: Connection, store: str) -> Extension:
    """Where pgvector is.

    Raises:
        Unsupported: the database has no pgvector.
    """
    found = connection.execute(
        "SELECT n.nspname, e.extversion FROM pg_catalog.pg_extension e "
        "JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'"
    ).fetchone()
    if found is None:
        raise Unsupported(
            f"{store} has no pgvector.",
            store=store,
            hint="In that database, as a role that may: CREATE EXTENSION vector;",
        )
    return Extension(*found)


def find(connection: Connection, *, schemas: Sequence[str] = (), tables: Sequence[str] = ()) -> list[Found]:
    """Every table, view and partitioned table of these schemas and names (all, where none are given), by name."""
    wanted = {"cards": CARDS, "schemas": list(schemas) or None, "tables": list(tables) or None}
    rows = connection.execute(_RELATIONS, wanted).fetchall()
    oids = [row[0] for row in rows]
    columns, keys = _grouped(connection, _COLUMNS, oids), _grouped(connection, _KEYS, oids)
    indexes = _grouped(connection, _INDEXES, oids)
    leaves = _grouped(connection, _LEAVES, [row[0] for row in rows if row[3] == "p"])
    return [
        Found(
            _table(row, columns[row[0]], keys[row[0]], indexes[row[0]], leaves[row[0]]),
            oid=row[0],
            estimate=row[5],
            readable=row[8],
        )
        for row in rows
    ]


def _grouped(connection: Connection, statement: str, oids: list[int]) -> dict[int, list[tuple[Any, ...]]]:
    groups: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    if oids:
        for oid, *rest in connection.execute(statement.encode(), [oids]).fetchall():
            groups[oid].append(tuple(rest))
    return groups


def _table(
    row: tuple[Any, ...],
    columns: list[tuple[Any, ...]],
    keys: list[tuple[Any, ...]],
    indexes: list[tuple[Any, ...]],
    leaves: list[tuple[Any, ...]],
) -> Table:
    _, schema, name, kind, rls, _, partitioned_by, options, _ = row
    made = tuple(map(_column, columns))
    nullable = {column.name for column in made if column.nullable}
    unique = [tuple(key[2]) for key in keys if key[0] == "u"] + [tuple(i[8]) for i in indexes if _is_key(i)]
    return Table(
        name=name,
        namespace=(schema,),
        columns=made,
        primary_key=next((tuple(key[2]) for key in keys if key[0] == "p"), ()),
        unique=tuple(sorted(unique, key=lambda key: (not nullable.isdisjoint(key), len(key), key))),
        foreign_keys=tuple(
            ForeignKey(columns=tuple(key[2]), schema=key[3], table=key[4], targets=tuple(key[5]), name=key[1])
            for key in keys
            if key[0] == "f"
        ),
        indexes=tuple(map(_index, indexes)),
        partitions=tuple(".".join(leaf) for leaf in leaves),
        partitioned_by=partitioned_by or "",
        rls=rls,
        view=kind in {"v", "m", "f"},
        options=_options(options),
    )


def _column(row: tuple[Any, ...]) -> Column:
    name, kind, nullable, generated, identity, default, collation = row
    serial = bool(default) and default.startswith("nextval(")
    return Column(
        name=name,
        type=plain_type(kind),
        nullable=nullable,
        generated=generated,
        identity=identity or serial,
        default=None if serial else default,
        collation=collation,
    )


def plain_type(kind: str) -> str:
    """A type as the catalog writes it, without the schema that pgvector lives in."""
    found = _VECTOR_TYPE.fullmatch(kind)
    return found[1] + found[2] if found else kind


def _is_key(index: tuple[Any, ...]) -> bool:
    """Is a unique index as good as a unique key: over plain columns and all rows?"""
    _, _, unique, _, _, where, _, expressions, columns = index
    return bool(unique and where is None and len(expressions) == len(columns))


def _index(row: tuple[Any, ...]) -> Index:
    name, method, unique, opclass, options, where, definition, expressions, columns = row
    plain = len(expressions) == len(columns)
    return Index(
        name=name,
        columns=tuple(columns) if plain else (),
        expression=None if plain else ", ".join(expressions),
        method=method,
        opclass=opclass,
        options=_options(options),
        where=where,
        unique=unique,
        definition=definition,
    )


def _options(texts: Sequence[str] | None) -> dict[str, str]:
    return dict(text.split("=", 1) for text in texts or ())
