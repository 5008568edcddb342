"""SSH into a VM: keys made on the host, and an sshd per connection on the agent's channel.

Each connection is an ``sshd -i`` that the agent starts. It has the VM's own host key and no other, from files that are
only in the guest's memory; the image's sshd, its port, its configuration and its host keys play no part.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from banger.daemon.context import OperationContext
from banger.daemon.lifecycle import resolve_vm
from banger.daemon.ops.detail import check_runs
from banger.daemon.ops.stream import StreamToken
from banger.daemon.services import Services
from banger.daemon.starts import vm_paths
from banger.host.ssh import SshFiles, find_ssh_files, make_key, public_key
from banger.model.command import Operation
from banger.model.vm import Vm

#: In the guest, on a tmpfs.
_DIRECTORY = "/run/banger/ssh"
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
#: Starts the sshd. Its files are written by the connection that finds none or others: once per boot, until a key
#: changes. What they hold comes in variables, which sshd does not inherit. Nothing is forked where that can be avoided:
#: under software emulation each process is a tenth of a plain ssh.
#:
#: sshd on a pipe tells PAM the client's name UNKNOWN, which PAM looks up: without DNS that takes 45 s. The agent's
#: /etc/hosts, which is not the image's, answers it.
_SERVE = f"""\
d={_DIRECTORY} had= named=
[ -s $d/host_key ] && [ -s $d/authorized_keys ] && [ -s $d/sshd_config ] && [ -s $d/version ] &&
read -r had < $d/version
if [ "$had" != "$SSH_VERSION" ]; then
    new=$d/new.$$
    umask 022
    rm -rf $new && mkdir -p $d && mkdir -m 700 $new &&
    printf '%s' "$SSH_HOST_KEY" > $new/host_key && printf '%s\\n' "$SSH_AUTHORIZED" > $new/authorized_keys &&
    printf '%s' "$SSH_CONFIG" > $new/sshd_config && printf '%s\\n' "$SSH_VERSION" > $new/version &&
    chmod 600 $new/host_key && chmod 644 $new/authorized_keys &&
    mv -f $new/host_key $new/authorized_keys $new/sshd_config $d && mv -f $new/version $d && rmdir $new || {{
        echo "banger: $d cannot be written in the guest; hint: banger vm exec needs no ssh" >&2
        exit 125
    }}
fi
while read -r _ names; do case " $names " in *" UNKNOWN "*) named=1;; esac; done < /etc/hosts
if [ -z "$named" ]; then
    while read -r kind place _; do
        [ "$kind $place" != "tmpfs /etc/hosts" ] || echo '127.0.0.1 UNKNOWN' >> /etc/hosts
    done < /proc/mounts
fi
unset SSH_HOST_KEY SSH_AUTHORIZED SSH_CONFIG SSH_VERSION
for sshd in /usr/sbin/sshd /usr/bin/sshd /usr/local/sbin/sshd; do
    [ -x $sshd ] || continue
    [ -d /run/sshd ] || mkdir -p -m 0755 /run/sshd
    exec $sshd -i -f $d/sshd_config
done
echo 'banger: the image has no sshd' >&2
echo 'hint: banger vm exec needs none; or install openssh-server in the VM' >&2
exit 127
"""


class SshParams(BaseModel):
    """One VM, or none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vm: str | None = Field(default=None, min_length=1, max_length=80)


class SshSetup(BaseModel):
    """Where the ssh_config is, the VM's host name in it, and the token of its first connection, as of vm.ssh.open."""

    config: str
    host: str | None = None
    vm: str | None = None
    token: str | None = None
    socket: str | None = None


class SshOpenParams(BaseModel):
    """The VM that an ssh client connects to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vm: str = Field(min_length=1, max_length=80)


async def prepare(op: OperationContext, params: SshParams) -> SshSetup:
    """Make what ssh needs on the host before it starts; with a VM, prepare its first connection too."""
    files = ssh_files(op.services)
    if params.vm is None:
        await asyncio.to_thread(files.prepare)
        return SshSetup(config=str(files.config))
    answer = await open_ssh(op, SshOpenParams(vm=params.vm))
    return SshSetup(
        config=str(files.config),
        host=f"{answer.vm}.vm",
        vm=answer.vm,
        token=answer.token,
        socket=answer.socket,
    )


async def open_ssh(op: OperationContext, params: SshOpenParams) -> StreamToken:
    """Prepare the stream of an sshd, which comes with the keys it needs."""
    services = op.services
    vm = _running(services, params.vm)
    request = {"op": "exec", **await prepare_sshd(services, vm)}
    token = services.streams.issue_request(vm.id, vm_paths(services, vm).channel, "vm.ssh", request)
    return StreamToken(token=token, socket=str(services.paths.stream_socket), vm=vm.name)


async def prepare_sshd(services: Services, vm: Vm) -> dict[str, Any]:
    """Make the keys of a VM, and return what its agent is asked to run for a connection."""
    identity, host_key = await asyncio.to_thread(_make_keys, services, vm)
    return {
        "argv": ["/bin/sh", "-c", _SERVE],
        "env": _make_environment(identity, host_key),
        "cwd": "/",
        "user": "root",
    }


def _make_environment(identity: str, host_key: str) -> dict[str, str]:
    """Return what the guest's script is given; the version names the contents of all files together."""
    files = {"SSH_HOST_KEY": host_key, "SSH_AUTHORIZED": identity, "SSH_CONFIG": _SSHD_CONFIG}
    version = hashlib.sha256("\0".join(files.values()).encode()).hexdigest()
    return {**files, "SSH_VERSION": version}


def ssh_files(services: Services) -> SshFiles:
    """Return where this user's files for ssh are."""
    return find_ssh_files(services.paths)


def _running(services: Services, reference: str) -> Vm:
    vm = resolve_vm(services, reference)
    check_runs(services, vm)
    return vm


def _host_key(services: Services, vm: Vm) -> Path:
    return vm_paths(services, vm).directory / "ssh" / "host_key"


def _pin(services: Services, vm: Vm) -> None:
    """Make the VM's host key if it has none; afterwards known_hosts has the VMs that there are."""
    make_key(_host_key(services, vm), vm.name)
    ssh_files(services).write_known_hosts(
        {f"{each.name}.vm": _host_key(services, each) for each in services.database.vms()}
    )


def _make_keys(services: Services, vm: Vm) -> tuple[str, str]:
    files = ssh_files(services)
    files.prepare()
    _pin(services, vm)
    identity = public_key(files.identity)
    assert identity is not None
    return identity, _host_key(services, vm).read_text(encoding="ascii")


OPERATIONS = [
    Operation("vm.ssh.prepare", "make what ssh needs on the host", SshParams, SshSetup, prepare),
    Operation("vm.ssh.open", "prepare an ssh connection's stream", SshOpenParams, StreamToken, open_ssh),
]
