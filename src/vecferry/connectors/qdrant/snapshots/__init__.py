"""`qdrant+snapshot:FILE`: snapshots that a Qdrant server made, read without a server, by its edge engine."""
