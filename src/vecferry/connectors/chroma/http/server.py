"""One Chroma server: which generation it speaks, its tenants, databases and collections.

Servers from 1.0 on and Cloud speak `/api/v2`, those before `/api/v1`, late ones of them both. What a server says of its
version is no guide: 1.5.9 answers "1.0.0". So it is asked for what it answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from platformdirs import user_state_path

from vecferry.catalog import find, gone
from vecferry.connectors.chroma import _codec
from vecferry.connectors.chroma.emptying import empty
from vecferry.connectors.chroma.http import facts, failures
from vecferry.connectors.chroma.http.address import Address
from vecferry.connectors.chroma.http.collection import Collection
from vecferry.connectors.chroma.http.transport import Http
from vecferry.errors import AlreadyExists, ConfigError, NotFound, Unsupported
from vecferry.limits import Limits

_LISTED = 100
"""Collections, or databases, of one answer."""


class Server:
    """Thread-safe. Also what a sink asks of a store (`connectors.chroma.sink.Client`)."""

    def __init__(self, address: Address) -> None:
        """Connect, and prove that Chroma answers and takes the key.

        Raises:
            ConfigError, Unavailable, AuthFailed: with a message that says what to do.
        """
        self.address = address
        self.http = Http(address)
        try:
            self.v2 = self._speaks_v2()
            self.version = str(self.http.call("GET", self._api("version")))
            self._identity = self._who()
            self.ask_for_collections(self.http)
        except BaseException:
            self.http.close()
            raise

    @property
    def store(self) -> str:
        return self.address.store

    @property
    def old(self) -> bool:
        """True before 1.0: index settings in the collection's metadata, no lists, short names."""
        return self.version.startswith("0.")

    # ----------------------------------------------------------------------- what it holds

    @cached_property
    def most(self) -> int:
        """Records that one request may name or bring."""
        if self.address.cloud:
            return facts.CLOUD_MOST
        with suppress(NotFound, Unsupported):
            said = self.http.call("GET", self._api("pre-flight-checks"))
            return max(1, min(facts.MOST, int(said.get("max_batch_size") or facts.MOST)))
        return facts.MOST

    @property
    def listed(self) -> int:
        """Ids alone that one answer may hold."""
        return facts.CLOUD_MOST if self.address.cloud else facts.ID_PAGE

    @cached_property
    def has_lists(self) -> bool:
        """Whether metadata may hold lists: the server's own description of its interface says it."""
        if self.address.cloud:
            return True
        try:
            schemas = self.http.call("GET", "/openapi.json")["components"]["schemas"]
            forms = schemas["HashMap"]["additionalProperties"]["oneOf"]
        except (NotFound, ConfigError, KeyError, TypeError):
            return False
        return any(form.get("type") == "array" for form in forms)

    @cached_property
    def limits(self) -> Limits:
        if self.address.cloud:
            return facts.CLOUD
        if self.old:
            return facts.OLD_SERVER
        return facts.SERVER if self.has_lists else facts.LISTLESS_SERVER

    @cached_property
    def holds(self) -> _codec.Holds:
        if self.address.cloud:
            return facts.CLOUD_HOLDS
        return _codec.Holds(lists=self.has_lists, rounds=True, rounds_some=self.old)

    @property
    def card_bytes(self) -> int | None:
        return facts.CLOUD_CARD_BYTES if self.address.cloud else None

    @property
    def card_keys(self) -> int | None:
        return facts.CLOUD_CARD_KEYS if self.address.cloud else None

    @property
    def orders(self) -> Path:
        """A folder of the user's own: what a load has to remember cannot lie on the server."""
        folder = user_state_path("vecferry") / "chroma-orders"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    # ----------------------------------------------------------------------- tenants and databases

    @property
    def tenant(self) -> str:
        said = str(self._identity.get("tenant") or "*")
        return self.address.tenant or (_codec.DEFAULT_NAMESPACE[0] if said == "*" else said)

    @property
    def namespace(self) -> tuple[str, str]:
        """Where a collection goes that names no (tenant, database)."""
        return self.tenant, self._first_database()

    def databases(self) -> list[str]:
        """The databases to look into: the one that the URL names, or all that the server tells of."""
        if self.address.database:
            return [self.address.database]
        known = [str(name) for name in self._identity.get("databases") or () if name != "*"]
        try:
            path = self._api(f"tenants/{_quoted(self.tenant)}/databases")
            listed = [str(one["name"]) for one in self._listed(path, {})] if self.v2 else []
        except (NotFound, Unsupported):
            listed = []
        return sorted({*listed, *known}) or [_codec.DEFAULT_NAMESPACE[1]]

    def _first_database(self) -> str:
        known = [str(name) for name in self._identity.get("databases") or () if name != "*"]
        return self.address.database or (known[0] if len(known) == 1 else _codec.DEFAULT_NAMESPACE[1])

    def _make(self, tenant: str, database: str) -> None:
        """Make a database, and its tenant, where they are not there."""
        if self._there(tenant, database):
            return
        if not self.address.cloud and not self._there(tenant):
            with suppress(AlreadyExists):
                self.http.call("POST", self._api("tenants"), {"name": tenant})
        path = f"tenants/{_quoted(tenant)}/databases" if self.v2 else "databases"
        with suppress(AlreadyExists):
            self.http.call("POST", self._api(path), {"name": database}, **({} if self.v2 else {"tenant": tenant}))

    def _there(self, tenant: str, database: str | None = None) -> bool:
        path = f"tenants/{_quoted(tenant)}"
        params = {}
        if database is not None:
            path = f"{path}/databases/{_quoted(database)}" if self.v2 else f"databases/{_quoted(database)}"
            params = {} if self.v2 else {"tenant": tenant}
        try:
            self.http.call("GET", self._api(path), **params)
        except NotFound:
            return False
        return True

    # ----------------------------------------------------------------------- collections

    def names(self) -> Iterator[tuple[str, str, Collection]]:
        """(tenant, database, collection) of every collection, in the order of their names."""
        for database in self.databases():
            found = {str(raw["name"]): raw for raw in self._listed(*self._collections(self.tenant, database))}
            for name in sorted(found):
                yield self.tenant, database, self._collection(self.tenant, database, found[name])

    def find(self, wanted: str) -> tuple[str, str, Collection]:
        """The collection whose qualified name or, where only one has it, name is `wanted`.

        Raises:
            NotFound: none, or several; lists near names.
        """
        found: dict[tuple[str, ...], tuple[str, str, Collection]] = {}
        for tenant, database, collection in self.names():
            found[*_codec.namespace(tenant, database), collection.name] = tenant, database, collection
            if wanted == f"{tenant}/{database}/{collection.name}":
                return tenant, database, collection
        return found[find(found, wanted, store=str(self.address.url))]

    def ask_for_collections(self, http: Http) -> None:
        """One request that only who may read gets an answer to.

        Raises:
            AuthFailed: the key is missing or wrong.
        """
        path, params = self._collections(*self.namespace)
        with suppress(NotFound):  # a database that is to be made
            http.call("GET", path, limit=1, offset=0, **params)

    def collection(self, tenant: str, database: str, name: str) -> Collection:
        """A collection.

        Raises:
            NotFound: it is not there.
        """
        with suppress(NotFound):  # no such tenant or database
            for raw in self._listed(*self._collections(tenant, database)):
                if raw["name"] == name:
                    return self._collection(tenant, database, raw)
        raise gone(name, store=str(self.address.url))

    def create(
        self, tenant: str, database: str, name: str, *, metadata: dict[str, Any] | None, hnsw: dict[str, Any]
    ) -> Collection:
        """Make a collection, and the database and the tenant that it is to stand in."""
        self._make(tenant, database)
        path, params = self._collections(tenant, database)
        body: dict[str, Any] = {"name": name, "metadata": metadata, "get_or_create": False}
        if self.old:
            body["metadata"] = {**(metadata or {}), **_codec.legacy_settings(hnsw)}
        else:
            body["configuration"] = {"hnsw": {"space": hnsw["space"]} if self.address.cloud else hnsw}
        return self._collection(tenant, database, self.http.call("POST", path, body, **params))

    def modify(self, collection: Collection, metadata: dict[str, Any]) -> None:
        """Replace a collection's metadata."""
        collection.modify(metadata)

    def drop(self, tenant: str, database: str, name: str) -> None:
        """Remove a collection; what holds lists is emptied first (see `emptying`)."""
        path, params = self._collections(tenant, database)
        with suppress(NotFound):
            if self.has_lists and not self.address.cloud:
                empty(self.collection(tenant, database, name))
            self.http.call("DELETE", f"{path}/{_quoted(name)}", **params)

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    # ----------------------------------------------------------------------- within

    def _api(self, path: str) -> str:
        return f"/api/{'v2' if self.v2 else 'v1'}/{path}"

    def _collections(self, tenant: str, database: str) -> tuple[str, dict[str, str]]:
        """(path, parameters) of the collections of a database."""
        if self.v2:
            return self._api(f"tenants/{_quoted(tenant)}/databases/{_quoted(database)}/collections"), {}
        return self._api("collections"), {"tenant": tenant, "database": database}

    def _collection(self, tenant: str, database: str, raw: Mapping[str, Any]) -> Collection:
        path = f"{self._collections(tenant, database)[0]}/{raw['id']}"
        return Collection(self.http, path, raw, most=self.most, listed=self.listed, old=self.old)

    def _listed(self, path: str, params: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Every item of a list, page by page; a page may be shorter than it was asked for."""
        seen: set[str] = set()
        while True:
            page = self.http.call("GET", path, limit=_LISTED, offset=len(seen), **params)
            if not isinstance(page, list):
                raise failures.not_chroma(self.store)
            new = [one for one in page if str(one["id"]) not in seen]
            if not new:
                return
            seen.update(str(one["id"]) for one in new)
            yield from new

    def _speaks_v2(self) -> bool:
        """Raises NotChroma where neither generation answers."""
        for generation in ("v2", "v1"):
            try:
                said = self.http.call("GET", f"/api/{generation}/heartbeat")
            except (NotFound, Unsupported):
                continue
            if isinstance(said, dict) and "nanosecond heartbeat" in said:
                return generation == "v2"
        raise failures.not_chroma(self.store)

    def _who(self) -> Mapping[str, Any]:
        """Whose key it is, as far as the server says."""
        if not self.v2:
            return {}
        try:
            said = self.http.call("GET", self._api("auth/identity"))
        except (NotFound, Unsupported):
            return {}
        return said if isinstance(said, dict) else {}


def _quoted(name: str) -> str:
    return quote(name, safe="")
