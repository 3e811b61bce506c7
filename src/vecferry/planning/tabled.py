"""Tables of a SQL store on their way into a plan: read as a preset or a plan says, in the preset's order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from vecferry.errors import ConfigError
from vecferry.layouts import FLAT, PLAIN
from vecferry.limits import Limits
from vecferry.model import CollectionSpec, IdRule
from vecferry.planning.aside import ASIDE, live
from vecferry.planning.flows import flow_of
from vecferry.planning.inspect import select
from vecferry.planning.made import make
from vecferry.planning.options import AUTO, PlanOptions
from vecferry.planning.patterns import parse_patterns
from vecferry.planning.presets import Preset, TableWish, makers, proposed, skeleton
from vecferry.protocols import Database, Tabular, require
from vecferry.tables import Form, Table, guess
from vecferry.tables.check import check
from vecferry.tables.wish import shape
from vecferry.transforms import Rule, View


def read_as(database: Database, tables: Mapping[str, Form]) -> None:
    """From now on `database` reads these tables in these forms.

    Raises:
        Unsupported: it has no tables.
        NotFound, ConfigError: a table that is not there, or a form that does not fit it.
    """
    for name, form in tables.items():
        _tabular(database).use(name, form)


def by_preset(database: Database, options: PlanOptions) -> PlanOptions:
    """`options` with what their preset says of the tables of `database`; as they are where they name none.

    The preset's tables are what is moved, unless collections were chosen.

    Raises:
        ConfigError: none of its tables is there, or a form does not fit.
    """
    if options.preset is None:
        return options
    found = _found(database, options.preset)
    wishes = {_name(table): wish for wish, table in found}
    forms = {_name(table): shape(table, wish) for wish, table in found}
    rules = tuple(_rule(name, wish) for name, wish in wishes.items())
    recipe = options.transforms
    return replace(
        options,
        collections=options.collections or tuple(wishes),
        transforms=replace(recipe, collections=(*recipe.collections, *rules), tables={**forms, **recipe.tables}),
        tables=wishes,
        preset=None,
    )


def in_units(database: Database, options: PlanOptions) -> PlanOptions:
    """`options` in which the tables that have the column `options.unit` are read unit by unit.

    Call it once the tables are read as the options say (`read_as`).

    Raises:
        Unsupported: the store has no tables.
        ConfigError: no chosen table has the column; lists what they have.
    """
    if options.unit is None:
        return options
    _tabular(database)
    patterns = parse_patterns(options.collections)
    chosen = select(live(database, patterns), patterns, store=database.identity.where)
    forms = {spec.qualified_name: _form(spec) for spec in chosen}
    columns = {name: _unit_column(form, options.unit) for name, form in forms.items()}
    found = {name: replace(forms[name], by=column) for name, column in columns.items() if column is not None}
    if not found:
        known = sorted({key for form in forms.values() for key in form.own})
        raise ConfigError(
            f"No table that is to be moved has a column '{options.unit}'.",
            hint=f"Units can be made by: {', '.join(known) or 'none of their columns'}.",
        )
    recipe = options.transforms
    return replace(options, transforms=replace(recipe, tables={**recipe.tables, **found}))


def _unit_column(form: Form, name: str) -> str | None:
    """The column that `name` means: its own name, or its metadata key."""
    return name if name in form.columns else form.own.get(name)


def presets_for(database: Database) -> tuple[tuple[str, ...], str]:
    """(names of our presets that the tables of `database` fit, a preset of those that have vectors, as YAML)."""
    if not isinstance(database, Tabular):
        return (), ""
    tables = [table for table in database.tables() if not ASIDE.search(table.name)]
    names = tuple(preset.name for preset in proposed(tables, database.identity.kind))
    return names, skeleton([table for table in tables if guess(table).vectors])


def own_options(source: Database, name: str, options: PlanOptions, limits: Limits) -> PlanOptions:
    """`options` of the collection or flow `name` alone: what nobody asked for is as the preset says of its table.

    Settings of a collection are those of a target with payloads; another has none of them.
    """
    wish = options.tables.get(flow_of(source, name).reads[0].collection)
    if wish is None:
        return options
    return replace(
        options,
        layout=wish.layout if wish.layout is not None and options.layout == AUTO else options.layout,
        id_rule=wish.id_rule if wish.id_rule is not None and options.id_rule == IdRule() else options.id_rule,
        indexes=wish.indexes if wish.indexes and options.indexes == AUTO else options.indexes,
        target_config={**(wish.config if limits.payload_indexes else {}), **options.target_config},
    )


def see_layout(target: Database, options: PlanOptions) -> None:
    """See that nobody asks for a framework's payloads in a store of tables, where they would be passed over.

    Raises:
        ConfigError: they are asked for.
    """
    if isinstance(target, Tabular) and options.layout not in {AUTO, PLAIN.name, FLAT.name}:
        able = " or ".join(makers(target.identity.kind))
        raise ConfigError(
            f"A table has no payload in the layout '{options.layout}'.",
            hint=f"Name the table that is to be made, --layout {able}; or leave --layout out.",
        )


def made_as(target: Database, spec: CollectionSpec, title: str, options: PlanOptions) -> CollectionSpec:
    """`spec` of a collection of `target`, with the table that `options.made` has made for it.

    Args:
        title: the collection's own name.

    Raises:
        ConfigError: the preset is for another kind of store, or its table cannot hold the collection.
    """
    wish = _making(options)
    if wish is None or wish.make is None:
        return spec
    wanted = options.made.store if options.made is not None else ""
    if not isinstance(target, Tabular) or wanted not in {"", target.identity.kind}:
        raise ConfigError(
            f"The layout '{options.made.name if options.made else ''}' is a table of {wanted or 'a SQL store'}, and "
            f"the target is {target.identity.kind}.",
            hint="Leave --layout out, or name one for this target: docs/reference/layouts.md.",
        )
    return make(spec, wish, wish.make, title)


def name_template(options: PlanOptions) -> str:
    """How target collections are called: as was asked for, else as the preset that makes their tables says."""
    wish = _making(options)
    usual = PlanOptions().name
    return wish.make.name if options.name == usual and wish is not None and wish.make is not None else options.name


def _making(options: PlanOptions) -> TableWish | None:
    """What makes new tables: the table of the preset that says how."""
    return next((wish for wish in options.made.tables if wish.make is not None), None) if options.made else None


def place_of(source: Database, name: str, options: PlanOptions) -> int:
    """The place of a collection in the preset's order; those that it does not name come last."""
    order = list(options.tables)
    table = flow_of(source, name).reads[0].collection
    return order.index(table) if table in order else len(order)


