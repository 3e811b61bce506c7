"""What a person reads before the first write: what is there, and the plan. What came out of a store is plain text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from vecferry.layouts import LAYOUTS
from vecferry.model import VectorSpec
from vecferry.planning.model import Cell, Inspection, Plan, Profile, Verdict
from vecferry.progress import duration, size

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import Console
    from rich.text import Text

    from vecferry.planning.targets import TargetState
    from vecferry.verification.drift import Drift

_UNITS = 5
_VERDICT = {
    Verdict.EXACT: "green",
    Verdict.RESTORABLE: "cyan",
    Verdict.LOSSY: "yellow",
    Verdict.IMPOSSIBLE: "red",
}


def table(
    console: Console, title: str, heads: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Sequence[str] = ()
) -> None:
    """A table; `numbers` names the columns that are aligned right. Cells are plain text, never markup."""
    from rich.table import Table
    from rich.text import Text

    console.print(Text(title, "bold"))
    shown = Table(header_style="dim", box=None, pad_edge=False)
    for head in heads:
        shown.add_column(head, justify="right" if head in numbers else "left", overflow="fold", min_width=len(head))
    for row in rows:
        shown.add_row(*(cell if isinstance(cell, Text) else plain(cell) for cell in row))
    console.print(shown)
    console.print()


def plain(value: object) -> Text:
    """`value` as text that a terminal shows as it is: no markup, no control characters."""
    from rich.text import Text

    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return Text("".join(char if char.isprintable() else "\ufffd" for char in text))


def inspection(console: Console, found: Inspection) -> None:
    """The collections of a store, and what is remarkable about each."""
    when = f", read from a snapshot of {found.pin.at:%Y-%m-%d %H:%M:%S %Z}" if found.pin else ""
    console.print(f"[bold]{found.store.kind}[/] {found.store.where} {found.store.version}{when}", highlight=False)
    console.print()
    rows = [
        (p.spec.qualified_name, p.records, _vectors(p.spec.vectors), size(p.bytes), len(p.keys), p.layout)
        for p in found.profiles
    ]
    title = f"{len(found.profiles)} collections, {found.records:,} records"
    table(
        console,
        title,
        ("collection", "records", "vectors", "size", "keys", "layout"),
        rows,
        numbers=("records", "size", "keys"),
    )
    noted = [p for p in found.profiles if p.layout_note]
    for p in noted:
        console.print(plain(f"{p.spec.qualified_name}: {p.layout_note}"))
    if noted:
        console.print()


def details(console: Console, profile: Profile) -> None:
    """One collection in full: keys with their types, and every shape that some store cannot hold."""
    keys = [
        (
            key,
            ", ".join(f"{name} {count:,}" for name, count in found.types.items()),
            _examples(v for v, _ in found.values),
        )
        for key, found in profile.keys.items()
    ]
    if keys:
        table(console, f"{profile.spec.qualified_name}: metadata keys", ("key", "types", "most frequent"), keys)
    shapes = [(shape, seen.count, _examples(seen.examples)) for shape, seen in profile.shapes.items()]
    if shapes:
        table(
            console,
            f"{profile.spec.qualified_name}: remarkable",
            ("what", "records", "examples"),
            shapes,
            numbers=("records",),
        )


def the_plan(console: Console, plan: Plan) -> None:
    """What would be done, as tables: collections, then what does not fit as it is."""
    console.print(f"From [bold]{plan.source_url}[/]", highlight=False)
    console.print(f"to   [bold]{plan.target_url}[/] over {plan.target.transport or 'files'}", highlight=False)
    if plan.pin:
        console.print(f"as of {plan.pin.at:%Y-%m-%d %H:%M:%S %Z}, when the snapshot was taken", highlight=False)
    console.print()
    rows = [
        (c.source, c.target.qualified_name, c.records, size(c.bytes), _vectors(c.target.vectors), _worst(c.cells))
        for c in plan.collections
    ]
    title = f"{len(plan.collections)} collections, {plan.records:,} records"
    table(
        console,
        title,
        ("source", "target", "records", "size", "vectors", "fidelity"),
        rows,
        numbers=("records", "size"),
    )
    for layout, names in _layouts(plan).items():
        console.print(plain(f"Layout {layout}, so that {LAYOUTS[layout].writer} reads it: {', '.join(names)}"))
        console.print()
    if plan.left_out:
        left_out = ", ".join(plan.left_out)
        console.print(f"Left out, empty and of unknown dimension: {left_out}\n", markup=False, highlight=False)
    _units(console, plan)
    _changes(console, plan)
    _estimate(console, plan)
    _cells(console, plan)


def _layouts(plan: Plan) -> dict[str, list[str]]:
    """Layout -> target collections that a framework is to read in it."""
    found: dict[str, list[str]] = {}
    for collection in plan.collections:
        card = collection.target.card
        if card is not None and card.layout in LAYOUTS and LAYOUTS[card.layout].writer:
            found.setdefault(card.layout, []).append(collection.target.name)
    return found


def standing(console: Console, states: Sequence[TargetState]) -> None:
    """What is in the target under the names of the plan."""
    rows = [
        (s.target, s.standing, s.records, _vectors(s.found.vectors), _date(s.written), s.whose if s.records else "")
        for s in states
        if s.found is not None
    ]
    if rows:
        heads = ("collection", "is", "records", "vectors", "last written", "by")
        table(console, "In the target already", heads, rows, numbers=("records",))


def _date(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC" if at is not None else "unknown"


def drifts(console: Console, found: Sequence[Drift], *, delete: bool) -> None:
    """What a synchronisation would do, counted; `delete` says that it also deletes what only the target has."""
    if not found:
        return
    rows = [(one.source, one.target, one.records, one.added, one.changed, one.extra) for one in found]
    extra = "to delete" if delete else "only in the target"
    heads = ("source", "target", "records", "to add", "to change", extra)
    table(console, "What differs", heads, rows, numbers=heads[2:])
    if not delete and any(one.extra for one in found):
        console.print("What only the target has stays there; --delete would remove it.\n")


def _units(console: Console, plan: Plan) -> None:
    """In which order units are moved, and which stay."""
    from vecferry.tables.units import rows_by_unit, shown

    rows = []
    for collection in plan.collections:
        units = rows_by_unit(collection.partitions)
        moved = [f"{shown(unit)} ({count:,})" for unit, count in units.items() if unit not in collection.stays]
        stay = [shown(unit) for unit in collection.stays]
        if units:
            rows.append((collection.source, len(units), _some(moved), _some(stay)))
    if rows:
        heads = ("collection", "units", "moved in this order (records)", "stay in the source")
        table(console, "Unit by unit", heads, rows, numbers=("units",))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_UNITS]) + (f" and {len(names) - _UNITS:,} more" if len(names) > _UNITS else "")


def _changes(console: Console, plan: Plan) -> None:
    """What is done to records on the way."""
    from vecferry.planning.flows import flows_of
    from vecferry.transforms import told

    rows = []
    for flow in flows_of(plan.collections):
        if not flow.plain:
            first = (flow.name, ", ".join(read.collection for read in flow.reads))
            lines = told(flow) or ["as they are"]
            rows += [(*(first if number == 0 else ("", "")), line) for number, line in enumerate(lines)]
    if rows:
        table(console, "Changed on the way", ("collection", "from", "transforms"), rows)


def _estimate(console: Console, plan: Plan) -> None:
    seconds = sum(c.estimate.seconds for c in plan.collections)
    memory = sum(c.estimate.memory_bytes for c in plan.collections)
    disk = sum(c.estimate.disk_bytes for c in plan.collections)
    console.print(
        f"About {duration(seconds)}; the target will need about {size(memory)} of memory and {size(disk)} of disk.",
        highlight=False,
    )
    if texts := sum(c.estimate.texts for c in plan.collections):
        tokens, price = (sum(getattr(c.estimate, name) for c in plan.collections) for name in ("tokens", "price"))
        paid = f", about {max(price, 0.01):,.2f} at the given price" if price else ""
        told = f"At most {texts:,} texts to embed, about {tokens:,} tokens{paid}; texts embedded before cost nothing."
        console.print(told, highlight=False)
    console.print()


def _cells(console: Console, plan: Plan) -> None:
    """What is not exact, worst first; the same thing in several collections is said once."""
    from rich.text import Text

    found: dict[tuple[str, Verdict, str, str], list[tuple[str, int]]] = {}
    for collection in plan.collections:
        for cell in collection.cells:
            if cell.verdict is not Verdict.EXACT:
                key = (cell.shape, cell.verdict, cell.meaning, cell.policy or "")
                found.setdefault(key, []).append((collection.source, cell.count))
    order = list(reversed(Verdict))
    rows = [
        (shape, Text(verdict, _VERDICT[verdict]), sum(count for _, count in where), _where(where), meaning, policy)
        for (shape, verdict, meaning, policy), where in sorted(found.items(), key=lambda item: order.index(item[0][1]))
    ]
    if rows:
        heads = ("what", "verdict", "records", "where", "what happens", "policy")
        table(console, "What the target cannot hold as it is", heads, rows, numbers=("records",))


def _where(found: Sequence[tuple[str, int]]) -> str:
    names = [name for name, _ in found]
    return ", ".join(names) if len(names) <= 2 else f"{len(names)} collections"


def _vectors(vectors: Sequence[VectorSpec]) -> str:
    return ", ".join(f"{v.name + ' ' if v.name else ''}{v.dim or '?'} {v.metric} {v.element}" for v in vectors)


def _worst(cells: Sequence[Cell]) -> str:
    found = {cell.verdict for cell in cells}
    return next((v.value for v in reversed(Verdict) if v in found), Verdict.EXACT.value)


def _examples(values: Iterable[object]) -> str:
    texts = [str(value) for value in values][:3]
    return ", ".join(text if len(text) <= 32 else text[:31] + "…" for text in texts)
