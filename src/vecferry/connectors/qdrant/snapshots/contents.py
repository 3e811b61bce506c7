"""What is in a snapshot, and where, once it is unpacked. Formats: Qdrant's lib/collection and src/actix, 1.10 to 1.19.

A collection's snapshot (`POST /collections/NAME/snapshots`) is a tar of

    config.json              the collection's settings, as `GET /collections/NAME` tells them
    payload_index.json       {"schema": {path: kind or parameters}}
    shard_key_mapping.json   [{"key": …, "shard_ids": […]}], or {key: [shard id, …]} before 1.14
    N/segments/*.tar         shard N: a tar for each segment, whose files lie under snapshot/files/
    N/wal, N/*.json          its log, its replicas

A storage snapshot (`POST /snapshots`) is a tar of collections' snapshots, and a config.json that names them. A
collection's snapshot does not hold its name: that is told by the file's.
"""

from __future__ import annotations

import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from vecferry.connectors.qdrant._codec.shard_keys import ShardKey
from vecferry.errors import CorruptData, Unsupported
from vecferry.objects.tree import UnpackLimits
from vecferry.objects.unpack import unpack

CONFIG, INDEXES, KEYS = "config.json", "payload_index.json", "shard_key_mapping.json"
_COLLECTIONS, _ALIASES = "collections_mapping", "collections_aliases"
_SERVERS_NAME = re.compile(r"-\d+-\d{4}(-\d\d){5}$")
"""What a server appends to a collection's name: its peer's number, and the time."""
LIMITS = UnpackLimits(max_ratio=1_000_000)
"""Segments are mostly holes: files of 32 MiB for a handful of records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """One collection of a snapshot.

    Attributes:
        info: its settings and payload schema, as `GET /collections/NAME` tells them.
        shards: number -> folder that the edge engine can load.
        keys: shard number -> its key, in a collection with sharding of its owner's.
    """

    name: str
    info: Mapping[str, Any]
    shards: Mapping[int, Path]
    keys: Mapping[int, ShardKey] = field(default_factory=dict)
    aliases: Sequence[str] = ()


def contents(folder: Path, *, file: str) -> list[Contents]:
    """The collections of the snapshot that was unpacked into `folder`; unpacks what is packed in it, too.

    Args:
        file: the path of the snapshot itself, for its name and for messages.

    Raises:
        CorruptData: torn, or no snapshot. Unsupported: a part of a collection.
    """
    config = _read(folder / CONFIG, file)
    if _COLLECTIONS in config:
        return list(_storage(folder, config, file))
    name = _SERVERS_NAME.sub("", Path(file).name.removesuffix(".snapshot"))
    return [_collection(folder, config, name, file)]


def _storage(folder: Path, config: Mapping[str, Any], file: str) -> Iterator[Contents]:
    aliases: Mapping[str, str] = config.get(_ALIASES) or {}
    for name, inner in sorted(config[_COLLECTIONS].items()):
        packed = folder / Path(inner).name
        if not packed.is_file():
            raise _torn(file, f"it names the snapshot {packed.name}, which it does not hold")
        place = folder / f"{packed.name}.d"
        place.mkdir()
        unpack(packed, place, limits=LIMITS, shown=f"{file}: {packed.name}")
        packed.unlink()
        known = [alias for alias, real in aliases.items() if real == name]
        yield _collection(place, _read(place / CONFIG, file), name, file, known)


def _collection(folder: Path, config: Mapping[str, Any], name: str, file: str, aliases: Sequence[str] = ()) -> Contents:
    if "params" not in config:
        raise _torn(file, f"its {CONFIG} is not that of a collection")
    shards = {int(path.name): path for path in folder.iterdir() if path.name.isdigit() and path.is_dir()}
    keys = dict(_keys(folder / KEYS, file))
    _check_whole(config["params"], len(shards), len(keys), file)
    for shard in shards.values():
        _unfold(shard, file)
    schema = _read(folder / INDEXES, file).get("schema", {}) if (folder / INDEXES).is_file() else {}
    info = {"config": config, "payload_schema": {path: _entry(told) for path, told in schema.items()}}
    return Contents(name=name, info=info, shards=shards, keys=keys, aliases=aliases)


def _check_whole(params: Mapping[str, Any], shards: int, keyed: int, file: str) -> None:
    """A node of a cluster puts only the shards that it holds into its snapshots."""
    wanted = keyed if params.get("sharding_method") == "custom" else int(params.get("shard_number", 1))
    if shards < wanted:
        raise Unsupported(
            f"{file} holds {shards} of the collection's {wanted} shards.",
            hint="Each node of a cluster puts its own shards into a snapshot. Read the collection from the cluster: "
            "qdrant+http://HOST:6333.",
        )


def _unfold(shard: Path, file: str) -> None:
    """Unpack the segments of a shard as the engine wants them: segments/NAME.tar to segments/NAME/."""
    segments = shard / "segments"
    for packed in sorted(segments.glob("*.tar")) if segments.is_dir() else ():
        with packed.open("ab") as tar:  # a server leaves the end mark out; the tar around it knows how long this one is
            tar.write(bytes(2 * tarfile.BLOCKSIZE))
        scratch = segments / f"{packed.stem}.d"
        scratch.mkdir()
        unpack(packed, scratch, limits=LIMITS, shown=f"{file}: segment {packed.stem}")
        packed.unlink()
        inner = scratch / "snapshot" / "files"
        if not inner.is_dir():
            raise _torn(file, f"its segment {packed.stem} holds no snapshot/files")
        inner.rename(segments / packed.stem)
        shutil.rmtree(scratch)


def _keys(path: Path, file: str) -> Iterator[tuple[int, ShardKey]]:
    """(shard number, key)."""
    told = _read(path, file, kind=(dict, list)) if path.is_file() else []
    pairs = told.items() if isinstance(told, Mapping) else [(one["key"], one["shard_ids"]) for one in told]
    for key, numbers in pairs:
        yield from ((int(number), key) for number in numbers)


def _entry(told: Any) -> dict[str, Any]:
    """An index as `GET /collections/NAME` tells it: a snapshot has its kind alone, or all its parameters."""
    return {"data_type": told} if isinstance(told, str) else {"data_type": told["type"], "params": told}


def _read(path: Path, file: str, *, kind: type | tuple[type, ...] = dict) -> Any:
    try:
        told = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        if (path.parent / "segments").is_dir():
            raise Unsupported(
                f"{file} is the snapshot of a single shard.",
                hint="Take the collection's: POST /collections/NAME/snapshots.",
            ) from None
        raise _torn(file, f"it holds no {path.name}") from None
    except orjson.JSONDecodeError as error:
        raise _torn(file, f"its {path.name} is no JSON") from error
    if not isinstance(told, kind):
        raise _torn(file, f"its {path.name} is of another form")
    return told


def _torn(file: str, why: str) -> CorruptData:
    return CorruptData(
        f"{file} is no whole snapshot of Qdrant: {why}.",
        hint="Take it again: POST /collections/NAME/snapshots, then download the file that the answer names.",
    )
