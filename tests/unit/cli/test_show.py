"""What a person reads holds nothing that a store's content could play tricks with."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from vecferry.cli import proven, show
from vecferry.verification.model import (
    Check,
    CollectionRepair,
    CollectionVerification,
    Difference,
    Finding,
    Level,
    RepairResult,
    State,
    Verification,
)


def screen(width: int = 200) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=False, highlight=False)


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("hostile", ["\x1b[31mred", "a\rb", "a\nb", "\u202etxt", "\x00", "\u200b"])
def test_control_characters_are_shown_as_such(hostile: str) -> None:
    shown = show.plain(hostile).plain
    assert shown.isprintable()
    assert "\ufffd" in shown


def test_cells_are_text_and_no_markup() -> None:
    console = screen()
    show.table(console, "[red]title[/]", ("what",), [("[bold]x[/bold]",), ("[link=http://x]y[/link]",)])
    assert "[red]title[/]" in text(console)
    assert "[bold]x[/bold]" in text(console)
    assert "[link=http://x]y[/link]" in text(console)


def test_numbers_have_thousands_separators_and_truth_values_do_not() -> None:
    assert show.plain(14365).plain == "14,365"
    assert show.plain(True).plain == "True"


def verification(*checks: Check) -> Verification:
    return Verification(collections=(CollectionVerification(source="a", target="b", records=9, checks=checks),))


def test_what_was_not_checked_is_never_shown_as_ok() -> None:
    """A level that was left out, and one with something skipped, have a remark; the verdict does not say "nothing"."""
    proof = verification(
        Check(level=Level.CONTENT, state=State.OK, scanned=9, compared=8, skipped={"set aside": 1}),
        Check(level=Level.SEARCH, state=State.NOT_CHECKED, note="left out on request"),
    )
    console = screen()
    proven.verification(console, proof)
    proven.verdict(console, proof)
    assert "left out on request" in text(console)
    assert "1 skipped: set aside" in text(console)
    assert "not everything was checked" in text(console)


def test_differences_are_listed_by_id_and_the_rest_is_counted() -> None:
    findings = tuple(Finding(difference=Difference.CHANGED, id=f"id-{n}", what="document") for n in range(30))
    check = Check(level=Level.CONTENT, state=State.DIFFERENT, differences=30, findings=findings)
    console = screen()
    proven.verification(console, verification(check))
    assert "the first 20 of 30" in text(console)
    assert "id-19" in text(console)
    assert "id-20" not in text(console)
    console = screen()
    proven.verdict(console, verification(check))
    assert text(console) == "30 differences found.\n"


def test_a_repair_says_what_was_left_and_what_was_refused() -> None:
    """A record that the target does not take is named with the reason, whatever its id is."""
    one = CollectionRepair(
        source="docs", target="docs", rewritten=3, set_aside=2, refused={"\x1b[31mbad": "Its id is too long."}
    )
    console = screen()
    proven.repairs(console, RepairResult(collections=(one,), after=Verification(collections=(), seconds={})))
    said = " ".join(text(console).split())
    assert "Set aside: 2 records" in said
    assert "Its id is too long." in said
    assert "\ufffd[31mbad" in said
    assert "\x1b" not in said
