"""What can be asked for: one frozen dataclass each, whose fields are checked when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from banger.errors import UsageError
from banger.helper import names

#: Addresses in one request: as many as fit its body.
ADDRESSES_MAX = 4096
#: Files that one VM is given.
FILES_MAX = 64


@dataclass(frozen=True, slots=True)
class Request:
    """Base of every request; ``operation`` is its name on the wire."""

    operation: ClassVar[str] = ""


@dataclass(frozen=True, slots=True)
class ShowStatus(Request):
    """Say who the helper is: version, process id, owner's uid."""

    operation = "helper.status"


@dataclass(frozen=True, slots=True)
class BridgeRequest(Request):
    """What is asked of one bridge.

    :param bridge: its name, ``br-banger`` or ``br-banger-…``. :param mark: whose it is, 8 hexadecimal digits.
    """

    bridge: str
    mark: str

    def __post_init__(self) -> None:
        names.check_pattern("bridge", self.bridge, names.BRIDGE)
        names.check_pattern("mark", self.mark, names.MARK)


@dataclass(frozen=True, slots=True)
class EnsureBridge(BridgeRequest):
    """Make a bridge with an address and the firewall's fence around it, or mend what is there.

    Refused: a bridge that is somebody else's, a network that the host uses elsewhere.

    :param address: the host's address in the guests' network, IPv4. :param prefix: that network's length, 8 to 30.
    """

    operation = "bridge.ensure"
    address: str
    prefix: int

    def __post_init__(self) -> None:
        BridgeRequest.__post_init__(self)
        names.check_bridge_address(self.address, self.prefix)


@dataclass(frozen=True, slots=True)
class RemoveBridge(BridgeRequest):
    """Remove a bridge, its pool and its firewall table; refused while a VM's tap is in it."""

    operation = "bridge.remove"


@dataclass(frozen=True, slots=True)
class ShowBridge(BridgeRequest):
    """Say what a bridge has: address, taps of VMs, taps of the pool."""

    operation = "bridge.show"


@dataclass(frozen=True, slots=True)
class TapRequest(BridgeRequest):
    """What is asked of one tap: ``bgr-`` and 8 digits for a VM's, ``bgrp-`` and 8 digits for one of the pool."""

    tap: str

    def __post_init__(self) -> None:
        BridgeRequest.__post_init__(self)
        names.check_tap(self.tap)


@dataclass(frozen=True, slots=True)
class CreateTap(TapRequest):
    """Make a persistent tap that the owner may open, in the bridge.

    :param isolated: whether it reaches the host only, not the bridge's other isolated taps.
    """

    operation = "tap.create"
    isolated: bool


@dataclass(frozen=True, slots=True)
class ClaimTap(TapRequest):
    """Take a tap of the pool for a VM: it gets that VM's name and goes up.

    :param pooled: the one to take; it was made as isolated as the VM's is to be.
    """

    operation = "tap.claim"
    pooled: str

    def __post_init__(self) -> None:
        TapRequest.__post_init__(self)
        names.check_pattern("tap", self.tap, names.VM_TAP)
        names.check_pattern("tap of the pool", self.pooled, names.POOL_TAP)


@dataclass(frozen=True, slots=True)
class GuardTap(TapRequest):
    """Let through what a guest sends with its own MAC and IPv4 address, and nothing else, whatever it calls itself.

    :param mac: ``02:…``, lower case. :param address: IPv4.
    """

    operation = "tap.guard"
    mac: str
    address: str

    def __post_init__(self) -> None:
        TapRequest.__post_init__(self)
        names.check_pattern("tap", self.tap, names.VM_TAP)
        names.check_pattern("MAC", self.mac, names.MAC)
        names.check_address(self.address)


@dataclass(frozen=True, slots=True)
class RemoveTap(TapRequest):
    """Remove a tap and its guard; one that is not there is no error."""

    operation = "tap.remove"


@dataclass(frozen=True, slots=True)
class AllowNat(BridgeRequest):
    """Give guests a way out: masquerading, forwarding of what they send and of its answers.

    :param addresses: IPv4 addresses of guests in the bridge's network, 4096 at most.
    :param only: whether these are all there are: others lose their way out.
    """

    operation = "nat.allow"
    addresses: tuple[str, ...]
    only: bool

    def __post_init__(self) -> None:
        BridgeRequest.__post_init__(self)
        if len(self.addresses) > ADDRESSES_MAX:
            raise UsageError(f"{len(self.addresses)} addresses are too many", hint=f"up to {ADDRESSES_MAX}")
        for address in self.addresses:
            names.check_address(address)


@dataclass(frozen=True, slots=True)
class DenyNat(BridgeRequest):
    """Take a guest's way out away; one that has none is no error."""

    operation = "nat.deny"
    address: str

    def __post_init__(self) -> None:
        BridgeRequest.__post_init__(self)
        names.check_address(self.address)


@dataclass(frozen=True, slots=True)
class ShowNat(BridgeRequest):
    """Say which guests have a way out, whether the host forwards, and which firewalls of others stand in the way."""

    operation = "nat.show"


@dataclass(frozen=True, slots=True)
class RouteNames(BridgeRequest):
    """Lead guests' questions for names (port 53 of the bridge's address) to the daemon, and the host's for ``vm.``.

    The host's by systemd-resolved, where that runs: for this zone and no other.

    :param port: where the daemon answers, on the bridge's address and on 127.0.0.1; 1024 to 65535.
    """

    operation = "names.route"
    port: int

    def __post_init__(self) -> None:
        BridgeRequest.__post_init__(self)
        if not 1024 <= self.port <= 65535:
            raise UsageError(f"{self.port} is no port of the daemon's", hint="1024 to 65535")


