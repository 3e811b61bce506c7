"""When a server wants to be asked again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vecferry.web.answers import Answer, seconds_to_wait


@pytest.mark.parametrize(
    "header,seconds",
    [
        ("7", 7.0),
        (" 0.25 ", 0.25),
        ("0", 0.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("1.2.3", None),
        (".", None),
        ("-3", None),
        ("nan", None),
        ("inf", None),
        ("1e9", None),
        ("9" * 400, None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
        ("Wed, 21 Oct 99999 07:28:00 GMT", None),
        (f"Wed, 21 Oct 2015 07:28:00 +{'9' * 30}", None),
    ],
)
def test_a_number_a_date_or_nothing(header: str | None, seconds: float | None) -> None:
    assert seconds_to_wait(header) == seconds


@pytest.fixture
def far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_from_greenwich")
@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-7)), None], ids=str)
def test_a_date_is_an_instant(zone: timezone | None) -> None:
    """In any zone; one that names none (-0000) is of Greenwich, wherever this machine stands."""
    there = datetime.now(zone or UTC) + timedelta(seconds=60)
    header = format_datetime(there if zone else there.replace(tzinfo=None))
    assert seconds_to_wait(header) == pytest.approx(60, abs=3)


@given(header=st.text() | st.text("0123456789.:, GMTOctWed+-", max_size=40))
@example("Mon, 01 Jan 0001 00:00:00 +2300")
def test_nonsense_is_no_error(header: str) -> None:
    seconds = seconds_to_wait(header)
    assert seconds is None or 0 <= seconds < 1e12


def test_an_answer_says_it_in_its_headers() -> None:
    assert Answer(429, {"retry-after": "3"}, "").retry_after == 3.0
    assert Answer(429, {}, "Retry-After: 3").retry_after is None
