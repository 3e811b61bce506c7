"""Small collections and steps for tests of transforms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecferry.arrow import from_records, to_records
from vecferry.arrow import validate as check
from vecferry.model import CollectionSpec, Record, Rejection, VectorSpec
from vecferry.transforms import Cache, Embedders, Step
from vecferry.transforms.chain import Chain

SPEC = CollectionSpec(name="docs", vectors=(VectorSpec(dim=3),))


def record(ident: str, metadata: dict[str, Any] | None = None, document: str | None = None) -> Record:
    return Record(
        id=ident, vectors={"": np.array([1, 2, 3], np.float32)}, document=document, uri=f"u:{ident}", metadata=metadata
    )


def chain(*steps: Step, spec: CollectionSpec = SPEC, folder: Path | None = None, paying: bool = True) -> Chain:
    for step in steps:
        step.check()
    return Chain(steps, spec, Embedders(Cache((folder or Path("unused")) / "cache.sqlite"), paying=paying))


def through(
    made: Chain, records: Sequence[Record], spec: CollectionSpec = SPEC
) -> tuple[list[Record], list[Rejection]]:
    """(records that go on, records that are set aside); what goes on is a valid batch of the chain's spec."""
    batch, aside = made.apply(from_records(spec, records))
    check(batch, made.spec)
    return to_records(batch, made.spec), list(aside)


def metadata(*steps: Step, of: Sequence[dict[str, Any] | None]) -> list[dict[str, Any] | None]:
    """The metadata of records that go on."""
    records = [record(f"r{number}", value) for number, value in enumerate(of)]
    return [None if one.metadata is None else dict(one.metadata) for one in through(chain(*steps), records)[0]]


def reasons(*steps: Step, of: Sequence[dict[str, Any] | None]) -> dict[str, str]:
    """Id -> why a record is set aside."""
    records = [record(f"r{number}", value) for number, value in enumerate(of)]
    aside = through(chain(*steps), records)[1]
    assert all(one.aside for one in aside)
    return {one.id: one.reason for one in aside}


def lengths(texts: list[str]) -> NDArray[np.float32]:
    """A model for `call:`: two dimensions, made of the text alone; texts of "bad" are refused."""
    if "bad" in texts:
        raise ValueError("a bad text")
    CALLS.append(texts)
    return np.array([[len(text), sum(text.encode())] for text in texts], np.float32)


CALLS: list[list[str]] = []
"""What `lengths` was asked for since a test cleared it."""
