"""What is said, with which hint, when a guest refuses, floods, goes or has gone: the real program, a guest on paper.

A row: what is typed, what the guest does with it, the exit status, a piece of the message, a piece of the hint.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from banger.errors import GuestError
from banger.guest import wire
from banger.guest.channel import GuestRefusal
from banger.model.vm import VmState
from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import MakeApp
from banger.testing.samples import sample_image, sample_kernel, sample_vm
from tests.core.cli.test_errors_table import banger, check_refusal
from tests.core.daemon.paper_lab import CONFIG, make_lab


class PaperStream:
    """The far end of a stream: gives frames, then acts."""

    def __init__(self, frames: list[wire.Frame], then: Callable[[], None]) -> None:
        self.accept: Mapping[str, Any] = {"pid": 1}
        self._frames, self._then = frames, then

    async def read_frame(self) -> wire.Frame:
        if not self._frames:
            self._then()
            await asyncio.Event().wait()
        return self._frames.pop(0)

    async def send_frame(self, frame: wire.Frame) -> None:
        """Take it."""

    async def close(self) -> None:
        """Nothing to let go of."""


class PaperGuests:
    """Stands where the channels to guests are: one guest that does the same whatever it is asked."""

    def __init__(self, answer: Callable[[], PaperStream]) -> None:
        self._answer = answer

    async def open(self, vm_id: str, socket: Path, op: str, **fields: Any) -> PaperStream:
        return self._answer()

    async def drop(self, vm_id: str) -> None:
        """There is no channel."""

    async def close(self) -> None:
        """There is none."""


class Guest:
    """What the guest of the VM ``otter`` does."""

    def __init__(self, app: BangerApp) -> None:
        self.app, self.vm = app, sample_vm("otter")

    def refuses(self, code: str, message: str) -> PaperStream:
        raise GuestRefusal(message, code=code)

    def says(self, text: str, status: int = 1) -> PaperStream:
        said = [wire.Frame(wire.DATA, 1, wire.STDERR, text.encode())] if text else []
        return PaperStream([*said, wire.Frame(wire.EXIT, 1, 0, b'{"code": %d}' % status)], lambda: None)

    def goes(self, become: Callable[[], None], reason: str = "the guest's channel was closed") -> PaperStream:
        def end() -> None:
            become()
            raise GuestError(reason)

        return PaperStream([], end)

    def is_deleted(self) -> None:
        self.app.services.database.delete_vm(self.vm.id)

    def is_stopped(self) -> None:
        self.app.services.database.update_vm(self.vm.model_copy(update={"state": VmState.STOPPED}))


NO_SPACE, LOOP = os.strerror(errno.ENOSPC), os.strerror(errno.ELOOP)
EXEC, TO, FROM = "vm exec otter -- work", "vm cp /etc/hostname otter:/srv/x", "vm cp otter:/srv/x /tmp"
ROWS: list[tuple[str, Callable[[Guest], PaperStream], int, str, str]] = [
    (
        EXEC,
        lambda guest: guest.refuses("not-found", "work: No such file"),
        127,
        "work: No such file",
        "install it",
    ),
    (
        EXEC,
        lambda guest: guest.refuses("permission", "work: Permission denied"),
        126,
        "Permission denied",
        "chmod",
    ),
    (
        "vm exec --workdir /none otter -- work",
        lambda guest: guest.refuses("cwd", "/none: No such file"),
        1,
        "/none: No such file",
        "mkdir -p DIRECTORY",
    ),
    (
        "vm exec --user nobody7 otter -- work",
        lambda guest: guest.refuses("no-user", "no user"),
        1,
        "there is no user 'nobody7' in 'otter'",
        "getent passwd",
    ),
    (
        EXEC,
        lambda guest: guest.refuses("limit", "256 streams are open"),
        1,
        "256 streams are open",
        "let some of what runs in 'otter' end first",
    ),
    (
        EXEC,
        lambda guest: guest.refuses("not-ready", "the guest is booting"),
        1,
        "the guest is booting",
        "banger vm health otter",
    ),
    (
        EXEC,
        lambda guest: guest.goes(guest.is_deleted),
        1,
        "'otter' was deleted while this ran in it",
        "banger vm list",
    ),
    (
        EXEC,
        lambda guest: guest.goes(guest.is_stopped),
        1,
        "'otter' was stopped: what ran in it has ended",
        "banger vm start otter",
    ),
    (
        EXEC,
        lambda guest: guest.goes(lambda: None, "the guest took nothing from its channel for 5 s"),
        1,
        "took nothing from its channel",
        "banger vm health otter; its console: banger vm logs otter",
    ),
    (
        TO,
        lambda guest: guest.goes(guest.is_deleted),
        1,
        "'otter' was deleted while this ran in it",
        "banger vm list",
    ),
    (TO, lambda guest: guest.says(f"x: {NO_SPACE}\n"), 1, f"in the guest: x: {NO_SPACE}", "--disk-size 16G"),
    (
        TO,
        lambda guest: guest.refuses("not-found", "/srv/x: No such file or directory"),
        1,
        "in the guest: /srv/x: No such file",
        "what is there: banger vm exec otter -- ls -la",
    ),
    (
        FROM,
        lambda guest: guest.refuses("failed", f"/srv/x: {LOOP}"),
        1,
        f"in the guest: /srv/x: {LOOP}",
        "that link leads back to itself",
    ),
    (
        FROM,
        lambda guest: guest.says("/srv/x: devices, pipes and sockets are not copied\n"),
        1,
        "devices, pipes and sockets",
        "all else was copied",
    ),
    (FROM, lambda guest: guest.says("", 9), 1, "the copy was cut off in the guest", "banger vm logs otter"),
    (
        "vm console otter",
        lambda guest: guest.says(""),
        2,
        "a console needs a terminal",
        "banger vm logs -f otter follows it without one",
    ),
]


@pytest.mark.parametrize(
    ("typed", "does", "status", "message", "hint"), ROWS, ids=[f"{row[0][:9]} {row[3][:30]}" for row in ROWS]
)
def test_error_and_hint(
    banger_app: MakeApp,
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    does: Callable[[Guest], PaperStream],
    status: int,
    message: str,
    hint: str,
) -> None:
    app = banger_app(make_lab(), builtin=["core"], config=CONFIG)
    guest = Guest(app)
    app.services.database.add_image(sample_image())
    app.services.database.add_kernel(sample_kernel())
    app.services.database.add_vm(guest.vm.model_copy(update={"state": VmState.RUNNING}))
    monkeypatch.setattr(app.services, "guests", PaperGuests(lambda: does(guest)))
    check_refusal(banger(*typed.split()), status, message, hint)


def test_links_that_lead_in_a_loop(banger_app: MakeApp, tmp_path: Path) -> None:
    banger_app(make_lab(), builtin=["core"], config=CONFIG)
    (tmp_path / "loop").symlink_to("loop")
    check_refusal(
        banger("vm", "cp", str(tmp_path / "loop"), "otter:"),
        1,
        f"loop: {LOOP}",
        "that link leads back to itself",
    )


def test_a_name_that_is_no_utf8(banger_app: MakeApp, tmp_path: Path) -> None:
    banger_app(make_lab(), builtin=["core"], config=CONFIG)
    path = os.fsencode(tmp_path) + b"/\xff"
    check_refusal(banger("vm", "cp", path, "otter:"), 1, "/?: No such file", "what is there: ls")
