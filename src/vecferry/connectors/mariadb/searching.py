"""Nearest neighbours as SQL: by the vector index where it may answer, exactly where it may not. Pure."""

from __future__ import annotations

from vecferry.connectors.mariadb._codec.reading import Reading
from vecferry.connectors.mariadb.facts import DISTANCES
from vecferry.connectors.mariadb.names import hexed, quote
from vecferry.errors import ConfigError
from vecferry.model import Metric
from vecferry.tables import sql


def statement(reading: Reading, query: bytes, vector: str, condition: str, *, k: int, exact: bool) -> str:
    """The statement that gives distance and key of the `k` nearest, best first.

    Exactly: an order by more than the distance keeps the index out, and equal distances come in the order of the key.
    A vector of zeros has no cosine: MariaDB computes NaN, shows 0, and sorts it first or last; we say 1, as of a
    vector at a right angle.

    Args:
        reading: of the collection.
        query: little-endian float32.
        vector: which vector is meant.
        condition: which records may be found, in SQL.
        k: how many.
        exact: compare with every record.

    Raises:
        ConfigError: no such vector.
    """
    chosen = next((one for one in reading.spec.vectors if one.name == vector), None)
    if chosen is None:
        names = [one.name for one in reading.spec.vectors]
        raise ConfigError(f"{reading.spec.name} has no vector '{vector}'.", hint=f"It has {names}.")
    column = f"t.{quote(reading.form.vectors[vector])}"
    distance = f"VEC_DISTANCE_{DISTANCES[chosen.metric].upper()}({column}, {hexed(query).decode()})"
    told = f"IF({distance} BETWEEN -1 AND 3, {distance}, 1)" if chosen.metric is Metric.COSINE else distance
    order = f"{told}, {', '.join(reading.key.selected)}" if exact else distance
    place = sql.from_sql(reading.table, reading.form, quote)
    where = f"{sql.where_sql(reading.form)} AND ({condition}) AND {column} IS NOT NULL"
    return f"SELECT {told}, {reading.id_columns} FROM {place} WHERE {where} ORDER BY {order} LIMIT {int(k)}"
