"""Which collection of the target belongs to which of the source, for verify, compare and repair."""

from __future__ import annotations

import pytest

from vecferry.migration.proving import _partner
from vecferry.model import Card, CollectionSpec
from vecferry.planning.patterns import parse_patterns

SPEC = CollectionSpec(name="docs", uid="u1")


def there(name: str, uid: str | None = None) -> CollectionSpec:
    return CollectionSpec(name=name, card=Card(origin={} if uid is None else {"uid": uid}))


@pytest.mark.parametrize(
    "patterns, target, found",
    [
        ((), [], "docs"),
        ((), [there("docs")], "docs"),
        ((), [there("renamed", "u1"), there("docs", "u2")], "renamed"),
        (("docs",), [there("renamed", "u1")], "renamed"),
        (("docs=told",), [there("renamed", "u1")], "told"),
        (("do*=x-*",), [], "x-cs"),
        ((), [CollectionSpec(name="no-card")], "docs"),
    ],
)
def test_told_goes_before_the_card_goes_before_the_name(
    patterns: tuple[str, ...], target: list[CollectionSpec], found: str
) -> None:
    assert _partner(SPEC, parse_patterns(patterns), target) == found


def test_two_that_came_from_it_are_no_answer_where_neither_bears_its_name() -> None:
    """Moved twice under new names: only the person knows which is meant, so its own name is looked for."""
    assert _partner(SPEC, (), [there("one", "u1"), there("two", "u1")]) == "docs"


def test_a_source_without_identity_is_not_matched_by_card() -> None:
    assert _partner(CollectionSpec(name="docs"), (), [there("other")]) == "docs"
