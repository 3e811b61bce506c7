"""How errors become messages, objects and exit codes, and what no error ever does: show a traceback by accident."""

from __future__ import annotations

import json

import click
import pytest

from vecferry.cli import app
from vecferry.cli.exits import Exit
from vecferry.errors import Interrupted, LossRefused, StoreFull


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch):
    """Makes `vecferry status` raise what a test likes, or return it."""

    def make(outcome: BaseException | int) -> None:
        @click.command("status")
        @click.option("--json", "as_json", is_flag=True)
        def status(as_json: bool) -> int:
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        monkeypatch.setattr(app.Lazy, "get_command", lambda *_: status)

    return make


def test_the_message_and_what_to_do_go_to_standard_error(command, capsys: pytest.CaptureFixture[str]) -> None:
    command(LossRefused("The target cannot hold 3 records.", hint="Accept that."))
    assert app.run(["status"]) == Exit.REFUSED
    out, err = capsys.readouterr()
    assert (out, err) == ("", "error: The target cannot hold 3 records.\n   -> Accept that.\n")


def test_with_json_an_error_is_one_object_with_its_facts(command, capsys: pytest.CaptureFixture[str]) -> None:
    command(Interrupted("Stopped.", hint="Again.", run="r1"))
    assert app.run(["status", "--json"]) == Exit.INTERRUPTED
    said = json.loads(capsys.readouterr().out)
    problem = {"type": "Interrupted", "message": "Stopped.", "hint": "Again.", "run": "r1"}
    assert said == {"error": problem, "exit_code": 4}


@pytest.mark.parametrize("resumable, code", [(True, Exit.INTERRUPTED), (False, Exit.FAILED)])
def test_a_full_disk_is_an_interruption_once_something_is_written(command, resumable: bool, code: Exit) -> None:
    command(StoreFull("The disk is full.", resumable=resumable))
    assert app.run(["status"]) == code


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), click.exceptions.Abort()])
def test_ctrl_c_anywhere(command, stop: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    command(stop)
    assert app.run(["status", "--json"]) == Exit.INTERRUPTED
    assert json.loads(capsys.readouterr().out)["exit_code"] == 4


def test_a_bug_is_shown_as_one(command, capsys: pytest.CaptureFixture[str]) -> None:
    command(ZeroDivisionError("division by zero"))
    assert app.run(["status"]) == Exit.BUG
    err = capsys.readouterr().err
    assert "ZeroDivisionError" in err
    assert "please report" in err


@pytest.mark.parametrize("code", [Exit.DONE, Exit.DIFFERENCES])
def test_a_command_s_own_code_is_the_exit_code(command, code: Exit) -> None:
    command(int(code))
    assert app.run(["status"]) == code


def test_examples_in_the_help_stand_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["migrate", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "\n    vecferry migrate qdrant+http://localhost:6333 files:./backup --yes\n" in shown
    assert "\b" not in shown
    assert "\\b" not in shown
