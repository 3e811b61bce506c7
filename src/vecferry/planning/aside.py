"""Tables that `retire` set aside as `NAME_archived_YYYYMMDD`: they are there, and live no more."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vecferry.errors import ConfigError
from vecferry.events import Notice, Observer, silent
from vecferry.model import CollectionSpec
from vecferry.planning.patterns import Pattern
from vecferry.protocols import Database, Renamable

ARCHIVED = "_archived_"
ASIDE = re.compile(rf"{ARCHIVED}\d{{8}}$")


def is_aside(spec: CollectionSpec) -> bool:
    """Does its name say that it was set aside?"""
    return ASIDE.search(spec.name) is not None


def live(database: Database, patterns: Sequence[Pattern], observer: Observer = silent) -> list[CollectionSpec]:
    """The collections of `database`; those that were set aside only where a pattern names them.

    A glob names them where it says `_archived_`. A store that sets nothing aside has none.

    Raises:
        ConfigError: there is no other, and no pattern.
    """
    found = list(database.collections())
    left = [spec for spec in found if is_aside(spec) and not any(_names(pattern, spec) for pattern in patterns)]
    if not left or not isinstance(database, Renamable):
        return found
    if len(left) == len(found) and not patterns:
        raise ConfigError(
            f"{database.identity.where} holds only what was set aside: {left[0].name}.",
            hint=f"Name it (-c {left[0].name}), or give it its name back: vecferry retire … -c {left[0].name} --undo.",
        )
    for spec in left:
        told = f"'{spec.name}' is left out: it was set aside. Name it to have it among the others."
        observer(Notice(collection=spec.qualified_name, message=told))
    return [spec for spec in found if spec not in left]


def _names(pattern: Pattern, spec: CollectionSpec) -> bool:
    return pattern.fits(spec) and ("*" not in pattern.source or ARCHIVED in pattern.source)
