"""The examples of the pages on transforms are files that vecferry takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vecferry.planning.recipe import load_recipe
from vecferry.transforms.model import KINDS

ROOT = Path(__file__).parents[3] / "docs"
PAGES = ("reference/transforms.md", "how-to/re-embed-on-the-way.md")
EXAMPLES = [
    pytest.param(text, id=f"{Path(page).stem}-{number}")
    for page in PAGES
    for number, text in enumerate(
        re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    )
]


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_is_a_transform_file(text: str) -> None:
    recipe = load_recipe(text)
    assert recipe.transforms or recipe.collections


def test_every_transform_and_every_field_of_a_model_is_explained() -> None:
    from vecferry.transforms import ReEmbed

    page = (ROOT / PAGES[0]).read_text(encoding="utf-8")
    assert [kind for kind in KINDS if f"| `{kind}: " not in page] == []
    assert [name for name in ReEmbed.__dataclass_fields__ if f"`{name}`" not in page] == []


def test_inline_examples_are_transforms() -> None:
    """`- re_embed: {…}` in running text."""
    page = (ROOT / PAGES[1]).read_text(encoding="utf-8")
    found = re.findall(r"`(- re_embed: \{.*?\})`", page)
    assert len(found) == 2
    for text in found:
        assert load_recipe(text).transforms[0].re_embed is not None
