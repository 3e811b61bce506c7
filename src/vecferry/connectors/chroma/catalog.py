"""What a Chroma database file says of its collections: names, metrics, segments, marks of what was applied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from vecferry.connectors.chroma import _codec, cards
from vecferry.errors import CorruptData, NotFound, Unsupported
from vecferry.model import Card, CollectionSpec, IdKind, JsonObject, Metric, VectorSpec

FILE = "chroma.sqlite3"


class Reads(Protocol):
    """A connection of either SQLite library: the standard one (app's directory, making a snapshot) or APSW."""

    def execute(self, sql: str, values: tuple[Any, ...] = ..., /) -> Any: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One collection as the file describes it.

    Attributes:
        number: its place in the file's order, which snapshots use as a short key.
        vectors / metadata: names of its two segments; the first is also the name of the index folder.
        vectors_seq / metadata_seq: sequence numbers up to which the log was applied to them.
    """

    number: int
    id: str
    name: str
    tenant: str
    database: str
    dim: int | None
    metric: Metric
    vectors: str | None
    metadata: str | None
    vectors_seq: int
    metadata_seq: int
    own_metadata: JsonObject = field(default_factory=dict)
    config: JsonObject = field(default_factory=dict)
    card: Card | None = None

    @property
    def full_name(self) -> str:
        """`tenant/database/name`, whatever the tenant and the database are."""
        return f"{self.tenant}/{self.database}/{self.name}"

    @property
    def namespace(self) -> tuple[str, ...]:
        return _codec.namespace(self.tenant, self.database)

    @property
    def qualified_name(self) -> str:
        return "/".join((*self.namespace, self.name))

    def spec(self, *, count: int | None, dim: int | None) -> CollectionSpec:
        """The collection for the outside."""
        return CollectionSpec(
            name=self.name,
            namespace=self.namespace,
            uid=self.id,
            id_kind=self.card.id_kind if self.card else IdKind.TEXT,
            vectors=(VectorSpec(dim=dim, metric=self.metric),),
            metadata=self.own_metadata,
            config=self.config,
            count=count,
            card=self.card,
        )


def _file_of(db: Reads) -> str:
    """The path of the database file, as SQLite knows it."""
    return str(db.execute("PRAGMA database_list").fetchone()[2]) or FILE


def check_version(db: Reads, *, newer: bool) -> str:
    """The versions of Chroma that the file's migrations belong to, for people.

    Raises:
        NotFound: a SQLite database, but not Chroma's.
        Unsupported: migrations that this reader does not know, unless `newer` accepts them; texts not in UTF-8.
    """
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    missing = {"migrations", "collections", "segments", "embeddings", "embedding_metadata", "embeddings_queue"} - tables
    if missing:
        raise NotFound(
            f"{_file_of(db)} is a SQLite database, but not Chroma's: it lacks {', '.join(sorted(missing))}.",
            hint="Name the folder that chromadb.PersistentClient(path=…) writes to.",
        )
    if (encoding := db.execute("PRAGMA encoding").fetchone()[0]) != "UTF-8":
        raise Unsupported(
            f"{_file_of(db)} holds its texts as {encoding}, which Chroma never does.",
            hint="Make the directory anew with Chroma, or with `sqlite3 chroma.sqlite3 .dump` into a UTF-8 database.",
        )
    found = dict(db.execute("SELECT dir, max(version) FROM migrations GROUP BY dir").fetchall())
    unknown = {part: version for part, version in found.items() if version > _codec.KNOWN.get(part, 0)}
    if unknown and not newer:
        listed = ", ".join(f"{part} {found} (known: {_codec.KNOWN.get(part, 0)})" for part, found in unknown.items())
        raise Unsupported(
            f"The directory was written by a Chroma that is newer than this reader knows: migration {listed}.",
            hint="Update vecferry. To read it all the same, and verify the result with care, add ?newer=read.",
        )
    return _version(found)


def _version(found: dict[str, int]) -> str:
    if found.get("sysdb", 0) >= 10:
        return "1.x"
    return "0.5-1.x" if found.get("sysdb", 0) >= 5 else "0.4"


def entries(db: Reads) -> list[Entry]:
    """Every collection, in the order of tenant, database and name."""
    rows = db.execute(
        f"""SELECT c.id, c.name, d.tenant_id, d.name, c.dimension, {_optional(db, "config_json_str")},
                   {_optional(db, "schema_str")}
            FROM collections c JOIN databases d ON d.id = c.database_id ORDER BY d.tenant_id, d.name, c.name"""  # noqa: S608 (two column names of ours)
    ).fetchall()
    marks = {segment: _codec.sequence(seq) for segment, seq in db.execute("SELECT segment_id, seq_id FROM max_seq_id")}
    return [_entry(db, number, row, marks) for number, row in enumerate(rows)]


def columns(db: Reads, table: str) -> frozenset[str]:
    """The names of a table's columns; none where there is no such table."""
    return frozenset(name for (name,) in db.execute("SELECT name FROM pragma_table_info(?)", (table,)))


def _optional(db: Reads, name: str) -> str:
    return f"c.{name}" if name in columns(db, "collections") else "NULL"


def _entry(db: Reads, number: int, row: tuple[Any, ...], marks: dict[str, int]) -> Entry:
    uid, name, tenant, database, dim, config, schema = row
    segments = dict(db.execute("SELECT scope, id FROM segments WHERE collection = ?", (uid,)).fetchall())
    vectors, metadata = segments.get("VECTOR"), segments.get("METADATA")
    own = _own_metadata(db, "collection_metadata", "collection_id", uid)
    hnsw = _codec.hnsw_config(schema, config, {**_own_metadata(db, "segment_metadata", "segment_id", vectors), **own})
    card, own = cards.read(own), cards.without(own)
    metric = _codec.METRICS.get(str(hnsw["space"]))
    if metric is None:
        raise CorruptData(
            f"The collection {name} says that its metric is '{hnsw['space']}', which Chroma has not.",
            hint="Restore the directory from a backup.",
        )
    return Entry(
        number=number, id=uid, name=name, tenant=tenant, database=database, dim=dim, metric=metric,
        vectors=_folder(vectors), metadata=metadata,
        vectors_seq=marks.get(vectors or "", 0), metadata_seq=marks.get(metadata or "", 0),
        own_metadata=_codec.unwrap_collection(own) if card else own, config={"hnsw": hnsw}, card=card,
    )  # fmt: skip


def _folder(segment: str | None) -> str | None:
    """A segment's name as that of a folder: a UUID, so that a hostile file cannot lead us elsewhere."""
    try:
        return str(UUID(segment)) if segment else None
    except ValueError as error:
        raise CorruptData(
            f"The segment name {segment!r} is no UUID.",
            hint="Nothing there was read. Treat the directory as hostile unless you know who wrote it.",
        ) from error


def _own_metadata(db: Reads, table: str, key: str, owner: str | None) -> dict[str, Any]:
    flag = "bool_value" if "bool_value" in columns(db, table) else "NULL"
    rows = db.execute(
        f"SELECT key, str_value, int_value, float_value, {flag} FROM {table} WHERE {key} = ? ORDER BY key",  # noqa: S608 (names of ours)
        (owner,),
    )
    return {name: value for name, *cells in rows if (value := _codec.typed(*cells)) is not None}


def find(found: list[Entry], name: str, where: Path) -> Entry:
    """The collection whose qualified name or, where only one has it, name is `name`.

    Raises:
        NotFound: none, or several; lists near names.
    """
    exact = [entry for entry in found if name in (entry.qualified_name, entry.full_name, entry.id)]
    named = exact or [entry for entry in found if name in (entry.name, f"{entry.database}/{entry.name}")]
    if len(named) == 1:
        return named[0]
    if named:
        hint = f"Write one of: {', '.join(entry.qualified_name for entry in named)}."
        raise NotFound(f"Several collections of {where} are called '{name}'.", store=f"chroma:{where}", hint=hint)
    names = sorted({entry.name for entry in found} | {entry.qualified_name for entry in found})
    near = get_close_matches(name, names, n=5, cutoff=0.4) or [entry.name for entry in found[:10]]
    hint = f"There are: {', '.join(near)}." if near else "The directory holds no collections."
    raise NotFound(f"There is no collection '{name}' in {where}.", store=f"chroma:{where}", hint=hint)


def index_folders(db: Reads) -> Iterator[str]:
    """The folders of all vector indexes."""
    for (segment,) in db.execute("SELECT id FROM segments WHERE scope = 'VECTOR'"):
        if folder := _folder(segment):
            yield folder
