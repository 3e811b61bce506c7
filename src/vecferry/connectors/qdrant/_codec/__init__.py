"""Everything about Qdrant that does no I/O: what a record looks like as a point, and both wire formats. Pure.

`form` says what is stored (used by the server connector and by the embedded one), `wire`, `values`, `grpc_write` and
`grpc_read` speak protobuf, `rest` speaks JSON, `filters` translates filters, `settings` translates collection specs.
"""
