"""A transform file as YAML: what is to be changed on the way. A plan file is read as one too."""

from __future__ import annotations

from collections.abc import Mapping

from vecferry.planning.flows import flows_of
from vecferry.planning.yaml import load_plan, read_yaml, strictly
from vecferry.transforms import Recipe


def load_recipe(text: str, *, name: str = "the transform file") -> Recipe:
    """The transforms that `text` says: a list of them, a transform file, or a plan file.

    Raises:
        ConfigError: not YAML, an unknown field, a value of the wrong kind, or a transform that cannot be done; names
            the line.
    """
    tree, raw = read_yaml(text, name)
    if isinstance(raw, Mapping) and "source_url" in raw:
        plan = load_plan(text, name=name)
        return Recipe(flows=flows_of(plan.collections), tables=plan.tables)
    if isinstance(raw, list):
        raw, tree = {"transforms": raw}, None
    recipe: Recipe = strictly(raw, tree, Recipe, name)
    recipe.check()
    return recipe
