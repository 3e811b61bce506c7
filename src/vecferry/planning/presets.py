"""Presets: what is known of the tables of a product, as one YAML file each (`vecferry/presets`), or a user's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import yaml

from vecferry.errors import ConfigError
from vecferry.layouts import layout as find_layout
from vecferry.model import IdRule, JsonObject
from vecferry.planning.made import Make, check_make
from vecferry.planning.yaml import read_yaml, strictly
from vecferry.tables import Table, guess
from vecferry.tables.wish import Wish
from vecferry.transforms.model import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class TableWish(Wish):
    """One table of a preset: its form, and how its records are to stand in the target.

    Attributes:
        table: its name, without the schema.
        has: columns by which it is recognised, beside its name; the name does not count where `any_name`.
        any_name: the table may have any name, so its columns alone tell it.
        target: name of the target's collection; `{name}`, and `{value}` where it is split.
        split: a metadata key: one collection for each of its values. A preset's own `transforms` come after it.
        layout, id_rule, config: of the target's collection, where they differ from what was asked for.
        make: how a new table of this form is made, where it is the target (`--layout NAME-OF-THE-PRESET`).
        indexes: payload indexes, each `KEY` or `KEY:KIND`.
    """

    table: str
    has: tuple[str, ...] = ()
    any_name: bool = False
    target: str | None = None
    split: str | None = None
    transforms: tuple[Step, ...] = ()
    layout: str | None = None
    id_rule: IdRule | None = None
    indexes: tuple[str, ...] = ()
    config: JsonObject = field(default_factory=dict)
    make: Make | None = None

    def fits(self, table: Table) -> bool:
        """Whether `table` is the one that is meant."""
        return (self.any_name or table.name == self.table) and {*self.has} <= {*table.names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A file of presets.

    Attributes:
        name: how it is asked for. about: one sentence for a person.
        store: `postgresql` or `mariadb`, "" for both.
        tables: in the order in which they are moved: what others refer to comes last, so that no reader ever sees it
            before what it stands for.
        functions: SQL functions by which the product searches, for a person.
    """

    name: str = ""
    about: str = ""
    store: str = ""
    tables: tuple[TableWish, ...]
    functions: tuple[str, ...] = ()

    def found(self, tables: Iterable[Table]) -> list[tuple[TableWish, Table]]:
        """Its tables among `tables`, in its own order; of a table in several schemas, each."""
        known = list(tables)
        return [(wish, table) for wish in self.tables for table in known if wish.fits(table)]

    def fits(self, tables: Sequence[Table]) -> bool:
        """Whether every table of it is there."""
        return all(any(wish.fits(table) for table in tables) for wish in self.tables)


def load_preset(name: str) -> Preset:
    """One of ours by its name, or a file.

    Raises:
        ConfigError: neither, or a file that is no preset; names the line.
    """
    known = _own()
    if name in known:
        return known[name]
    path = Path(name).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"There is no preset '{name}', and no file of that name that can be read.",
            hint=f"Presets: {', '.join(known)}. Or name a YAML file of yours: docs/how-to/write-a-preset.md.",
        ) from error
    return parse_preset(text, name=path.name)


def target_preset(name: str) -> Preset | None:
    """The preset by which new tables are made, as `--layout` names it; None where that names something else.

    Raises:
        ConfigError: a file that is no preset, or a preset that does not say how its table is made.
    """
    if name not in _own() and not name.endswith((".yaml", ".yml")):
        return None
    found = load_preset(name)
    if any(table.make for table in found.tables):
        return found
    said = f"The preset '{name}' does not say how its table is made."
    raise ConfigError(said, hint=f"These do: {', '.join(makers())}.")


def makers(store: str = "") -> list[str]:
    """Our presets that say how a new table is made, in a kind of store or in any."""
    fitting = (preset for preset in _own().values() if store in {"", preset.store})
    return [preset.name for preset in fitting if any(table.make for table in preset.tables)]


def parse_preset(text: str, *, name: str) -> Preset:
    """The preset that `text` says; it is called after the file where it names itself not.

    Raises:
        ConfigError: not YAML, a field that a preset does not have, a layout or step that there is not, a table that
            cannot be made so.
    """
    tree, raw = read_yaml(text, name)
    preset = strictly(raw, tree, Preset, name, hint=_HINT)
    for table in preset.tables:
        if table.layout is not None:
            find_layout(table.layout)
        for step in table.transforms:
            step.check()
        if table.make is not None:
            check_make(table, table.make, table.table)
    return preset if preset.name else replace(preset, name=Path(name).stem)


def proposed(tables: Sequence[Table], store: str) -> list[Preset]:
    """Our presets whose tables are all there, the one with the most first."""
    fitting = [p for p in _own().values() if p.store in {"", store} and p.fits(tables)]
    return sorted(fitting, key=lambda preset: -sum(len(wish.has) for wish in preset.tables))


def skeleton(tables: Sequence[Table]) -> str:
    """A preset of `tables` as YAML, to begin with: the guessed form of each, and the parents that it could embed."""
    parts = {"about": "What these tables are", "tables": [_sketched(table) for table in tables]}
    text = yaml.safe_dump(parts, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    parents = [(table.name, key.table) for table in tables for key in table.foreign_keys]
    return text + "".join(f"# {child} may have  embed: {{{parent}: [COLUMN, …]}}\n" for child, parent in parents)


def _sketched(table: Table) -> dict[str, Any]:
    form = guess(table)
    return {
        "table": table.name,
        "has": [*table.names],
        "key": list(form.key),
        "vectors": dict(form.vectors),
        "document": form.document,
        "metadata": form.metadata,
        "columns": list(form.columns),
    }


def preset_schema() -> dict[str, Any]:
    """The JSON Schema of a preset file, published in the docs."""
    schema = msgspec.json.decode(msgspec.json.encode(msgspec.json.schema(Preset)))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "vecferry preset", **schema}


_HINT = "docs/how-to/write-a-preset.md has an example; docs/reference/preset.schema.json has every field."


@cache
def _own() -> dict[str, Preset]:
    return {preset.name: preset for preset in _read()}


def _read() -> Iterator[Preset]:
    for entry in sorted((files("vecferry") / "presets").iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".yaml"):
            yield parse_preset(entry.read_text(encoding="utf-8"), name=entry.name)
