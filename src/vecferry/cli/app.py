"""The command group: which commands there are, and how errors become messages and exit codes.

Commands live in modules of their own and are imported when they are called, so that `--help` stays quick.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

import click

from vecferry.cli.exits import Exit, exit_for
from vecferry.errors import Fact, Interrupted, VecferryError
from vecferry.version import __version__

COMMANDS = {
    "doctor": ("vecferry.cli.look", "Is everything installed, and does each store do what a migration needs?"),
    "inspect": ("vecferry.cli.look", "Look at every record of a store and say what is there."),
    "plan": ("vecferry.cli.move", "Say what a migration would do, and write it as a file that you can edit."),
    "migrate": ("vecferry.cli.move", "Move collections, verify every record, and write a report."),
    "sync": ("vecferry.cli.keep", "Bring a target up to date with a source that has changed since."),
    "status": ("vecferry.cli.status", "Show the runs that the ledger knows, and the units of one."),
    "pause": ("vecferry.cli.hold", "Let a migration wait, or one unit of it."),
    "resume": ("vecferry.cli.hold", "Let what was paused go on, or have a unit moved that was to stay."),
    "stay": ("vecferry.cli.hold", "Leave a unit where it is."),
    "verify": ("vecferry.cli.prove", "Compare every record of source and target."),
    "compare": ("vecferry.cli.prove", "Measure the same queries against source and target."),
    "repair": ("vecferry.cli.prove", "Mend what verification found, from the source."),
    "retire": ("vecferry.cli.retire", "Remove a source that was moved, once an archive of it is verified."),
    "backup": ("vecferry.cli.backup", "Write a verified archive under a dated name, and remove the oldest."),
    "restore": ("vecferry.cli.backup", "Bring a backup back, and compare every record."),
    "report": ("vecferry.cli.prove", "Write the report of a run again, as HTML or JSON."),
    "demo": ("vecferry.cli.demo", "Run a whole migration on your own machine, with nothing to set up."),
}
"""Command -> (module that holds a click command of that name, one line of help)."""

EPILOG = """\b
Examples:
  vecferry demo
  vecferry doctor chroma:./chroma_db qdrant+http://localhost:6333
  vecferry migrate chroma:./chroma_db qdrant+http://localhost:6333 --dry-run
  vecferry migrate chroma:./chroma_db qdrant+http://localhost:6333

\b
Store URLs:
  chroma:PATH                  a Chroma directory
  qdrant+http://HOST:6333      a Qdrant server (key from QDRANT_API_KEY, or ?api_key=env:NAME)
  qdrant:PATH                  Qdrant embedded in a folder
  files:DIR                    an archive of Parquet files
  chroma+s3://BUCKET/KEY       a Chroma directory packed in a bucket; files+s3://BUCKET/PREFIX an archive in one
"""


class Lazy(click.Group):
    """A group that imports a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if name not in COMMANDS:
            return None
        command = getattr(import_module(COMMANDS[name][0]), name)
        assert isinstance(command, click.Command)
        command.help = (command.help or "").replace("\\b\n", "\b\n")  # click's mark for lines that stay as they are
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            if near := get_close_matches(args[0], COMMANDS, n=1):
                raise click.UsageError(f"{error.message} Did you mean '{near[0]}'?", ctx) from None
            raise


@click.group(
    cls=Lazy, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="vecferry")
def cli() -> None:
    """Move vector data between databases, and prove that nothing was lost."""


def run(arguments: Sequence[str]) -> int:
    """Run the command line `arguments` and return its exit code; every error becomes a message on standard error."""
    try:
        result = cli.main(list(arguments), prog_name="vecferry", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        return _report(Interrupted("Stopped.", hint="Run the same command again to go on."), arguments)
    except click.ClickException as error:
        error.show()
        return _as_json(arguments, Exit.USAGE, type="UsageError", message=error.format_message(), hint=None)
    except VecferryError as error:
        return _report(error, arguments)
    except BrokenPipeError:
        sys.stderr.close()
        return Exit.DONE
    except Exception:  # noqa: BLE001 - the last line of defence: a bug is shown as one, with what to do
        return _bug()
    return int(result) if isinstance(result, int) else Exit.DONE


def _report(error: VecferryError, arguments: Sequence[str]) -> int:
    click.echo(f"{click.style('error', fg='red', bold=True)}: {error.message}", err=True)
    if error.hint:
        click.echo(f"   {click.style('->', fg='cyan')} {error.hint}", err=True)
    problem = {"type": type(error).__name__, "message": error.message, "hint": error.hint, **error.facts}
    return _as_json(arguments, exit_for(error, started=bool(error.facts.get("resumable"))), **problem)


def _as_json(arguments: Sequence[str], code: Exit, **problem: Fact) -> int:
    """Where JSON was asked for, an error is an object too. Returns `code`."""
    if "--json" in arguments:
        import orjson

        click.echo(orjson.dumps({"error": problem, "exit_code": int(code)}).decode())
    return int(code)


def _bug() -> int:
    traceback.print_exc()
    click.echo(
        "\nThis is a bug in vecferry; please report the lines above. Nothing is lost: run the same command to resume.",
        err=True,
    )
    return Exit.BUG
