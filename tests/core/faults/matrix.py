"""Every fault at every place of every operation, and what became of the VM once the next daemon has started."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from unittest import mock

from banger.cli.client import Client
from banger.config.paths import Paths, find_paths, make_directories, make_private
from banger.daemon.publish import content_dir
from banger.daemon.services import fill_registries
from banger.errors import BangerError
from banger.store.database import Database
from banger.testing.injection import FAULTS, ArmParams, Fault
from banger.testing.plugin_sets import load_chosen
from banger.testing.samples import sample_image, sample_kernel
from tests.core.faults.daemons import Daemons
from tests.core.faults.lab import CONFIG, LEFT_OUT, make_plugins
from tests.core.faults.leaks import find_leaks
from tests.core.faults.paper_bridge import PaperPrivileged

#: Seconds for what is under way to end.
_PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Action:
    """An operation of the matrix.

    :param prepare: parameters of the create that comes before it, undisturbed; None for none.
    :param params: its own, beside the name, which is called ``key``.
    :param disks: the VM, which was never started, has disks, and with ``snapshot`` one of them before they changed.
    """

    operation: str
    key: str
    params: Mapping[str, Any] = field(default_factory=dict)
    prepare: Mapping[str, Any] | None = None
    disks: bool = False
    snapshot: bool = False


_NEW = {"publish": ["18080:80"]}
_DOWN = {"start": False}
#: A VM's disks on paper, and what they hold first and later.
_DISKS, _BEFORE, _LATER = ("root.qcow2", "work.ext4"), b"before", b"later"
ACTIONS = {
    "create": Action("vm.create", "name", _NEW),
    "start": Action("vm.start", "vm", prepare={**_NEW, "start": False}),
    "stop": Action("vm.stop", "vm", prepare=_NEW),
    "set": Action("vm.set", "vm", {"memory": 256}, prepare={"start": False}),
    "delete": Action("vm.delete", "vm", prepare=_NEW),
    "pull": Action("image.pull", "reference"),
    "snapshot": Action("snapshot.create", "vm", {"name": "kept"}, _DOWN, disks=True),
    "restore": Action("snapshot.restore", "vm", {"name": "kept"}, _DOWN, disks=True, snapshot=True),
    "snapshot delete": Action("snapshot.delete", "vm", {"name": "kept"}, _DOWN, disks=True, snapshot=True),
    #: The start of a daemon that finds a VM whose stop the last one did not end.
    "daemon start": Action("", "vm", prepare=_NEW),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One fault at one place, before or after it, in the life of a VM on that network."""

    action: str
    place: str
    when: str
    fault: Fault
    network: str = "user"


