"""How values are shown: numbers for people, and hostile text made harmless to read. Pure.

HTML escaping is Jinja2's; this makes visible what escaping leaves alone: control characters, and the marks that turn
the direction of text and could make an id read as another one.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_LONGEST = 240


def shown(value: object, longest: int = _LONGEST) -> str:
    """Text of unknown origin: invisible characters as their code, the middle of long text left out."""
    text = str(value)
    if len(text) > longest:
        text = f"{text[: longest * 2 // 3]} … {text[-(longest // 4) :]}"
    return _INVISIBLE.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)


def number(value: float | None) -> str:
    """A count, with thousands apart."""
    return "–" if value is None else f"{value:,.0f}".replace(",", "\u202f")


def figure(value: float) -> str:
    """A measured number: four significant digits."""
    if value and abs(value) < 1e-3:
        return f"{value:.1e}"
    return f"{value:,.4g}".replace(",", "\u202f") if abs(value) < 1e4 else number(value)


def percent(value: float) -> str:
    """A share; never rounded up to 100 %."""
    share = value * 100
    if 99.95 <= share < 100:
        return f"{int(share * 1000) / 1000:g}\u202f%"
    return f"{share:.1f}\u202f%".replace(".0\u202f", "\u202f")


def milliseconds(value: float) -> str:
    """A latency."""
    return f"{value:.2f}\u202fms" if value < 10 else f"{value:.0f}\u202fms"


def when(value: datetime) -> str:
    """A moment, in UTC."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def words(value: str) -> str:
    """An identifier of ours as words."""
    return value.replace("-", " ").replace("_", " ")
