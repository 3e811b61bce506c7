"""Record `vecferry demo` in a terminal, as it really runs, into docs/images/demo.svg: an animation without a player.

    python docs/make_recording.py

Every line comes when it first had a text, with its last one: progress bars come filled. The terminal scrolls as far as
there are lines by then; the whole takes `SECONDS`, then begins anew. Where no animation is known, its end stands there.
"""

from __future__ import annotations

import io
import os
import pty
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

COLUMNS, ROWS = 124, 32
SECONDS, LINGER = 12.0, 6.0
"""How long the run takes in the picture, and how long its end is shown."""
LINE = 24.4
"""Height of a line in rich's picture."""
TARGET = Path(__file__).parent / "images" / "demo.svg"
_MOVES = re.compile(r"\x1b\[(\d*)([AK])|\x1b\[\?\d+[hl]|(\r\n|\r|\n)")
_FONTS = re.compile(r"@font-face \{\{.*?\}\}\s*", re.DOTALL)
_HEIGHT = re.compile(r'(viewBox="0 0 [\d.]+ |height=")(\d{4,}(?:\.\d+)?)"')


def recorded(command: list[str]) -> Iterator[tuple[float, str]]:
    """(seconds since the start, what the command printed then), in a terminal of its own."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command[0], command, {**os.environ, "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"})
    began = time.monotonic()
    with os.fdopen(terminal, encoding="utf-8", newline="") as out:
        while data := _read(out):
            yield time.monotonic() - began, data
    _, status = os.waitpid(pid, 0)
    if status:
        raise SystemExit(f"{command} ended with {os.waitstatus_to_exitcode(status)}.")


def _read(out: io.TextIOWrapper) -> str:
    try:
        return out.readline()
    except OSError:  # how Linux says that the other end was closed
        return ""


def screen(prints: Iterator[tuple[float, str]]) -> list[tuple[float, str]]:
    """(when it first had a text, its last text with colours) of each line, as a terminal shows it in the end."""
    lines, first, row = [""], dict[int, float](), 0
    for at, data in prints:
        place = 0
        for found in [*_MOVES.finditer(data), None]:
            if text := data[place : found.start() if found else None]:
                lines[row] += text
                first.setdefault(row, at)
            place = found.end() if found else place
            if found and found[3] in {"\n", "\r\n"}:
                row += 1
                lines += [""] * (row + 1 - len(lines))
            elif found and found[2] == "A":
                row = max(0, row - int(found[1] or 1))
            elif found and found[2] == "K":
                lines[row] = ""
    return [(first.get(row, 0.0), line) for row, line in enumerate(lines)]


def drawn(lines: list[tuple[float, str]], title: str) -> str:
    """The lines as an SVG that scrolls."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    times: list[float] = []
    for at, line in lines:
        for part in Text.from_ansi(line).wrap(console, COLUMNS) or [Text()]:
            console.print(part, soft_wrap=True)
            times.append(max([at, *times[-1:]]))
    form = _FONTS.sub("", CONSOLE_SVG_FORMAT).replace("</style>", "{{motion}}</style>", 1)
    svg = console.export_svg(title=title, code_format=form, unique_id="demo").replace("{motion}", _motion(times))
    too_high = (len(times) - ROWS) * LINE
    return _HEIGHT.sub(lambda found: f'{found[1]}{float(found[2]) - too_high:.1f}"', svg)


def _motion(times: list[float]) -> str:
    """The style that scrolls to each line when it comes; `times` are the seconds of each, in order."""
    whole, pace = SECONDS + LINGER, SECONDS / times[-1]
    last = {at: number for number, at in enumerate(times, 1)}
    steps = [f"{100 * at * pace / whole:.2f}% {{ {_up(number)} }}" for at, number in last.items()]
    frames = " ".join([f"0% {{ {_up(1)} }}", *steps, f"100% {{ {_up(len(times))} }}"])
    return (
        f".demo-matrix {{ {_up(len(times))}; animation: scroll {whole:.0f}s step-end infinite }}\n"
        f"    @keyframes scroll {{ {frames} }}\n    "
    )


def _up(number: int) -> str:
    """So many lines are there, the last one at the bottom."""
    return f"transform: translateY({(ROWS - number) * LINE:.1f}px)"


def main() -> None:
    """Run the demo, and write the picture of it."""
    folder = Path(tempfile.gettempdir()) / "demo"
    command = [str(Path(sys.executable).parent / "vecferry"), "demo", "--folder", str(folder)]
    shutil.rmtree(folder, ignore_errors=True)
    try:
        lines = screen(recorded(command))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    while lines and not lines[-1][1]:
        lines.pop()
    TARGET.write_text(drawn(lines, "vecferry demo"), encoding="utf-8")


if __name__ == "__main__":
    main()
