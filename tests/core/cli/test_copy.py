"""Trees as records: what is sent arrives, and a hostile sender reaches nothing but the one directory."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banger.cli.cp import Copy, _base, _parse
from banger.cli.tree_receive import StreamWriter, TreeWriter
from banger.cli.tree_send import read_stream, read_tree
from banger.errors import BangerError, GuestError, HostError, UsageError
from banger.guest import tree
from banger.guest.tree import DATA, DIRECTORY, DONE, END, FILE, LINK, SKIPPED, Record, encode


def receive(data: bytes, target: Path | str, base: str = "src", step: int = 70_000) -> list[tuple[str, str]]:
    """Write records below a target, in pieces as a stream brings them; return what was complained of."""
    complaints: list[tuple[str, str]] = []
    parser = tree.Parser()
    with TreeWriter(str(target), base, lambda path, why: complaints.append((path, why))) as writer:
        for at in range(0, len(data), step):
            for record in parser.feed(data[at : at + step]):
                writer.take(record)
    return complaints


def send(path: Path, complaints: list[tuple[str, str]] | None = None) -> bytes:
    def complain(path: str, why: str) -> None:
        assert complaints is not None, (path, why)
        complaints.append((path, why))

    return b"".join(read_tree(str(path), complain))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory with one of everything that is copied."""
    top = tmp_path / "src"
    (top / "deep" / "er").mkdir(parents=True)
    (top / "empty").mkdir(mode=0o700)
    (top / "a file").write_bytes(os.urandom(600_001))
    (top / "a file").chmod(0o640)
    os.utime(top / "a file", ns=(0, 1_234_567_890_123_456_789))
    (top / "nothing").touch()
    Path(os.fsdecode(os.fsencode(top) + b"/\xff\xfe\n")).write_text("odd name")
    (top / "deep" / "er" / "link").symlink_to("../../a file")
    (top / "deep" / "loop").symlink_to("loop")
    with open(top / "sparse", "wb") as file:
        file.seek(50_000_000)
        file.write(b"end of a hole")
        file.truncate(120_000_000)
    os.utime(top / "deep", ns=(0, 5_000_000_000))
    return top


def describe(top: Path, *, times_of_directories: bool = True) -> dict[bytes, tuple[object, ...]]:
    found: dict[bytes, tuple[object, ...]] = {}
    for folder, _, files in os.walk(os.fsencode(top)):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            info = os.lstat(path)
            content = os.readlink(path) if stat.S_ISLNK(info.st_mode) else b""
            if stat.S_ISREG(info.st_mode):
                content = Path(os.fsdecode(path)).read_bytes()
            time = info.st_mtime_ns if times_of_directories or not stat.S_ISDIR(info.st_mode) else 0
            found[os.path.relpath(path, os.fsencode(top))] = (info.st_mode, time, content)
    return found


def test_a_tree_arrives_as_it_was(source: Path, tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    assert receive(send(source), tmp_path / "into") == []
    assert describe(tmp_path / "into" / "src") == describe(source)
    assert (tmp_path / "into" / "src" / "sparse").stat().st_blocks * 512 < 1_000_000
    assert receive(send(source), tmp_path / "new") == []
    assert describe(tmp_path / "new") == describe(source)


def test_a_copy_over_what_is_there(source: Path, tmp_path: Path) -> None:
    for _ in range(2):  # the second time its directories are there, and keep their own time
        assert receive(send(source), tmp_path, base="again") == []
    one, two = (describe(path, times_of_directories=False) for path in (tmp_path / "again", source))
    assert one == two
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "mine").write_text("stays")
    assert receive(send(source), tmp_path / "merged", base=".") == []
    assert (tmp_path / "merged" / "mine").read_text() == "stays"
    assert (tmp_path / "merged" / "a file").read_bytes() == (source / "a file").read_bytes()


