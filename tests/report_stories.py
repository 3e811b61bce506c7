"""Reports to look at: a story with fourteen collections, and one whose every text is hostile."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from vecferry.events import Notice, Paced, Progress, Retried, RunStarted, Stage, StageFinished, StageStarted
from vecferry.model import CollectionSpec, FieldIndex, IndexKind, Metric, Pin, Rejection, StoreIdentity, VectorSpec
from vecferry.planning.model import Cell, CollectionPlan, Plan, Policy, Verdict
from vecferry.report import Recorder, Report, of_migration
from vecferry.verification import (
    Check,
    CollectionVerification,
    Comparison,
    Difference,
    Finding,
    Latency,
    Level,
    State,
    Verification,
)

STORY = {
    "product_docs": 3120,
    "support_tickets": 2874,
    "release_notes": 1466,
    "wiki": 1401,
    "contracts": 1188,
    "faq": 980,
    "handbook": 861,
    "blog": 742,
    "api_reference": 655,
    "meeting_notes": 501,
    "onboarding": 288,
    "glossary": 171,
    "press": 97,
    "drafts": 21,
}
HOSTILE = [
    "<script>document.title='owned'</script>",
    '"></style><img src=x onerror="document.title=\'owned\'">',
    "</title></svg><svg onload=alert(1)>",
    "\u202eevil\u202c\u2066 \x00\x1b[31m {{ 7 * 7 }} {% raw %} &lt;b&gt;",
    "-->]]><!--<plaintext>",
]


def checks(records: int, *, recall: float = 0.991, **different: int) -> tuple[Check, ...]:
    """A full set of checks; `different` names levels that found this many differences."""

    def one(level: Level, **fields: object) -> Check:
        wrong = different.get(level.value, 0)
        findings = tuple(
            Finding(difference=Difference.CHANGED, id=f"doc-{n:05d}", what="document: 812 characters became 640")
            for n in range(wrong)
        )
        state = State.DIFFERENT if wrong else State.OK
        base = {"scanned": records, "compared": records, "differences": wrong, "findings": findings}
        return Check(level=level, state=state, **{**base, **fields})  # type: ignore[arg-type]

    figures = {
        "k": 10.0,
        "exact_overlap": 1.0,
        "max_score_difference": 2.1e-7,
        "recall@1": 1.0,
        "recall@10": recall,
        "p50_ms": 1.4,
        "p95_ms": 2.2,
    }
    return (
        one(Level.SCHEMA, scanned=7, compared=7, note="Compared: kind of ids, vector names, dimensions, metrics."),
        one(Level.COUNTS, figures={"source": float(records), "target": float(records)}),
        one(Level.IDS),
        one(Level.CONTENT, note="Every record's id, vectors, document, uri and metadata, as the target gives it back."),
        one(Level.ORDER),
        one(Level.SEARCH, scanned=100, compared=100, figures=figures, note="Both sides searched exactly."),
        one(Level.FILTERS, scanned=24, compared=22, skipped={"Range over text is not exact on this store.": 2}),
    )


def plan_of(records: dict[str, int], **fields: object) -> Plan:
    """A plan that moves these collections."""
    collections = tuple(
        CollectionPlan(
            source=f"{name}",
            target=CollectionSpec(
                name=name,
                vectors=(VectorSpec(dim=768, metric=Metric.COSINE),),
                indexes=(
                    FieldIndex(key="lang", kind=IndexKind.KEYWORD),
                    FieldIndex(key="page", kind=IndexKind.INTEGER),
                ),
            ),
            records=count,
            bytes=count * 3640,
            cells=(
                Cell(
                    shape="cosine-length",
                    verdict=Verdict.RESTORABLE,
                    count=count,
                    examples=("doc-00000",),
                    meaning="The target scales vectors to length 1; the length travels beside, to be put back.",
                ),
            ),
        )
        for name, count in records.items()
    )
    return Plan(
        created=datetime(2026, 11, 21, 9, 0, tzinfo=UTC),
        source_url="chroma:/srv/app/chroma_db",
        target_url="qdrant+http://vectors.internal:6333?grpc_port=6334",
        source=StoreIdentity(kind="chroma", where="/srv/app/chroma_db", version="1.5.9", transport="file"),
        target=StoreIdentity(kind="qdrant", where="vectors.internal:6333", version="1.16.3", transport="grpc"),
        pin=Pin(at=datetime(2026, 11, 21, 8, 59, 58, tzinfo=UTC), identity="sha256:5c1f", bytes=61_000_000),
        collections=collections,
        **fields,  # type: ignore[arg-type]
    )


def recorded(records: dict[str, int]) -> Recorder:
    """A run as its events tell it: each collection copied, indexed, verified, one after the other."""
    recorder, at = Recorder(), 1_800_000_000.0
    recorder(RunStarted(at=at, run="20261121-0900-7f3a", resumed=False, records=sum(records.values()), done=0))
    for name, count in records.items():
        collection = f"{name}"
        recorder(StageStarted(at=at, stage=Stage.COPY, collection=collection, records=count))
        begin = at
        for step in range(0, count, 128):
            at += 0.011 + 0.004 * math.sin(step)
            recorder(Progress(at=at, stage=Stage.COPY, collection=collection, records=min(128, count - step)))
        recorder(StageFinished(at=at, stage=Stage.COPY, collection=collection, records=count, seconds=at - begin))
        recorder(StageFinished(at=at + 0.05, stage=Stage.INDEX, collection=collection, records=count, seconds=0.05))
        at += 0.05
    for name, count in records.items():
        collection = f"{name}"
        begin = at
        for step in range(0, count, 256):
            at += 0.012
            recorder(Progress(at=at, stage=Stage.VERIFY, collection=collection, records=min(256, count - step)))
        recorder(StageFinished(at=at, stage=Stage.VERIFY, collection=collection, records=count, seconds=at - begin))
        recorder(StageFinished(at=at + 0.08, stage=Stage.PARITY, collection=collection, records=count, seconds=0.08))
        at += 0.08
    recorder(Retried(at=at, collection="wiki", partition="p", attempt=1, wait=0.2, error="The connection was reset."))
    recorder(Paced(at=at, in_flight=2, batch_bytes=1 << 20, reason="slow answers"))
    recorder(Notice(at=at, message="The target answers without the API key that was given.", level="warning"))
    return recorder


def comparison(name: str, *, source: bool = True) -> Comparison:
    """Both sides measured, or the target alone."""
    left = Latency(store="chroma", p50_ms=2.0, p95_ms=5.1, queries_per_second=687, queries=100, workers=4)
    right = Latency(store="qdrant", p50_ms=1.4, p95_ms=1.9, queries_per_second=1137, queries=100, workers=4)
    note = "" if source else 'chroma was not measured: install "vecferry[chroma-local]" to search a Chroma directory.'
    return Comparison(collection=name, source=left if source else None, target=right, note=note)


def make_story(*, damaged: bool) -> Report:
    """A migration; damaged: two records changed on the way, one was set aside."""
    names = {name: f"{name}" for name in STORY}
    verification = Verification(
        collections=tuple(
            CollectionVerification(
                source=names[name],
                target=name,
                records=count,
                checks=checks(
                    count,
                    recall=0.82 if name == "contracts" else 0.991,
                    **({"content": 2} if damaged and name == "wiki" else {}),
                ),
            )
            for name, count in STORY.items()
        ),
        seconds={"verify": 0.9, "parity": 1.3},
    )
    recorder = recorded(STORY)
    return of_migration(
        plan_of(STORY),
        verification=verification,
        comparisons=[comparison(names["product_docs"]), comparison(names["faq"], source=False)],
        run=recorder.facts(),
        seconds={"inspect": 0.4},
        copied={names[name]: count for name, count in STORY.items()},
        rejected={names["drafts"]: [Rejection("draft-7", "The vector holds NaN.")]} if damaged else None,
    )


def make_hostile() -> Report:
    """Every text that can come out of a store tries to break out of the page."""
    collections = tuple(
        CollectionPlan(
            source=text,
            target=CollectionSpec(
                name=text, vectors=(VectorSpec(name=text, dim=4),), indexes=(FieldIndex(key=text, kind=IndexKind.TEXT),)
            ),
            records=1,
            bytes=1,
            cells=(
                Cell(shape=text, verdict=Verdict.LOSSY, count=1, examples=(text,), meaning=text, policy=Policy.CONVERT),
            ),
        )
        for text in HOSTILE
    )
    verification = Verification(
        collections=tuple(
            CollectionVerification(
                source=text,
                target=text,
                records=1,
                checks=(
                    Check(
                        level=Level.CONTENT,
                        state=State.DIFFERENT,
                        differences=1,
                        findings=(Finding(difference=Difference.CHANGED, id=text, what=text),),
                        skipped={text: 1},
                        figures={text: 1.0},
                        note=text,
                    ),
                ),
            )
            for text in HOSTILE
        )
    )
    recorder = Recorder()
    for number, text in enumerate(HOSTILE):
        recorder(StageStarted(at=100.0 + number, stage=Stage.COPY, collection=text))
        recorder(StageFinished(at=101.0 + number, stage=Stage.COPY, collection=text, records=1, seconds=1.0))
        recorder(Notice(at=100.0, message=text, collection=text))
        recorder(Retried(at=100.0, collection=text, partition=text, attempt=1, wait=0.1, error=text))
    return of_migration(
        Plan(
            created=datetime(2026, 1, 1, tzinfo=UTC),
            source_url=HOSTILE[0],
            target_url=HOSTILE[1],
            source=StoreIdentity(kind="chroma", where=HOSTILE[2], version=HOSTILE[3]),
            target=StoreIdentity(kind="qdrant", where=HOSTILE[4], version=HOSTILE[0]),
            collections=collections,
        ),
        verification=verification,
        comparisons=[Comparison(collection=HOSTILE[0], source=None, target=None, note=HOSTILE[1])],
        run=recorder.facts(),
        copied={HOSTILE[0]: 1},
        rejected={text: [Rejection(text, text)] for text in HOSTILE},
    )
