"""What a migration asks of the ledger: the run to go on with, and what earlier processes of it noted."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from vecferry.engine.gentle import Bound
from vecferry.engine.job import fingerprint
from vecferry.migration.settings import Settings
from vecferry.model import StoreIdentity
from vecferry.planning.model import Plan
from vecferry.planning.options import PlanOptions
from vecferry.state.ledger import Ledger
from vecferry.state.model import Outcome, RunInfo, Step
from vecferry.tags import canonical
from vecferry.transforms import Recipe

LOOKED_AT = 1_000
"""Runs of the ledger that are looked through for one of the same job."""


def request(settings: Settings) -> dict[str, str]:
    """The options that a resumed run must share, by the name that a person gave them under."""
    wished = settings.plan
    return {
        "--collection": ", ".join(wished.collections) or "all",
        "--layout": wished.layout if wished.made is None else _fingerprint(wished.made),
        "--exact-vectors": wished.exact_vectors.value,
        "--accept": ", ".join(f"{shape}={policy}" for shape, policy in sorted(wished.policies.items())) or "nothing",
        "--if-exists": wished.if_exists.value,
        "--on-conflict": wished.on_conflict.value,
        "--index": wished.indexes if isinstance(wished.indexes, str) else ", ".join(wished.indexes),
        "--tenant-key": wished.tenant or "none",
        "--target-config": canonical(dict(wished.target_config)).decode(),
        "--name": wished.name,
        "--backup": str(settings.backup or "none"),
        "--delete": "yes" if settings.delete_extra else "no",
        "--transform": _transforms(wished.transforms),
        "id rule": f"{wished.id_rule.namespace} {wished.id_rule.template!r}",
        "--preset": _preset(wished),
        "--unit": wished.unit or "none",
        "--stay": ", ".join(wished.stays) or "none",
        "--order": ", ".join((*wished.first, wished.order or "largest")),
        "--plan": f"with fingerprint {fingerprint(settings.decisions)[:12]}" if settings.decisions else "none",
        **({"--pace": str(settings.pace)} if settings.pace is not None else {}),
    }


def resumed(settings: Settings) -> dict[str, str]:
    """The same, of a call that goes on with a run: it may do so at another pace, and in another order."""
    return {name: said for name, said in request(settings).items() if name not in {"--pace", "--order"}}


def _transforms(recipe: Recipe) -> str:
    if recipe == Recipe():
        return "none"
    return f"with fingerprint {hashlib.blake2b(msgspec.json.encode(recipe), digest_size=6).hexdigest()}"


def _preset(wished: PlanOptions) -> str:
    if wished.preset is None and not wished.tables:
        return "none"
    return _fingerprint((wished.preset, wished.tables))


def _fingerprint(said: object) -> str:
    return f"with fingerprint {hashlib.blake2b(msgspec.json.encode(said), digest_size=6).hexdigest()}"


def goes_on(unfinished: RunInfo, settings: Settings) -> bool:
    """Whether an unfinished run is to be resumed, or refused for its options, rather than begun anew.

    One that was refused before its first write binds nobody: the answer to a refusal is the command with other options,
    or with another answer at the prompt.
    """
    written = any(state.step.reached(Step.PREPARED) for state in unfinished.collections)
    same = dict(unfinished.request) == request(settings)
    return written or (same and unfinished.outcome is not Outcome.FAILED)


def unfinished(ledger: Ledger, source: StoreIdentity, target: StoreIdentity, settings: Settings) -> RunInfo | None:
    """The unfinished run of the same stores and the same choice of collections, the latest if there are several."""
    wished = request(settings)["--collection"]
    for info in _unfinished(ledger):
        here = (info.source, info.target) == (f"{source.kind} {source.where}", f"{target.kind} {target.where}")
        if here and info.request.get("--collection") == wished:
            return info
    return None


def unfinished_ids(ledger: Ledger) -> frozenset[str]:
    """The ids of all runs that may be resumed: a collection that one of them wrote is ours."""
    return frozenset(info.id for info in _unfinished(ledger))


def _unfinished(ledger: Ledger) -> list[RunInfo]:
    return [info for info in ledger.history(limit=LOOKED_AT) if info.finished is None]


def as_begun(settings: Settings, unfinished: RunInfo) -> Settings:
    """`settings` with the backup that a person chose when the run began, where this call says nothing of one."""
    chosen = unfinished.request.get("--backup", "none")
    return settings if settings.backup is not None or chosen == "none" else replace(settings, backup=Path(chosen))


def at_its_pace(ledger: Ledger, source: StoreIdentity, target: StoreIdentity, settings: Settings) -> Settings:
    """`settings` with the pace that the run to be resumed began at, where this call says nothing of one."""
    if settings.pace is not None or settings.restart:
        return settings
    begun = unfinished(ledger, source, target, settings)
    said = begun.request.get("--pace") if begun is not None else None
    return settings if said is None else replace(settings, pace=Bound.parse(said))


def ended(ledger: Ledger, run: str) -> datetime | None:
    """When a run of this ledger ended, or began where it has not; None where the ledger does not know it."""
    info = ledger.run(run)
    return None if info is None else datetime.fromtimestamp(info.finished or info.created, UTC)


def set_aside(ledger: Ledger, run: str) -> dict[str, dict[str, str]]:
    """Source collection -> {record id: reason} of the records that a run put into quarantine."""
    found: dict[str, dict[str, str]] = {}
    for kept in ledger.rejections(run):
        found.setdefault(kept.collection, {})[kept.rejection.id] = kept.rejection.reason
    return found


def left_out_of(ledger: Ledger, plan: Plan, run: str) -> dict[str, dict[str, str]]:
    """The same of a run and its plan, and of what that run kept: what the run left out whose work is kept."""
    found = set_aside(ledger, run)
    for collection in plan.kept:
        if collection.target.card is not None and collection.source not in found:
            before = set_aside(ledger, collection.target.card.run)
            found[collection.source] = before.get(collection.source, {})
    return found
