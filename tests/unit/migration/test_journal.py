"""Which unfinished run a call goes on with, and what counts as another request."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from vecferry.engine.job import job
from vecferry.engine.model import Options
from vecferry.migration import journal
from vecferry.migration.settings import Settings
from vecferry.model import CollectionSpec, IdRule, Keep, StoreIdentity
from vecferry.planning.model import CollectionPlan, IfExists, OnConflict, Plan, Policy
from vecferry.planning.options import Order, PlanOptions
from vecferry.planning.presets import Preset, TableWish
from vecferry.state.ledger import Ledger
from vecferry.state.model import CollectionState, Outcome, RunInfo, Step
from vecferry.transforms import Recipe
from vecferry.transforms import Step as TransformStep
from vecferry.verification.model import VerifyOptions

STORE = StoreIdentity(kind="memory", where="a")
PLAN = Plan(
    created=datetime(2026, 1, 1, tzinfo=UTC),
    source_url="memory:a",
    target_url="memory:b",
    source=STORE,
    target=StoreIdentity(kind="memory", where="b"),
    collections=(CollectionPlan(source="docs", target=CollectionSpec(name="docs"), records=1, bytes=1),),
)
OTHERWISE: dict[str, Any] = {
    "collections": ("docs",),
    "layout": "flat",
    "exact_vectors": Keep.BITS,
    "policies": {"order": Policy.CONVERT},
    "if_exists": IfExists.APPEND,
    "on_conflict": OnConflict.SKIP,
    "indexes": ("page:integer",),
    "tenant": "user",
    "target_config": {"shard_number": 2},
    "name": "x-{name}",
    "id_rule": IdRule(template="{id}"),
    "preset": Preset(tables=(TableWish(table="docs"),)),
    "tables": {"docs": TableWish(table="docs")},
    "transforms": Recipe(transforms=(TransformStep(drop=("page",)),)),
    "made": Preset(tables=(TableWish(table="docs"),)),
    "unit": "page",
    "order": Order.SMALLEST,
    "first": ("7",),
    "stays": ("7",),
}


@pytest.mark.parametrize("option", [field.name for field in fields(PlanOptions)])
def test_every_option_of_a_plan_is_part_of_the_request(option: str) -> None:
    """An option that decides what ends up in the target and is forgotten here would be ignored by a resumed run."""
    other = replace(PlanOptions(), **{option: OTHERWISE[option]})
    before, after = journal.request(Settings()), journal.request(Settings(plan=other))
    assert [name for name in before if before[name] != after[name]], option


def test_an_edited_plan_and_a_backup_are_part_of_it() -> None:
    plain = journal.request(Settings())
    edited = replace(PLAN, collections=(replace(PLAN.collections[0], target=CollectionSpec(name="other")),))
    requests = [
        plain,
        journal.request(Settings(backup=Path("b"))),
        journal.request(Settings(decisions=PLAN)),
        journal.request(Settings(decisions=edited)),
    ]
    assert len({str(one) for one in requests}) == len(requests)
    assert all(one.keys() == plain.keys() for one in requests)


def test_how_hard_to_push_is_not() -> None:
    """A resumed run may be slower, quieter, and verified otherwise."""
    other = Settings(
        engine=Options(jobs=1, rate=10.0), verify=VerifyOptions(queries=3), reports=None, ledger="elsewhere"
    )
    assert journal.request(other) == journal.request(Settings())


def run(step: Step, settings: Settings) -> RunInfo:
    state = CollectionState(source="docs", target="docs", step=step, fresh=True, seconds={}, checkpoints={})
    return RunInfo(
        id="r1", key="k", source="memory a", target="memory b", fingerprint="", plan="", created=0.0, finished=None,
        request=journal.request(settings), outcome=None, error="", running=False, holder="", collections=(state,),
    )  # fmt: skip


@pytest.mark.parametrize("step", list(Step))
def test_only_a_run_that_wrote_binds_the_next_call(step: Step) -> None:
    """The answer to a refusal before the first write is other options, which then begin anew."""
    other = Settings(plan=PlanOptions(on_conflict=OnConflict.REPLACE))
    assert journal.goes_on(run(step, Settings()), Settings())
    assert journal.goes_on(run(step, Settings()), other) == step.reached(Step.PREPARED)
    failed = replace(run(step, Settings()), outcome=Outcome.FAILED)
    assert journal.goes_on(failed, Settings()) == step.reached(Step.PREPARED), "or another answer at the prompt"


def test_a_backup_chosen_at_the_prompt_is_remembered() -> None:
    """Who resumes says nothing of it; who says another place is told of the difference."""
    begun = run(Step.PREPARED, Settings(backup=Path("b")))
    assert journal.as_begun(Settings(), begun).backup == Path("b")
    assert journal.as_begun(Settings(backup=Path("c")), begun).backup == Path("c")
    assert journal.as_begun(Settings(), run(Step.PREPARED, Settings())).backup is None


def test_an_unfinished_run_is_of_the_same_stores_and_collections(tmp_path: Path) -> None:
    """Found while it is unfinished, by what it moves and from where to where; gone once it is done."""
    some = Settings(plan=PlanOptions(collections=("docs",)))
    elsewhere = StoreIdentity(kind="memory", where="c")
    with Ledger(tmp_path / "ledger.db") as ledger:
        held = ledger.open_run(job(PLAN, journal.request(Settings())))
        info = journal.unfinished(ledger, STORE, PLAN.target, Settings())
        assert info is not None
        assert info.id == held.id
        assert journal.unfinished_ids(ledger) == {held.id}
        assert journal.unfinished(ledger, STORE, PLAN.target, some) is None
        assert journal.unfinished(ledger, elsewhere, PLAN.target, Settings()) is None
        assert journal.unfinished(ledger, STORE, elsewhere, Settings()) is None
        held.close(Outcome.DONE)
        assert journal.unfinished(ledger, STORE, PLAN.target, Settings()) is None
        assert journal.unfinished_ids(ledger) == set()
