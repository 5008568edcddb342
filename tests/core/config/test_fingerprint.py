from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import banger
from banger.config.fingerprint import fingerprint


def install(folder: Path, name: str, version: str, *lines: str, group: str = "banger") -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "entry_points.txt").write_text(f"[console_scripts]\nx = y\n[{group}]\n" + "\n".join(lines) + "\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of installed distributions that Python looks into."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.setattr(sys, "path", [str(site), "/no/such/folder"])
    for name in ("BANGER_PLUGINS", "BANGER_STRICT_PLUGINS", "BANGER_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    return site


def test_it_is_the_same_while_nothing_changes(site: Path, tmp_path: Path) -> None:
    config = (tmp_path / "config.toml",)
    assert fingerprint(config) == fingerprint(config)


def test_it_holds_version_and_interpreter(site: Path) -> None:
    text = fingerprint(())
    assert banger.__version__ in text and sys.prefix in text and sys.executable not in text


def test_installing_upgrading_and_removing_a_plugin_each_change_it(site: Path) -> None:
    marks = [fingerprint(())]
    install(site, "banger_plugin_foo", "1.0", "foo = banger_foo")
    marks.append(fingerprint(()))
    (site / "banger_plugin_foo-1.0.dist-info").rename(site / "banger_plugin_foo-1.1.dist-info")
    marks.append(fingerprint(()))
    assert len(set(marks)) == 3
    assert "banger_plugin_foo-1.1 foo = banger_foo" in marks[-1]
    assert "x = y" not in marks[-1]
    (site / "banger_plugin_foo-1.1.dist-info" / "entry_points.txt").unlink()
    assert fingerprint(()) == marks[0]


def test_distributions_of_other_groups_do_not_matter(site: Path) -> None:
    before = fingerprint(())
    install(site, "other", "1", "foo = bar", group="banger.other")
    assert fingerprint(()) == before


def test_writing_making_and_deleting_a_configuration_file_change_it(site: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    absent = fingerprint((config,))
    config.write_text("")
    made = fingerprint((config,))
    os.utime(config, ns=(1, 1))
    touched = fingerprint((config,))
    assert len({absent, made, touched}) == 3
    config.unlink()
    assert fingerprint((config,)) == absent


def test_variables_that_change_what_a_daemon_is_change_it(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(())
    monkeypatch.setenv("BANGER_IMAGE", "anything")
    assert fingerprint(()) == before
    monkeypatch.setenv("BANGER_PLUGINS", "builtin")
    assert fingerprint(()) != before


def test_changing_source_of_an_editable_install_changes_it(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, plugin = tmp_path / "repo" / "banger", tmp_path / "repo" / "plugins" / "banger_foo"
    for folder in (package, plugin):
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("")
    monkeypatch.setattr(banger, "__file__", str(package / "__init__.py"))
    installed = fingerprint(())
    (tmp_path / "repo" / "pyproject.toml").write_text("")
    marks = [fingerprint(())]
    assert marks[0] != installed
    for count, file in enumerate((package / "__init__.py", plugin / "__init__.py"), 1):
        os.utime(file, ns=(0, 4_000_000_000_000_000_000 + count))
        marks.append(fingerprint(()))
    (plugin / "README.md").write_text("x")
    assert fingerprint(()) == marks[-1]
    assert len(set(marks)) == 3
