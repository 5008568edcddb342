"""The tutorial's plugin: its own tests pass, and banger finds it as it would find an installed one."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "docs/tutorial/banger_plugin_hello"

_REPORT = """
from banger.daemon.services import fill_registries
from banger.plugins import Plugins, find_plugins
plugins = Plugins()
plugins.load(find_plugins())
capability = fill_registries(plugins).capabilities.owned()
print({name: failed.reason for name, failed in plugins.failed.items()})
print([(owned.value.name, owned.plugin) for owned in capability])
print(plugins.loaded["hello"].found.distribution)
"""


def test_own_tests_pass() -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        "pyproject.toml",
        "tests",
    ]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    done = subprocess.run(command, cwd=PACKAGE, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(done.stdout + done.stderr, pytrace=False)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder like site-packages with the plugin in it, as pip would leave it."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    info = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    points = project["entry-points"]["banger"].items()
    (info / "entry_points.txt").write_text(
        "[banger]\n" + "".join(f"{name} = {module}\n" for name, module in points)
    )
    (tmp_path / "banger_hello").symlink_to(PACKAGE / "banger_hello")
    return tmp_path


def test_banger_finds_it(installed: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", _REPORT], env=environment, capture_output=True, text=True, check=True
    )
    failed, capabilities, distribution = done.stdout.splitlines()
    assert failed == "{}"
    assert "('hello', 'hello')" in capabilities
    assert distribution == "banger-plugin-hello"


def test_page_shows_the_files_as_they_are() -> None:
    page = (ROOT / "docs/tutorial/first-plugin.md").read_text()
    for name in (
        "pyproject.toml",
        "banger_hello/__init__.py",
        "banger_hello/options.py",
        "banger_hello/disk.py",
    ):
        text = (PACKAGE / name).read_text()
        assert text.strip() in page, f"{name} changed: put it into docs/tutorial/first-plugin.md"
