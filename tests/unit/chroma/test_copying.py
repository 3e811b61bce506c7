"""Bringing a copy up to date gives the same bytes as copying anew."""

import os
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vecferry.connectors.chroma.copying import BLOCK, Mirror

STEPS = st.lists(
    st.tuples(st.integers(0, 3 * BLOCK), st.binary(min_size=1, max_size=40), st.none() | st.integers(0, 3 * BLOCK)),
    max_size=6,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_a_refreshed_copy_equals_the_file(steps: list[tuple[int, bytes, int | None]], tmp_path: Path) -> None:
    """Writes anywhere, growth and truncation: after `refresh` the copy is the file."""
    source, target = tmp_path / "file", tmp_path / "copy"
    source.write_bytes(os.urandom(BLOCK + 7))
    mirror = Mirror(source, target)
    for at, text, size in [(0, b"", None), *steps]:
        with source.open("r+b") as file:
            file.seek(at)
            file.write(text)
            if size is not None:
                file.truncate(size)
        mirror.refresh()
        assert target.read_bytes() == source.read_bytes()
    mirror.close()
    source.unlink()


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    """Once its time stamp is old enough to be trusted, there is nothing to look at."""
    source = tmp_path / "file"
    source.write_bytes(b"x" * 100)
    os.utime(source, (1, 1))
    mirror = Mirror(source, tmp_path / "copy")
    assert mirror.stale_bytes == 100
    mirror.refresh()
    assert mirror.stale_bytes == 0
    os.utime(source, (2, 2))
    assert mirror.stale_bytes == 100
    mirror.close()
