"""The description of the tables that PostgREST gives at its root (OpenAPI 2.0), made from the catalog of the database.

Keys stand in the descriptions, as PostgREST writes them: `<pk/>`, `<fk table='sources' column='source_id'/>`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

_COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid),
       EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'p' AND a.attnum = ANY(k.conkey)),
       (SELECT ARRAY[f.relname, b.attname] FROM pg_constraint k JOIN pg_class f ON f.oid = k.confrelid
        JOIN pg_attribute b ON b.attrelid = f.oid AND b.attnum = k.confkey[1]
        WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.conkey = ARRAY[a.attnum] LIMIT 1)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition
  AND has_table_privilege(c.oid, 'SELECT')
ORDER BY c.relname, a.attnum
"""
_JSON_TYPES = {
    **dict.fromkeys(("smallint", "integer", "bigint"), "integer"),
    **dict.fromkeys(("numeric", "real", "double precision"), "number"),
    "boolean": "boolean",
}


def description(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """What `GET /` answers to the role of the connection."""
    rows: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for table, *row in connection.execute(_COLUMNS):
        rows[table].append(tuple(row))
    definitions = {
        table: {
            "type": "object",
            "required": [row[0] for row in found if row[2]],
            "properties": {row[0]: _property(*row[1:]) for row in found},
        }
        for table, found in rows.items()
    }
    info = {"title": "standard public schema", "description": "", "version": "12.2.3 (double)"}
    paths: dict[str, Any] = {"/": {}, **{f"/{table}": {} for table in rows}}
    return {"swagger": "2.0", "info": info, "paths": paths, "definitions": definitions}


def _property(kind: str, _required: bool, default: str | None, key: bool, parent: list[str] | None) -> dict[str, Any]:
    notes = ["This is a Primary Key.<pk/>"] if key else []
    if parent is not None:
        table, column = parent
        notes.append(f"This is a Foreign Key to `{table}.{column}`.<fk table='{table}' column='{column}'/>")
    made: dict[str, Any] = {"format": kind, **({"default": default} if default else {})}
    if kind not in {"json", "jsonb"}:  # for those PostgREST names no type of JSON
        made["type"] = "array" if kind.endswith("[]") else _JSON_TYPES.get(kind, "string")
    return made | ({"description": "Note:\n" + "\n".join(notes)} if notes else {})
