"""`verify`: every check of every collection, each side read by readers of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext

from vecferry.engine.stop import Stop
from vecferry.events import Observer, Stage, StageFinished, StageStarted, silent
from vecferry.filters import Filter
from vecferry.planning.elements import retyped_spec
from vecferry.protocols import Database
from vecferry.verification.data import check_data
from vecferry.verification.elsewhere import Helper
from vecferry.verification.filtering import check_filters
from vecferry.verification.model import (
    DATA_LEVELS,
    Check,
    CollectionVerification,
    Difference,
    Finding,
    Level,
    State,
    Verification,
    VerifyOptions,
)
from vecferry.verification.passes import Absent, Both, Pass
from vecferry.verification.predicates import Counts, draw, facts_of_profile, facts_of_sample
from vecferry.verification.sample import metadata_of
from vecferry.verification.schema import check_schema
from vecferry.verification.search import Question, check_search, feed, questions

Pair = tuple[str, str]
"""A collection's name in the source, and in the target."""


def verify(
    source_db: Database,
    target_db: Database,
    pairs: Sequence[Pair],
    *,
    options: VerifyOptions | None = None,
    observer: Observer = silent,
    stop: Stop | None = None,
    helper: Helper | None = None,
) -> Verification:
    """Compare every record of each pair of collections, then searches and filters.

    Reads both sides itself: nothing of the copy is trusted. Changes nothing. `helper` reads the target; the caller,
    who may have started it earlier, closes it.

    Raises:
        NotFound: the source has no such collection. One that the target lacks is a finding.
        Interrupted: `stop` was set.
        ConnectorError, DataError: a side cannot be read.
    """
    seconds = {Stage.VERIFY.value: 0.0, Stage.PARITY.value: 0.0}
    collections = []
    with nullcontext(helper) if helper is not None else Helper(target_db) as reader:
        both = Both(source_db, target_db, options or VerifyOptions(), observer, stop or Stop(), reader)
        for pair in pairs:
            collection, took = _verify(both, pair)
            collections.append(collection)
            seconds = {stage: total + took[stage] for stage, total in seconds.items()}
    return Verification(collections=tuple(collections), seconds=seconds)


def _verify(both: Both, pair: Pair) -> tuple[CollectionVerification, dict[str, float]]:
    begun, observer = time.monotonic(), both.observer
    with both.open(pair) as one:
        observer(StageStarted(stage=Stage.VERIFY, collection=one.name, records=one.source_spec.count))
        other = _other_vector(one)
        checks = [_schema(one), *(_all_not_checked(other) if other else check_data(one))]
        middle = time.monotonic()
        records = one.left.records
        observer(StageFinished(stage=Stage.VERIFY, collection=one.name, records=records, seconds=middle - begun))
        observer(StageStarted(stage=Stage.PARITY, collection=one.name, records=records))
        checks += _parity(one) if not other else []
        end = time.monotonic()
        observer(StageFinished(stage=Stage.PARITY, collection=one.name, records=records, seconds=end - middle))
        result = CollectionVerification(
            source=pair[0],
            target=pair[1],
            records=records,
            checks=tuple(_asked(check, both.options) for check in checks),
            breakdowns=one.left.groups.breakdowns(one.right.groups),
        )
    return result, {Stage.VERIFY.value: middle - begun, Stage.PARITY.value: end - middle}


def _other_vector(one: Pass) -> str:
    """What keeps the records from being compared at all: a vector of another dimension or kind; empty if nothing.

    Only a target that predicts its read-back has to take the source's vectors for that.
    """
    if one.predicted is None:
        return ""
    there = {vector.name: vector for vector in one.target_spec.vectors}
    for vector in one.source_spec.vectors:
        found = there.get(vector.name, vector)
        if found.kind is not vector.kind or (None not in (found.dim, vector.dim) and found.dim != vector.dim):
            return f"The target's vectors are {found.dim} × {found.kind}, the source's {vector.dim} × {vector.kind}."
    return ""


def _all_not_checked(note: str) -> list[Check]:
    """Every level behind the schema, left out."""
    levels = (level for level in Level if level is not Level.SCHEMA)
    return [Check(level=level, state=State.NOT_CHECKED, note=note) for level in levels]


def _asked(check: Check, options: VerifyOptions) -> Check:
    """`check`, or that it was not asked for."""
    if check.level in options.levels:
        return check
    return Check(level=check.level, state=State.NOT_CHECKED, note="Not asked for.")


def _schema(one: Pass) -> Check:
    if isinstance(one.target, Absent):
        what = "The target has no such collection."
        finding = Finding(difference=Difference.MISSING, id=one.target_spec.name, what=what)
        return Check(level=Level.SCHEMA, state=State.DIFFERENT, differences=1, findings=(finding,), note=what)
    source = retyped_spec(one.raw_spec, one.target_spec)
    return check_schema(source, one.target_spec, one.options.promised.get(one.target_name))


# --------------------------------------------------------------------------- parity


def _parity(one: Pass) -> list[Check]:
    """Search and filter parity, from one more pass over the source."""
    if one.others:
        note = f"The target also holds {one.others:,} records that are not from this source: its answers must differ."
        return [Check(level=level, state=State.NOT_CHECKED, note=note) for level in (Level.SEARCH, Level.FILTERS)]
    if one.options.levels <= DATA_LEVELS or isinstance(one.target, Absent) or not one.left.records:
        note = "The target has no such collection." if isinstance(one.target, Absent) else "The source is empty."
        state = State.NOT_CHECKED if isinstance(one.target, Absent) else State.NOT_APPLICABLE
        return [Check(level=level, state=state, note=note) for level in (Level.SEARCH, Level.FILTERS)]
    asked, counts = _questions(one), Counts(_predicates(one))
    for chunk in one.tries.chunks(one.source):
        batch = one.wanted(chunk.batch)
        feed(asked, batch)
        if counts.predicates:
            counts.add(metadata_of(one.expected(chunk.batch)[0]))
    return [*_search(one, asked), _filters(one, counts)]


def _questions(one: Pass) -> list[Question]:
    if Level.SEARCH not in one.options.levels:
        return []
    return questions(
        one.source_spec, one.target_spec, one.sample, one.limits, count=one.options.queries, k=one.options.k
    )


def _predicates(one: Pass) -> list[Filter]:
    if Level.FILTERS not in one.options.levels:
        return []
    profile = one.options.profiles.get(one.source_spec.qualified_name)
    facts = facts_of_profile(profile) if profile is not None else facts_of_sample(one.sample.metadata())
    return draw(facts, one.options.predicates)


def _search(one: Pass, asked: Sequence[Question]) -> list[Check]:
    if not one.source_spec.vectors:
        note = "The source has no vectors to search by."
        return [Check(level=Level.SEARCH, state=State.NOT_APPLICABLE, note=note)]
    if not asked:
        note = "No vector that both sides have, of one dimension, with a metric that can be measured."
        return [Check(level=Level.SEARCH, state=State.NOT_CHECKED, note=note)]
    return [check_search(question, one.target, one.limits, tries=one.tries) for question in asked]


def _filters(one: Pass, counts: Counts) -> Check:
    if not counts.predicates:
        return Check(level=Level.FILTERS, state=State.NOT_APPLICABLE, note="No record has metadata to filter on.")
    return check_filters(counts, one.target, one.tries)
