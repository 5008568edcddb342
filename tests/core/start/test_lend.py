"""The step that brings into the guest what the user lends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from banger.errors import GuestError
from banger.model.auth import Lent
from banger.start.spine import SPINE
from banger.testing.start import FakeStart

LEND = next(step for step in SPINE if step.name == "lend")


def run(tmp_path: Path, *lent: Lent, **guest: Any) -> FakeStart:
    start = FakeStart(tmp_path / "start")
    start.lent = lent
    for name, value in guest.items():
        setattr(start.guest, name, value)
    start.run(LEND)
    return start


def sent(start: FakeStart) -> list[bytes]:
    return [fields["records"] for op, fields in start.guest.requests if op == "write_tree"]


@pytest.fixture
def token(tmp_path: Path) -> Lent:
    (tmp_path / "token").write_bytes(b"s3cret")
    return Lent("auth 'tool'", str(tmp_path / "token"), ("t",))


def test_it_comes_before_anything_runs_in_the_guest() -> None:
    assert LEND.after == ("guest",)
    assert LEND.before == ("guest-ready",)


def test_what_is_lent_arrives_and_is_written_down_nowhere(tmp_path: Path, token: Lent) -> None:
    start = run(tmp_path, token)
    assert b"s3cret" in sent(start)[0]
    assert start.notices == []
    for path in (tmp_path / "start").rglob("*"):
        assert path.is_dir() or b"s3cret" not in path.read_bytes()


def test_what_the_host_lacks_is_said_and_the_guest_keeps_its_own(tmp_path: Path) -> None:
    start = run(tmp_path, Lent("auth 'tool'", f"{tmp_path}/none", ("t",)))
    assert sent(start) == []
    assert start.notices == [f"auth 'tool': there is no {tmp_path}/none here; the guest's stays as it is"]


def test_a_newer_file_of_the_guest_stays(tmp_path: Path, token: Lent) -> None:
    assert sent(run(tmp_path, token, modified={"/root/t": 2**40})) == []
    assert len(sent(run(tmp_path, token, modified={"/root/t": 1}))) == 1


def test_a_file_that_is_to_be_kept_stays_whatever_its_age(tmp_path: Path) -> None:
    lent = Lent("auth 'git'", "~", ("t",), read=lambda _: b"x", keep=True)
    assert sent(run(tmp_path, lent, modified={"/root/t": 1})) == []
    assert len(sent(run(tmp_path, lent))) == 1


def test_what_a_guest_does_not_take_fails_no_start(tmp_path: Path, token: Lent) -> None:
    start = run(tmp_path, token, complaints=["t: Is a directory"])
    assert start.notices == ["auth 'tool' did not arrive: in the guest: t: Is a directory"]

    def refuse(*_: Any) -> list[str]:
        raise GuestError("no room")

    assert run(tmp_path, token, write_tree=refuse).notices == [
        "auth 'tool' did not arrive: in the guest: no room"
    ]
