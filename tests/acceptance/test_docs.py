"""Documentation that runs: every example, and the pages that are made from the code."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vecferry.cli.app import COMMANDS

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.stem for example in EXAMPLES])
def test_an_example_runs(example: Path) -> None:
    """Each example ends well, as a process of its own, and says something."""
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, timeout=540, check=False)
    assert done.returncode == 0, done.stderr
    assert "records" in done.stdout


def test_the_page_of_commands_is_in_step() -> None:
    """docs/reference/cli.md is what the commands say of themselves."""
    spec = importlib.util.spec_from_file_location("make_cli_page", ROOT / "docs" / "make_cli_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run: python docs/make_cli_page.py"


@pytest.mark.parametrize(
    "page",
    ["README.md", *(f"docs/how-to/{page.name}" for page in sorted((ROOT / "docs" / "how-to").glob("*.md")))],
)
def test_commands_and_options_in_a_page_exist(page: str) -> None:
    """A command line that a page shows names a command that there is, with options that it has."""
    reference = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\$ vecferry (.+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    for line in lines:
        command = line.split()[0]
        assert command in COMMANDS, line
        section = reference.split(f"## {command}\n")[1].split("\n## ")[0]
        for option in re.findall(r"(?<!\S)--[a-z-]+", line.split("#")[0]):
            assert option in section, f"{line}: {command} has no {option}"
