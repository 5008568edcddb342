"""The agent's own tests in C, under ASan and UBSan, and its fuzz targets for a few seconds."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[3] / "agent"


def make(build: Path, *words: str) -> str:
    command = ["make", "-s", "-C", SOURCE, f"BUILD={build}", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def test_the_parts_hold_under_sanitizers(tmp_path):
    printed = make(tmp_path, "test")
    for source in (SOURCE / "tests").glob("test_*.c"):
        assert f"ok tests/{source.name}" in printed


@pytest.mark.timeout(120)
def test_random_bytes_break_no_parser(tmp_path):
    make(tmp_path, "fuzz", "FUZZ_SECONDS=3")
    assert {path.name.partition("_")[2] for path in tmp_path.glob("*_*")} >= {"frame", "json"}
