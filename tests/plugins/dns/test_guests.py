"""Names for guests on a bridge: who is told what when, without packets."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from banger.errors import BangerError, NetworkError
from banger.helper.requests import DropNames, EnsureBridge, Request, RouteNames
from banger.model.network import GuestInterface, Tap
from banger.model.service import RunningVm
from banger.model.vm import VmState
from banger.testing.privileged import FakePrivileged
from banger_dns import server
from banger_dns.guests import HUB, NOTE, Place, forget_names, read_places, tell_names
from tests.plugins.dns.name_server import OTTER, Context, running

#: An address that this host need not have.
PLACE = Place("br-banger", "0123abcd", "192.0.2.1")


@pytest.fixture
def privileged() -> FakePrivileged:
    fake = FakePrivileged()
    fake.call(EnsureBridge(PLACE.bridge, PLACE.mark, PLACE.address, 24))
    return fake


class Start:
    """What the step gets."""

    def __init__(self, directory: Path, privileged: Any, attachment: Any) -> None:
        self.paths, self.privileged, self.attachment = (
            SimpleNamespace(directory=directory),
            privileged,
            attachment,
        )
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)


def tap(gateway: str | None = PLACE.address) -> Tap:
    interface = GuestInterface(mac="02:00:00:00:00:01", address="192.0.2.7/24", gateway=gateway)
    return Tap(interface, "bgr-00000001", PLACE.bridge, PLACE.mark)


async def test_a_start_leads_guests_here_and_the_end_of_the_daemon_undoes_it(
    tmp_path: Path, privileged: FakePrivileged
) -> None:
    start = Start(tmp_path, privileged, tap())
    async with running(Context(tmp_path, 42310, privileged)) as serving:
        await asyncio.to_thread(tell_names, cast("Any", start))
        await asyncio.to_thread(tell_names, cast("Any", start))
        assert privileged.names == {PLACE.bridge: serving.port} and start.notices == []
        assert HUB.places == {PLACE}
    assert privileged.names == {} and DropNames(PLACE.bridge, PLACE.mark) in privileged.requests
    assert read_places([tmp_path]) == {PLACE}
    forget_names(cast("Any", start))
    forget_names(cast("Any", start))
    assert read_places([tmp_path]) == set()


async def test_a_daemon_that_starts_leads_what_runs_to_itself(
    tmp_path: Path, privileged: FakePrivileged
) -> None:
    context, states = Context(tmp_path, 42320, privileged), (VmState.RUNNING, VmState.STOPPED)
    for name, state, bridge in zip("ab", states, ("br-banger", "br-banger-other"), strict=True):
        (tmp_path / name).mkdir()
        (tmp_path / name / NOTE).write_text(
            json.dumps({"bridge": bridge, "mark": PLACE.mark, "address": PLACE.address})
        )
        context.rows.append(cast("Any", SimpleNamespace(id=name, state=state)))
    async with running(context) as serving:
        while not privileged.names:
            await asyncio.sleep(0.01)
        assert privileged.names == {PLACE.bridge: serving.port}


def test_without_a_name_server_the_vm_starts_all_the_same(tmp_path: Path, privileged: FakePrivileged) -> None:
    start = Start(tmp_path, privileged, tap())
    tell_names(cast("Any", start))
    assert (
        len(start.notices) == 1
        and "do not find each other by name: the name server does not run" in start.notices[0]
    )


async def test_what_the_helper_refuses_is_said(tmp_path: Path) -> None:
    start = Start(tmp_path, FakePrivileged(), tap())
    async with running(Context(tmp_path, 42330)):
        await asyncio.to_thread(tell_names, cast("Any", start))
    assert "there is no bridge br-banger" in start.notices[0]


async def test_a_daemon_starts_although_the_helper_does_not_answer(tmp_path: Path) -> None:
    class Gone(FakePrivileged):
        def call(self, request: Request) -> dict[str, Any]:
            self.requests.append(request)
            raise NetworkError("gone")

    gone = Gone()
    context = Context(tmp_path, 42340, gone)
    (tmp_path / NOTE).write_text(
        json.dumps({"bridge": "br-banger", "mark": PLACE.mark, "address": PLACE.address})
    )
    context.rows.append(cast("Any", SimpleNamespace(id="", state=VmState.RUNNING)))
    async with running(context):
        while not gone.requests:
            await asyncio.sleep(0.01)
    assert isinstance(gone.requests[0], RouteNames)


@pytest.mark.parametrize("attachment", [None, tap(None)])
def test_other_networks_and_bridges_that_lead_nowhere_are_left_alone(
    tmp_path: Path, privileged: FakePrivileged, attachment: Tap | None
) -> None:
    start = Start(tmp_path, privileged, attachment)
    tell_names(cast("Any", start))
    assert not start.notices and not (tmp_path / NOTE).exists() and not privileged.names


def test_notes_that_are_none_are_passed_over(tmp_path: Path) -> None:
    for number, text in enumerate(("", "[]", '{"bridge": "x"}')):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / NOTE).write_text(text)
    assert read_places([*tmp_path.iterdir(), tmp_path / "none"]) == set()


def test_guests_hear_of_no_loopback_address() -> None:
    table = [OTTER, RunningVm("3" * 32, "Lynx", "running", "172.16.180.9")]
    assert server.addresses_of(table, to_guests=True) == {"lynx": "172.16.180.9"}
    assert server.addresses_of(table) == {"lynx": "172.16.180.9", "otter": "127.64.0.7"}


async def test_a_hub_without_a_name_server_opens_nothing() -> None:
    with pytest.raises(BangerError, match="does not run"):
        await HUB.open(PLACE)
