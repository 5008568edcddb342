"""The host's disk fills up under a VM that writes: it is paused, says so, and loses nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest
from vmring import BOOT, Home, finish, until

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

#: A start wants 256 MiB of the host's disk; what the guest writes is more than the rest.
_SMALL, _LARGE, _WRITTEN = "300m", "1g", 320


@pytest.fixture
def crowded(alone: Home) -> Iterator[Home]:
    """A home whose VMs are on a small file system, in a namespace that somebody holds and every call is made in.

    A daemon that ends, because the sources it was started from have changed, is followed by one that sees the same.
    """
    if os.geteuid() != 0:
        pytest.skip("needs root: a small file system is mounted, in a namespace of its own")
    folder, program = alone.state / "vms", alone.program
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mount = f'mount -t tmpfs -o mode=0700,size={_SMALL} none "$0" && echo mounted && exec sleep inf'
    line = ["unshare", "-m", "sh", "-c", mount, str(folder)]
    with subprocess.Popen(line, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == b"mounted\n"
            alone.program = ("nsenter", "-t", str(holder.pid), "-m", *program)
            yield alone
            for vm in alone.vms():
                alone.ok("vm", "delete", vm["name"])
            alone.close_daemon()
        finally:
            alone.program = program
            holder.kill()


def test_a_vm_is_paused_while_the_host_has_no_room_and_then_goes_on(crowded: Home) -> None:
    crowded.ok("vm", "create", "--name", "writer", "--wait", "agent", timeout=BOOT)
    text = f"yes banger | head -c {_WRITTEN}M"
    script = f"{text} > /var/big && sync && {text} | cmp - /var/big"
    with crowded.start("vm", "exec", "writer", "--", "sh", "-c", script) as writing:
        try:
            until(lambda: _status(crowded) == "io-error", 600, "the VM was not paused")
            assert "a disk of the host is full" in crowded.ok("vm", "show", "writer").text
            refused = crowded("vm", "exec", "writer", "--", "true")
            assert refused.status != 0 and "banger vm resume writer" in refused.err
            _remount(crowded)
            crowded.ok("vm", "resume", "writer")
            until(lambda: _status(crowded) is None, 60, "the VM does not go on")
            result = finish(writing, timeout=600)
        finally:
            writing.kill()  # a VM that is paused for good never ends it
    assert (result.status, result.text) == (0, ""), result.err


def _status(home: Home) -> str | None:
    status: str | None = home.vms()[0]["status"]
    return status


def _remount(home: Home) -> None:
    """Make the file system larger, in the namespace that it is in."""
    enter = home.program[: home.program.index("-m") + 1]
    line = [*enter, "mount", "-o", f"remount,size={_LARGE}", str(home.state / "vms")]
    subprocess.run(line, check=True, timeout=20)
