# /// script
# requires-python = ">=3.11"
# dependencies = ["vecferry[chroma-local,qdrant-local]"]
# ///
"""vecferry from Python, as in a notebook: look, plan, move, prove. Run: python examples/notebook.py."""

from __future__ import annotations

import tempfile
from pathlib import Path

import vecferry
from vecferry.demo import write_chroma
from vecferry.migration import Settings


def main() -> None:
    """Move the demo's collections from a Chroma directory to an embedded Qdrant."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = f"chroma:{folder}/chroma", f"qdrant:{folder}/qdrant"
        write_chroma(Path(folder) / "chroma")

        found = vecferry.inspect(source)
        for profile in found.profiles:
            print(profile.spec.name, profile.records, "records, keys:", ", ".join(profile.keys))

        plan = vecferry.plan(source, target)
        for cell in plan.collections[0].cells:
            print(cell.verdict, cell.shape, cell.count, cell.meaning)

        settings = Settings(ledger=f"{folder}/ledger.db", reports=Path(folder) / "reports")
        done = vecferry.migrate(source, target, settings=settings)
        assert done.verification is not None
        assert done.verification.ok, done.verification
        print(f"{done.records} records moved, {done.differences} differences, report: {done.report}")

        proof = vecferry.verify(source, target)
        assert proof.verification.ok
        for check in proof.verification.collections[0].checks:
            print(check.level, check.state, check.scanned)


if __name__ == "__main__":
    main()
