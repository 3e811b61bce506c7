"""The manifests of an archive: which collections there are, which files make each of them, and its journal.

    DIR/manifest.json                         the collections; replaced atomically, the one commit point
    DIR/FOLDER/collection-000003.json         spec and part files of one collection, as `finish` left them
    DIR/FOLDER/journal-000003.jsonl           what was written since; folded in by the next `finish`
    DIR/FOLDER/part-00000007-1a2b3c4d.parquet

A file counts only if a manifest or a whole journal line names it. So a process that is killed anywhere leaves an
archive that holds exactly the batches that were confirmed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from vecferry.connectors.files._codec import (
    COLLECTION,
    FOLDER,
    FORMAT,
    PART,
    VERSION,
    Entry,
    Part,
    Removed,
    add,
    corrupt,
    dump_json,
    load_json,
    spec_from_json,
    spec_to_json,
)
from vecferry.objects.disk import TEMPORARY, append, reading, write_atomic
from vecferry.errors import ConfigError
from vecferry.model import CollectionSpec
from vecferry.version import __version__

MANIFEST = "manifest.json"
LOCK = ".lock"


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One collection in the archive's manifest; `records` and `bytes` as the last `finish` left them."""

    namespace: tuple[str, ...]
    name: str
    folder: str
    manifest: str
    sha256: str
    records: int
    bytes: int

    @property
    def path(self) -> tuple[str, ...]:
        """Namespace and name, outermost first."""
        return (*self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class State:
    """One collection as the disk holds it: `entries` in the order in which they were written, later ones win."""

    folder: Path
    generation: int
    spec: CollectionSpec
    parts: tuple[Part, ...]
    journal: tuple[Entry, ...]

    @property
    def entries(self) -> tuple[Entry, ...]:
        return (*self.parts, *self.journal)

    @property
    def rows(self) -> int:
        """Rows in all part files; those that a later entry supersedes are counted too."""
        return sum(entry.rows for entry in self.entries if isinstance(entry, Part))


def read_archive(root: Path) -> list[Listed]:
    """The collections of the archive in `root`, in the order of their names; none where there is no such folder.

    Raises:
        ConfigError: a folder with other things in it, or no folder.
        CorruptData, Unsupported: the manifest is torn, tampered with or too new.
    """
    file = root / MANIFEST
    try:
        with reading(file):
            text = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        _check_free(root)
        return []
    values = load_json(text, str(file))
    listed: list[Listed] = _convert(values.get("collections"), list[Listed], file)
    for entry in listed:
        if not FOLDER.fullmatch(entry.folder) or not COLLECTION.fullmatch(entry.manifest):
            raise corrupt(str(file), f"names the file {entry.folder}/{entry.manifest}, which no archive has")
    return listed


def _check_free(root: Path) -> None:
    """A folder that is not an archive must be empty, so that nobody's files get mixed up with ours."""
    if root.exists() and not root.is_dir():
        raise ConfigError(f"{root} is not a folder.", hint="Write files:DIR, the folder of an archive.")
    if root.exists() and any(not item.name.startswith(".") for item in root.iterdir()):
        raise ConfigError(
            f"{root} is not an archive: it has no {MANIFEST}, and it is not empty.",
            hint="Name the folder of an archive, or a new folder to write one into.",
        )


def write_archive(root: Path, listed: Iterable[Listed]) -> None:
    """Replace the archive's manifest. Under the archive's lock, so that what a killed writer left can go."""
    for torn in root.glob(f"{TEMPORARY}*"):
        torn.unlink(missing_ok=True)
    collections = [msgspec.to_builtins(entry) for entry in sorted(listed, key=lambda entry: entry.path)]
    values = {"format": FORMAT, "version": VERSION, "vecferry": __version__, "collections": collections}
    write_atomic(root / MANIFEST, dump_json(values))


def read_state(root: Path, listed: Listed) -> State:
    """One collection: its manifest, proven by the archive's, and its journal.

    Raises:
        CorruptData: a file is missing, torn or tampered with; the message names it.
        FileNotFoundError: the manifest was replaced since `listed` was read.
    """
    folder = root / listed.folder
    file = folder / listed.manifest
    with reading(file):
        text = file.read_bytes()
    if hashlib.sha256(text).hexdigest() != listed.sha256:
        raise corrupt(str(file), f"is not the file that {MANIFEST} names: its SHA-256 differs")
    values = load_json(text, str(file))
    parts = _convert(values.get("parts"), tuple[Part, ...], file)
    generation = int(listed.manifest[11:17])
    entries = _read_journal(folder / journal_name(generation))
    for part in (*parts, *(entry for entry in entries if isinstance(entry, Part))):
        if not PART.fullmatch(part.file):
            raise corrupt(str(file), f"names the file {part.file}, which no archive has")
    return State(folder, generation, _spec(values, file), parts, entries)


def write_state(state: State) -> Listed:
    """Write the manifest of a collection without journal; it counts once `write_archive` lists what this returns."""
    records, size = state.rows, sum(part.bytes for part in state.parts)
    values = {
        "format": FORMAT,
        "version": VERSION,
        "spec": spec_to_json(state.spec),
        "records": records,
        "bytes": size,
        "digest": add(iter(state.parts)),
        "parts": [msgspec.to_builtins(part) for part in state.parts],
    }
    text, name = dump_json(values), collection_name(state.generation)
    write_atomic(state.folder / name, text)
    return Listed(
        namespace=state.spec.namespace,
        name=state.spec.name,
        folder=state.folder.name,
        manifest=name,
        sha256=hashlib.sha256(text).hexdigest(),
        records=records,
        bytes=size,
    )


def collection_name(generation: int) -> str:
    """The manifest file of a collection; each `finish` that changes something writes the next one."""
    return f"collection-{generation:06}.json"


def journal_name(generation: int) -> str:
    """The journal on top of the manifest of this generation."""
    return f"journal-{generation:06}.jsonl"


def append_journal(state: State, entries: Iterable[Entry]) -> None:
    """Confirm what was written: one line for all `entries`, so that they count together or not at all."""
    text = json.dumps([msgspec.to_builtins(entry) for entry in entries], ensure_ascii=True)
    line = f"{_checksum(text)} {text}\n"
    append(state.folder / journal_name(state.generation), line.encode())


def _read_journal(file: Path) -> tuple[Entry, ...]:
    """The entries of a journal. A last line without its end was never confirmed; any other bad line is corruption."""
    try:
        with reading(file):
            *lines, _ = file.read_bytes().split(b"\n")
    except FileNotFoundError:
        return ()
    entries: list[Entry] = []
    for line in lines:
        checksum, _, text = line.decode(errors="replace").partition(" ")
        if checksum != _checksum(text):
            raise corrupt(str(file), "holds a line that was changed")
        entries += [_convert(value, Removed if "removed" in value else Part, file) for value in json.loads(text)]
    return tuple(entries)


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _spec(values: dict[str, Any], file: Path) -> CollectionSpec:
    try:
        return spec_from_json(values["spec"])
    except (KeyError, msgspec.ValidationError) as error:
        raise corrupt(str(file), f"holds no spec of a collection ({error})") from error


def _convert(values: object, kind: Any, file: Path) -> Any:
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise corrupt(str(file), f"is not what a manifest looks like ({error})") from error
