"""Reports to look at."""

from __future__ import annotations

import pytest

from tests.report_stories import make_hostile, make_story
from vecferry.report import Report


@pytest.fixture
def story() -> Report:
    """A migration in which two records of one collection were damaged, and one side of one comparison is missing."""
    return make_story(damaged=True)


@pytest.fixture
def hostile() -> Report:
    """Every text that can come out of a store tries to break out of the page."""
    return make_hostile()
