"""scripts/make-generic-kernel: what it takes and refuses, and that its configuration says each thing once."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[3] / "scripts"


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [SCRIPTS / "make-generic-kernel", *arguments]
    return subprocess.run(line, cwd=directory, capture_output=True, text=True, timeout=60)


def test_help_names_every_option(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    text = (SCRIPTS / "make-generic-kernel").read_text()
    options = re.search(r"^ +(--source \|.*)\)$", text, re.MULTILINE)
    assert options is not None
    assert all(option in done.stdout for option in options[1].split(" | "))


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--frob"], 2, "there is no option --frob"),
        (["--out"], 2, "--out needs a value"),
        (["--source", "elsewhere"], 2, "neither debian nor upstream"),
        (["--version", "6.1; rm"], 2, "is no version"),
        (["--jobs", "0"], 2, "is no number"),
        (["--config", "/no/such"], 1, "/no/such cannot be read"),
        (["--out", "."], 1, ". exists"),
    ],
)
def test_what_it_refuses_leaves_nothing(
    tmp_path: Path, arguments: list[str], status: int, message: str
) -> None:
    done = run(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (status, "") and message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_configuration_says_each_thing_once_and_what_boots_is_in_it() -> None:
    text = (SCRIPTS / "generic-kernel.config").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"CONFIG_[A-Z0-9_]+=(y|\d+)", line) for line in lines)
    assert len(lines) == len(set(lines))
    script = (SCRIPTS / "make-generic-kernel").read_text()
    needed = re.search(r"^for must in (.*); do$", script, re.MULTILINE)
    assert needed is not None
    assert {f"CONFIG_{name}=y" for name in needed[1].split()} <= set(lines)
