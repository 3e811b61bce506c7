"""Changes on the way, each small and pure over batches; see docs/reference/transforms.md.

`model` says what can be asked for, `chain` makes it ready for a collection, `view` shows a database through it.
"""

from vecferry.transforms.cache import Cache, location
from vecferry.transforms.embedder import Embedders
from vecferry.transforms.model import Flow, Kind, Model, Read, Recipe, ReEmbed, Rule, Step, check_steps
from vecferry.transforms.view import View, is_changed
from vecferry.transforms.wording import told

__all__ = [
    "Cache",
    "Embedders",
    "Flow",
    "Kind",
    "Model",
    "ReEmbed",
    "Read",
    "Recipe",
    "Rule",
    "Step",
    "View",
    "check_steps",
    "is_changed",
    "location",
    "told",
]
