"""JSON files, opened by URL: `json:FILE` and `jsonl:FILE`, plain or packed (`.gz`, `.zst`)."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import RLock

from vecferry.catalog import find, named_in_full
from vecferry.connectors.json import _own
from vecferry.connectors.json._fold import folded
from vecferry.connectors.json._foreign import METRICS, reader
from vecferry.connectors.json._forms import collections
from vecferry.connectors.json._found import Form, Found
from vecferry.connectors.json._journal import Journal
from vecferry.connectors.json._reader import Reader
from vecferry.connectors.json._text import Text
from vecferry.connectors.json.sink import JsonSink, check_ours, fold
from vecferry.connectors.json.source import JsonSource
from vecferry.errors import ConfigError, NotFound
from vecferry.limits import Limits, Shape
from vecferry.model import CollectionSpec, Element, IdKind, Metric, StoreIdentity, VectorKind
from vecferry.url import StoreUrl

LIMITS = Limits(
    store="json",
    id_kinds=frozenset(IdKind),
    vector_kinds=frozenset(VectorKind),
    elements=frozenset(Element),
    metrics=frozenset(Metric),
    keeps=frozenset(Shape) - {Shape.NON_FINITE_VECTOR, Shape.WRONG_DIMENSION},
    restores=frozenset(),
    named_vectors=True,
)
_FIELDS = ("id", "vector", "document", "metadata", "uri")
_OPTIONS = ("form", "metric", "count", *_FIELDS)
_SUFFIXES = {".gz", ".zst", ".zstd", ".json", ".jsonl", ".ndjson"}
Stamp = tuple[tuple[int, int, int] | None, tuple[int, int, int] | None]


class JsonDatabase:
    """One file. It is looked at whole when it is opened, so that what is not whole is refused before anything moves."""

    def __init__(self, url: StoreUrl) -> None:
        """Open the file behind `url`, if it is there; a target need not be.

        Raises:
            ConfigError: an option that there is not.
            CorruptData, DataError: see `vecferry.connectors.json._forms`.
        """
        self._path = url.local_path
        self._lines = url.scheme == "jsonl"
        self._text = str(url)
        self._url = replace(url, path=str(self._path))
        self._form, self._metric, self._trust, self._named = _options(url)
        self._lock = RLock()
        self._stamp: Stamp = (None, None)
        self._open: list[Text] = []
        self._held: list[Reader] = []
        try:
            self._look()
        except BaseException:
            self.close()
            raise

    @property
    def identity(self) -> StoreIdentity:
        forms = sorted({held.found.form.value for held in self._held})
        packing = next((text.packing for text in self._open if text.packing), "")
        version = " ".join(filter(None, [f"form {' and '.join(forms)}" if forms else "", packing]))
        return StoreIdentity(kind="json", where=str(self._path), version=version, transport="file")

    @property
    def limits(self) -> Limits:
        return LIMITS

    def address(self) -> StoreUrl:
        """The file, from wherever it is opened."""
        return self._url

    def collections(self) -> list[CollectionSpec]:
        return [held.spec for held in self._look()]

    def source(self, name: str) -> JsonSource:
        held = {(*one.spec.namespace, one.spec.name): one for one in self._look()}
        return JsonSource(held[find(held, name, store=self._text)])

    def sink(self, spec: CollectionSpec) -> JsonSink:
        return JsonSink(self._path, spec, lines=self._lines, store=self._text)

    def drop(self, name: str) -> None:
        check_ours(self._path, store=self._text)
        with suppress(NotFound):
            path = find([(*one.namespace, one.name) for one in self.collections()], name, store=self._text)
            if not named_in_full(path, name):
                return
            journal = Journal(self._path)
            with journal.locked():
                fold(self._path, journal, lines=self._lines, without=path)

    def close(self) -> None:
        for text in self._open:
            text.close()
        self._open.clear()
        self._held, self._stamp = [], (None, None)

    # ----------------------------------------------------------------------- within

    def _look(self) -> list[Reader]:
        """What file and journal hold now; looked at again only where one of them was written since."""
        with self._lock:
            stamp = _stamp(self._path), _stamp(Journal(self._path).path)
            if stamp != self._stamp:
                self._held = [self._reader(found) for found in self._found(stamp)]
                self._stamp = stamp
            return self._held

    def _found(self, stamp: Stamp) -> list[Found]:
        """The collections. Texts that sources still read stay open until the database is closed."""
        text = Text(self._path) if stamp[0] is not None else None
        self._open += [text] if text is not None else []
        journal = Journal(self._path)
        if stamp[1] is not None and (text is None or _own.is_ours(text)) and journal.entries():
            with tempfile.NamedTemporaryFile(prefix="vecferry-json-") as temporary:
                with journal.locked():
                    folded(text, journal, into=Path(temporary.name))
                text = Text(Path(temporary.name))
            self._open.append(text)
        if text is None:
            return []
        return collections(text, name=_name(self._path), forced=self._form, trust_counts=self._trust)

    def _reader(self, found: Found) -> Reader:
        return reader(found, named=self._named, metric=self._metric)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written or replaced; None where there is none."""
    try:
        stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _name(path: Path) -> str:
    """What a collection without a name is called: the file, without what says that it is JSON."""
    while path.suffix.lower() in _SUFFIXES:
        path = path.with_suffix("")
    return path.name


def _options(url: StoreUrl) -> tuple[Form | None, Metric | None, bool, dict[str, str]]:
    """Form, metric, whether counts of headers are compared, and names of fields."""
    options = url.options
    for name in options:
        if name not in _OPTIONS:
            raise ConfigError(
                f"There is no option '{name}' of {url.scheme}:.", hint=f"There are: {', '.join(_OPTIONS)}."
            )
    form, metric, count = options.get("form"), options.get("metric"), options.get("count", "check")
    if form is not None and form not in set(Form):
        raise ConfigError(f"There is no form '{form}'.", hint=f"There are: {', '.join(Form)}.")
    if metric is not None and metric not in METRICS:
        raise ConfigError(f"There is no metric '{metric}'.", hint="There are: cosine, l2, ip, l1.")
    if count not in {"check", "ignore"}:
        raise ConfigError(f"count={count} says nothing.", hint="Write count=ignore to pass over counts that differ.")
    named = {name: options[name] for name in _FIELDS if name in options}
    return Form(form) if form else None, METRICS[metric] if metric else None, count == "check", named


class JsonConnector:
    """Opens JSON files."""

    def open(self, url: StoreUrl) -> JsonDatabase:
        return JsonDatabase(url)


CONNECTOR = JsonConnector()
