from __future__ import annotations

import os
from pathlib import Path

import pytest

from banger.errors import HostError
from banger.host.copy import copy_disk

MIB = 1 << 20


@pytest.fixture
def sparse(tmp_path: Path) -> Path:
    """A disk of 64 MiB: holes, 20 MiB of data in the middle, a byte near the end."""
    path = tmp_path / "disk"
    with open(path, "wb") as file:
        file.truncate(64 * MIB)
        file.seek(8 * MIB)
        file.write(os.urandom(20 * MIB))
        file.seek(60 * MIB)
        file.write(b"x")
    return path


def test_a_copy_is_the_same_and_as_sparse(tmp_path: Path, sparse: Path) -> None:
    steps: list[tuple[int, int]] = []
    copy_disk(sparse, tmp_path / "copy", lambda done, total: steps.append((done, total)))
    copy = tmp_path / "copy"
    assert copy.read_bytes() == sparse.read_bytes()
    assert copy.stat().st_blocks <= sparse.stat().st_blocks + 8
    assert copy.stat().st_mode & 0o777 == 0o600
    assert steps[-1] == (64 * MIB, 64 * MIB) and [done for done, _ in steps] == sorted(
        done for done, _ in steps
    )


def test_nothing_but_holes(tmp_path: Path) -> None:
    (tmp_path / "disk").touch()
    os.truncate(tmp_path / "disk", MIB)
    copy_disk(tmp_path / "disk", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == bytes(MIB)


def test_half_a_copy_is_removed(tmp_path: Path, sparse: Path) -> None:
    def cancel(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_disk(sparse, tmp_path / "copy", cancel)
    assert not (tmp_path / "copy").exists()


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path, sparse: Path) -> None:
    (tmp_path / "copy").write_text("mine")
    with pytest.raises(HostError, match="cannot be copied"):
        copy_disk(sparse, tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "mine"
