"""Writes docs/explanation/faults.md again: runs every case of the fault matrix, which takes a minute."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def main() -> None:
    """Write the page; exit status 1 when something was left, or a VM was in between."""
    from tests.core.faults.page import PAGE, render, run_matrix

    with tempfile.TemporaryDirectory(prefix="bf", dir="/tmp") as home:
        found = run_matrix(Path(home))
    (ROOT / PAGE).write_text(render(found.outcomes), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE}: {len(found.outcomes)} cases\n")
    if found.wrong:
        sys.exit("\n".join(found.wrong))


if __name__ == "__main__":
    main()
