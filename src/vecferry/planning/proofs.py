"""That no two records of a plan fall on one id of one target collection; reads again only what is not proven yet."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from vecferry.errors import ConfigError
from vecferry.limits import Limits
from vecferry.model import IdKind, IdRule
from vecferry.planning.collisions import IdSpace, prove, refuse
from vecferry.planning.model import Profile
from vecferry.protocols import Database


def prove_targets(parts: Iterable[tuple[Profile, str, IdRule]], source: Database, limits: Limits) -> None:
    """Prove each target collection, given as (profile of a source collection, target name, id rule) for each source.

    Raises:
        IdCollision: two ids would become one; names both.
        ConfigError: collections that go to one name have different id rules.
    """
    groups: dict[str, list[tuple[Profile, IdRule]]] = {}
    for profile, name, rule in parts:
        groups.setdefault(name, []).append((profile, rule))
    for name, group in groups.items():
        profiles = [profile for profile, _ in group]
        space = IdSpace.of(limits, _one_rule(name, {rule for _, rule in group}))
        if len(profiles) == 1 and _covered(profiles[0], space):
            refuse(name, profiles[0].collisions)
        else:
            refuse(name, prove([partial(source.source, p.spec.qualified_name) for p in profiles], space))


def _one_rule(name: str, rules: set[IdRule]) -> IdRule:
    if len(rules) > 1:
        raise ConfigError(
            f"The collections that go to '{name}' have different id rules.",
            hint="One collection has one rule: give them the same `id_rule`, or two names.",
        )
    return rules.pop()


def _covered(profile: Profile, space: IdSpace) -> bool:
    """Whether the inspection's proof says what `space` needs.

    Different ids under its rule are different source ids, so they stay different where they are kept as they are,
    unless integers and texts meet there.
    """
    if space.rule is not None:
        return space.rule == profile.id_rule
    return not profile.collisions and (space.typed or profile.spec.id_kind is not IdKind.MIXED)
