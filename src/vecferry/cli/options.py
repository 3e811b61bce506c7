"""The options that several commands have, each defined once. A function where the help differs, else the option."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]
Option = Callable[[Command], Command]

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
REPORTS = Path("vecferry-reports")


def stores(command: Command) -> Command:
    """SOURCE and TARGET; what is left out, the environment names (see `defaults`)."""
    return click.argument("source", required=False)(click.argument("target", required=False)(command))


# --------------------------------------------------------------------------- what is moved


def collections(help_text: str, *, metavar: str = "NAME|GLOB|OLD=NEW") -> Option:
    """`--collection`: which of them."""
    return click.option("--collection", "-c", "collections", multiple=True, metavar=metavar, help=help_text)


paired = collections("Only these; OLD=NEW where the target's name is another. Default: all.")
"""`--collection` where both stores are to have them already."""

transform = click.option(
    "--transform",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Show the source as this transform file (or plan file) says: keys, filters, splits, merges, new vectors.",
)
preset = click.option(
    "--preset",
    metavar="NAME|FILE",
    help="How tables of PostgreSQL or MariaDB are read, and in which order: a preset of ours (inspect names it), or a "
    "YAML file of yours.",
)
accept = click.option(
    "--accept",
    "accepted",
    multiple=True,
    metavar="SHAPE=POLICY",
    help="Accept a loss by name, as the plan lists it. May be given more than once.",
)


def if_exists(help_text: str) -> Option:
    """`--if-exists`: what to do about a collection that is there."""
    choices = click.Choice(["ask", "append", "recreate", "sync", "refuse"])
    return click.option("--if-exists", type=choices, default="ask", show_default=True, help=help_text)


# --------------------------------------------------------------------------- what is written


def dry_run(after: str = "after the plan") -> Option:
    """`--dry-run`."""
    return click.option("--dry-run", is_flag=True, help=f"Stop {after}. Writes nothing anywhere.")


def yes(help_text: str = "Do not ask before the first write.") -> Option:
    """`--yes`."""
    return click.option("--yes", "-y", is_flag=True, help=help_text)


def backup(of: str) -> Option:
    """`--backup`: an archive before the first write."""
    return click.option("--backup", type=FOLDER, metavar="DIR", help=f"First write a verified archive of {of}.")


pace = click.option(
    "--pace",
    metavar="full|gentle|Nx|Nms",
    help="How slow reading may make the source: its searches, asked a few times a second, stay at p95 below N times "
    "what they take before, or below N milliseconds; gentle is 1.5x. Default: full, or as the unfinished run began.",
)
restart = click.option("--restart", is_flag=True, help="Give the unfinished run of this job up and begin anew.")
reports = click.option(
    "--report", "reports", type=FOLDER, default=REPORTS, show_default=True, help="The folder for reports."
)

# --------------------------------------------------------------------------- what is compared


def queries(help_text: str = "Searches to compare per collection.") -> Option:
    """`--queries`: how many searches."""
    return click.option("--queries", type=click.IntRange(1), default=100, show_default=True, help=help_text)


neighbours = click.option(
    "-k", "k", type=click.IntRange(1), default=10, show_default=True, help="Neighbours per search."
)
by = click.option(
    "--by",
    multiple=True,
    metavar="KEY",
    help="Also count the records by each value of this metadata key. May be given more than once.",
)
strict = click.option(
    "--strict",
    is_flag=True,
    help="Exit with 1 also where a search or a filter could not be checked, since the store cannot be asked.",
)

# --------------------------------------------------------------------------- what is told, and remembered

ledger = click.option(
    "--ledger",
    envvar="VECFERRY_LEDGER",
    metavar="PATH|URL",
    help="Where runs are remembered (SQLite file or database URL). Default: your user's state folder.",
)
as_json = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON object on standard output; everything for people goes to standard error.",
)


def listening(command: Command) -> Command:
    """`--quiet` and `--log`."""
    log = click.option("--log", type=FILE, help="Append every event to this file, one JSON object a line.")
    quiet = click.option("--quiet", "-q", is_flag=True, help="No progress, only the result.")
    return log(quiet(command))
