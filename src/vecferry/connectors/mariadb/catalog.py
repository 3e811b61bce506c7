"""What a database's own catalog says of its tables, as plain data (`vecferry.tables`)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from vecferry.connectors.mariadb.names import CARDS, qualified, text
from vecferry.connectors.mariadb.packets import Row
from vecferry.connectors.mariadb.server import Server
from vecferry.tables import Column, ForeignKey, Index, Table
from vecferry.tables.types import vector_type

_JSON_CHECK = re.compile(r"json_valid\(`(?P<name>(?:[^`]|``)+)`\)", re.IGNORECASE)
_VECTOR_KEY = re.compile(r"^\s*VECTOR KEY `(?P<name>(?:[^`]|``)+)` \(`(?:[^`]|``)+`\)(?P<options>.*)$")
_ON_UPDATE = re.compile(r"on update (\w+(?:\(\d*\))?)")
_OPTION = re.compile(r"`?(?P<key>\w+)`?='?(?P<value>\w+)'?")
EUCLIDEAN, COSINE = "euclidean", "cosine"


def load(server: Server, name: str | None = None) -> list[Table]:
    """Every table and view of the database that we may read, by name; or the one called `name`."""
    where = f"TABLE_SCHEMA = {text(server.address.database)}"
    if name is not None:
        where += f" AND BINARY TABLE_NAME = {text(name)}"
    found = server.rows(
        f"SELECT TABLE_NAME, TABLE_TYPE, ENGINE, TABLE_COLLATION FROM information_schema.TABLES WHERE {where} "
        f"AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED', 'VIEW') AND TABLE_NAME <> '{CARDS}' "
        "ORDER BY BINARY TABLE_NAME"
    )
    facts = _Facts(server, where)
    return [_table(server, row, facts) for row in found]


class _Facts:
    """The rows of the catalog's other views, by table."""

    def __init__(self, server: Server, where: str) -> None:
        def by_table(sql: str) -> Mapping[str, list[Row]]:
            groups: dict[str, list[Row]] = defaultdict(list)
            for row in server.rows(sql):
                groups[_text(row[0])].append(row[1:])
            return groups

        self.columns = by_table(
            "SELECT TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT, EXTRA, COLLATION_NAME, "
            f"GENERATION_EXPRESSION FROM information_schema.COLUMNS WHERE {where} ORDER BY ORDINAL_POSITION"
        )
        self.indexes = by_table(
            "SELECT TABLE_NAME, INDEX_NAME, NON_UNIQUE, COLUMN_NAME, SUB_PART, INDEX_TYPE "
            f"FROM information_schema.STATISTICS WHERE {where} ORDER BY INDEX_NAME, SEQ_IN_INDEX"
        )
        self.keys = by_table(
            "SELECT TABLE_NAME, CONSTRAINT_NAME, COLUMN_NAME, REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME, "
            f"REFERENCED_COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE WHERE {where} "
            "AND REFERENCED_TABLE_NAME IS NOT NULL ORDER BY CONSTRAINT_NAME, ORDINAL_POSITION"
        )
        self.checks = by_table(
            "SELECT TABLE_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS "
            f"WHERE {where.replace('TABLE_SCHEMA', 'CONSTRAINT_SCHEMA')}"
        )
        self.partitions = by_table(
            "SELECT TABLE_NAME, PARTITION_NAME, PARTITION_METHOD, PARTITION_EXPRESSION "
            f"FROM information_schema.PARTITIONS WHERE {where} AND PARTITION_NAME IS NOT NULL"
        )


def _table(server: Server, row: Row, facts: _Facts) -> Table:
    name, kind, engine, collation = map(_text, row)
    checks = (_JSON_CHECK.fullmatch(_text(check)) for (check,) in facts.checks[name])
    json = {_unquoted(found["name"]) for found in checks if found is not None}
    columns = tuple(_column(column, json, collation) for column in facts.columns[name])
    unique, indexes = _indexes(facts.indexes[name])
    if any(index.method == "vector" for index in indexes):
        indexes = _with_options(server, name, indexes)
    partitions = facts.partitions[name]
    return Table(
        name=name,
        namespace=(server.address.database,),
        columns=columns,
        primary_key=unique.pop("PRIMARY", ()),
        unique=_whole_first(unique.values(), columns),
        foreign_keys=_foreign_keys(facts.keys[name]),
        indexes=tuple(indexes),
        partitions=tuple(_text(part[0]) for part in partitions),
        partitioned_by=f"{_text(partitions[0][1])} ({_text(partitions[0][2])})" if partitions else "",
        view=kind == "VIEW",
        options={"engine": engine, "collation": collation} if kind != "VIEW" else {},
    )


