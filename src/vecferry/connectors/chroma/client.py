"""Chroma's own embedded client behind a small fence: opened without telemetry, its errors turned into ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vecferry.catalog import gone
from vecferry.connectors.chroma import _codec
from vecferry.connectors.chroma.emptying import empty
from vecferry.errors import ConfigError, StoreFull
from vecferry.registry import missing_extra


class Client:
    """A `chromadb.PersistentClient` per tenant and database of one directory."""

    holds = _codec.LOCAL
    card_bytes: int | None = None
    card_keys: int | None = None

    def __init__(self, path: Path) -> None:
        """Open `path`, made where it is not there.

        Raises:
            ConfigError: chromadb is not installed, or this process has the directory open with other settings.
            StoreFull: the directory cannot be written.
        """
        try:
            import chromadb
            from chromadb.config import Settings
        except ImportError as error:
            raise missing_extra("Writing a Chroma directory and searching it", "chroma-local") from error
        self._module = chromadb
        self._path = path
        self._settings = Settings(anonymized_telemetry=False, is_persistent=True, persist_directory=str(path))
        self._clients: dict[tuple[str, str], Any] = {}
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._admin = chromadb.AdminClient(self._settings)
        except OSError as error:
            raise StoreFull(
                f"{path} cannot be written: {error.strerror}.",
                store=f"chroma:{path}",
                hint="Free some space or allow writing there, then run the same command again.",
            ) from error
        except ValueError as error:
            raise ConfigError(
                f"This process has {path} open with other settings: {error}.",
                hint="Close that client, or run vecferry in a process of its own.",
            ) from error

    @property
    def store(self) -> str:
        return f"chroma:{self._path}"

    @property
    def orders(self) -> Path:
        return self._path

    @property
    def refusals(self) -> tuple[type[Exception], ...]:
        """What the client raises where it does not take an argument, such as a filter that a newer one knows."""
        return (ValueError, self._module.errors.InvalidArgumentError)

    def of(self, tenant: str, database: str, *, make: bool = False) -> Any:
        """The client for one database of one tenant; both are created where `make` says so."""
        key = (tenant, database)
        if key not in self._clients:
            if make:
                self._make(tenant, database)
            self._clients[key] = self._module.PersistentClient(
                str(self._path), settings=self._settings, tenant=tenant, database=database
            )
        return self._clients[key]

    def collection(self, tenant: str, database: str, name: str) -> Any:
        """A collection.

        Raises:
            NotFound: it is not there.
        """
        try:
            return self.of(tenant, database).get_collection(name, embedding_function=None)
        except (self._module.errors.NotFoundError, ValueError) as error:
            raise gone(name, store=f"chroma:{self._path}") from error

    def create(
        self, tenant: str, database: str, name: str, *, metadata: dict[str, Any] | None, hnsw: dict[str, Any]
    ) -> Any:
        """Make a collection."""
        return self.of(tenant, database, make=True).create_collection(
            name, embedding_function=None, metadata=metadata, configuration={"hnsw": hnsw}
        )

    def modify(self, collection: Any, metadata: dict[str, Any]) -> None:
        """Replace a collection's metadata.

        By the call beneath chromadb's own `Collection.modify`, which refuses `hnsw:space` even where it stays as it is.
        """
        where = {"tenant": collection.tenant, "database": collection.database}
        collection._client._modify(id=collection.id, new_metadata=metadata, **where)  # noqa: SLF001

    def drop(self, tenant: str, database: str, name: str) -> None:
        """Remove a collection, emptied first (see `emptying`)."""
        empty(self.collection(tenant, database, name))
        self.of(tenant, database).delete_collection(name)

    def close(self) -> None:
        """Let the files go."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _make(self, tenant: str, database: str) -> None:
        try:
            self._admin.get_tenant(tenant)
        except Exception:  # noqa: BLE001 (the client raises many kinds for "not there"; create says what is wrong)
            self._admin.create_tenant(tenant)
        try:
            self._admin.get_database(database, tenant)
        except Exception:  # noqa: BLE001
            self._admin.create_database(database, tenant)
