"""Rows whose vector is null, all zeros or of another length get one from their text; the others keep theirs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.integration.test_presets import Mover, explained
from vecferry import migration
from vecferry.errors import LossRefused
from vecferry.planning.model import Policy
from vecferry.testing.mariadb import MariaDBDatabase
from vecferry.testing.postgres import PostgresDatabase
from vecferry.transforms import Recipe
from vecferry.transforms.model import ReEmbed, Step

MENDED = Recipe(transforms=(Step(re_embed=ReEmbed(call=f"{__name__}:lengths", missing=True)),))


def lengths(texts: Sequence[str]) -> NDArray[np.float32]:
    """A model of three dimensions."""
    return np.array([[len(text), text.count("o") + 1, 1] for text in texts], np.float32)


@pytest.fixture
def move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mover:
    monkeypatch.setenv("VECFERRY_EMBEDDINGS", str(tmp_path / "embeddings.sqlite"))
    mover = Mover(tmp_path)
    mover.prefix = ""
    return mover


def moved(folder: Path) -> dict[str, list[float]]:
    """id -> vector, of an archive."""
    from tests.framework_data import canonical

    table = canonical(f"files:{folder}", "notes")
    return dict(zip(table.column("id").to_pylist(), table.column("vector").to_pylist(), strict=True))


def kept(numbers: range) -> dict[str, list[float]]:
    return {str(number): [1.0, 2.0, float(number)] for number in numbers}


def judged(source: str, target: str, folder: Path) -> Any:
    ledger = str(folder / "ledger.db")
    return migration.verify(source, target, transforms=MENDED, ledger=ledger).verification


def test_of_an_untyped_column_of_postgres(postgres: PostgresDatabase, tmp_path: Path, move: Mover) -> None:
    """Judged against the source with its vectors mended; one without a text has none, and is named."""
    postgres.execute(
        "CREATE EXTENSION IF NOT EXISTS vector;"
        "CREATE TABLE notes (id int PRIMARY KEY, content text, embedding vector);"
        "INSERT INTO notes SELECT n, 'text ' || n, ('[1,2,' || n || ']')::vector FROM generate_series(1, 9) n;"
        "INSERT INTO notes VALUES (0, 'short', '[1,2]'), (10, 'null', NULL), (11, 'zero', '[0,0,0]'),"
        " (12, 'longer', '[1,2,3,4]'), (13, NULL, '[1]')"
    )
    target = f"files:{tmp_path / 'out'}"
    with pytest.raises(LossRefused, match="1 × transform"):
        move(postgres.url, target, transforms=MENDED)
    done = move(postgres.url, target, transforms=MENDED, policies={"transform": Policy.QUARANTINE})
    assert done.verification is not None
    assert done.verification.ok, explained(done)
    assert done.run is not None
    assert (done.records, done.run.rejected) == (13, 1)
    texts = {"0": "short", "10": "null", "11": "zero", "12": "longer"}
    new = {key: lengths([text])[0].tolist() for key, text in texts.items()}
    assert moved(tmp_path / "out") == kept(range(1, 10)) | new
    assert judged(postgres.url, target, tmp_path).ok
    postgres.execute("UPDATE notes SET content = 'another' WHERE id = 12")
    assert judged(postgres.url, target, tmp_path).differences == 1
    ledger = str(tmp_path / "ledger.db")
    again = migration.repair(postgres.url, target, transforms=MENDED, ledger=ledger)
    assert (again.collections[0].rewritten, again.after.ok) == (1, True)
    assert moved(tmp_path / "out")["12"] == lengths(["another"])[0].tolist()


def test_of_mariadb(mariadb: MariaDBDatabase, tmp_path: Path, move: Mover) -> None:
    mariadb.execute("CREATE TABLE notes (id INT PRIMARY KEY, content TEXT, embedding VECTOR(3))")
    rows = ", ".join(f"({n}, 'text {n}', VEC_FromText('[1,2,{n}]'))" for n in range(1, 10))
    mariadb.execute(f"INSERT INTO notes VALUES {rows}, (10, 'null', NULL), (11, 'zero', VEC_FromText('[0,0,0]'))")
    done = move(mariadb.url, f"files:{tmp_path / 'out'}", transforms=MENDED)
    assert done.verification is not None
    assert done.verification.ok, explained(done)
    new = {"10": lengths(["null"])[0].tolist(), "11": lengths(["zero"])[0].tolist()}
    assert moved(tmp_path / "out") == kept(range(1, 10)) | new
    assert judged(mariadb.url, f"files:{tmp_path / 'out'}", tmp_path).ok
