"""What a file system can do, tried on the one the tests run on."""

from __future__ import annotations

from pathlib import Path

import pytest

from banger.host.checks import judge_storage
from banger.host.storage import Storage, find_existing, find_kind, probe_storage, shares_blocks
from banger.model.check import CheckStatus

_MOUNTS = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 21 0:40 / /net rw shared:2 - nfs4 server:/net rw
31 30 0:41 / /net/with\\040space rw - vfat /dev/sdb1 rw
32 21 0:42 / /srv rw - xfs /dev/sdc1 rw
33 32 0:43 / /srv rw - tmpfs tmpfs rw
damaged
"""


def test_probe_finds_holes_and_locks_and_leaves_nothing(tmp_path: Path) -> None:
    storage = probe_storage(tmp_path)
    assert storage.sparse and storage.locks and storage.kind != "unknown"
    assert storage.reflink == shares_blocks(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert not shares_blocks(tmp_path / "missing")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib", "ext4"),
        ("/network", "ext4"),
        ("/net/ada", "nfs4"),
        ("/net/with space/x", "vfat"),
        ("/srv/data", "tmpfs"),
    ],
)
def test_kind_is_that_of_the_nearest_mount(tmp_path: Path, path: str, kind: str) -> None:
    (tmp_path / "mountinfo").write_text(_MOUNTS)
    assert find_kind(Path(path), tmp_path / "mountinfo") == kind


def test_kind_is_unknown_without_mountinfo(tmp_path: Path) -> None:
    assert find_kind(tmp_path, tmp_path / "none") == "unknown"


def test_directory_that_is_not_there_yet_stands_for_the_one_above(tmp_path: Path) -> None:
    assert find_existing(tmp_path / "a" / "b") == tmp_path


@pytest.mark.parametrize(
    ("storage", "status", "said"),
    [
        (Storage("ext4", True, True, False), CheckStatus.PASS, "no reflinks"),
        (Storage("btrfs", True, True, True), CheckStatus.PASS, "locks, reflinks"),
        (Storage("nfs4", True, True, False), CheckStatus.WARN, "on the network"),
        (Storage("vfat", False, True, False), CheckStatus.FAIL, "cannot do sparse files"),
        (Storage("9p", False, False, False), CheckStatus.FAIL, "sparse files and file locks"),
    ],
)
def test_what_a_file_system_means(storage: Storage, status: CheckStatus, said: str) -> None:
    found = judge_storage(storage, "/state")
    assert found.status is status and said in found.detail and "/state" in found.detail
    assert (found.hint is None) == (status is CheckStatus.PASS)
