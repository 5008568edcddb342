"""A daemon that is killed at any moment of an operation: afterwards it was not begun, or it is done."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("operation", ["import", "pull", "commit", "promote", "export"])
def test_killed_at_any_moment_it_was_not_begun_or_is_done(operation: str) -> None:
    base = Path(tempfile.mkdtemp(prefix="bc"))  # short: sockets are in it
    try:
        line = [sys.executable, "-m", "tests.plugins.local.crash_lab", base, operation]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BANGER")}
        done = subprocess.run(
            line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        said = json.loads(done.stdout)
    finally:
        shutil.rmtree(base)
    before, after = said["before"], said["after"]
    assert (
        before["wrong"] == after["wrong"] == []
        and sum(result["status"] == -9 for result in said["results"]) > 4
    )
    for result in said["results"]:
        # threads may have made a moment fewer this time, and it ended well
        assert result["status"] == -9 or result["found"] == after, result
        assert result["found"]["wrong"] == [], result
        if result["found"] not in (before, after):  # the kernel is there, whole, and its image is not
            assert operation == "import" and result["found"]["images"] == before["images"], result
            assert result["again"] in (after, None), result
