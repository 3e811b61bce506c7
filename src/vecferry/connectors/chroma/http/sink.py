"""The writing side of a collection on a server: that of a directory, and how the server changes cosine vectors."""

from __future__ import annotations

import pyarrow as pa

from vecferry.arrow import as_array, column, dense
from vecferry.connectors.chroma import rounding
from vecferry.connectors.chroma.columns import keeps_bits
from vecferry.connectors.chroma.sink import ChromaSink
from vecferry.model import Metric


class ServerSink(ChromaSink):
    """A sink that knows what reading back will give (`vecferry.protocols.Predictive`)."""

    def expect(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """What reading `batch` back from this server gives, bit for bit. Pure."""
        vector = self._spec.vectors[0]
        exact = vector.metric is not Metric.COSINE or keeps_bits(self._spec, self._open_client().holds)
        if exact or not batch.num_rows:
            return batch
        name = column(vector)
        array = as_array(rounding.rounded(dense(batch, vector)), batch.schema.field(name).type)
        return batch.set_column(batch.schema.get_field_index(name), batch.schema.field(name), array)
