"""What a Chroma server and Chroma Cloud hold, as data.

Cloud's numbers are those of its documentation (Quotas & Limits, October 2026); nobody ran them against Cloud here.
"""

from __future__ import annotations

from dataclasses import replace

from vecferry.connectors.chroma._codec import LIMITS, Holds
from vecferry.limits import Shape

REQUEST_BYTES = 40 << 20
"""The largest body that a server of 1.x takes (its `max_payload_size_bytes`)."""
MOST = 1_000
"""Records per request: more are not faster, neither to read nor to write."""
CLOUD_MOST = 300
CLOUD_IN_FLIGHT = 4
IN_FLIGHT = 3
"""Requests of one reader under way. Cloud allows 10 in a collection, the application's own among them."""
ID_PAGE = 20_000
PREDICATES = 8
"""Conditions that one filter of Cloud may have."""
CLOUD_CARD_BYTES, CLOUD_CARD_KEYS = 256, 32

SERVER = replace(LIMITS, store="Chroma server", request_bytes=REQUEST_BYTES, request_records=MOST, keeps_bits=True)
LISTLESS_SERVER = replace(SERVER, keeps=SERVER.keeps - {Shape.LIST}, restores=SERVER.restores | {Shape.LIST})
"""From 1.0 until lists came."""
OLD_SERVER = replace(LISTLESS_SERVER, collection_name=r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,61}[a-zA-Z0-9]")
"""Before 1.0."""
CLOUD = replace(
    SERVER,
    store="Chroma Cloud",
    request_records=CLOUD_MOST,
    max_dim=4_096,
    id_bytes=128,
    document_bytes=16_384,
    metadata_keys=32,
    key_bytes=36,
    value_bytes=8_182,
    uri_bytes=256,
    records=5_000_000,
    restores=SERVER.restores | {Shape.LONG_KEY},
    collection_name=r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,126}[a-zA-Z0-9]",
)
CLOUD_HOLDS = Holds(rounds=True, sparse=True, keys=32, key_bytes=36, value_bytes=8_182)
