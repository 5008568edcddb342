"""The host's disk fills up under a VM that writes: it is paused, says so, and loses nothing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from vmring import BOOT, Home, finish, until

pytestmark = pytest.mark.long

#: A start wants 256 MiB of the host's disk; what the guest writes is more than the rest.
_SMALL, _LARGE, _WRITTEN = "300m", "1g", 320


def test_a_vm_is_paused_while_the_host_has_no_room_and_then_goes_on(alone: Home) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: a small file system is mounted, in a namespace of its own")
    folder = alone.state / "vms"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mount = f'mount -t tmpfs -o mode=0700,size={_SMALL} none "$0" && exec "$@"'
    create = (*alone.program, "vm", "create", "--name", "writer", "--wait", "agent")
    line = ["unshare", "-m", "sh", "-c", mount, str(folder), *create]
    made = finish(subprocess.Popen(line, env=alone.env, cwd="/", stderr=subprocess.PIPE), timeout=BOOT)
    assert made.status == 0, made.err
    text = f"yes banger | head -c {_WRITTEN}M"
    script = f"{text} > /var/big && sync && {text} | cmp - /var/big"
    with alone.start("vm", "exec", "writer", "--", "sh", "-c", script) as writing:
        until(lambda: _status(alone) == "io-error", 300, "the VM was not paused")
        assert "a disk of the host is full" in alone.ok("vm", "show", "writer").text
        refused = alone("vm", "exec", "writer", "--", "true")
        assert refused.status != 0 and "banger vm resume writer" in refused.err
        _remount(alone, folder)
        alone.ok("vm", "resume", "writer")
        until(lambda: _status(alone) is None, 60, "the VM does not go on")
        result = finish(writing, timeout=300)
    assert (result.status, result.text) == (0, ""), result.err


def _status(home: Home) -> str | None:
    status: str | None = home.vms()[0]["status"]
    return status


def _remount(home: Home, folder: Path) -> None:
    """Make the file system larger, in the daemon's namespace."""
    enter = ["nsenter", "-t", str(home.daemon_pid()), "-m"]
    subprocess.run([*enter, "mount", "-o", f"remount,size={_LARGE}", str(folder)], check=True, timeout=20)
