"""The loops over bytes in C (`_native/`), where this installation was compiled (docs/adr/0030); None elsewhere."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

_NAME = "vecferry.connectors.qdrant._codec._native"
_found = find_spec(_NAME)
native: ModuleType | None = None
if _found is not None and _found.has_location:  # the folder of the C sources alone is no module
    with suppress(ImportError):  # made on another machine, for another C library
        native = import_module(_NAME)
