"""What the options of `plan` and `migrate` mean, and which environment variables stand for a URL."""

from __future__ import annotations

import click
import pytest

from vecferry.cli import defaults, move, prove
from vecferry.cli.planned import plan_options, planning
from vecferry.engine.model import Options
from vecferry.errors import ConfigError
from vecferry.migration.settings import REPORTS
from vecferry.model import Keep
from vecferry.planning.model import IfExists, OnConflict, Policy
from vecferry.planning.options import PlanOptions
from vecferry.verification.model import VerifyOptions


def read(*arguments: str) -> PlanOptions:
    found = []

    @click.command()
    @planning
    def command(**given: object) -> None:
        found.append(plan_options(given))

    command.main(list(arguments), standalone_mode=False)
    return found[0]


def test_no_option_is_the_default() -> None:
    assert read() == PlanOptions()


def test_every_option_arrives() -> None:
    wished = read(
        *("-c", "docs-*", "-c", "faq=faq_v2", "--layout", "flat", "--exact-vectors", "keep", "--accept"),
        *("docs:nested-object=convert", "--if-exists", "append", "--on-conflict", "skip", "--index", "page:integer"),
        *("--tenant-key", "user", "--target-config", "shard_number=2", "--target-config", 'hnsw_config={"m": 32}'),
        *("--name", "{tenant}_{name}"),
    )
    assert wished == PlanOptions(
        collections=("docs-*", "faq=faq_v2"),
        layout="flat",
        exact_vectors=Keep.BITS,
        policies={"docs:nested-object": Policy.CONVERT},
        if_exists=IfExists.APPEND,
        on_conflict=OnConflict.SKIP,
        indexes=("page:integer",),
        tenant="user",
        target_config={"shard_number": 2, "hnsw_config": {"m": 32}},
        name="{tenant}_{name}",
    )


DEFAULTS = [
    (move.migrate, "batch_bytes", Options().batch_bytes),
    (move.migrate, "jobs", Options().jobs),
    (move.migrate, "queries", VerifyOptions().queries),
    (move.migrate, "reports", REPORTS),
    (prove.verify, "queries", VerifyOptions().queries),
    (prove.verify, "k", VerifyOptions().k),
    (prove.compare, "queries", VerifyOptions().queries),
    (prove.compare, "k", VerifyOptions().k),
]


@pytest.mark.parametrize("command,name,default", DEFAULTS, ids=[f"{c.name} {n}" for c, n, _ in DEFAULTS])
def test_a_command_has_the_defaults_of_what_it_calls(command: click.Command, name: str, default: object) -> None:
    """The help names them without importing the engine; here both are held together."""
    (parameter,) = (one for one in command.params if one.name == name)
    assert parameter.get_default(click.Context(command)) == default


@pytest.mark.parametrize(
    "name,known",
    [
        ("exact_vectors", set(Keep)),
        ("if_exists", {"ask", "append", "recreate", "sync", "refuse"}),
        ("on_conflict", set(OnConflict)),
    ],
)
def test_choices_are_those_of_the_plan(name: str, known: set[str]) -> None:
    """Likewise for the words that may be chosen; `keep` is what a run decides, never a person."""
    (parameter,) = (one for one in move.plan.params if one.name == name)
    assert isinstance(parameter.type, click.Choice)
    assert set(parameter.type.choices) == known
    assert known <= {str(word) for kind in (Keep, IfExists, OnConflict) for word in kind}


def test_an_unknown_layout_is_refused_before_anything_is_looked_at() -> None:
    """At once, and with those that there are; not after a whole inspection."""
    with pytest.raises(ConfigError, match="no layout 'langchian'") as caught:
        read("--layout", "langchian")
    assert caught.value.hint.startswith("Known: plain, flat, langchain, ")


def test_no_index_is_a_choice() -> None:
    assert read("--index", "none").indexes == "none"


@pytest.mark.parametrize("text", ["m", "=2", "m=", "m={", ""])
def test_a_setting_must_be_name_and_json(text: str) -> None:
    with pytest.raises(click.UsageError, match="NAME=VALUE"):
        read("--target-config", text)


@pytest.mark.parametrize(
    "environment, source, target",
    [
        ({"CHROMA_DB_PATH": "a", "QDRANT_URL": "http://h:1"}, "chroma:a", "qdrant+http://h:1"),
        ({"CHROMA_DB_PATH": "a", "QDRANT_URL": "localhost:6333"}, "chroma:a", "qdrant+http://localhost:6333"),
        ({"CHROMA_DB_PATH": "a", "QDRANT_URL": "qdrant:6333"}, "chroma:a", "qdrant+http://qdrant:6333"),
        ({"CHROMA_DB_PATH": "a", "QDRANT_URL": "qdrant:./folder"}, "chroma:a", "qdrant:./folder"),
        ({"CHROMA_PERSIST_DIR": "b", "QDRANT_URL": "https://h"}, "chroma:b", "qdrant+https://h"),
        ({"CHROMA_DB_PATH": "a", "CHROMA_PERSIST_DIR": "b", "QDRANT_HOST": "h"}, "chroma:a", "qdrant+http://h:6333"),
        ({"CHROMA_HOST": "c", "QDRANT_URL": "h"}, "chroma+http://c:8000", "qdrant+http://h"),
        (
            {"CHROMA_HOST": "c", "CHROMA_PORT": "443", "CHROMA_SSL": "True", "QDRANT_URL": "h"},
            "chroma+https://c:443",
            "qdrant+http://h",
        ),
        (
            {"CHROMA_HOST": "api.trychroma.com", "CHROMA_TENANT": "t", "CHROMA_DATABASE": "d", "QDRANT_URL": "h"},
            "chroma+cloud://t/d",
            "qdrant+http://h",
        ),
        ({"CHROMA_DB_PATH": "a", "QDRANT_HOST": "h", "QDRANT_PORT": "7"}, "chroma:a", "qdrant+http://h:7"),
        (
            {"CHROMA_DB_PATH": "a", "QDRANT_URL": "qdrant+http://h?grpc_port=5"},
            "chroma:a",
            "qdrant+http://h?grpc_port=5",
        ),
    ],
)
def test_the_environment_stands_in(
    environment: dict[str, str], source: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (defaults.source_url(None), defaults.target_url(None)) == (source, target)
    assert (defaults.source_url("files:x"), defaults.target_url("files:y")) == ("files:x", "files:y")


def test_without_either_the_variables_are_named() -> None:
    with pytest.raises(click.UsageError, match="CHROMA_DB_PATH or CHROMA_PERSIST_DIR"):
        defaults.source_url(None)
    with pytest.raises(click.UsageError, match="QDRANT_URL or QDRANT_HOST"):
        defaults.target_url(None)
