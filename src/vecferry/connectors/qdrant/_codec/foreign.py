"""How the records of a collection stand in it, told by its card, or, of somebody else's, by its payloads. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vecferry.connectors.qdrant._codec.form import Form
from vecferry.connectors.qdrant._codec.indexes import described_indexes
from vecferry.layouts import layout as find_layout
from vecferry.layouts.detect import detect_payloads
from vecferry.model import CollectionSpec, IdKind

SAMPLE = 256
"""Payloads that are looked at to learn somebody else's layout."""
Payloads = Sequence[Mapping[str, Any]]


def form_of(spec: CollectionSpec, schema: Mapping[str, Any], sample: Callable[[], Payloads]) -> Form:
    """The form of a collection, its spec completed by the payload indexes and the layout that was found.

    Args:
        schema: its `payload_schema`, as Qdrant tells it.
        sample: some payloads; asked for only where there is no card.
    """
    name = "flat" if spec.card is not None else detect_payloads(sample())
    if find_layout(name).id_rule is not None:  # points bear what a framework made of its own ids
        spec = replace(spec, id_kind=IdKind.TEXT)
    form = Form(spec, foreign_layout=name)
    found = "" if form.ours else form.layout.name
    spec = replace(spec, indexes=described_indexes(schema, form.layout), layout=found)
    return Form(spec, foreign_layout=form.layout.name)
