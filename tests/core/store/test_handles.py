from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from banger.errors import StoreError
from banger.store.handles import Handles


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "handles.json"


def open_handles(path: Path, fallback: dict[str, Any] | None = None) -> Handles:
    return Handles(path, lambda _: None, fallback)


def test_sections_survive_in_the_order_of_the_run(path: Path) -> None:
    handles = open_handles(path)
    for name in ("network", "boot", "alpha"):
        handles.enter(name, "p", "r1", keep=False).data["x"] = name
    handles.save()
    assert [(s.step, s.data) for s in open_handles(path).sections] == [
        ("network", {"x": "network"}),
        ("boot", {"x": "boot"}),
        ("alpha", {"x": "alpha"}),
    ]


def test_file_is_the_owners_alone_and_leaves_no_temporary(path: Path) -> None:
    open_handles(path).enter("a", "p", "r", keep=False)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["handles.json"]


def test_every_write_is_mirrored(path: Path) -> None:
    mirrored: list[dict[str, Any]] = []
    handles = Handles(path, mirrored.append)
    section = handles.enter("a", "p", "r", keep=True)
    handles.release(section)
    handles.drop(section)
    assert [[(s["step"], s["live"]) for s in content["sections"]] for content in mirrored] == [
        [("a", True)],
        [("a", False)],
        [],
    ]
    assert mirrored[-1] == json.loads(path.read_text())


def test_released_section_stays_only_for_a_step_with_vm_resources(path: Path) -> None:
    handles = open_handles(path)
    handles.release(handles.enter("run-only", "p", "r1", keep=False))
    handles.release(handles.enter("disk", "p", "r1", keep=True))
    assert [(s.step, s.live) for s in open_handles(path).sections] == [("disk", False)]


def test_later_start_continues_a_section_and_remembers_who_made_it(path: Path) -> None:
    handles = open_handles(path)
    first = handles.enter("disk", "p", "r1", keep=True)
    first.data["path"] = "/x"
    handles.release(first)
    handles.enter("network", "p", "r2", keep=False)
    again = handles.enter("disk", "p", "r2", keep=True)
    assert (again.data, again.run, again.made_by, again.live) == ({"path": "/x"}, "r2", "r1", True)
    assert [section.step for section in handles.sections] == ["network", "disk"]


def test_lost_file_falls_back_to_the_mirror(path: Path) -> None:
    kept: list[dict[str, Any]] = []
    Handles(path, kept.append).enter("boot", "p", "r", keep=False)
    path.unlink()
    assert [section.step for section in open_handles(path, kept[-1]).sections] == ["boot"]


@pytest.mark.parametrize("damage", [b"", b'{"version": 1, "sect', b"\xff\xfe\0", b"\0" * 4096])
def test_torn_file_falls_back_to_the_mirror(path: Path, damage: bytes) -> None:
    kept: list[dict[str, Any]] = []
    Handles(path, kept.append).enter("boot", "p", "r", keep=False)
    path.write_bytes(damage)
    assert [section.step for section in open_handles(path, kept[-1]).sections] == ["boot"]


DAMAGED = [
    "[]",
    "",
    "[" * 100_000,
    '"text"',
    '{"sections": [{"stap": 1}]}',
    '{"sections": [7]}',
    '{"sections": 7}',
    '{"version": "one", "sections": []}',
    '{"version": 1, "sections": [{"step": "boot", "plugin": "p", "run": "r", "data": 7}]}',
]


