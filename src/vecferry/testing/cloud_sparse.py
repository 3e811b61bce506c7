"""Sparse vectors as metadata values, which Chroma Cloud takes and the Chroma server behind the double does not.

On the way in each becomes a string with a mark, on the way out it is undone: so the real server keeps them, merges and
deletes them with the rest of the metadata, and the double remembers nothing. Form: chromadb's `SparseVector`,
`{"#type": "sparse_vector", "indices": [...], "values": [...], "tokens": [...]}` (tokens optional).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import orjson

from vecferry.testing.cloud_http import Answer, Request
from vecferry.testing.cloud_quotas import SPARSE_VECTOR, is_sparse

MARK = "chroma-cloud-double:sparse:"


def invalid(metadatas: object) -> str | None:
    """What is wrong with a sparse vector among `metadatas`, None where all are right. The wording is our guess."""
    for metadata in metadatas if isinstance(metadatas, list) else []:
        for key, value in (metadata or {}).items():
            if is_sparse(value) and (wrong := _wrong(value)):
                return f"Invalid sparse vector in metadata key '{key}': {wrong}"
    return None


def hidden(request: Request) -> Request:
    """The request as the real server takes it."""
    if request.content is None or SPARSE_VECTOR.encode() not in request.body:
        return request
    return request.with_content({**request.content, "metadatas": _each(request.content.get("metadatas"), _hide)})


def shown(answer: Answer) -> Answer:
    """The answer as Cloud gives it."""
    if MARK.encode() not in answer.body:
        return answer
    content = orjson.loads(answer.body)
    return replace(answer, body=orjson.dumps({**content, "metadatas": _each(content.get("metadatas"), _show)}))


def _each(metadatas: Any, change: Any) -> Any:
    """`metadatas` (a list, a list of lists, or nothing) with every value changed."""
    if isinstance(metadatas, list):
        return [_each(metadata, change) for metadata in metadatas]
    if isinstance(metadatas, dict):
        return {key: change(value) for key, value in metadatas.items()}
    return metadatas


def _hide(value: Any) -> Any:
    if not is_sparse(value):
        return value
    # Cloud keeps float32: a number comes back as the shortest text of its float32
    values = [float(str(np.float32(number))) for number in value["values"]]
    return MARK + orjson.dumps({**value, "values": values}).decode()


def _show(value: Any) -> Any:
    return orjson.loads(value[len(MARK) :]) if isinstance(value, str) and value.startswith(MARK) else value


def _wrong(value: Mapping[str, Any]) -> str | None:
    indices, values, tokens = value.get("indices"), value.get("values"), value.get("tokens")
    if not isinstance(indices, list) or not isinstance(values, list) or len(indices) != len(values):
        return "indices and values must be lists of the same length"
    if not all(isinstance(index, int) and 0 <= index < 2**32 for index in indices):
        return "indices must be unsigned 32-bit integers"
    if any(left >= right for left, right in pairwise(indices)):
        return "indices must be strictly ascending"
    if tokens is not None and len(tokens) != len(indices):
        return "tokens must be as many as indices"
    return None
