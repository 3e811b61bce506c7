"""A skip is a registered fact, not an excuse: proven by running pytest on pytest."""

from __future__ import annotations

import pytest

INI = "[pytest]\nvecferry_registered_skips = true\n"


@pytest.fixture
def inner(pytester, monkeypatch):
    """A project that asked for the guard, outside CI."""
    monkeypatch.delenv("CI", raising=False)
    pytester.makeini(INI)

    def run(code):
        pytester.makepyfile(code)
        return pytester.runpytest("-p", "no:cacheprovider")

    return run


def test_an_unregistered_skip_fails(inner):
    """pytest.skip with a free text is a failure."""
    result = inner("import pytest\ndef test_it(): pytest.skip('not today')")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*not registered*not today*"])


def test_an_unregistered_mark_fails(inner):
    """So is a mark with a free text."""
    inner("import pytest\n@pytest.mark.skip(reason='slow')\ndef test_it(): ...").assert_outcomes(errors=1)


def test_a_module_that_skips_itself_fails(inner):
    """And importorskip, which would silence a whole file."""
    result = inner("import pytest\npytest.importorskip('no_such_module')\ndef test_it(): ...")
    result.assert_outcomes(errors=1)


def test_a_registered_skip_is_shown_loudly(inner):
    """The summary names the reason and how often it hit."""
    result = inner(
        """
        import pytest
        from vecferry.testing.skips import reason, skip
        def test_one(): skip("qdrant-server", "no npm")
        @pytest.mark.skip(reason=reason("platform"))
        def test_two(): ...
        """
    )
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["!*2 TESTS SKIPPED*", "*1*qdrant-server*no npm*"])


def test_an_unknown_key_fails(inner):
    """A key must stand in the table."""
    inner("from vecferry.testing.skips import skip\ndef test_it(): skip('lazy')").assert_outcomes(failed=1)


def test_an_expected_failure_is_no_skip(inner):
    """xfail is reported as skipped inside pytest, and is left alone."""
    inner("import pytest\n@pytest.mark.xfail\ndef test_it(): assert False").assert_outcomes(xfailed=1)


def test_on_ci_a_missing_server_fails(inner, monkeypatch):
    """What a laptop may skip, CI must run."""
    monkeypatch.setenv("CI", "true")
    result = inner("from vecferry.testing.skips import skip\ndef test_it(): skip('qdrant-server')")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*CI=true*"])


def test_other_projects_are_left_alone(pytester):
    """The plugin loads wherever vecferry is installed; without the ini option it changes nothing."""
    pytester.makepyfile("import pytest\ndef test_it(): pytest.skip('my own business')")
    pytester.runpytest("-p", "no:cacheprovider").assert_outcomes(skipped=1)
