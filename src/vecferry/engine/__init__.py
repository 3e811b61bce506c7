"""The engine: copies what a plan says, remembers how far it came, and goes on from there."""

from vecferry.engine.job import fingerprint, job, load_plan
from vecferry.engine.keeping import keeping
from vecferry.engine.model import CollectionResult, Options, RunResult
from vecferry.engine.run import migrate_collections
from vecferry.engine.stop import Stop

__all__ = [
    "CollectionResult",
    "Options",
    "RunResult",
    "Stop",
    "fingerprint",
    "job",
    "keeping",
    "load_plan",
    "migrate_collections",
]