def _column(row: Row, json: set[str], usual: str) -> Column:
    name, kind, nullable, default, extra, collation, generation = row
    text_name, text_kind, told = _text(name), _text(kind), _text(extra)
    changing = _ON_UPDATE.search(told)
    expression = _text(generation) or None
    return Column(
        name=text_name,
        type="json" if text_name in json else text_kind,
        nullable=nullable == b"YES",
        generated=expression is not None,
        identity="auto_increment" in told,
        default=expression or (None if default in (None, b"NULL") else _text(default)),
        collation=_text(collation) if collation and _text(collation) != usual and text_name not in json else None,
        number=text_kind.startswith("bit"),
        stored="STORED" in told,
        hidden="INVISIBLE" in told,
        on_update=changing[1] if changing else None,
    )


def _indexes(rows: Iterable[Row]) -> tuple[dict[str, tuple[str, ...]], list[Index]]:
    """(unique keys over whole columns by name, every other index)."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[_text(row[0])].append(row)
    unique: dict[str, tuple[str, ...]] = {}
    others: list[Index] = []
    for name, parts in groups.items():
        columns = tuple(_text(part[2]) for part in parts)
        one_of_a_kind = parts[0][1] == b"0"
        if one_of_a_kind and all(part[3] is None for part in parts):
            unique[name] = columns
        else:
            lengths = {_text(part[2]): _text(part[3]) for part in parts if part[3] is not None}
            method = _text(parts[0][4]).lower()
            others.append(Index(name=name, columns=columns, method=method, options=lengths, unique=one_of_a_kind))
    return unique, others


def _with_options(server: Server, name: str, indexes: Iterable[Index]) -> list[Index]:
    """Vector indexes with their DISTANCE and M, which only SHOW CREATE TABLE tells, where they are no defaults."""
    (made,) = server.rows(f"SHOW CREATE TABLE {qualified((server.address.database, name))}")
    lines = map(_VECTOR_KEY.match, _text(made[1]).splitlines())
    told = {
        _unquoted(line["name"]): {found["key"].lower(): found["value"] for found in _OPTION.finditer(line["options"])}
        for line in lines
        if line is not None
    }
    return [_vector_index(index, told.get(index.name, {})) if index.method == "vector" else index for index in indexes]


def _vector_index(index: Index, told: Mapping[str, str]) -> Index:
    options = {"m": told["m"]} if "m" in told else {}
    distance = told.get("distance", EUCLIDEAN).lower()
    return Index(name=index.name, columns=index.columns, method="vector", opclass=distance, options=options)


def _foreign_keys(rows: Iterable[Row]) -> tuple[ForeignKey, ...]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[_text(row[0])].append(row)
    return tuple(
        ForeignKey(
            name=name,
            columns=tuple(_text(part[1]) for part in parts),
            schema=_text(parts[0][2]),
            table=_text(parts[0][3]),
            targets=tuple(_text(part[4]) for part in parts),
        )
        for name, parts in groups.items()
    )


def _whole_first(keys: Iterable[tuple[str, ...]], columns: tuple[Column, ...]) -> tuple[tuple[str, ...], ...]:
    nullable = {column.name for column in columns if column.nullable}
    return tuple(sorted(keys, key=lambda key: bool(nullable.intersection(key))))


def is_vector(kind: str) -> bool:
    """Is this the type of a vector column?"""
    found = vector_type(kind)
    return found is not None and found[0] == "vector"


def dimension(kind: str) -> int | None:
    """The dimension of a vector column's type."""
    found = vector_type(kind)
    return found[1] if found else None


def _unquoted(name: str) -> str:
    return name.replace("``", "`")


def _text(value: bytes | None) -> str:
    return (value or b"").decode()
