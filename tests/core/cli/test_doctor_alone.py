"""Doctor where the configuration does not hold, or not even a daemon can start: that is when it is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from banger.testing.pytest_plugin import BangerDirs


@pytest.mark.parametrize("broken", ["configuration", "state"])
def test_doctor_looks_at_the_host_when_no_daemon_can_start(banger_dirs: BangerDirs, broken: str) -> None:
    environment = dict(os.environ)
    if broken == "configuration":
        path = Path(environment["XDG_CONFIG_HOME"]) / "banger" / "config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("nonsense = 1\n")
    else:
        environment["XDG_STATE_HOME"] = "/" + "x" * 120
    done = subprocess.run(
        [sys.executable, "-m", "banger", "doctor", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    answer = json.loads(done.stdout)
    lines = {line["name"]: line for line in answer["checks"]}
    name, detail = ("configuration", "nonsense") if broken == "configuration" else ("daemon", "too long")
    assert not answer["ok"] and lines[name]["status"] == "FAIL"
    assert detail in lines[name]["detail"]
    assert lines["machine"]["status"] == "PASS" and lines["disk tools"]["detail"]
