"""Tables of SQL stores: what a catalog says of one, and the form in which its rows are records. Pure, and plain data.

| module     | holds                                                                             |
|------------|-----------------------------------------------------------------------------------|
| `model`    | `Table`, `Column`, `Index`, `ForeignKey`, `Form`, `Join`, `Rank`; JSON of them    |
| `types`    | what a column's type text means, for both stores                                  |
| `guess`    | the form of a table that nobody described                                         |
| `metadata` | the rule between a row's values and a record's metadata, both ways                |
| `cells`    | the same rule for whole columns, quickly                                          |
| `keys`     | a record's id from its key columns, and back                                      |
| `sql`      | the SQL that both stores share: derived columns, joins, ids                       |
| `envelope` | what the columns of a table of ours cannot say, in its column `_vf`, and back     |
"""

from __future__ import annotations

from vecferry.tables.guess import guess
from vecferry.tables.model import Column, ForeignKey, Form, Index, Join, Parent, Rank, Table

__all__ = ["Column", "ForeignKey", "Form", "Index", "Join", "Parent", "Rank", "Table", "guess"]
