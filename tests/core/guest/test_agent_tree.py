"""Trees through the real agent on this host: its side of ``vm cp``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from banger.cli.tree_send import read_tree
from banger.guest import tree, wire
from banger.guest.channel import GuestChannel, GuestRefusal
from banger.guest.tree import DATA, DIRECTORY, DONE, END, FILE, LINK, Record, encode
from tests.core.cli.test_copy import describe, hostile, receive, source
from tests.core.guest.client import exit_code

__all__ = ["source"]


async def write(channel: GuestChannel, data: bytes, **fields: object) -> tuple[int, str]:
    """Send records to the agent; its worker's exit status and what it complained of."""
    stream = await channel.open("tree-write", **fields)
    await stream.send_data(data)
    await stream.send_eof()
    _, said, status = await collect(stream)
    return status, said


async def collect(stream: object) -> tuple[bytes, str, int]:
    out, said = bytearray(), bytearray()
    while True:
        frame = await stream.read_frame()  # type: ignore[attr-defined]
        if frame.type == wire.DATA:
            (said if frame.flags == wire.STDERR else out).extend(frame.payload)
            await stream.grant(frame)  # type: ignore[attr-defined]
        elif frame.type == wire.EXIT:
            return bytes(out), said.decode(), exit_code(frame.json())


def records(path: Path) -> bytes:
    return b"".join(read_tree(str(path), lambda *_: None))


async def test_a_tree_goes_in_and_comes_back(channel: GuestChannel, source: Path, tmp_path: Path) -> None:
    data = records(source)
    assert await write(channel, data, path=str(tmp_path / "guest"), directory=True) == (0, "")
    assert describe(tmp_path / "guest") == describe(source)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for base in ("src", "src", "."):  # new, over what is there, into the directory itself
        assert await write(channel, data, path=str(folder), directory=True, base=base) == (0, "")
    assert (folder / "a file").read_bytes() == (folder / "src" / "a file").read_bytes()
    assert (tmp_path / "guest" / "sparse").stat().st_blocks * 512 < 1_000_000
    stream = await channel.open("tree-read", path=str(tmp_path / "guest"))
    data, said, status = await collect(stream)
    assert (said, status) == ("", 0)
    assert receive(data, tmp_path / "back") == []
    assert describe(tmp_path / "back") == describe(source)


async def test_devices_and_the_like_are_named(channel: GuestChannel, source: Path, tmp_path: Path) -> None:
    os.mkfifo(source / "pipe")
    stream = await channel.open("tree-read", path=str(source))
    data, _, status = await collect(stream)
    assert status == 1
    ((path, why),) = receive(data, tmp_path / "back")
    assert path.endswith("/pipe") and "not copied" in why
    for path in ("/dev/null", str(source / "pipe")):
        with pytest.raises(GuestRefusal, match="not copied"):
            await channel.open("tree-read", path=path)
    with pytest.raises(GuestRefusal, match="No such file"):
        await channel.open("tree-read", path=str(source / "none"))
    with pytest.raises(GuestRefusal, match="symbolic links"):
        await channel.open("tree-read", path=str(source / "deep" / "loop"))


async def test_files_of_the_kernels_own_are_read_to_their_end(channel: GuestChannel, tmp_path: Path) -> None:
    stream = await channel.open("tree-read", path="/proc/self/status")
    data, _, status = await collect(stream)
    assert status == 0
    receive(data, tmp_path / "status")
    assert "Name:" in (tmp_path / "status").read_text()


async def test_targets_are_chosen_as_cp_does(channel: GuestChannel, source: Path, tmp_path: Path) -> None:
    data = records(source / "nothing")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("fresh")
    assert await write(channel, data, path=str(tmp_path / "folder"), base="name") == (0, "")
    assert (tmp_path / "folder" / "name").exists()
    for target in ("folder/", "none/x", "none/", "pipe", "folder"):
        with pytest.raises(GuestRefusal):
            await channel.open("tree-write", path=f"{tmp_path}/{target}", base="")
    with pytest.raises(GuestRefusal):
        await channel.open("tree-write", path=str(tmp_path / "folder" / "name"), directory=True, base="d")
    with pytest.raises(GuestRefusal, match="no such user"):
        await channel.open("tree-write", path=str(tmp_path / "x"), user="nobody-at-all")


async def test_what_is_no_record_ends_the_worker_and_leaves_nothing(
    channel: GuestChannel, tmp_path: Path
) -> None:
    cases = [(name, b"".join(map(encode, rows))) for name, rows in hostile() if name != "after the end"]
    cases.append(("half a file", encode(Record(FILE)) + encode(Record(DATA, payload=b"x"))))
    cases.append(("noise", os.urandom(4000)))
    for number, (name, data) in enumerate(cases):
        folder = tmp_path / str(number)
        folder.mkdir()
        status, _ = await write(channel, data, path=str(folder / "new"), directory=True)
        assert status not in (0, 1), name
        files = [path for path in folder.rglob("*") if not path.is_dir()]
        assert files == [], name
    assert {path.name for path in tmp_path.iterdir()} >= {"0", "1"}
    assert not (tmp_path / "out").exists()


async def test_links_lead_nothing_outside(channel: GuestChannel, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    rows = (
        Record(DIRECTORY, number=0o755),
        Record(LINK, b"way", payload=os.fsencode(outside)),
        Record(DIRECTORY, b"way", number=0o755),
        Record(FILE, b"evil", number=0o644),
        Record(END),
        Record(END),
        Record(END),
        Record(DONE),
    )
    status, said = await write(
        channel, b"".join(map(encode, rows)), path=str(tmp_path / "new"), directory=True
    )
    assert status == 1 and "way: " in said
    assert list(outside.iterdir()) == []


async def test_a_copy_that_is_given_up_leaves_nothing_half(channel: GuestChannel, tmp_path: Path) -> None:
    from tests.core.guest.test_agent import until

    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "file").write_text("old")
    stream = await channel.open("tree-write", path=str(folder / "file"))
    await stream.send_data(encode(Record(FILE, number=0o644)) + encode(Record(DATA, payload=b"half")))
    await until(lambda: len(list(folder.iterdir())) == 2)
    await stream.close()
    await until(lambda: len(list(folder.iterdir())) == 1)
    assert (folder / "file").read_text() == "old"


def test_both_sides_agree_on_the_limits() -> None:
    text = (Path(__file__).parents[3] / "agent" / "tree.h").read_text()
    assert "TREE_NAME = 255, TREE_TARGET = 4095, TREE_CHUNK = 256 * 1024, TREE_DEPTH = 128" in text
    assert (tree.NAME_LIMIT, tree.TARGET_LIMIT, tree.CHUNK, tree.DEPTH) == (255, 4095, 262144, 128)