def forms_of(source: Database, names: Iterable[str]) -> dict[str, Form]:
    """Table -> form, of every table that the collections or flows `names` are read from; none of another store."""
    database = source.database if isinstance(source, View) else source
    if not isinstance(database, Tabular):
        return {}
    read = {part.collection for name in names for part in flow_of(source, name).reads}
    return {spec.qualified_name: _form(spec) for spec in database.collections() if spec.qualified_name in read}


def keys_of(tables: Mapping[str, Form], names: Sequence[str]) -> tuple[str, ...]:
    """The metadata keys under which records have these columns of their tables; other names as they are."""
    keys = {column: key for form in tables.values() for key, column in form.own.items()}
    return tuple(keys.get(name, name) for name in names)


def written_forms(source: Database, target: Database) -> tuple[dict[str, Form], dict[str, str]]:
    """(table of `source` -> the form in which a collection of `target` was made of it, table -> the form's condition).

    Cards tell both, and who wrote a card is not known: one that says FALSE would have nothing compared. So the forms
    have no condition; which rows count is said by a plan. A form that does not fit the table any more is left out.
    """
    if not isinstance(source, Tabular):
        return {}, {}
    tables = {_name(table): table for table in source.tables()}
    found: dict[str, Form] = {}
    conditions: dict[str, str] = {}
    for spec in target.collections():
        origin = spec.card.origin if spec.card is not None else {}
        name = "/".join((*origin.get("namespace", ()), origin.get("name", "")))
        form = origin.get("config", {}).get("form") if origin.get("kind") == source.identity.kind else None
        if form is not None and name in tables:
            with suppress(ConfigError):
                made = Form.from_json(form)
                check(tables[name], made)
                found[name] = replace(made, where=None)
                conditions |= {name: made.where} if made.where else {}
    return found, conditions


def in_units_of(tables: Mapping[str, Form], written: Mapping[str, Form]) -> dict[str, Form]:
    """`tables`, as somebody says that they are read, and those that he says nothing of, in units as they were written.

    Which units stay in the source is known by its units: read otherwise, they would be moved, or missed.
    """
    units = {name: form for name, form in written.items() if form.by is not None}
    said = {name: replace(form, by=form.by or units[name].by) for name, form in tables.items() if name in units}
    return {**tables, **units, **said}


def _form(spec: CollectionSpec) -> Form:
    return Form.from_json(spec.config["form"])


def _found(database: Database, preset: Preset) -> list[tuple[TableWish, Table]]:
    tables = list(_tabular(database).tables())
    found = preset.found(tables)
    if found:
        return found
    near = [f"--preset {fits.name}" for fits in proposed(tables, database.identity.kind)]
    known = ", ".join(map(_name, tables)) or "none"
    raise ConfigError(
        f"None of the tables of the preset '{preset.name}' is there: {', '.join(w.table for w in preset.tables)}.",
        hint=f"This fits: {', '.join(near)}." if near else f"The tables that there are: {known}.",
    )


def _tabular(database: Database) -> Tabular:
    return require(database, Tabular, operation="be read as tables", instead="postgresql: and mariadb: have tables.")


def _name(table: Table) -> str:
    return "/".join((*table.namespace, table.name))


def _rule(name: str, wish: TableWish) -> Rule:
    return Rule(source=name, target=wish.target, split=wish.split, transforms=wish.transforms)
