"""The stories use the fixtures of the tests of the command."""

from tests.e2e.conftest import chroma_process, clients, vecferry

__all__ = ["chroma_process", "clients", "vecferry"]
