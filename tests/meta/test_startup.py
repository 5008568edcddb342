"""What the command line does not import, path by path: that keeps it quick. A stopwatch only says when it is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from banger.testing.pytest_plugin import BangerDirs, MakeApp

#: Run a command line with its output dropped, then print what was imported, as its very last line.
_CODE = """
import sys
before = set(sys.modules)
sys.argv = ["banger", *{arguments!r}]
try:
    from banger.cli.main import main
    main()
except SystemExit as end:
    status = end.code
loaded = sorted(set(sys.modules) - before)
import json
print(json.dumps([status, loaded]))
"""

#: What no command of the everyday kind may import.
HEAVY = {
    "asyncio",
    "cryptography",
    "dns",
    "email",
    "http.client",
    "importlib.metadata",
    "paramiko",
    "pluggy",
    "pydantic",
    "pyroute2",
    "qemu",
    "rich",
    "sqlite3",
    "ssl",
    "starlette",
    "unittest",
    "uvicorn",
    "zstandard",
}


def imported(*arguments: str) -> set[str]:
    """Return what a command line imports; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", _CODE.format(arguments=list(arguments))],
        capture_output=True,
        text=True,
        timeout=60,
        env=dict(os.environ),
    )
    assert done.stdout, done.stderr
    status, loaded = json.loads(done.stdout.splitlines()[-1])
    assert status == 0, done.stdout + done.stderr
    return set(loaded)


def heavy(loaded: set[str]) -> set[str]:
    return {name for name in loaded if name in HEAVY or name.partition(".")[0] in HEAVY}


def test_the_probe_sees_what_is_imported() -> None:
    assert "click" in imported("--help")


def test_version_imports_next_to_nothing(banger_dirs: BangerDirs) -> None:
    loaded = imported("--version")
    ours = {name for name in loaded if name.partition(".")[0] == "banger"}
    assert ours <= {"banger", "banger.build", "banger._build", "banger.cli", "banger.cli.main"}
    absent = HEAVY | {"click", "json", "pathlib", "argparse", "typing_extensions", "socket", "subprocess"}
    assert {name for name in loaded if name in absent or name.partition(".")[0] in absent} == set()


def test_help_imports_nothing_heavy_and_no_command(banger_dirs: BangerDirs) -> None:
    loaded = imported("--help")
    assert heavy(loaded) == set()
    commands = {name for name in loaded if name.startswith("banger.cli.")}
    ours = ("main", "group", "table", "output", "stdio", "which")
    assert commands <= {f"banger.cli.{name}" for name in ours}


@pytest.mark.parametrize("group", ["vm", "image", "kernel", "daemon", "plugins"])
def test_help_of_a_group_imports_no_command(banger_dirs: BangerDirs, group: str) -> None:
    loaded = imported(group, "--help")
    assert heavy(loaded) == set()
    assert "banger.cli.vm" not in loaded and "banger.cli.client" not in loaded


def test_list_with_the_daemon_up_imports_nothing_heavy(banger_app: MakeApp) -> None:
    banger_app(builtin=["core"])
    loaded = imported("vm", "list")
    assert "banger.cli.client" in loaded
    assert heavy(loaded) == set()
    assert {
        name for name in loaded if name.startswith(("banger.daemon", "banger.store", "banger.start"))
    } == set()
    assert "subprocess" not in loaded and "banger.cli.launch" not in loaded


@pytest.mark.parametrize(
    "words", [("vm", "run"), ("vm", "exec"), ("vm", "create"), ("image", "pull"), ("doctor",)]
)
def test_parsing_any_command_imports_nothing_heavy(banger_dirs: BangerDirs, words: tuple[str, ...]) -> None:
    assert heavy(imported(*words, "--help")) == set()


def test_no_command_line_imports_a_plugin(banger_app: MakeApp) -> None:
    banger_app()
    plugins = {path.name for path in (Path(__file__).parents[2] / "plugins").iterdir()}
    assert len(plugins) >= 3
    for words in (("--help",), ("vm", "list"), ("plugins", "list")):
        assert not {name.partition(".")[0] for name in imported(*words)} & plugins, words


@pytest.mark.parametrize("module", ["banger.api", "banger.hookspecs", "banger.errors", "banger.testing"])
def test_what_a_plugin_imports_first_is_cheap(module: str) -> None:
    code = f"import sys, json; import {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    allowed = {"pluggy", "importlib.metadata", "email"} if module == "banger.hookspecs" else set()
    assert {
        name for name in heavy(set(json.loads(done.stdout))) if name.partition(".")[0] not in allowed
    } - allowed == set()
