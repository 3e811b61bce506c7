"""Sparse vectors as pgvector takes them: without zeros, with few enough values, below its most dimensions. Pure."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vecferry.connectors.postgres._codec.copy_write import Cells, sparse

MOST_VALUES = 16_000
"""Values of one sparsevec (pgvector, sparsevec.h: SPARSEVEC_MAX_NNZ)."""


def sparse_cells(array: pa.StructArray, dim: int) -> tuple[Cells, dict[int, str]]:
    """(the cells of a sparse column, row -> why it cannot be one); zeros are left out, as pgvector wants it."""
    indices, values = array.flatten()
    lengths = pc.list_value_length(indices).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    rows = np.repeat(np.arange(len(array)), lengths)
    flat = indices.flatten().to_numpy(zero_copy_only=False)
    weights = values.flatten().to_numpy(zero_copy_only=False)
    outside = np.unique(rows[flat >= dim])
    kept = (weights != 0) & ~np.isin(rows, outside)
    counts = np.bincount(rows[kept], minlength=len(array)).astype(np.int64)
    wrong = {int(row): f"a sparse vector has indices past {dim:,}" for row in outside}
    many = np.flatnonzero(counts > MOST_VALUES)
    wrong |= {int(row): f"a sparse vector has more than {MOST_VALUES:,} values" for row in many}
    present = array.is_valid().to_numpy(zero_copy_only=False)
    return sparse(flat[kept], weights[kept], counts, present, dim), wrong
