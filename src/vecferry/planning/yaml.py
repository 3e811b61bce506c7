"""A plan as YAML that a person can read, edit and review, and back; strict, and errors name the line. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import yaml

from vecferry.errors import ConfigError
from vecferry.planning.flows import flows_of
from vecferry.planning.losses import choose
from vecferry.planning.model import CollectionPlan, Plan
from vecferry.transforms import check_steps

VERSION = 1
Made = TypeVar("Made")
_HEAD = """\
# A vecferry plan: what would be moved, where to, and what becomes of what the target cannot hold as it is.
#
# Look at `cells` first. A cell with `policy: refuse` stops the run before anything is written; set one of its
# `choices` to accept it. `target` says what will be made: name, vectors, indexes, config. `if_exists` is one of ask,
# append, recreate, refuse; `on_conflict` (for append) one of refuse, replace, skip. `partitions` are the shares in
# which the source is read: leave them as they are. What is not written here has its default.
#
# Run it:  vecferry migrate --plan THIS_FILE          Every field: docs/reference/plan-file.md
"""
_ALWAYS = frozenset({"version", "policy", "if_exists", "on_conflict", "layout", "exact_vectors", "metric", "id_kind"})
"""Fields that are written even where they have their default: those that people edit."""


def dump_plan(plan: Plan) -> str:
    """`plan` as YAML, in the order of its fields, without what has its default."""
    return _HEAD + yaml.dump(_plain(plan), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Indents lists under their key, and never writes anchors: a plan is for reading."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 # PyYAML's own
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 # PyYAML's own
        return True

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        """A list of plain values stands on one line."""
        return super().represent_sequence(tag, sequence, flow_style=flow_style or _flat(sequence))

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        """A few plain values stand on one line: a vector, the types of a key."""
        short = len(mapping) <= _SHORT and _flat(mapping.values())
        return super().represent_mapping(tag, mapping, flow_style=flow_style or short)


_SHORT = 5
"""Entries of a mapping that still read well on one line."""


def _flat(values: Iterable[Any]) -> bool:
    return not any(isinstance(value, dict | list) for value in values)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value) if _worth(value, f)}
    if isinstance(value, Mapping):
        return {str(key) if not isinstance(key, int) else key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return msgspec.to_builtins(value)


def _worth(owner: Any, field: dataclasses.Field[Any]) -> bool:
    """Whether a field is written: it is often edited, or it differs from its default."""
    value = getattr(owner, field.name)
    if field.name in _ALWAYS:
        return value is not None
    factory = field.default_factory
    default = factory() if factory is not dataclasses.MISSING else field.default
    return bool(value != default)


def load_plan(text: str, *, name: str = "the plan") -> Plan:
    """The plan that `text` says.

    Raises:
        ConfigError: not YAML, a field that a plan does not have, a value of the wrong kind, or a policy that its cell
            does not offer; names the line.
    """
    tree, raw = read_yaml(text, name)
    if isinstance(raw, Mapping) and isinstance(raw.get("version"), int) and raw["version"] != VERSION:
        raise ConfigError(
            f"{name} has version {raw['version']}, and this vecferry reads version {VERSION}.",
            hint="Write the plan anew: vecferry plan SOURCE TARGET --output FILE.",
        )
    plan = strictly(raw, tree, Plan, name)
    return dataclasses.replace(plan, collections=tuple(_checked(plan, tree, name)))


def read_yaml(text: str, name: str) -> tuple[yaml.Node | None, Any]:
    """The nodes of a YAML text, which know their lines, and its values.

    Raises:
        ConfigError: it is not YAML.
    """
    try:
        return yaml.compose(text, yaml.SafeLoader), yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{name} is not YAML: {error}", hint="Mend the line, or write the plan anew with vecferry plan --output."
        ) from error


def strictly(raw: Any, tree: yaml.Node | None, kind: type[Made], name: str, *, hint: str | None = None) -> Made:
    """`raw` as a value of `kind`; `hint` says where its fields are described, the plan's by default.

    Raises:
        ConfigError: an unknown field, or a value of the wrong kind; names the line.
    """
    try:
        made = msgspec.convert(raw, kind, strict=True)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        raise _wrong(name, tree, _steps(path.rstrip("`")), message, hint) from error
    for unknown in _unknown(raw, msgspec.to_builtins(made)):
        raise _wrong(name, tree, unknown, f"There is no field '{unknown[-1]}' here.", hint)
    return made


def _wrong(
    name: str, tree: yaml.Node | None, path: Sequence[str | int], message: str, hint: str | None = None
) -> ConfigError:
    where = ".".join(str(step) for step in path) or "its top"
    return ConfigError(
        f"{name}, line {_line(tree, path)}, {where}: {message}",
        hint=hint or "docs/reference/plan-file.md has every field; `vecferry plan` writes a fresh one.",
    )


def _checked(plan: Plan, tree: yaml.Node | None, name: str) -> Iterator[CollectionPlan]:
    """The collections, each policy one that its cell offers."""
    for index, collection in enumerate(plan.collections):
        try:
            for flow in flows_of([collection]):
                check_steps(flow)
        except ConfigError as error:
            at = ("collections", index, "transforms")
            raise _wrong(name, tree, at, f"{error.message} {error.hint}") from error
        for number, cell in enumerate(collection.cells):
            if cell.choices and cell.policy is not None:
                try:
                    choose(cell, cell.policy)
                except ConfigError as error:
                    path = ("collections", index, "cells", number, "policy")
                    raise _wrong(name, tree, path, f"{error.message} {error.hint}") from error
        yield collection


def _steps(path: str) -> list[str | int]:
    """The steps of a msgspec path such as `$.collections[0].target.vectors[...].dim`."""
    steps: list[str | int] = []
    for part in path.lstrip("$").replace("[", ".[").split("."):
        if part.startswith("["):
            inner = part[1:-1]
            if inner.isdigit():
                steps.append(int(inner))
        elif part:
            steps.append(part)
    return steps


def _line(node: yaml.Node | None, path: Sequence[str | int]) -> int:
    """The line of the deepest node on `path` that there is, counted from 1."""
    line = 1 if node is None else node.start_mark.line + 1
    for step in path:
        found = _child(node, step)
        if found is None:
            return line
        node = found
        line = node.start_mark.line + 1
    return line


def _child(node: yaml.Node | None, step: str | int) -> yaml.Node | None:
    children: dict[str, yaml.Node] = {}
    if isinstance(node, yaml.SequenceNode):
        children = {str(index): child for index, child in enumerate(node.value)}
    elif isinstance(node, yaml.MappingNode):
        children = {key.value: value for key, value in node.value}
    return children.get(str(step))


def _unknown(given: Any, known: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths of keys that were given and are not in the plan that came of it."""
    if isinstance(given, Mapping) and isinstance(known, Mapping):
        for key, value in given.items():
            there = key if key in known else str(key)
            if there in known:
                yield from _unknown(value, known[there], (*path, key))
            else:
                yield (*path, key)
    elif isinstance(given, list) and isinstance(known, list | tuple):
        for index, (one, other) in enumerate(zip(given, known, strict=False)):
            yield from _unknown(one, other, (*path, index))


def plan_schema() -> dict[str, Any]:
    """The JSON Schema of a plan file, as published in docs/reference/plan.schema.json."""
    schema = msgspec.json.decode(msgspec.json.encode(msgspec.json.schema(Plan)))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "vecferry plan", **schema}
