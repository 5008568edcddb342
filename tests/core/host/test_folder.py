"""Directories of ours, removed whole."""

from __future__ import annotations

from pathlib import Path

from banger.host.folder import remove_tree


def test_directories_that_are_read_only_go_too(tmp_path: Path) -> None:
    inner = tmp_path / "tree" / "inner"
    inner.mkdir(parents=True)
    (inner / "file").write_text("x")
    (inner / "link").symlink_to("/etc")
    inner.chmod(0o555)
    remove_tree(tmp_path / "tree")
    remove_tree(tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []
