"""``vm set --unpublish`` of a VM that runs: now where its VMM can, else when it stops, and said so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from banger.daemon.starts import open_handles
from banger.errors import VmmError
from banger.model.vm import PublishedPort, VmState
from banger.testing.app import BangerApp
from banger.testing.samples import sample_vm
from tests.core.daemon.paper_lab import make_vmm

MakeLab = Callable[..., BangerApp]
HERE = "127.88.17.5"


def running(lab: MakeLab, close_port: Callable[[Path, str, int], None] | None) -> BangerApp:
    """Give a daemon with a VM that was started with two ports, one of which appears higher here."""
    app = lab(vmms=[make_vmm(close_port=close_port)])
    ports = (PublishedPort(host=80, guest=80), PublishedPort(host=9000, guest=8080))
    vm = sample_vm("otter", state=VmState.RUNNING, spec={"vmm": "paper", "publish": ports})
    app.services.database.add_vm(vm)
    (app.paths.vms / vm.id).mkdir()
    handles = open_handles(app.services, vm)
    section = handles.enter("network", "core", "run-1", keep=False)
    section.data |= {"mode": "user", "forwards": [[HERE, 20080, 80], [HERE, 9000, 8080]]}
    handles.save()
    return app


def ports(app: BangerApp) -> list[tuple[int, int]]:
    found: list[dict[str, Any]] = app.call("vm.show", {"vm": "otter"})["ports"]
    return [(port["host"], port["guest"]) for port in found]


def test_a_port_closes_at_once(lab: MakeLab) -> None:
    closed: list[tuple[str, int]] = []
    app = running(lab, lambda _, address, port: closed.append((address, port)))
    changed = app.call("vm.set", {"vm": "otter", "unpublish": [80]})
    assert (changed["notices"], closed) == ([], [(HERE, 20080)])
    assert changed["vm"]["running_spec"] is None
    assert ports(app) == [(9000, 8080)]
    [vm] = app.services.database.vms()
    section = open_handles(app.services, vm).find("network")
    assert section is not None and section.data["forwards"] == [[HERE, 9000, 8080]]
    # what else it is to have waits, and the port does not come back with that
    both = app.call("vm.set", {"vm": "otter", "unpublish": [8080], "vcpu": 2})
    assert "changes at its next start" in both["notices"][0] and closed[1:] == [(HERE, 9000)]
    assert (both["vm"]["running_spec"]["publish"], both["vm"]["running_spec"]["vcpu"]) == ([], 1)


def _refuse(_: Path, address: str, port: int) -> None:
    raise VmmError(f"no {address}:{port}")


@pytest.mark.parametrize("close_port", [None, _refuse], ids=["none", "fails"])
def test_where_the_vmm_cannot_it_closes_when_the_vm_stops(
    lab: MakeLab, close_port: Callable[[Path, str, int], None] | None
) -> None:
    app = running(lab, close_port)
    changed = app.call("vm.set", {"vm": "otter", "unpublish": [80]})
    assert "changes at its next start" in changed["notices"][0]
    assert ports(app) == [(20080, 80), (9000, 8080)]
    assert len(changed["vm"]["running_spec"]["publish"]) == 2 and len(changed["vm"]["spec"]["publish"]) == 1


def test_what_waits_from_before_is_not_said_again_of_something_else(lab: MakeLab) -> None:
    app = running(lab, lambda _, address, port: None)
    assert app.call("vm.set", {"vm": "otter", "vcpu": 2})["notices"]
    assert app.call("vm.set", {"vm": "otter", "unpublish": [80]})["notices"] == []
    assert app.call("vm.set", {"vm": "otter", "label": ["a=b"], "vcpu": 2})["notices"]