@dataclass(frozen=True, slots=True)
class DropNames(BridgeRequest):
    """Undo ``names.route``; where there was none it is no error."""

    operation = "names.drop"


@dataclass(frozen=True, slots=True)
class VmRequest(Request):
    """What is asked of what one VM has.

    :param vm: its id, 32 hexadecimal digits.
    """

    vm: str

    def __post_init__(self) -> None:
        names.check_pattern("VM", self.vm, names.VM)


@dataclass(frozen=True, slots=True)
class SnapshotDisk(VmRequest):
    """Make a block device that shows an image's file, and keeps what is written to it in another file.

    Refused: files that are not the owner's own, links in their paths, an image larger than the disk.

    :param origin: the image's file, never written. :param changes: the file for changes; it is made long enough.
    :param size_mib: what the guest sees, up to 16 TiB: behind the image's end there are zeros.
    """

    operation = "disk.snapshot"
    origin: str
    changes: str
    size_mib: int

    def __post_init__(self) -> None:
        VmRequest.__post_init__(self)
        names.check_path(self.origin)
        names.check_path(self.changes)
        if not 1 <= self.size_mib <= names.DISK_MAX_MIB:
            raise UsageError(f"{self.size_mib} MiB make no disk", hint=f"1 to {names.DISK_MAX_MIB}")


@dataclass(frozen=True, slots=True)
class ReleaseDisk(VmRequest):
    """Take a VM's block device down, with the loop devices below it; one that is not there is no error."""

    operation = "disk.release"


@dataclass(frozen=True, slots=True)
class ShowJail(Request):
    """Say which programs Firecracker would be launched with; refused where a jail would not work, with the reason."""

    operation = "jail.show"


@dataclass(frozen=True, slots=True)
class LaunchJail(VmRequest):
    """Launch a Firecracker in a jail, as the owner; it waits for its machine at ``api`` in the directory of sockets.

    In the jail is what is named here, each file under its own name, and nothing else; the VM's block device may be
    among what is written. Refused: what is not the owner's own, links in paths, programs that others than root can
    change, a VM that runs.

    :param read: files it reads. :param written: files it also writes, and the VM's block device; 64 of both at most.
    :param sockets: the directory for its sockets. :param console: what it prints is appended to this file.
    :param log: its own words are appended to this file.
    """

    operation = "jail.launch"
    read: tuple[str, ...]
    written: tuple[str, ...]
    sockets: str
    console: str
    log: str

    def __post_init__(self) -> None:
        VmRequest.__post_init__(self)
        if len(self.read) + len(self.written) > FILES_MAX:
            raise UsageError("that is too many files for one VM", hint=f"up to {FILES_MAX}")
        for path in (*self.read, *self.written, self.sockets, self.console, self.log):
            names.check_path(path)


@dataclass(frozen=True, slots=True)
class SignalJail(VmRequest):
    """Send the process that was launched in a VM's jail a signal; one that has ended is no error.

    :param signal: ``SIGTERM`` or ``SIGKILL``.
    """

    operation = "jail.signal"
    signal: str

    def __post_init__(self) -> None:
        VmRequest.__post_init__(self)
        names.check_pattern("signal", self.signal, names.SIGNAL)


@dataclass(frozen=True, slots=True)
class RemoveJail(VmRequest):
    """Remove what is left of a VM's jail; refused while its process runs, one that is not there is no error."""

    operation = "jail.remove"


REQUESTS: dict[str, type[Request]] = {
    request.operation: request
    for request in (
        ShowStatus,
        EnsureBridge,
        RemoveBridge,
        ShowBridge,
        CreateTap,
        ClaimTap,
        GuardTap,
        RemoveTap,
        AllowNat,
        DenyNat,
        ShowNat,
        RouteNames,
        DropNames,
        SnapshotDisk,
        ReleaseDisk,
        ShowJail,
        LaunchJail,
        SignalJail,
        RemoveJail,
    )
}


def parse_request(operation: str, body: object) -> Request:
    """Return the request of this name with these fields; UsageError unless each is there and fits."""
    kind = REQUESTS.get(operation)
    if kind is None:
        raise UsageError(f"there is no operation {operation[:40]!r}", hint=f"known: {', '.join(REQUESTS)}")
    if not isinstance(body, Mapping):
        raise UsageError(f"{operation} wants an object", hint="a JSON object")
    wanted = {field.name: str(field.type) for field in fields(kind)}
    if set(body) != set(wanted):
        raise UsageError(
            f"{operation} has exactly: {', '.join(wanted) or 'nothing'}", hint="see its reference"
        )
    return kind(**{name: _typed(name, body[name], wanted[name]) for name in wanted})


def _typed(name: str, value: Any, wanted: str) -> Any:
    """Return a value as its field has it; UsageError when JSON gave another type. True is no number here."""
    if wanted == "tuple[str, ...]":
        if isinstance(value, list | tuple) and all(type(entry) is str for entry in value):
            return tuple(value)
    elif type(value).__name__ == wanted:
        return value
    raise UsageError(f"{name} is no {wanted}", hint="see its reference")


def fields_of(request: Request) -> dict[str, Any]:
    """Return a request's fields, as :func:`parse_request` takes them."""
    return {field.name: getattr(request, field.name) for field in fields(request)}
