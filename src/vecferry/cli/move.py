"""Commands that move: plan, migrate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from vecferry.cli import common, defaults, options
from vecferry.cli.ending import Again, outcome
from vecferry.cli.exits import Exit, exit_of
from vecferry.cli.person import Person
from vecferry.cli.planned import plan_options, planning
from vecferry.errors import ConfigError

if TYPE_CHECKING:
    from vecferry.migration import Migration, Settings
    from vecferry.planning.model import Plan
    from vecferry.verification.drift import Drift
    from vecferry.verification.model import CollectionRepair


@click.command()
@options.stores
@planning
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the plan to this file instead of printing it.",
)
@options.listening
@options.as_json
def plan(
    source: str | None,
    target: str | None,
    output: Path | None,
    quiet: bool,
    log: Path | None,
    as_json: bool,
    **given: Any,
) -> int:
    r"""Say what a migration would do, as a file that you can read, edit and review. Touches nothing in the target.

    \b
    Examples:
      vecferry plan chroma:./chroma_db qdrant+http://localhost:6333
      vecferry plan chroma:./chroma_db qdrant+http://localhost:6333 --layout langchain --output plan.yaml
      vecferry migrate --plan plan.yaml
    """
    from vecferry import migration
    from vecferry.cli import show
    from vecferry.planning.yaml import dump_plan
    from vecferry.progress import observer

    wished = plan_options(given)
    with observer(common.messages(), quiet=quiet, log=log) as observe:
        made = migration.plan(
            defaults.source_url(source), defaults.target_url(target), options=wished, observer=observe
        )
    if output is not None:
        _write_plan(output, dump_plan(made))
    if as_json:
        common.print_json(made)
    elif output is None:
        click.echo(dump_plan(made), nl=False)
    else:
        console = common.output(as_json=False)
        show.the_plan(console, made)
        console.print(f"The plan lies in [bold]{output}[/]. Read it, edit it, then: vecferry migrate --plan {output}")
    return Exit.DONE


@click.command()
@options.stores
@planning
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take the decisions from this plan file.",
)
@options.dry_run()
@options.yes("Do not ask before the first write. Records of somebody else are still refused.")
@options.backup("the source, and of what is overwritten")
@click.option("--no-backup", is_flag=True, help="Let recreate remove records of somebody else without an archive.")
@click.option("--delete", is_flag=True, help="With --if-exists sync: delete what only the target has.")
@click.option("--no-verify", is_flag=True, help="Leave verification out. The report will say so.")
@click.option(
    "--by",
    multiple=True,
    metavar="KEY",
    help="Also count the records by each value of this metadata key. From PostgreSQL and MariaDB each value of the "
    "column is moved, proven and told as a unit of its own; one that fails stops no other.",
)
@click.option(
    "--units/--no-units", default=None, help="Whether --by makes units. Default: where a SQL store is the source."
)
@click.option(
    "--order",
    type=click.Choice(["largest", "smallest", "value"]),
    help="With --by: which unit is moved first. Default: the largest; of a run that goes on, as it began.",
)
@click.option(
    "--first",
    multiple=True,
    metavar="VALUE",
    help="With --by: this unit before all others. May be given more than once.",
)
@click.option(
    "--stay",
    "stays",
    multiple=True,
    metavar="VALUE",
    help="With --by: leave this unit in the source; '*': every one that is there, to be moved one by one (resume).",
)
@click.option(
    "--status-table",
    metavar="URL[#TABLE]",
    help="With --by: keep a line for each unit in this SQL table (vector_migration_status), for others to read.",
)
@click.option("--status-column", default="user_id", show_default=True, help="Its first column, which names the unit.")
@options.strict
@options.queries()
@options.reports
@options.restart
@click.option(
    "--batch-bytes", type=click.IntRange(1024), default=4 << 20, show_default=True, help="The largest request."
)
@click.option("--jobs", type=click.IntRange(1, 64), default=4, show_default=True, help="Requests in flight.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Records per second, at most.")
@options.pace
@options.ledger
@options.listening
@options.as_json
def migrate(source: str | None, target: str | None, *, plan_file: Path | None, as_json: bool, **given: Any) -> int:
    r"""Move collections, verify every record, and write a report.

    Interrupted? Run the same command again: it goes on where it was. Finished? Run again, it writes nothing twice:
    it verifies what is there, and where the source has changed since, it offers to write only what differs.

    \b
    Examples:
      vecferry migrate chroma:./chroma_db qdrant+http://localhost:6333 --dry-run
      vecferry migrate chroma:./chroma_db qdrant+http://localhost:6333
      vecferry migrate chroma:./chroma_db qdrant+http://localhost:6333 -c 'docs-*' -c faq=faq_v2 --yes
      vecferry migrate qdrant+http://localhost:6333 files:./backup --yes
    """
    from vecferry import migration

    source, target, settings = _settings(source, target, plan_file, given)
    console = common.messages()
    with common.watched(console, quiet=given["quiet"], log=given["log"]) as (observe, stop):
        done = migration.migrate(
            source, target, settings=settings, ask=Person(console, yes=given["yes"]), observer=observe, stop=stop
        )
    say(done, Again.of(source, target, _seen(given, plan_file, done)), as_json=as_json)
    return exit_of(done.verification, strict=given["strict"])


def _seen(given: dict[str, Any], plan_file: Path | None, done: Migration) -> dict[str, Any]:
    """`given`, with the plan file in the place of a choice that it made: a next command is to see what it showed."""
    if plan_file is not None and any(collection.transforms or collection.reads for collection in done.plan.collections):
        return {**given, "collections": (), "transform": plan_file}
    return given


def _settings(
    source: str | None, target: str | None, plan_file: Path | None, given: dict[str, Any]
) -> tuple[str, str, Settings]:
    from vecferry.engine.model import Options
    from vecferry.migration import Bound, Settings
    from vecferry.verification.model import VerifyOptions

    if given["backup"] is not None and given["no_backup"]:
        raise click.UsageError("--backup and --no-backup are two answers to one question.")
    if given["by"] and given["no_verify"]:
        raise click.UsageError("--by counts records while they are verified: leave --no-verify out.")
    if given["delete"] and given["if_exists"] != "sync":
        raise click.UsageError("--delete goes with --if-exists sync alone.")
    decisions = _read_plan(plan_file) if plan_file else None
    if decisions is not None:
        _refuse_what_the_plan_says()
        given["collections"] = tuple(collection.source for collection in decisions.collections)
        source, target = source or decisions.source_url, target or decisions.target_url
    settings = Settings(
        plan=replace(plan_options(given), unit=_unit(source, given), **_priority(given)),
        decisions=decisions,
        pace=Bound.parse(given["pace"]) if given["pace"] else None,
        engine=Options(batch_bytes=given["batch_bytes"], jobs=given["jobs"], rate=given["rate"]),
        verify=None if given["no_verify"] else VerifyOptions(queries=given["queries"], by=given["by"]),
        backup=given["backup"],
        no_backup=given["no_backup"],
        delete_extra=given["delete"],
        ledger=given["ledger"],
        reports=given["reports"],
        restart=given["restart"],
        dry_run=given["dry_run"],
        status_table=given["status_table"],
        status_column=given["status_column"],
    )
    if settings.status_table is not None and settings.plan.unit is None and decisions is None:
        raise click.UsageError("--status-table lists units: add --by COLUMN.")
    if any(_priority(given).values()) and settings.plan.unit is None and decisions is None:
        raise click.UsageError("--order, --first and --stay are of units: add --by COLUMN.")
    return defaults.source_url(source), defaults.target_url(target), settings


def _priority(given: dict[str, Any]) -> dict[str, Any]:
    """In which order units are moved, and which are not, as fields of `PlanOptions`."""
    from vecferry.planning.options import Order

    order = Order(given["order"]) if given["order"] else None
    return {"order": order, "first": given["first"], "stays": given["stays"]}


def _unit(source: str | None, given: dict[str, Any]) -> str | None:
    """The column whose values are units, where there is one."""
    if given["units"] and len(given["by"]) != 1:
        raise click.UsageError("--units goes with one --by COLUMN.")
    if given["units"] is False or len(given["by"]) != 1:
        return None
    sql = (source or "").partition(":")[0].partition("+")[0] in _SQL
    column: str = given["by"][0]
    return column if sql or given["units"] else None


_SQL = frozenset({"postgresql", "postgres", "mariadb"})
"""Schemes of stores that read the records of one value on their own."""

_OF_THE_PLAN = (
    "collections",
    "layout",
    "exact_vectors",
    "indexes",
    "tenant_key",
    "config",
    "name",
    "transform",
    "preset",
)
"""Options that a plan file answers; `--accept`, `--if-exists` and `--on-conflict` may answer beside it."""


def _refuse_what_the_plan_says() -> None:
    context = click.get_current_context()
    for parameter in context.command.params:
        said = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if said and parameter.name in _OF_THE_PLAN:
            raise click.UsageError(f"{parameter.opts[0]} does not go with --plan: change it in the plan file.")


def _read_plan(path: Path) -> Plan:
    from vecferry.planning.yaml import load_plan

    return load_plan(common.read_text(path, "plan file"))


def _write_plan(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"The plan cannot be written to {path}: {error.strerror}.", hint="Choose another file with --output."
        ) from error


def say(done: Migration, again: Again, *, as_json: bool) -> None:
    """The last screen, or the last object."""
    if as_json:
        common.print_json(summary(done))
    elif done.run is None:
        common.messages().print("Dry run: nothing was written. Without --dry-run, this is what would be done.")
    else:
        outcome(common.output(as_json=False), done, again)


def summary(done: Migration) -> dict[str, Any]:
    """What `--json` prints; documented in docs/reference/json.md."""
    from vecferry.cli import grouped

    proof = done.verification
    return {
        "dry_run": done.run is None,
        "run": done.run.run if done.run else None,
        "records": done.plan.records if done.run is None else done.records,
        "collections": [
            {"source": c.source, "target": c.target.qualified_name, "records": c.records} for c in done.plan.collections
        ],
        "kept": done.kept,
        "synced": [_synced(one, done.repairs) for one in done.drifts],
        "resumed": done.run.resumed if done.run else 0,
        "rejected": done.run.rejected if done.run else 0,
        "skipped": done.run.skipped if done.run else 0,
        "seconds": {name: round(value, 3) for name, value in done.seconds.items()},
        "verified": proof is not None,
        "ok": proof.ok if proof else None,
        "differences": done.differences,
        "breakdowns": grouped.as_data(proof),
        "pace": common.as_data(done.pace),
        "report": str(done.report) if done.report else None,
        "plan": common.as_data(done.plan) if done.run is None else None,
    }


def _synced(found: Drift, repairs: Sequence[CollectionRepair]) -> dict[str, Any]:
    """One collection that was compared before anything was written, and what was done about it."""
    done = next((one for one in repairs if one.source == found.source), None)
    return {
        "source": found.source,
        "target": found.target,
        "added": found.added,
        "changed": found.changed,
        "extra": found.extra,
        "written": done.rewritten if done else 0,
        "deleted": done.deleted if done else 0,
    }
