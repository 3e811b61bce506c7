"""Which target collection each source collection goes to, and whether the target allows its name. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from vecferry.errors import ConfigError
from vecferry.limits import Limits
from vecferry.model import CollectionSpec, StoreIdentity
from vecferry.planning.patterns import Pattern


def target_names(
    specs: Sequence[CollectionSpec], patterns: Sequence[Pattern], template: str, limits: Limits
) -> dict[str, str]:
    """Qualified source name -> target name.

    Raises:
        ConfigError: a name that the target does not take (with one that it does), a template that cannot be filled, or
            two collections that fall on one name without both being renamed to it.
    """
    told = {spec.qualified_name: _told(spec, patterns) for spec in specs}
    names = {spec.qualified_name: told[spec.qualified_name] or fill(template, spec) for spec in specs}
    for name in names.values():
        legal(name, limits)
    _distinct(names, told)
    return names


def _told(spec: CollectionSpec, patterns: Sequence[Pattern]) -> str | None:
    """The new name that the first fitting pattern gives; exact names go before globs."""
    ranked = sorted(patterns, key=lambda pattern: "*" in pattern.source)
    return next((name for pattern in ranked if (name := pattern.rename(spec)) is not None), None)


def fill(template: str, spec: CollectionSpec) -> str:
    """`template` with the parts of a collection's name.

    Raises:
        ConfigError: it asks for a part that there is not.
    """
    parts = {"name": spec.name, "namespace": "_".join(spec.namespace), "tenant": "default", "database": "default"}
    parts |= dict(zip(("tenant", "database"), spec.namespace, strict=False))
    try:
        return template.format(**parts)
    except (KeyError, IndexError, ValueError) as error:
        known = ", ".join(f"{{{part}}}" for part in parts)
        raise ConfigError(
            f"The name template '{template}' cannot be filled: {error}.", hint=f"Known: {known}."
        ) from error


def legal(name: str, limits: Limits) -> None:
    """Whether the target takes `name` for a collection.

    Raises:
        ConfigError: it does not; suggests one that it takes.
    """
    if re.fullmatch(limits.collection_name, name, re.DOTALL):
        return
    suggestion = suggest(name, limits)
    hint = (
        f"Rename it, for example --collection '{name}={suggestion}'."
        if suggestion
        else "Rename it: --collection OLD=NEW."
    )
    raise ConfigError(f"{limits.store} does not take '{name}' as a collection name.", hint=hint)


def suggest(name: str, limits: Limits) -> str | None:
    """A name near `name` that the target takes, or None where none was found."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    trimmed = plain.strip("-._") or "collection"
    for candidate in (plain, trimmed, trimmed[:63].rstrip("-._"), f"{trimmed}-1", f"col-{trimmed}"):
        if re.fullmatch(limits.collection_name, candidate, re.DOTALL):
            return candidate
    return None


def not_onto_itself(names: Mapping[str, str], source: StoreIdentity, target: StoreIdentity) -> None:
    """That no collection is its own target.

    Raises:
        ConfigError: source and target are one store, and a name stays as it is.
    """
    if (source.kind, source.where) != (target.kind, target.where):
        return
    for name, new in names.items():
        if name.rpartition("/")[2] == new:
            raise ConfigError(
                f"'{name}' would be copied onto itself.",
                hint=f"Source and target are one store; give the copy another name: --collection '{name}={new}-copy'.",
            )


def _distinct(names: Mapping[str, str], told: Mapping[str, str | None]) -> None:
    sources: dict[str, list[str]] = {}
    for source, name in names.items():
        sources.setdefault(name, []).append(source)
    for name, group in sources.items():
        if len(group) > 1 and not all(told[source] for source in group):
            raise ConfigError(
                f"{' and '.join(group)} would both become '{name}'.",
                hint="Keep them apart with a name template, for example --name '{namespace}_{name}', "
                f"or merge them on purpose: {' '.join(f'--collection {source}={name}' for source in group)}.",
            )
