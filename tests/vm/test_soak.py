"""Boots in a row: none may hang. ``make soak``."""

from __future__ import annotations

import os
import statistics
import time

import pytest
from vmring import Home

BOOTS = int(os.environ.get("BANGER_TEST_SOAK_BOOTS", "60"))


@pytest.mark.soak
@pytest.mark.timeout(BOOTS * 120)
def test_boots_in_a_row(alone: Home, capsys: pytest.CaptureFixture[str]) -> None:
    took: list[float] = []
    for number in range(BOOTS):
        began = time.monotonic()
        result = alone("vm", "run", "--rm", "--accel", "tcg", "--", "echo", str(number), timeout=100)
        took.append(time.monotonic() - began)
        assert (result.status, result.text) == (0, str(number)), f"boot {number + 1} of {BOOTS}: {result.err}"
    alone.assert_clean()
    with capsys.disabled():
        print(
            f"\n{BOOTS} boots in a row, none hung: "
            f"min {min(took):.2f} s, median {statistics.median(took):.2f} s, max {max(took):.2f} s"
        )
