"""Transforms as a person reads them, in tables and reports. Never a secret: keys are references. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vecferry.tags import canonical
from vecferry.transforms.model import Flow, Model, ReEmbed, Step


def told(flow: Flow) -> list[str]:
    """One line for each step of a flow, in order; those of one part alone name it, where there are several."""
    several = len(flow.reads) > 1
    parts = [
        f"{read.collection.rpartition('/')[2]}: {line}" if several else line
        for read in flow.reads
        for line in _lines(read.transforms)
    ]
    return [*parts, *_lines(flow.transforms)]


def _lines(steps: Sequence[Step]) -> Iterator[str]:
    return (_line(step) for step in steps)


def _line(step: Step) -> str:
    if step.rename is not None:
        return "rename " + ", ".join(f"{old} to {new}" for old, new in step.rename.items())
    if step.drop is not None:
        return "drop " + ", ".join(step.drop)
    if step.cast is not None:
        return "cast " + ", ".join(f"{key} to {kind}" for key, kind in step.cast.items())
    if step.constant is not None:
        return "constant " + ", ".join(f"{key}: {canonical(value).decode()}" for key, value in step.constant.items())
    if step.compute is not None:
        return "compute " + ", ".join(f"{key} as {template}" for key, template in step.compute.items())
    if step.filter is not None:
        return f"filter {canonical(dict(step.filter)).decode()}"
    return f"ids as {step.ids}" if step.re_embed is None else _embedding(step.re_embed)


def _embedding(step: ReEmbed) -> str:
    what = f"re-embed '{step.vector}'" if step.vector else "re-embed"
    if not step.by:
        return f"{what} with {_model(step.single)}"
    return f"{what} by {step.by}: " + ", ".join(f"{value} with {_model(one)}" for value, one in step.models.items())


def _model(model: Model) -> str:
    return f"{model.model} at {model.url}" if model.url else model.local or model.call