def test_a_file_takes_the_place_cp_would_give_it(source: Path, tmp_path: Path) -> None:
    data = send(source / "a file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "old").write_text("old")
    (tmp_path / "to old").symlink_to("old")
    for target, made in (("folder", "folder/src"), ("fresh", "fresh"), ("to old", "old")):
        assert receive(data, tmp_path / target) == []
        assert (tmp_path / made).read_bytes() == (source / "a file").read_bytes()
    assert (tmp_path / "to old").is_symlink()
    for target, kind in (("none/fresh", HostError), ("fresh/", UsageError), ("none/", UsageError)):
        with pytest.raises(kind):
            receive(data, f"{tmp_path}/{target}")
    assert [why for _, why in receive(send(source), tmp_path / "fresh")] == ["Not a directory"]


def test_devices_pipes_and_sockets_are_named_and_left_out(source: Path, tmp_path: Path) -> None:
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(source)
        try:
            server.bind("socket")
        finally:
            os.chdir(here)
    complaints: list[tuple[str, str]] = []
    receive(send(source, complaints), tmp_path / "new")
    assert [Path(path).name for path, _ in complaints] == ["pipe", "socket"]
    assert not (tmp_path / "new" / "pipe").exists()


def test_existing_pipes_and_directories_are_not_replaced(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "new"
    target.mkdir()
    os.mkfifo(target / "a file")
    (target / "nothing").mkdir()
    (target / "deep").write_text("a file where a directory comes")
    complaints = receive(send(source), target, base=".")
    assert {Path(path).name for path, _ in complaints} == {"a file", "nothing", "deep"}
    assert stat.S_ISFIFO((target / "a file").stat().st_mode)
    assert (target / "sparse").stat().st_size == 120_000_000
    assert (target / "deep").read_text() == "a file where a directory comes"


def test_a_cut_off_copy_leaves_nothing_half(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    data = encode(Record(FILE, number=0o644, size=10)) + encode(Record(DATA, payload=b"half"))
    receive(data, tmp_path / "old")
    receive(data, tmp_path / "fresh")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_text() == "old"


def test_a_file_that_could_not_be_read_leaves_nothing(tmp_path: Path) -> None:
    records = (Record(FILE), Record(DATA, payload=b"x"), Record(END, number=1), Record(DONE))
    receive(b"".join(map(encode, records)), tmp_path / "fresh")
    assert list(tmp_path.iterdir()) == []


def hostile() -> Iterator[tuple[str, list[Record]]]:
    top = Record(DIRECTORY, number=0o755)
    for name in (b"..", b".", b"", b"/etc/passwd", b"../out", b"a/b", b"a\0b"):
        for kind in (FILE, DIRECTORY, LINK):
            yield f"{name!r} as {chr(kind)}", [top, Record(kind, name, payload=b"x" if kind == LINK else b"")]
    yield "two roots", [top, Record(END), Record(FILE)]
    yield "data outside a file", [Record(DATA, payload=b"x")]
    yield "a file in a file", [top, Record(FILE, b"a"), Record(FILE, b"b")]
    yield "an end too many", [top, Record(END), Record(END)]
    yield "done in the middle", [top, Record(DONE)]
    yield "after the end", [Record(FILE), Record(END), Record(DONE), Record(SKIPPED, b"x")]
    yield "too deep", [Record(DIRECTORY, b"d") for _ in range(tree.DEPTH + 1)]
    yield "an unknown record", [Record(0x41)]
    yield "a long link", [top, Record(LINK, b"l", payload=b"x" * 5000)]
    yield "negative offset", [Record(FILE), Record(DATA, time=-1, payload=b"x")]


@pytest.mark.parametrize(("records"), [pytest.param(r, id=name) for name, r in hostile()])
def test_what_no_agent_sends_is_refused(tmp_path: Path, records: list[Record]) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(GuestError):
        receive(b"".join(map(encode, records)), tmp_path / "in" / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


def test_links_of_a_guest_lead_nothing_of_it_outside(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    records = (
        Record(DIRECTORY, number=0o755),
        Record(LINK, b"way", payload=os.fsencode(outside)),
        Record(DIRECTORY, b"way", number=0o755),
        Record(FILE, b"evil", number=0o4777),
        Record(DATA, payload=b"x"),
        Record(END, size=1),
        Record(END),
        Record(FILE, b"plain", number=0o6755),
        Record(END),
        Record(END),
        Record(DONE),
    )
    complaints = receive(b"".join(map(encode, records)), tmp_path / "new")
    assert list(outside.iterdir()) == []
    assert [Path(path).name for path, _ in complaints] == ["way"]
    assert (
        stat.S_IMODE((tmp_path / "new" / "plain").stat().st_mode) == 0o755
    )  # a guest gives nobody's rights away


@given(st.binary(max_size=2000))
def test_any_bytes_are_records_or_refused(data: bytes) -> None:
    try:
        list(tree.Parser().feed(data))
    except GuestError:
        pass


def test_a_file_goes_to_a_pipe_with_its_holes(tmp_path: Path) -> None:
    with open(tmp_path / "in", "wb") as file:
        file.seek(300_000)
        file.write(b"middle")
        file.truncate(700_000)
    with open(tmp_path / "out", "wb") as out:
        writer = StreamWriter(out.fileno())
        for record in tree.Parser().feed(send(tmp_path / "in")):
            writer.take(record)
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()
    with pytest.raises(UsageError, match="directory"):
        StreamWriter(1).take(Record(DIRECTORY))


def test_a_pipe_becomes_a_file(tmp_path: Path) -> None:
    content = os.urandom(900_000)
    (tmp_path / "in").write_bytes(content)
    with open(tmp_path / "in", "rb") as file:
        receive(b"".join(read_stream(file.fileno())), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == content


def test_a_full_disk_ends_the_copy() -> None:
    data = b"".join(map(encode, (Record(FILE), Record(DATA, payload=b"x"), Record(END, size=1))))
    full = Path("/dev/full")
    with open(full, "wb") as out, pytest.raises(OSError, match="No space"):
        writer = StreamWriter(out.fileno())
        for record in tree.Parser().feed(data):
            writer.take(record)


@pytest.mark.parametrize(
    ("text", "vm", "path"),
    [
        ("box:/etc", "box", "/etc"),
        ("box:", "box", "."),
        ("box:a:b", "box", "a:b"),
        ("./box:a", None, "./box:a"),
        ("/a:b", None, "/a:b"),
        (":x", None, ":x"),
        ("plain", None, "plain"),
        ("-", None, "-"),
    ],
)
def test_which_side_is_in_a_vm(text: str, vm: str | None, path: str) -> None:
    assert _parse(text) == (vm, path)


def test_names_of_sources() -> None:
    assert [_base(path) for path in ("a/b", "a/b/", "a/.", ".", "/", "a/..")] == [
        "b",
        "b",
        ".",
        ".",
        ".",
        ".",
    ]


def test_what_cannot_be_read_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, kind in (("none", HostError), ("pipe", UsageError)):
        with pytest.raises(BangerError) as caught:
            Copy(None, None, True).send(str(tmp_path / name), _parse("vm:/x"))  # type: ignore[arg-type]
        assert type(caught.value) is kind and caught.value.hint