@pytest.mark.parametrize("content", DAMAGED, ids=lambda text: text[:30])
def test_file_of_another_shape_without_a_mirror_is_one_clear_error(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(StoreError, match="is damaged") as caught:
        open_handles(path)
    assert caught.value.hint and "--force" in caught.value.hint


@pytest.mark.parametrize("content", DAMAGED, ids=lambda text: text[:30])
def test_file_of_another_shape_falls_back_to_the_mirror(path: Path, content: str) -> None:
    kept: list[dict[str, Any]] = []
    Handles(path, kept.append).enter("boot", "p", "r", keep=False)
    path.write_text(content)
    assert [section.step for section in open_handles(path, kept[-1]).sections] == ["boot"]


def test_file_and_mirror_that_are_both_damaged_are_one_clear_error(path: Path) -> None:
    path.write_text("[]")
    with pytest.raises(StoreError, match="is damaged"):
        open_handles(path, {"sections": 7})
    path.unlink()
    with pytest.raises(StoreError, match="is damaged"):
        open_handles(path, {"sections": 7})


def test_members_of_a_later_banger_are_ignored(path: Path) -> None:
    section = {"step": "boot", "plugin": "p", "run": "r", "live": True, "data": {"x": 1}, "colour": "red"}
    path.write_text(json.dumps({"version": 1, "sections": [section], "more": 7}))
    [found] = open_handles(path).sections
    assert (found.step, found.live, found.data) == ("boot", True, {"x": 1})


def test_newer_version_is_refused_whatever_the_mirror_has(path: Path) -> None:
    kept: list[dict[str, Any]] = []
    Handles(path, kept.append).enter("boot", "p", "r", keep=False)
    path.write_text('{"version": 2, "sections": []}')
    with pytest.raises(StoreError, match="newer than this banger"):
        open_handles(path, kept[-1])


@pytest.mark.parametrize("content", [*DAMAGED, '{"version": 2, "sections": []}'], ids=lambda text: text[:30])
def test_lenient_begins_with_nothing_when_nothing_can_be_read(path: Path, content: str) -> None:
    path.write_text(content)
    assert Handles(path, lambda _: None, {"sections": 7}, lenient=True).sections == []


def test_lenient_takes_what_can_be_read(path: Path) -> None:
    kept: list[dict[str, Any]] = []
    Handles(path, kept.append).enter("boot", "p", "r", keep=False)
    path.write_text("[]")
    handles = Handles(path, lambda _: None, kept[-1], lenient=True)
    assert [section.step for section in handles.sections] == ["boot"]


def test_no_file_and_no_mirror_means_that_nothing_is_held(path: Path) -> None:
    assert open_handles(path).sections == []


def test_a_directory_that_is_gone_is_made_again(path: Path) -> None:
    gone = path.parent / "gone"
    open_handles(gone / "handles.json").enter("a", "p", "r", keep=False)
    assert [section.step for section in open_handles(gone / "handles.json").sections] == ["a"]
    assert gone.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_cannot_be_is_one_clear_error(path: Path) -> None:
    handles = open_handles(path.parent / "gone" / "deeper" / "handles.json")
    with pytest.raises(StoreError, match="cannot be written"):
        handles.enter("a", "p", "r", keep=False)


def test_crash_between_writing_and_renaming_leaves_the_old_file(path: Path) -> None:
    open_handles(path).enter("old", "p", "r", keep=False)
    path.with_suffix(".tmp").write_text('{"version": 1, "sections": [{"st')
    assert [section.step for section in open_handles(path).sections] == ["old"]
    open_handles(path).enter("new", "p", "r", keep=False)
    assert [section.step for section in open_handles(path).sections] == ["old", "new"]


def test_sigkill_at_any_moment_leaves_a_whole_file(path: Path) -> None:
    code = f"""
from banger.store.handles import Handles
handles = Handles({str(path)!r} and __import__("pathlib").Path({str(path)!r}), lambda _: None)
section = handles.enter("a", "p", "r", keep=False)
print("go", flush=True)
count = 0
while True:
    count += 1
    section.data["count"], section.data["fill"] = count, "x" * 50_000
    handles.save()
"""
    for delay in (0.02, 0.05, 0.09):
        path.unlink(missing_ok=True)
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline() == b"go\n"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        process.stdout.close()
        content = json.loads(path.read_text())
        assert content["sections"][0]["step"] == "a"
