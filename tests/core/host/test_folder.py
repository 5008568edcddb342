"""Directories of ours: handed over, and removed whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from banger.errors import HostError
from banger.host.folder import is_held, open_handover, remove_tree


def test_what_nobody_took_is_removed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), open_handover(tmp_path / "staging") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "file").write_text("x")
        raise RuntimeError
    assert list((tmp_path / "staging").iterdir()) == []


def test_what_was_taken_stays(tmp_path: Path) -> None:
    with open_handover(tmp_path / "staging") as folder:
        (folder / "file").write_text("x")
        folder.rename(tmp_path / "taken")
    assert (tmp_path / "taken" / "file").read_text() == "x"


def test_one_that_is_being_filled_is_held(tmp_path: Path) -> None:
    with open_handover(tmp_path) as folder:
        assert is_held(folder)
        kept = tmp_path / "kept"
        folder.rename(kept)
        assert is_held(kept)
    assert not is_held(kept)
    assert not is_held(tmp_path / "none")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(HostError, match="cannot be made"), open_handover(tmp_path / "file" / "staging"):
        pass


def test_directories_that_are_read_only_go_too(tmp_path: Path) -> None:
    inner = tmp_path / "tree" / "inner"
    inner.mkdir(parents=True)
    (inner / "file").write_text("x")
    (inner / "link").symlink_to("/etc")
    inner.chmod(0o555)
    remove_tree(tmp_path / "tree")
    remove_tree(tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []
