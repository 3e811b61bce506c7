"""Emptying a collection before it is removed, which Chroma 1.5 needs.

It deletes a collection's records with the collection, but not the lists in their metadata: those stay behind under
row numbers that the next records get, in whatever collection, and come back as theirs (seen with 1.5.9, in a directory
and on a server: 60 records of 60). Records that are deleted one by one leave nothing.
"""

from __future__ import annotations

from typing import Any

_AT_A_TIME = 1_000


def empty(collection: Any) -> None:
    """Delete the records that stand in a collection now; what somebody adds meanwhile may stay."""
    for _ in range(0, collection.count(), _AT_A_TIME):
        ids = collection.get(limit=_AT_A_TIME, include=[])["ids"]
        if not ids:
            return
        collection.delete(ids=ids)
