from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from banger.errors import CancelledError, HostError
from banger.host.command import HostCommands
from banger.host.disk import (
    READ_LIMIT,
    HostDisks,
    allocated_bytes,
    digest_file,
    has_foreign_owners,
    no_space,
)
from banger.testing.fakes import FakeCommands

UUID = "0f0e0d0c-1111-4222-8333-444455556666"


@pytest.fixture
def disks() -> HostDisks:
    return HostDisks(HostCommands())


@pytest.fixture
def area(tmp_path: Path) -> Path:
    path = tmp_path / "with space"
    path.mkdir()
    return path


@pytest.fixture
def content(area: Path) -> Path:
    top = area / "content"
    (top / "a dir").mkdir(parents=True)
    (top / "a dir" / "file").write_text("hello\n")
    (top / "a dir" / "file").chmod(0o640)
    (top / "program").write_text("#!/bin/sh\n")
    (top / "program").chmod(0o4755)
    (top / "secret").write_text("s")
    (top / "secret").chmod(0o000)
    (top / "link").symlink_to("program")
    (top / 'odd "quoted"\nname').write_text("odd")
    (top / "large").write_bytes(b"x" * 3_000_000)
    return top


def run(*line: str | Path) -> str:
    return subprocess.run(
        [os.fspath(arg) for arg in line],
        check=True,
        capture_output=True,
        env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"},
    ).stdout.decode()


def owners(image: Path) -> set[str]:
    """Return all owners that debugfs sees, of every inode in use."""
    header = run("dumpe2fs", "-h", image)
    numbers = [
        int(re.search(rf"{name} inodes?( count)?: +(\d+)|{name} count: +(\d+)", header)[0].split()[-1])  # type: ignore[index]
        for name in ("Inode", "Free")
    ]
    requests = "".join(f"stat <{inode}>\n" for inode in range(11, numbers[0] - numbers[1] + 1))
    script = image.with_suffix(".requests")
    script.write_text(requests)
    found = re.findall(r"User: +(\d+) +Group: +(\d+)", run("debugfs", "-f", script, image))
    assert len(found) == numbers[0] - numbers[1] - 10
    return {":".join(pair) for pair in found}


def check(image: Path) -> None:
    assert "UNEXPECTED" not in run("e2fsck", "-fn", image)


def test_ext4_without_content(disks: HostDisks, area: Path) -> None:
    image = area / "disk.ext4"
    disks.make_ext4(image, 2048, uuid=UUID, label="work")
    assert image.stat().st_size == 2048 << 20
    assert allocated_bytes(image) < 8 << 20
    assert image.stat().st_mode & 0o777 == 0o600
    assert disks.read_uuid(image) == UUID
    header = run("dumpe2fs", "-h", image)
    assert "resize_inode" in header
    assert re.search(r"volume name: +work", header)
    check(image)


def test_ext4_grows(disks: HostDisks, area: Path) -> None:
    image = area / "disk.ext4"
    disks.make_ext4(image, 512, uuid=UUID, label="work")
    reserved = re.search(r"Reserved GDT blocks: +(\d+)", run("dumpe2fs", "-h", image))
    assert reserved is not None
    # Each block of descriptors stands for 64 groups of 128 MiB.
    assert int(reserved[1]) * 64 * 128 >= 64 * 1024
    os.truncate(image, 4096 << 20)
    run("resize2fs", image)
    check(image)


def test_content_belongs_to_root_and_keeps_modes(disks: HostDisks, area: Path, content: Path) -> None:
    image = area / "disk.ext4"
    disks.make_ext4(image, 64, uuid=UUID, label="work", content=content)
    check(image)
    assert owners(image) == {"0:0"}
    modes = {
        path: re.search(r"Mode: +(\d+)", run("debugfs", "-R", f'stat "{path}"', image))
        for path in ("/a dir/file", "/program", "/secret")
    }
    assert {path: found[1] if found else "" for path, found in modes.items()} == {
        "/a dir/file": "0640",
        "/program": "04755",
        "/secret": "0000",
    }
    assert disks.read_file(image, "/a dir/file") == b"hello\n"
    assert disks.read_file(image, "/large") == b"x" * 3_000_000


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_content_of_others_belongs_to_root(disks: HostDisks, area: Path, content: Path) -> None:
    for count, path in enumerate(sorted(content.rglob("*"))):
        os.chown(path, 1000 + count, 70000, follow_symlinks=False)
    (content / "program").chmod(0o4755)
    assert has_foreign_owners(content)
    image = area / "disk.ext4"
    disks.make_ext4(image, 64, uuid=UUID, label="work", content=content)
    check(image)
    assert owners(image) == {"0:0"}
    assert "04755" in run("debugfs", "-R", "stat /program", image)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_many_files_of_others_over_several_groups(disks: HostDisks, area: Path) -> None:
    top = area / "many"
    for one in range(100):
        (top / str(one)).mkdir(parents=True)
        for two in range(120):
            (top / str(one) / str(two)).touch()
    os.chown(top / "7", 4321, 4321)
    image = area / "disk.ext4"
    disks.make_ext4(image, 256, uuid=UUID, label="work", content=top)
    check(image)
    assert owners(image) == {"0:0"}