class Matrix:
    """Runs cases on daemons of its own; a context manager.

    :param home: an empty directory with a short path. :param network: which one its VMs are on.
    """

    def __init__(self, home: Path, network: str = "user") -> None:
        variables = {f"XDG_{kind}_HOME": str(home / kind[0].lower()) for kind in ("STATE", "DATA")}
        variables |= {"XDG_CACHE_HOME": str(home / "cache"), "XDG_CONFIG_HOME": str(home / "config")}
        self._client = Client()
        self.paths = self._client.paths = _paths_under(variables)
        self.network = network
        _fill_store(self.paths, CONFIG.format(network=network))
        self._bridges = PaperPrivileged(self.paths.state / "bridges")
        self._daemons = Daemons({**os.environ, **variables})
        self._numbers = itertools.count(1)
        self._addresses: set[str] = set()
        self._capabilities = _with_steps(network)
        #: What is wrong that no outcome says, a line each.
        self.faults: list[str] = []

    def __enter__(self) -> Self:
        self._daemons.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.clear()
        finally:
            self._daemons.__exit__()

    def clear(self) -> None:
        """Delete what VMs there still are."""
        for vm in self._vms():
            self._clear(vm["name"])

    def call(self, name: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call the daemon that runs."""
        return self._client.call(name, dict(params or {}), start=False)

    def restart(self) -> None:
        """End the daemon as a crash would, and start the next."""
        self.kill()
        self.start()

    def kill(self) -> None:
        """End the daemon as a crash would."""
        self._daemons.kill()

    def start(self) -> None:
        """Start the next daemon."""
        self._daemons.start()

    def places(self, action: str) -> list[str]:
        """Return what an operation passes when nothing goes wrong, each place once."""
        name = self._prepare(ACTIONS[action])
        if ACTIONS[action].operation:
            self.call("fault.arm")
            self._act(ACTIONS[action], name)
        else:
            self._start_amid_stop(name)
        passed: list[str] = self.call("fault.report")["passed"]
        self._clear(name)
        return list(dict.fromkeys(passed))

    def run(self, action: str) -> dict[Case, str]:
        """Run every case of an operation; what became of its VM or image.

        On another network than ``user`` those at the steps that VMs on ``user`` do not have, and at the network's own.
        """
        places, own = self.places(action), _own_steps(self.network)
        cases = [
            dataclasses.replace(case, network=self.network)
            for case in _cases(action, places)
            if self.network == "user" or case.place.rpartition(" ")[2] in own
        ]
        outcomes: dict[Case, str] = {}
        alone = [case for case in cases if case.fault == "kill" or not ACTIONS[action].operation]
        named = {case: self._run(case) for case in cases if case not in alone}
        self.restart()
        for case, name in named.items():
            outcomes[case] = self._look(case, name)
        for case in alone:
            name = self._run(case)
            outcomes[case] = self._look(case, name)
        return {case: outcomes[case] for case in cases}

    def _run(self, case: Case) -> str:
        """Run one case; the name of what it was done to."""
        action = ACTIONS[case.action]
        name = self._prepare(action)
        fault = ArmParams.model_validate({"place": case.place, "when": case.when, "kind": case.fault})
        if action.operation:
            self.call("fault.arm", fault.model_dump())
            with contextlib.suppress(BangerError):
                self._act(action, name)
        else:
            self._start_amid_stop(name, fault)
        if case.fault == "kill":
            status = self._daemons.reap()
            if status != -9:
                self.faults.append(f"{case}: the daemon ended with {status}")
            self._daemons.start()
            return name
        self._check_quiet(case)
        if not action.operation:
            self.restart()
        return name

    def _start_amid_stop(self, name: str, fault: ArmParams | None = None) -> None:
        """Kill the daemon while it stops a VM, and start the next, in whose start the fault is."""
        self.call("fault.arm", {"place": "row stopping", "when": "after", "kind": "kill"})
        with contextlib.suppress(BangerError):
            self.call("vm.stop", {"vm": name})
        self._daemons.reap()
        self._daemons.start(fault)

    def _check_quiet(self, case: Case) -> None:
        """Wait until nothing is under way; note what stays, and a fault that did not strike."""
        deadline = time.monotonic() + _PATIENCE
        report = self.call("fault.report")
        while (
            report["held"] or report["running"]
        ) and time.monotonic() < deadline:  # the watch of a VM that ended
            time.sleep(0.01)
            report = self.call("fault.report")
        if not report["struck"]:
            self.faults.append(f"{case}: the place was not passed")
        self.faults += [f"{case}: {held} is held" for held in (*report["held"], *report["running"])]

    def _prepare(self, action: Action) -> str:
        name = f"vm-{next(self._numbers)}"
        if action.prepare is not None:
            self.call("fault.arm")
            self.call("vm.create", {"name": name, "with": self._capabilities, **self._fit(action.prepare)})
        if action.disks:
            self._fill_disks(name, _BEFORE)
        if action.snapshot:
            self.call("snapshot.create", {"vm": name, "name": "kept"})
            self._fill_disks(name, _LATER)
        return name

    def _directory(self, name: str) -> Path:
        return self.paths.vms / str(self.call("vm.show", {"vm": name})["vm"]["id"])

    def _fill_disks(self, name: str, content: bytes) -> None:
        directory = self._directory(name)
        directory.mkdir(exist_ok=True)
        for disk in _DISKS:
            (directory / disk).write_bytes(content)

    def _act(self, action: Action, name: str) -> None:
        subject = f"paper:{name}" if action.key == "reference" else name
        chosen = {"with": self._capabilities} if action.operation == "vm.create" else {}
        self.call(action.operation, {action.key: subject, **chosen, **self._fit(action.params)})

    def _fit(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Leave out what VMs on this network do without: on the bridge their ports are at their own address."""
        return {key: value for key, value in params.items() if key != "publish" or self.network == "user"}

    def _look(self, case: Case, name: str) -> str:
        """Tell what became of it, whether that is whole, and whether it can be mended; it is gone afterwards."""
        if case.action == "pull":
            outcome = "there" if self._image(name) else "gone"
            self._clear(name)
            return outcome
        if ACTIONS[case.action].disks:
            outcome = self._look_at_disks(case, name)
            self._clear(name)
            return outcome
        vm = next((vm for vm in self._vms() if vm["name"] == name), None)
        if vm is None:
            return "gone"
        self._check(case, vm)
        state = str(vm["state"])
        self._clear(name)
        return {"created": "stopped"}.get(state, state)

    def _look_at_disks(self, case: Case, name: str) -> str:
        """Tell whether the snapshot is there and whole; of a restore, whether the disks are what they were then."""
        directory, deadline = self._directory(name), time.monotonic() + _PATIENCE
        while (directory / "restore").exists() and time.monotonic() < deadline:  # the next daemon's to end
            time.sleep(0.01)
        held = {_read(directory / disk) for disk in _DISKS}
        folder, kept = directory / "snapshots", self.call("snapshot.list", {"vm": name})["snapshots"]
        entries = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        copies = {_read(folder / entry / disk) for entry in entries for disk in _DISKS}
        if entries != [snapshot["name"] for snapshot in kept] or copies - {_BEFORE} or len(held) != 1:
            self.faults.append(f"{case}: disks hold {held}, {entries} hold {copies}")
        if left := {entry.name for entry in directory.iterdir()} - {*_DISKS, "snapshots", "labels"}:
            self.faults.append(f"{case}: {left} are left")
        if case.action == "restore":
            return "as then" if held == {_BEFORE} else "as before"
        return "there" if entries else "gone"

    def _check(self, case: Case, vm: dict[str, Any]) -> None:
        name, state = vm["name"], vm["state"]
        if state not in ("running", "created", "stopped", "error"):
            self.faults.append(f"{case}: {name} is {state}")
        if state == "error" and not vm["last_error"]:
            self.faults.append(f"{case}: {name} is in error and nothing says why")
        try:
            if state == "running":
                self.call("vm.wait", {"vm": name, "until": "agent", "timeout": 20})
            elif (
                state == "error" and not vm["deleting"]
            ):  # deleting is what mends the others, and is done to all
                self.call("vm.start", {"vm": name})
        except BangerError as error:
            self.faults.append(f"{case}: {name} was {state} and does not run: {error.message}")

    def _clear(self, name: str) -> None:
        """Remove what a case was done to, which has to work whatever was done."""
        try:
            if image := self._image(name):
                self.call("image.delete", {"name": image["name"]})
            if any(vm["name"] == name for vm in self._vms()):
                self.call("vm.delete", {"vm": name})
        except BangerError as error:
            self.faults.append(f"{name} cannot be deleted: {error.message}")

    def leaks(self) -> list[str]:
        """Return what is left without an owner."""
        assert self._daemons.pid is not None
        vms = self._vms()
        running = [vm for vm in vms if vm["state"] == "running"]
        return [
            *find_leaks(self.paths, vms, self._addresses, self._daemons.pid),
            *self._bridges.leaks(running),
        ]

    def _vms(self) -> list[dict[str, Any]]:
        vms: list[dict[str, Any]] = self.call("vm.list")["vms"]
        self._addresses.update(vm["address"] for vm in vms)
        return vms

    def _image(self, name: str) -> dict[str, Any] | None:
        images = self.call("image.list")["images"]
        return next((image for image in images if image["name"] == f"paper-{name}"), None)


@contextlib.contextmanager
def clean_matrix() -> Iterator[Matrix]:
    """Give a matrix of its own, in which nothing is left afterwards."""
    home = Path(tempfile.mkdtemp(prefix="bf", dir="/tmp"))
    with Matrix(home) as matrix:
        yield matrix
        matrix.clear()
        assert matrix.leaks() == []
    shutil.rmtree(home)


def _read(disk: Path) -> bytes:
    """Return how a disk begins, which may be large by now."""
    with open(disk, "rb") as file:
        return file.read(len(_BEFORE)).rstrip(b"\0")


def _cases(action: str, places: list[str]) -> Iterator[Case]:
    """Yield every case; what writes a row cannot hang, nor does it ask whether it was cancelled."""
    for place in places:
        for fault in FAULTS:
            if place.startswith("row ") and fault in ("hang", "cancel"):
                continue
            if fault == "cancel" and not ACTIONS[action].operation:
                continue
            for when in ("before", "after"):
                yield Case(action, place, when, fault)


def _with_steps(network: str) -> list[str]:
    """Return the capabilities that have steps and go with a network: all of them are on."""
    registries = fill_registries(load_chosen(make_plugins(), disabled=LEFT_OUT))
    attachment = registries.networks[network].attachment
    return [
        name
        for name, capability in registries.capabilities.items()
        if capability.steps and capability.fits(attachment)
    ]


def _own_steps(network: str) -> set[str]:
    """Return the steps of capabilities that VMs on the network ``user`` cannot have, and the network's own."""
    capabilities = fill_registries(load_chosen(make_plugins(), disabled=LEFT_OUT)).capabilities
    only = set(_with_steps(network)) - set(_with_steps("user"))
    return {"network", *(step.name for name in only for step in capabilities[name].steps)}


def _paths_under(variables: Mapping[str, str]) -> Paths:
    """Return the paths that a daemon with these variables has."""
    with mock.patch.dict(os.environ, variables):
        return find_paths()


def _fill_store(paths: Paths, config: str) -> None:
    """Make the configuration, an image and a kernel, files included."""
    make_private(paths.state)
    make_directories(paths)
    file = paths.config[-1]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(config)
    image, kernel = sample_image(), sample_kernel()
    for base, digest, name in (
        (paths.images, image.digest, "rootfs.ext4"),
        (paths.kernels, kernel.digest, "vmlinuz"),
    ):
        directory = content_dir(base, digest)
        make_private(directory)
        (directory / name).write_bytes(b"\0")
    database = Database(paths.database)
    database.add_image(image)
    database.add_kernel(kernel)
    database.close()
