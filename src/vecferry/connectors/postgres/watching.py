"""Was a table written to? Every row version has a place (`ctid`) and a writer (`xmin`): any write changes one of them.

So a digest over those of all rows, and their number, tells of every insert, update and delete, a vector's too, without
reading a single value out of the TOAST table. `VACUUM FULL` and `CLUSTER` move rows and count as writes. A view has no
row versions: there the rows themselves are digested.
"""

from __future__ import annotations

from collections.abc import Callable

from vecferry.connectors.postgres.access import Access
from vecferry.connectors.postgres.collection import Collection


def watch(access: Access, made: Collection) -> Callable[[], bool]:
    """Begin to watch; what it returns says whether the table was written to since."""
    before = _state(access, made)
    return lambda: _state(access, made) != before


def _state(access: Access, made: Collection) -> tuple[object, ...] | None:
    version = "t::text" if made.table.view else "t.tableoid::text || t.ctid::text || t.xmin::text"
    digest = f"sum(hashtextextended({version}, 0)::numeric)"
    with access.transaction() as connection:
        return connection.execute(f"SELECT count(*), {digest} FROM {made.rows}".encode()).fetchone()  # noqa: S608