def test_without_user_namespaces_owners_are_set_afterwards(area: Path, content: Path) -> None:
    class NoUnshare(HostCommands):
        def find(self, program: str) -> str | None:
            return None if program == "unshare" else super().find(program)

    (content / "secret").chmod(0o600)
    image = area / "disk.ext4"
    HostDisks(NoUnshare()).make_ext4(image, 64, uuid=UUID, label="work", content=content)
    check(image)
    assert owners(image) == {"0:0"}


def test_same_content_same_disk(disks: HostDisks, area: Path, content: Path) -> None:
    for name in ("one", "two"):
        disks.make_ext4(area / name, 64, uuid=UUID, label="work", content=content)
    seeds = [
        re.search(r"Directory Hash Seed: +(\S+)", run("dumpe2fs", "-h", area / name))
        for name in ("one", "two")
    ]
    assert seeds[0] is not None
    assert seeds[1] is not None
    assert seeds[0][1] == seeds[1][1] == UUID


def test_content_that_does_not_fit(disks: HostDisks, area: Path, content: Path) -> None:
    (content / "huge").write_bytes(os.urandom(1 << 20) * 40)
    image = area / "disk.ext4"
    with pytest.raises(HostError, match="does not fit on a disk of 16 MiB") as caught:
        disks.make_ext4(image, 16, uuid=UUID, label="work", content=content)
    assert caught.value.hint
    assert not image.exists()


def test_existing_file_is_kept(disks: HostDisks, area: Path) -> None:
    image = area / "disk.ext4"
    image.write_text("precious")
    with pytest.raises(HostError, match="File exists"):
        disks.make_ext4(image, 16, uuid=UUID, label="work")
    with pytest.raises(HostError, match="File exists"):
        disks.make_overlay(image, image, 16)
    assert image.read_text() == "precious"


def test_missing_program_leaves_nothing(area: Path) -> None:
    (area / "base").write_bytes(bytes(4096))
    disks = HostDisks(FakeCommands(programs=()))
    with pytest.raises(HostError, match="mke2fs is not installed"):
        disks.make_ext4(area / "disk", 16, uuid=UUID, label="work")
    with pytest.raises(HostError, match="qemu-img is not installed"):
        disks.make_overlay(area / "disk", area / "base", 16)
    assert not (area / "disk").exists()


def test_no_space_is_one_clear_line(area: Path) -> None:
    commands = FakeCommands()
    commands.answer(
        "mke2fs", status=1, stderr=b"mke2fs: No space left on device while writing inode tables\n"
    )
    with pytest.raises(HostError, match="no space left on the file system at /.* MiB free") as caught:
        HostDisks(commands).make_ext4(area / "disk", 16, uuid=UUID, label="work")
    assert caught.value.hint
    assert not (area / "disk").exists()
    assert os.path.ismount(str(no_space(area / "x")).split(" at ")[1].split(" (")[0])


_FULL = """
import sys
from pathlib import Path
from banger.errors import HostError
from banger.host.command import HostCommands
from banger.host.disk import HostDisks
small = Path(sys.argv[1])
try:
    HostDisks(HostCommands()).make_ext4(small / "disk", 99, uuid=sys.argv[2], label="x", content=Path(sys.argv[3]))
except HostError as error:
    print(error)
print([path.name for path in small.iterdir()])
"""


