"""The writing side of a collection on a server: that of a directory, and how the server changes cosine vectors."""

from __future__ import annotations

import pyarrow as pa

from vecferry.arrow import as_array, column, dense
from vecferry.connectors.chroma import _codec
from vecferry.connectors.chroma.sink import ChromaSink
from vecferry.model import Keep, Metric


class ServerSink(ChromaSink):
    """A sink that knows what reading back will give (`vecferry.protocols.Predictive`)."""

    def expect(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """What reading `batch` back from this server gives, bit for bit. Pure."""
        vector, card = self._spec.vectors[0], self._spec.card
        kept = card is not None and card.exact_vectors is Keep.BITS
        if vector.metric is not Metric.COSINE or kept or not batch.num_rows:
            return batch
        name = column(vector)
        array = as_array(_codec.rounded(dense(batch, vector)), batch.schema.field(name).type)
        return batch.set_column(batch.schema.get_field_index(name), batch.schema.field(name), array)
