"""vecferry moves vector data between databases without stopping the app, and proves that nothing was lost.

    import vecferry

    found = vecferry.inspect("chroma:./chroma_db")
    plan = vecferry.plan("chroma:./chroma_db", "qdrant+http://localhost:6333")
    done = vecferry.migrate("chroma:./chroma_db", "qdrant+http://localhost:6333", yes=True)
    proof = vecferry.verify("chroma:./chroma_db", "qdrant+http://localhost:6333")

Importing this package imports no store's client; each function loads what it needs when it is called.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vecferry.version import __version__

if TYPE_CHECKING:
    from vecferry.doctor import examine as doctor
    from vecferry.errors import VecferryError
    from vecferry.migration import Migration, Settings, compare, inspect, migrate, plan, repair, verify
    from vecferry.migration.backups import backup, restore
    from vecferry.registry import open_database

__all__ = [
    "Migration",
    "Settings",
    "VecferryError",
    "__version__",
    "backup",
    "compare",
    "doctor",
    "inspect",
    "migrate",
    "open_database",
    "plan",
    "repair",
    "restore",
    "verify",
]

_HOME = {
    "VecferryError": ("vecferry.errors", "VecferryError"),
    "backup": ("vecferry.migration.backups", "backup"),
    "doctor": ("vecferry.doctor", "examine"),
    "restore": ("vecferry.migration.backups", "restore"),
    "open_database": ("vecferry.registry", "open_database"),
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use, so that `import vecferry` stays light."""
    if name not in __all__:
        raise AttributeError(f"module 'vecferry' has no attribute '{name}'")
    module, attribute = _HOME.get(name, ("vecferry.migration", name))
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