def test_really_full_file_system(area: Path, content: Path) -> None:
    small = area / "small"
    small.mkdir()
    script = 'mount -t tmpfs -o size=2m tmpfs "$1" && exec "$2" -c "$3" "$1" "$4" "$5"'
    line = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    done = subprocess.run(
        [*line, small, sys.executable, _FULL, UUID, content], capture_output=True, text=True, check=False
    )
    if "unshare:" in done.stderr:
        pytest.skip(f"no user namespaces here: {done.stderr}")
    first, rest = done.stdout.splitlines()
    assert first.startswith(f"no space left on the file system at {small} (")
    assert rest == "[]"


def test_overlay(disks: HostDisks, area: Path) -> None:
    base = area / "base: a, b.ext4"
    disks.make_ext4(base, 64, uuid=UUID, label="root")
    overlay = area / "overlay.qcow2"
    disks.make_overlay(overlay, base, 8192)
    info = json.loads(run("qemu-img", "info", "--output=json", overlay))
    assert info["virtual-size"] == 8192 << 20
    assert info["full-backing-filename"] == str(base)
    assert info["backing-filename-format"] == "raw"
    assert allocated_bytes(overlay) < 1 << 20


def test_overlay_over_nothing(disks: HostDisks, area: Path) -> None:
    with pytest.raises(HostError, match="is not there"):
        disks.make_overlay(area / "overlay", area / "missing", 16)
    assert not (area / "overlay").exists()


@pytest.mark.parametrize("path", ["relative", '/quo"ted', "/new\nline", "/nul\0", "<2>", ""])
def test_odd_paths_are_refused(disks: HostDisks, area: Path, path: str) -> None:
    image = area / "disk.ext4"
    disks.make_ext4(image, 16, uuid=UUID, label="work")
    with pytest.raises(HostError, match="not a path"):
        disks.read_file(image, path)


def test_only_regular_files_are_read(disks: HostDisks, area: Path, content: Path) -> None:
    image = area / "disk.ext4"
    with open(content / "too large", "wb") as file:
        file.truncate(READ_LIMIT + 1)
    disks.make_ext4(image, 64, uuid=UUID, label="work", content=content)
    for path in ("/a dir", "/link", "/too large"):
        with pytest.raises(HostError, match="is not a regular file"):
            disks.read_file(image, path)
    with pytest.raises(HostError, match="there is no /missing"):
        disks.read_file(image, "/missing")


@pytest.mark.parametrize("data", [b"", bytes(4096), os.urandom(8192)])
def test_what_is_not_ext4(disks: HostDisks, area: Path, data: bytes) -> None:
    image = area / "disk"
    image.write_bytes(data)
    with pytest.raises(HostError, match="not an ext4"):
        disks.read_uuid(image)
    with pytest.raises(HostError, match="not an ext4"):
        disks.read_file(image, "/etc/os-release")
    with pytest.raises(HostError, match="cannot be read: No such file"):
        disks.read_uuid(area / "missing")


HOLE = None
MIB = 1 << 20


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [(HOLE, 5 * MIB + 17)],
        [(b"a", 10)],
        [(b"a", MIB), (HOLE, 3 * MIB), (b"b", MIB + 1)],
        [(HOLE, 2 * MIB), (b"c", 4096), (HOLE, 2 * MIB + 1)],
    ],
)
def test_digest_is_plain_sha256(area: Path, parts: list[tuple[bytes | None, int]]) -> None:
    path = area / "file"
    with open(path, "wb") as file:
        for byte, size in parts:
            if byte is None:
                file.seek(size, os.SEEK_CUR)
            else:
                file.write(byte * size)
        file.truncate()
    assert digest_file(path) == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def test_digest_reports_and_can_be_cancelled(area: Path) -> None:
    path = area / "file"
    with open(path, "wb") as file:
        file.truncate(40 * MIB)
    seen: list[tuple[int, int]] = []
    digest_file(path, lambda done, total: seen.append((done, total)))
    assert seen == [(16 * MIB, 40 * MIB), (32 * MIB, 40 * MIB), (40 * MIB, 40 * MIB)]

    def cancel(done: int, total: int) -> None:
        raise CancelledError("enough")

    with pytest.raises(CancelledError):
        digest_file(path, cancel)
    with pytest.raises(HostError, match="cannot be read"):
        digest_file(area / "missing")


def test_allocated_bytes_of_a_directory(area: Path) -> None:
    (area / "data").write_bytes(b"x" * 100_000)
    with open(area / "sparse", "wb") as file:
        file.truncate(1 << 30)
    assert 100_000 <= allocated_bytes(area) < MIB
