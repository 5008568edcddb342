"""SSH into a VM: keys made on the host, and an sshd per connection on the agent's channel.

Each connection is an ``sshd -i`` that the agent starts. It has the VM's own host key and no other, from files that are
only in the guest's memory; the image's sshd, its port, its configuration and its host keys play no part.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from banger.daemon.context import OperationContext
from banger.daemon.lifecycle import resolve_vm
from banger.daemon.ops.stream import StreamToken
from banger.daemon.services import Services
from banger.daemon.starts import vm_paths
from banger.errors import ConflictError, GuestError
from banger.guest import wire
from banger.host.ssh import SshFiles, find_ssh_files, make_key, public_key
from banger.model.command import Operation
from banger.model.vm import Vm, VmState

#: In the guest, on a tmpfs.
_DIRECTORY = "/run/banger/ssh"
#: Seconds for writing one small file in the guest.
_WRITE_TIMEOUT = 20.0
#: What the guest's sshd is told, and all of it.
_SSHD_CONFIG = f"""\
HostKey {_DIRECTORY}/host_key
AuthorizedKeysFile {_DIRECTORY}/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM yes
PidFile none
PrintMotd no
UseDNS no
X11Forwarding no
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
"""
#: sshd on a pipe tells PAM the client's name UNKNOWN, which PAM looks up: without DNS that takes 45 s. The agent's
#: /etc/hosts, which is not the image's, answers it.
_SERVE = (
    "grep -q '^tmpfs /etc/hosts ' /proc/mounts && ! grep -q UNKNOWN /etc/hosts && "
    "echo '127.0.0.1 UNKNOWN' >> /etc/hosts; "
    "for sshd in /usr/sbin/sshd /usr/bin/sshd /usr/local/sbin/sshd; do "
    "[ -x $sshd ] && { mkdir -p -m 0755 /run/sshd; exec $sshd -i -f /run/banger/ssh/sshd_config; }; done; "
    "echo 'banger: the image has no sshd' >&2; "
    "echo 'hint: banger vm exec needs none; or install openssh-server in the VM' >&2; exit 127"
)


class SshParams(BaseModel):
    """One VM, or none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vm: str | None = Field(default=None, min_length=1, max_length=80)


class SshSetup(BaseModel):
    """Where the ssh_config is, and the VM's host name in it."""

    config: str
    host: str | None = None
    vm: str | None = None


class SshOpenParams(BaseModel):
    """The VM that an ssh client connects to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vm: str = Field(min_length=1, max_length=80)


def prepare(op: OperationContext, params: SshParams) -> SshSetup:
    """Make what ssh needs on the host before it starts."""
    files = ssh_files(op.services)
    files.prepare(op.services.commands)
    if params.vm is None:
        return SshSetup(config=str(files.config))
    vm = _running(op.services, params.vm)
    _pin(op.services, vm)
    return SshSetup(config=str(files.config), host=f"{vm.name}.vm", vm=vm.name)


async def open_ssh(op: OperationContext, params: SshOpenParams) -> StreamToken:
    """Give the guest its keys and prepare the stream of an sshd."""
    services = op.services
    vm = _running(services, params.vm)
    identity, host_key = await asyncio.to_thread(_make_keys, services, vm)
    await asyncio.gather(
        _write(services, vm, "host_key", host_key, 0o600),
        _write(services, vm, "authorized_keys", f"{identity}\n".encode(), 0o644),
        _write(services, vm, "sshd_config", _SSHD_CONFIG.encode(), 0o644),
    )
    request = {"op": "exec", "argv": ["/bin/sh", "-c", _SERVE], "cwd": "/", "user": "root"}
    token = services.streams.issue(vm.id, vm_paths(services, vm).channel, "vm.ssh", request)
    return StreamToken(token=token, socket=str(services.paths.stream_socket), vm=vm.name)


def ssh_files(services: Services) -> SshFiles:
    """Return where this user's files for ssh are."""
    return find_ssh_files(services.paths)


def _running(services: Services, reference: str) -> Vm:
    vm = resolve_vm(services, reference)
    if vm.state is not VmState.RUNNING:
        raise ConflictError(f"'{vm.name}' is {vm.state}, not running", hint=f"banger vm start {vm.name}")
    return vm


def _host_key(services: Services, vm: Vm) -> Path:
    return vm_paths(services, vm).directory / "ssh" / "host_key"


def _pin(services: Services, vm: Vm) -> None:
    """Make the VM's host key if it has none; afterwards known_hosts has the VMs that there are."""
    make_key(services.commands, _host_key(services, vm), vm.name)
    ssh_files(services).write_known_hosts(
        {f"{each.name}.vm": _host_key(services, each) for each in services.database.vms()}
    )


def _make_keys(services: Services, vm: Vm) -> tuple[str, bytes]:
    files = ssh_files(services)
    files.prepare(services.commands)
    _pin(services, vm)
    identity = public_key(files.identity)
    assert identity is not None
    return identity, _host_key(services, vm).read_bytes()


async def _write(services: Services, vm: Vm, name: str, content: bytes, mode: int) -> None:
    """Write a file in the guest; renamed into place, so that an sshd never reads half of one."""
    path = f"{_DIRECTORY}/{name}"
    await _bounded(_write_file(services, vm, path, content, mode), f"'{vm.name}' did not take {path}")


async def _write_file(services: Services, vm: Vm, path: str, content: bytes, mode: int) -> None:
    channel = vm_paths(services, vm).channel
    stream = await services.guests.open(
        vm.id, channel, "file-write", path=path, mode=mode, uid=0, gid=0, parents=True
    )
    said = b""
    try:
        await stream.send_data(content)
        await stream.send_eof()
        while (frame := await stream.read_frame()).type not in wire.FINAL:
            if frame.type == wire.DATA:
                said = (said + frame.payload)[:500]
                await stream.grant(frame)
    finally:
        await stream.close()
    if frame.type != wire.EXIT or frame.json().get("code") != 0:
        why = wire.clean_text(said.decode("utf-8", "replace"), 500)
        raise GuestError(f"'{vm.name}' could not write {path}: {why}", hint="banger vm exec needs no ssh")


async def _bounded(work: Awaitable[None], message: str) -> None:
    try:
        await asyncio.wait_for(work, _WRITE_TIMEOUT)
    except TimeoutError as error:
        raise GuestError(f"{message} within {_WRITE_TIMEOUT:.0f} s", hint="banger vm list") from error


OPERATIONS = [
    Operation("vm.ssh.prepare", "make what ssh needs on the host", SshParams, SshSetup, prepare),
    Operation("vm.ssh.open", "prepare an ssh connection's stream", SshOpenParams, StreamToken, open_ssh),
]
