"""What the command line fills and the daemon takes over."""

from __future__ import annotations

from pathlib import Path

import pytest

from banger.cli.handover import open_handover
from banger.errors import HostError


def test_what_nobody_took_is_removed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), open_handover(tmp_path / "handover") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "file").write_text("x")
        raise RuntimeError
    assert list((tmp_path / "handover").iterdir()) == []


def test_what_was_taken_stays(tmp_path: Path) -> None:
    with open_handover(tmp_path / "handover") as folder:
        (folder / "file").write_text("x")
        folder.rename(tmp_path / "taken")
    assert (tmp_path / "taken" / "file").read_text() == "x"


def test_what_a_killed_process_left_is_removed_by_the_next_and_what_is_held_is_not(tmp_path: Path) -> None:
    left = tmp_path / "left"
    left.mkdir()
    with open_handover(tmp_path) as held:
        assert left.exists()  # it may have been made this very moment
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("banger.cli.handover._GRACE", -60.0)
            with open_handover(tmp_path) as other:
                assert sorted(tmp_path.iterdir()) == sorted((held, other))


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(HostError, match="cannot be made"), open_handover(tmp_path / "file" / "handover"):
        pass
