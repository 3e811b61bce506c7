"""Which metadata keys deserve an index in the target, judged from their profile. Pure.

The rule: a key that stands in at least 20 % of the records, with values of one scalar type (or lists of text), that
either takes few different values or is named like an id. At most eight, ids first, then the most frequent. More
indexes cost memory for each record; a person adds or removes them in the plan.
"""

from __future__ import annotations

import re

from vecferry.limits import Limits
from vecferry.model import FieldIndex, IndexKind
from vecferry.planning.model import KeyProfile, Profile
from vecferry.planning.options import AUTO, NONE, PlanOptions, parse_index

SHARE = 0.2
"""Share of the records that must have the key."""
AT_MOST = 8
_FEW = 50
"""Different values that count as few, whatever the number of records."""
_KINDS = {
    "str": IndexKind.KEYWORD,
    "list[str]": IndexKind.KEYWORD,
    "int": IndexKind.INTEGER,
    "list[int]": IndexKind.INTEGER,
    "float": IndexKind.FLOAT,
    "bool": IndexKind.BOOL,
}
_ID = re.compile(r"(^|[_\-.])(u?u?id|key|source|url|file|filename|path|user|tenant|hash)$|[a-z]Id$", re.IGNORECASE)


def choose_indexes(
    profile: Profile,
    options: PlanOptions,
    limits: Limits,
    *,
    own: tuple[FieldIndex, ...] | None = None,
    usual: tuple[FieldIndex, ...] = (),
) -> tuple[FieldIndex, ...]:
    """The payload indexes of one collection, by `options.indexes` and `options.tenant`; none in a store without them.

    Args:
        own: those that it brings along from a store of the same kind, which `auto` then leaves as they are.
        usual: those of its layout, which `auto` makes where the keys are there.

    Raises:
        ConfigError: an index that cannot be read.
    """
    if not limits.payload_indexes:
        return ()
    if options.indexes == AUTO:
        chosen = _auto(profile, usual) if own is None else list(own)
    elif options.indexes == NONE:
        chosen = []
    else:
        texts = (options.indexes,) if isinstance(options.indexes, str) else options.indexes
        chosen = [parse_index(text, kind_of_key(profile.keys.get(text))) for text in texts]
    return _with_tenant(chosen, options.tenant)


def kind_of_key(key: KeyProfile | None) -> IndexKind | None:
    """The index that the values of a key allow; None where they are of several types, or of none that is indexed."""
    types = {name for name in key.types if name != "null"} if key else set()
    return _KINDS.get(next(iter(types))) if len(types) == 1 else None


def _auto(profile: Profile, usual: tuple[FieldIndex, ...]) -> list[FieldIndex]:
    known = {index.key: index for index in usual if index.key in profile.keys}
    worthy = [
        (key, found, kind)
        for key, found in profile.keys.items()
        if key not in known and (kind := _worthy(key, found, profile.records))
    ]
    ranked = sorted(worthy, key=lambda item: (not _ID.search(item[0]), -item[1].records, item[0]))
    return [*known.values(), *(FieldIndex(key=key, kind=kind) for key, _, kind in ranked)][:AT_MOST]


def _worthy(key: str, found: KeyProfile, records: int) -> IndexKind | None:
    kind = kind_of_key(found)
    if not key or found.records < SHARE * records or (found.distinct == 1 and not _ID.search(key)):
        return None
    few = found.distinct is not None and (found.distinct <= _FEW or found.distinct * 10 <= found.records)
    return kind if few or _ID.search(key) or kind in (IndexKind.BOOL, IndexKind.INTEGER) else None


def _with_tenant(chosen: list[FieldIndex], tenant: str | None) -> tuple[FieldIndex, ...]:
    if tenant is None:
        return tuple(chosen)
    return (FieldIndex(key=tenant, kind=IndexKind.KEYWORD, tenant=True), *(i for i in chosen if i.key != tenant))
