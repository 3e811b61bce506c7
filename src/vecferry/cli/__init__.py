"""The command line: a thin shell over `vecferry`'s Python API. `main` is the entry point."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with a code of `vecferry.cli.exits.Exit`."""
    from vecferry.cli.app import run
    from vecferry.process import prepare

    prepare()
    sys.exit(run(sys.argv[1:]))
