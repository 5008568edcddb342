"""Boots in a row: none may hang. Random operations and random kills: nothing may be left. ``make soak``."""

from __future__ import annotations

import os
import random
import statistics
import time

import pytest
from soak_life import Life
from vmring import Home

BOOTS = int(os.environ.get("BANGER_TEST_SOAK_BOOTS", "60"))
MINUTES = float(os.environ.get("BANGER_TEST_SOAK_MINUTES", "30"))
#: What the random choices come from: given, they are the same again.
SEED = int(os.environ.get("BANGER_TEST_SOAK_SEED") or random.SystemRandom().randrange(10**9))


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


@pytest.mark.soak
@pytest.mark.timeout(MINUTES * 60 + 1800)
def test_random_operations_and_random_kills(alone: Home, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\nthe same again: BANGER_TEST_SOAK_SEED={SEED} BANGER_TEST_SOAK_MINUTES={MINUTES:g}")
    life = Life(alone, random.Random(SEED))
    deadline = time.monotonic() + MINUTES * 60
    while time.monotonic() < deadline:
        life.step()
    life.end()
    with capsys.disabled():
        print(f"{life.summary()}; nothing is left")
