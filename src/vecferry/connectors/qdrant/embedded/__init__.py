"""Qdrant embedded in a folder, on Qdrant's own edge engine (docs/adr/0005)."""
