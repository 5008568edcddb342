"""``vm set --net``: another network, at once for a VM that is down, at its next start for one that runs."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address

import pytest

from banger.errors import BangerError, NotFoundError, UsageError
from banger.model.network import NetworkMode
from banger.model.vm import Vm, VmState
from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import RunCli
from banger.testing.samples import sample_vm
from tests.core.daemon.paper_lab import make_network


def _first_free(base: str) -> Callable[..., str]:
    def assign(vm: Vm, taken: frozenset[str], settings: object) -> str:
        return next(text for number in range(9) if (text := str(IPv4Address(base) + number)) not in taken)

    return assign


@pytest.fixture
def app(lab: Callable[..., BangerApp]) -> BangerApp:
    networks: list[NetworkMode] = [
        make_network("user", assign=_first_free("127.64.0.1"), gives=frozenset({"publish"})),
        make_network("other", assign=_first_free("127.65.0.1")),
        make_network("none"),
        make_network("taps", attachment="tap"),
    ]
    return lab(networks=networks)


def test_a_vm_that_is_down_has_its_new_address_at_once(app: BangerApp) -> None:
    first = app.call("vm.create", {"name": "otter", "start": False, "network": "other"})["vm"]
    second = app.call("vm.create", {"name": "lynx", "start": False})["vm"]
    assert (first["address"], second["address"]) == ("127.65.0.1", "127.64.0.1")
    moved = app.call("vm.set", {"vm": "lynx", "network": "other"})
    assert moved["vm"]["spec"]["network"] == "other" and moved["notices"] == []
    assert moved["vm"]["address"] == "127.65.0.2"
    assert app.call("vm.set", {"vm": "otter", "network": "none"})["vm"]["address"] is None
    assert app.call("vm.set", {"vm": "lynx", "network": "other"})["vm"]["address"] == "127.65.0.2"
    assert app.call("vm.set", {"vm": "otter", "network": "other"})["vm"]["address"] == "127.65.0.1"


def test_a_running_one_keeps_what_it_has_until_it_is_down(app: BangerApp, run_cli: RunCli) -> None:
    vm = sample_vm("otter", state=VmState.RUNNING, address="127.64.0.1", spec={"vmm": "paper"})
    app.services.database.add_vm(vm)
    said = run_cli("vm", "set", "otter", "--net", "other")
    assert said.status == 0 and "it changes at its next start: banger vm restart otter" in said.stderr
    shown = run_cli("vm", "show", "otter").stdout
    assert "user 127.64.0.1" in shown and "network other" in shown
    assert "otter has network other at its next start" in run_cli("vm", "list").stderr
    down = app.call("vm.kill", {"vm": "otter"})["vm"]
    assert down["state"] == "stopped" and down["address"] is None and down["running_spec"] is None
    with pytest.raises(BangerError):  # its image is on paper
        app.call("vm.start", {"vm": "otter"})
    assert app.call("vm.show", {"vm": "otter"})["vm"]["address"] == "127.65.0.1"


def test_one_that_changes_its_mind_keeps_its_address(app: BangerApp) -> None:
    vm = sample_vm("otter", state=VmState.RUNNING, address="127.64.0.1", spec={"vmm": "paper"})
    app.services.database.add_vm(vm)
    app.call("vm.set", {"vm": "otter", "network": "other"})
    assert app.call("vm.set", {"vm": "otter", "network": "user"})["vm"]["running_spec"] is None
    assert app.call("vm.kill", {"vm": "otter"})["vm"]["address"] == "127.64.0.1"


def test_what_does_not_fit_is_refused(app: BangerApp) -> None:
    app.call("vm.create", {"name": "otter", "start": False})
    with pytest.raises(UsageError, match="'paper' and network 'taps' do not go together"):
        app.call("vm.set", {"vm": "otter", "network": "taps"})
    with pytest.raises(NotFoundError, match="no network 'usr'"):
        app.call("vm.set", {"vm": "otter", "network": "usr"})
    assert app.call("vm.show", {"vm": "otter"})["vm"]["spec"]["network"] == "user"


def test_a_port_that_appears_as_another_has_no_place_where_vms_have_addresses(app: BangerApp) -> None:
    app.call("vm.create", {"name": "otter", "start": False, "network": "other"})
    with pytest.raises(UsageError, match="port 80 cannot appear as 8080 on the network 'other'"):
        app.call("vm.set", {"vm": "otter", "publish": ["8080:80"]})
    app.call("vm.create", {"name": "lynx", "start": False, "network": "user", "publish": ["8080:80"]})
    with pytest.raises(UsageError, match="port 80 cannot appear as 8080 on the network 'other'"):
        app.call("vm.set", {"vm": "lynx", "network": "other"})
    moved = app.call("vm.set", {"vm": "lynx", "network": "other", "unpublish": [80], "publish": ["80"]})
    assert moved["vm"]["spec"]["publish"] == [{"host": 80, "guest": 80}]
