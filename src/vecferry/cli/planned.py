"""What `plan` and `migrate` decide: their common options, and what these mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from vecferry.cli import common, options
from vecferry.layouts import LAYOUTS

if TYPE_CHECKING:
    from vecferry.planning.options import PlanOptions

_OPTIONS = (
    options.collections("Only these collections; OLD=NEW renames. May be given more than once. Default: all."),
    click.option(
        "--layout",
        default="auto",
        metavar="NAME",
        help=f"{', '.join(('auto', *LAYOUTS))}: how payloads are written, for who shall read the target. "
        "For a new table of PostgreSQL or MariaDB: the name of a preset, such as langchain-pgvectorstore, or a YAML "
        "file of yours.",
    ),
    click.option(
        "--exact-vectors",
        type=click.Choice(["restore", "keep"]),
        default="restore",
        show_default=True,
        help="Where the target scales cosine vectors: keep their length beside them, or every bit.",
    ),
    options.accept,
    options.if_exists(
        "What to do where the target holds records under that name already; sync writes only what differs."
    ),
    click.option(
        "--on-conflict",
        type=click.Choice(["refuse", "replace", "skip"]),
        default="refuse",
        show_default=True,
        help="What append does with ids that the target has already.",
    ),
    click.option(
        "--index",
        "indexes",
        multiple=True,
        metavar="KEY[:KIND]",
        help="Index this metadata key in the target; 'none' for no index. Default: keys chosen from the profile.",
    ),
    click.option(
        "--tenant-key", metavar="KEY", help="The metadata key that separates tenants; it gets a tenant index."
    ),
    click.option(
        "--target-config",
        "config",
        multiple=True,
        metavar="NAME=VALUE",
        help="A setting of the target: for Qdrant quantization=scalar, datatype=float16, on_disk=true, m=32, "
        "payload_m=16, or as JSON under its own name: hnsw_config='{\"m\": 32}'.",
    ),
    click.option(
        "--name",
        default="{name}",
        metavar="TEMPLATE",
        help="Target names, from {name}, {tenant}, {database}, {namespace}.",
    ),
    options.transform,
    options.preset,
)


def planning(command: options.Command) -> options.Command:
    """The options of a plan."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def plan_options(given: Mapping[str, Any]) -> PlanOptions:
    """`PlanOptions` from the options that `planning` added.

    Raises:
        ConfigError: see `parse_policies`.
        click.UsageError: a target setting is not NAME=VALUE.
    """
    from vecferry.model import Keep
    from vecferry.planning.model import IfExists, OnConflict
    from vecferry.planning.options import AUTO, PlanOptions, parse_policies
    from vecferry.planning.presets import target_preset

    made = target_preset(given["layout"])
    return PlanOptions(
        collections=given["collections"],
        layout=given["layout"] if made is None else AUTO,
        exact_vectors=Keep(given["exact_vectors"]),
        policies=parse_policies(given["accepted"]),
        if_exists=IfExists(given["if_exists"]),
        on_conflict=OnConflict(given["on_conflict"]),
        indexes=_indexes(given["indexes"]),
        tenant=given["tenant_key"],
        target_config=dict(_setting(text) for text in given["config"]),
        name=given["name"],
        transforms=common.recipe(given["transform"]),
        preset=common.preset(given["preset"]),
        made=made,
    )


def _indexes(given: tuple[str, ...]) -> str | tuple[str, ...]:
    if not given:
        return "auto"
    return "none" if given == ("none",) else given


def _setting(text: str) -> tuple[str, Any]:
    import orjson

    name, separator, value = text.partition("=")
    try:
        if separator and name:
            return name, value if value.isidentifier() and value not in _JSON_WORDS else orjson.loads(value)
    except orjson.JSONDecodeError:
        pass
    raise click.UsageError(f"'{text}' is not NAME=VALUE, for example --target-config shard_number=2.")


_JSON_WORDS = frozenset({"true", "false", "null"})
