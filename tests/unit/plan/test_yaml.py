"""The plan file: what is written is what is read, and a mistake is named with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.unit.plan.making import CHROMA_LIKE, Limited, inspected, record, store
from vecferry.errors import ConfigError
from vecferry.planning.model import Plan, Policy
from vecferry.planning.options import PlanOptions
from vecferry.planning.plan import make_plan
from vecferry.planning.yaml import dump_plan, load_plan, plan_schema

SCHEMA = Path(__file__).parents[3] / "docs" / "reference" / "plan.schema.json"


def made(**options: Any) -> Plan:
    records = [record("a", None, metadata={"k": None, "": 1, "on": "yes", "né": "ü"}), record("2026-01-01", seq=1)]
    source = store(docs=records, other=[record("x")])
    return make_plan(inspected(source), source, Limited(CHROMA_LIKE), PlanOptions(**options), target_url="test:x")


def test_a_plan_survives_the_file() -> None:
    """Every field, with keys and ids that YAML would take for something else."""
    plan = made(target_config={"hnsw": {"m": 32}, "on_disk": True}, layout="flat")
    assert load_plan(dump_plan(plan)) == plan


def test_the_file_begins_with_an_explanation() -> None:
    """Someone who never saw a plan knows what to edit."""
    text = dump_plan(made())
    assert text.startswith("# A vecferry plan")
    assert "policy: refuse" in text


def test_writing_twice_gives_the_same_text() -> None:
    """A plan under version control shows only what changed."""
    plan = made()
    assert dump_plan(plan) == dump_plan(load_plan(dump_plan(plan)))


def test_a_policy_can_be_edited() -> None:
    """What a person writes is what holds."""
    text = dump_plan(made()).replace("policy: refuse", "policy: quarantine")
    cells = [cell for cell in load_plan(text).collections[0].cells if cell.choices]
    assert cells
    assert {cell.policy for cell in cells} == {Policy.QUARANTINE}


def _line(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if part in line)


@pytest.mark.parametrize(
    "old,new,message",
    [
        ("if_exists: ask", "if_exists: perhaps", "if_exists: Invalid enum value 'perhaps'"),
        ("on_conflict: refuse", "on_konflict: refuse", "no field 'on_konflict'"),
        ("policy: refuse", "policy: convert", "cannot be answered with 'convert'"),
        ("records: 2", "records: two", "Expected `int`, got `str`"),
    ],
)
def test_a_mistake_is_named_with_its_line(old: str, new: str, message: str) -> None:
    """The line in the file, the field, what is wrong and what is allowed."""
    head, body = dump_plan(made()).split("\nversion:", 1)
    assert old in body
    broken = f"{head}\nversion:{body.replace(old, new, 1)}"
    with pytest.raises(ConfigError) as caught:
        load_plan(broken, name="plan.yaml")
    assert message in str(caught.value)
    assert f"plan.yaml, line {_line(broken, new)}," in str(caught.value)


@pytest.mark.parametrize("text", ["", "a: [", "- 1", "version: 1", "!!python/object/apply:os.system ['true']"])
def test_what_is_no_plan_is_refused(text: str) -> None:
    """Empty, torn, something else, hostile."""
    with pytest.raises(ConfigError):
        load_plan(text)


def test_a_later_version_is_refused() -> None:
    """A file of a vecferry to come is not half understood."""
    with pytest.raises(ConfigError, match="version 2"):
        load_plan(dump_plan(made()).replace("version: 1", "version: 2", 1))


def test_the_published_schema_is_in_step() -> None:
    """docs/reference/plan.schema.json is what the code says; docs/reference/plan-file.md says how to write it anew."""
    assert json.loads(SCHEMA.read_text()) == plan_schema()


def test_a_plan_file_satisfies_the_schema() -> None:
    """An editor that knows the schema accepts what we write."""
    jsonschema.validate(yaml.safe_load(dump_plan(made())), plan_schema())
