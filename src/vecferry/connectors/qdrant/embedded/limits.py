"""What Qdrant's edge engine and qdrant-client's local mode hold, where it differs from a server."""

from __future__ import annotations

from dataclasses import replace

from vecferry.connectors.qdrant.facts import LIMITS

EMBEDDED = replace(LIMITS, store="qdrant (embedded)", needs_dimension=False, collection_name=r"(?s).+")
"""Collections lie in folders with names of ours, so they may be called anything."""

LOCAL_MODE = replace(LIMITS, store="qdrant (local mode)", normalises=frozenset(), restores=frozenset(), scores={})
"""Only read: what it holds is what comes out, cosine vectors with their length."""
