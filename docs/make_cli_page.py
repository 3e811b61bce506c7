"""Writes docs/reference/cli.md from the commands themselves; `--check` says whether the page is in step."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from vecferry.cli.app import COMMANDS, cli

PAGE = Path(__file__).parent / "reference" / "cli.md"
_HEAD = """# Commands

What `vecferry COMMAND --help` says. Made by `docs/make_cli_page.py`; a test keeps it in step.

[Exit codes](exit-codes.md) · [JSON output](json.md) · [Store URLs](urls.md)
"""


def page() -> str:
    """The whole page."""
    names = cli.context_settings["help_option_names"]  # as when it runs; click remembers them for each command
    context = click.Context(
        cli, info_name="vecferry", max_content_width=100, terminal_width=100, help_option_names=names
    )
    parts = [_HEAD]
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context, max_content_width=100, terminal_width=100)
        parts.append(f"## {name}\n\n```text\n{command.get_help(inner).rstrip()}\n```\n")
    return "\n".join(parts)


def main() -> int:
    if "--check" in sys.argv:
        return int(PAGE.read_text(encoding="utf-8") != page())
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
