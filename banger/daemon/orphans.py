"""What nothing refers to any more and is banger's own: found by doctor, removed at a start and on demand."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from banger.daemon.publish import content_dir
from banger.daemon.services import Services
from banger.daemon.starts import open_handles, running_process
from banger.errors import BangerError, HostError
from banger.host.folder import remove_tree
from banger.host.process import kill_process, own_processes, process_start_time
from banger.model.vm import Vm, VmState

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Orphan:
    """Something without an owner.

    :param what: for people; :param remove: takes it away; OSError or HostError when it cannot.
    """

    what: str
    remove: Callable[[], None]


def unknown_vms(services: Services) -> list[Path]:
    """Return the directories of VMs that the database does not know: disks, so nobody but the user removes them.

    A VM's directory goes before its row, so one without a row means that the database was lost or damaged. Then its
    image, its kernel and its process may be there as well: nothing that it may need is an orphan.
    """
    known = {vm.id for vm in services.database.vms()}
    return sorted(entry for entry in services.paths.vms.iterdir() if entry.name not in known)


def find_orphans(services: Services, *, busy: bool) -> list[Orphan]:
    """Return what has no owner.

    :param busy: whether operations are under way, whose files look like nobody's.
    """
    if unknown_vms(services) or services.database.has_damage():
        return []
    found = list(_processes(services))
    with services.locks.hold("publish"):
        found += [Orphan(str(entry), partial(_remove, entry)) for entry in _files(services, busy)]
    return found


def _files(services: Services, busy: bool) -> Iterator[Path]:
    """Yield half-made pulls, content without a row, sockets of VMs that are gone."""
    paths, database = services.paths, services.database
    owned = {paths.sockets / vm.id[:8] for vm in database.vms()} | {paths.daemon_socket, paths.stream_socket}
    owned |= {content_dir(paths.images, image.digest) for image in database.images()}
    owned |= {content_dir(paths.kernels, kernel.digest) for kernel in database.kernels()}
    for base in (paths.sockets, paths.images, paths.kernels, *([] if busy else [paths.staging])):
        yield from sorted(entry for entry in base.iterdir() if entry not in owned)


def _processes(services: Services) -> Iterator[Orphan]:
    """Yield processes of VMs that are gone or do not run."""
    known = {vm.id: vm for vm in services.database.vms()}
    for vm_id, pid, name in _of_vms(services):
        if vm_id not in known or not _may_have_process(services, known[vm_id], pid):
            yield Orphan(f"process {pid} ({name})", partial(_end, pid, process_start_time(pid)))


def _of_vms(services: Services) -> Iterator[tuple[str, int, str]]:
    """Yield each process that a VM was started with: the VM's id, process id and name.

    One of ours has both on its command line: the VM's directory of sockets in our state, and its id or UUID.
    """
    sockets = re.compile(re.escape(os.fsencode(services.paths.sockets)) + rb"/([0-9a-f]{8})/")
    for pid, line in own_processes():
        match = sockets.search(line)
        if match is None or pid == os.getpid():
            continue
        words = (word.replace(b"-", b"") for word in line.split(b"\0"))
        for word in words:
            if re.fullmatch(match[1] + rb"[0-9a-f]{24}", word):
                yield word.decode(), pid, os.path.basename(os.fsdecode(line.split(b"\0")[0]))
                break


def end_processes(services: Services, vm: Vm) -> None:
    """End what a VM was started with, without its handles: nobody could read them."""
    for vm_id, pid, _ in _of_vms(services):
        if vm_id == vm.id and not kill_process(pid, process_start_time(pid)):
            log.error("process %d of %s does not end", pid, vm.name)


def _may_have_process(services: Services, vm: Vm, pid: int) -> bool:
    if vm.state in (VmState.STARTING, VmState.STOPPING):
        return True
    try:
        handles = open_handles(services, vm)
        return (
            any(section.live for section in handles.sections) or running_process(services, vm, handles) == pid
        )
    except BangerError:  # nobody can tell
        return True


def _end(pid: int, started: int | None) -> None:
    if not kill_process(pid, started):
        raise HostError(f"process {pid} does not end")


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        remove_tree(entry)
    else:
        entry.unlink(missing_ok=True)


def remove_orphan(orphan: Orphan) -> str | None:
    """Remove what has no owner; why it could not be, or None."""
    log.info("removing %s, which nothing refers to", orphan.what)
    try:
        orphan.remove()
    except (OSError, HostError) as error:
        log.error("%s could not be removed: %s", orphan.what, error)
        return str(error)
    return None
