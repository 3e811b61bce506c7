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
from collections.abc import Callable, Iterable
from dataclasses import dataclass
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
from vecferry.errors import ConfigError
from vecferry.model import CollectionSpec
from vecferry.objects.place import Place
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

    place: Place
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


def read_archive(root: Place) -> list[Listed]:
    """The collections of the archive in `root`, in the order of their names; none where there is no such folder.

    Raises:
        ConfigError: a folder with other things in it, or no folder.
        CorruptData, Unsupported: the manifest is torn, tampered with or too new.
    """
    try:
        text = root.read(MANIFEST)
    except (FileNotFoundError, NotADirectoryError):
        _check_free(root)
        return []
    return _listed(text, root.shown(MANIFEST))


def _listed(text: bytes, file: str) -> list[Listed]:
    values = load_json(text, file)
    listed: list[Listed] = _convert(values.get("collections"), list[Listed], file)
    for entry in listed:
        if not FOLDER.fullmatch(entry.folder) or not COLLECTION.fullmatch(entry.manifest):
            raise corrupt(file, f"names the file {entry.folder}/{entry.manifest}, which no archive has")
    return listed


def _check_free(root: Place) -> None:
    """A folder that is not an archive must be empty, so that nobody's files get mixed up with ours."""
    if any(not name.startswith(".") for name in root.names()):
        raise ConfigError(
            f"{root.where} is not an archive: it has no {MANIFEST}, and it is not empty.",
            hint="Name the folder of an archive, or a new folder to write one into.",
        )


def change_archive(root: Place, change: Callable[[list[Listed]], list[Listed]]) -> None:
    """Replace the archive's manifest by what `change` makes of its collections. Under the archive's lock."""

    def changed(text: bytes | None) -> bytes:
        before = [] if text is None else _listed(text, root.shown(MANIFEST))
        after = sorted(change(before), key=lambda entry: entry.path)
        collections = [msgspec.to_builtins(entry) for entry in after]
        return dump_json({"format": FORMAT, "version": VERSION, "vecferry": __version__, "collections": collections})

    root.replace(MANIFEST, changed)


def read_state(root: Place, listed: Listed) -> State:
    """One collection: its manifest, proven by the archive's, and its journal.

    Raises:
        CorruptData: a file is missing, torn or tampered with; the message names it.
        FileNotFoundError: the manifest was replaced since `listed` was read.
    """
    place = root.below(listed.folder)
    file = place.shown(listed.manifest)
    text = place.read(listed.manifest)
    if hashlib.sha256(text).hexdigest() != listed.sha256:
        raise corrupt(file, f"is not the file that {MANIFEST} names: its SHA-256 differs")
    values = load_json(text, file)
    parts = _convert(values.get("parts"), tuple[Part, ...], file)
    generation = int(listed.manifest[11:17])
    entries = _read_journal(place, journal_name(generation))
    for part in (*parts, *(entry for entry in entries if isinstance(entry, Part))):
        if not PART.fullmatch(part.file):
            raise corrupt(file, f"names the file {part.file}, which no archive has")
    return State(place, generation, _spec(values, file), parts, entries)


def write_state(state: State) -> Listed:
    """Write the manifest of a collection without journal; it counts once the archive's manifest lists this."""
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
    state.place.write(name, text)
    return Listed(
        namespace=state.spec.namespace,
        name=state.spec.name,
        folder=state.place.name,
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
    state.place.append(journal_name(state.generation), line.encode())


def _read_journal(place: Place, name: str) -> tuple[Entry, ...]:
    """The entries of a journal. A last line without its end was never confirmed; any other bad line is corruption."""
    file = place.shown(name)
    *lines, _ = place.journal(name).split(b"\n")
    entries: list[Entry] = []
    for line in lines:
        checksum, _, text = line.decode(errors="replace").partition(" ")
        if checksum != _checksum(text):
            raise corrupt(file, "holds a line that was changed")
        entries += [_convert(value, Removed if "removed" in value else Part, file) for value in json.loads(text)]
    return tuple(entries)


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _spec(values: dict[str, Any], file: str) -> CollectionSpec:
    try:
        return spec_from_json(values["spec"])
    except (KeyError, msgspec.ValidationError) as error:
        raise corrupt(file, f"holds no spec of a collection ({error})") from error


def _convert(values: object, kind: Any, file: str) -> Any:
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise corrupt(file, f"is not what a manifest looks like ({error})") from error
