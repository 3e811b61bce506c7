"""What a server answers instead of what was asked for, and when it wants to be asked again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

SHOWN = 300
"""Characters of somebody else's words that a message repeats."""
_SECONDS = re.compile(r"\d{1,9}(?:\.\d*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is no success.

    Attributes:
        headers: names in lower case, or a mapping that does not care.
        text: the body, without the keys of the connection.
    """

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait, None where the server does not say."""
        return seconds_to_wait(self.headers.get("retry-after"))


def seconds_to_wait(header: str | None) -> float | None:
    """`Retry-After`, in seconds from now: a number, or a date (RFC 9110, section 10.2.3); None where it is neither.

    Fractions of a second are read too, which some servers send. A date without a zone is one of Greenwich.
    """
    text = (header or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    with suppress(ValueError, TypeError, OverflowError):
        date = parsedate_to_datetime(text)
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        return max(0.0, (date - datetime.now(UTC)).total_seconds())
    return None
