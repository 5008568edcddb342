"""Secrets and an ssh agent in a VM: there while they are needed, and found nowhere else."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from traces import traces
from vmring import Home

#: Its tests leave the home and the VM as they found them: see conftest.
IN_COMMONS = True

VALUE = "hunter2-4be1c90d77"


@pytest.fixture(scope="module")
def agent(banger: Home) -> Iterator[str]:
    """An ssh agent of the module's user with the keys ``work`` and ``private``; the path of its socket."""
    folder = Path(tempfile.mkdtemp(prefix="agent-", dir="/tmp"))  # sockets need short paths
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(folder / "s")], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()  # it listens before it says so
    environment = {**os.environ, "SSH_AUTH_SOCK": str(folder / "s")}
    for name in ("work", "private"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name], check=True
        )
        subprocess.run(["ssh-add", "-q", folder / name], check=True, env=environment)
    banger.env["SSH_AUTH_SOCK"] = str(folder / "s")
    yield str(folder / "s")
    del banger.env["SSH_AUTH_SOCK"]
    process.terminate()
    process.wait(10)
    process.stdout.close()
    shutil.rmtree(folder)


def test_a_secret_is_a_file_in_memory_and_nowhere_else(banger: Home, vm: str) -> None:
    banger.env["TOKEN"] = VALUE
    (banger.base / "kept").write_text(VALUE)
    flags = (
        "--secret",
        "TOKEN",
        "--secret",
        "KEPT=file:~/kept",
        "--secret",
        "ASKED=cmd:cat ~/kept",
        "--env",
        "TOKEN",
    )
    script = (
        'cat "$TOKEN_FILE" "$KEPT_FILE" "$ASKED_FILE"; echo; echo "$TOKEN"; stat -f -c %T "$TOKEN_FILE";'
        'stat -c "%a %u" /run/banger/secrets "$TOKEN_FILE";'
        'cat /proc/[0-9]*/cmdline | grep -a -c -f "$TOKEN_FILE" || :; cat'
    )
    with banger.start("vm", "exec", *flags, vm, "--", "sh", "-c", script) as process:
        assert process.stdout is not None and process.stdin is not None
        lines = [process.stdout.readline().decode().strip() for _ in range(6)]
        assert lines == [VALUE * 3, VALUE, "tmpfs", "700 0", "400 0", "0"]
        assert traces(banger, VALUE) == [], "while it runs"
        process.stdin.close()
        assert process.wait(60) == 0
    assert traces(banger, VALUE) == []


def test_a_link_in_its_way_gets_no_secret(banger: Home, vm: str) -> None:
    banger.sh(
        vm, "mkdir -p /srv/bait /run/banger; rm -rf /run/banger/secrets; ln -s /srv/bait /run/banger/secrets"
    )
    refused = banger("vm", "exec", "--secret", "TOKEN", vm, "--", "true")
    assert refused.status == 1 and "did not take its secrets" in refused.err
    assert banger.sh(vm, "ls -A /srv/bait; rm /run/banger/secrets") == ""
    banger.ok("vm", "exec", "--secret", "TOKEN", vm, "--", "sh", "-c", 'test -s "$TOKEN_FILE"')


def test_an_agent_lists_and_signs_with_the_chosen_key_while_the_command_runs(
    banger: Home, vm: str, agent: str
) -> None:
    banger.ok("vm", "cp", f"{Path(agent).parent}/work.pub", f"{vm}:/root/work.pub")
    banger.ok("vm", "cp", f"{Path(agent).parent}/private.pub", f"{vm}:/root/private.pub")
    script = (
        "ssh-add -l | cut -d' ' -f3; echo text > t;"
        "ssh-keygen -q -Y sign -n test -f work.pub t && head -1 t.sig;"
        "ssh-keygen -q -Y sign -n test -f private.pub t 2>/dev/null || echo refused;"
        "ssh-add -q -D 2>/dev/null || echo refused; stat -c %a $SSH_AUTH_SOCK; echo $SSH_AUTH_SOCK"
    )
    ran = banger.ok(
        "vm", "exec", "--ssh-agent", "--ssh-key", "work", vm, "--", "sh", "-c", f"cd /root; {script}"
    )
    *said, path = ran.text.split("\n")
    assert said == ["work", "-----BEGIN SSH SIGNATURE-----", "refused", "refused", "600"]
    listed = subprocess.run(
        ["ssh-add", "-l"], env={**os.environ, "SSH_AUTH_SOCK": agent}, capture_output=True, text=True
    )
    assert listed.stdout.count("ED25519") == 2, "the guest took none away"
    assert (
        banger.exec(
            vm,
            "sh",
            "-c",
            f"i=0; while test -e {path}; do sleep 1; i=$((i+1)); test $i -lt 50 || exit 1; done",
        ).status
        == 0
    )
    assert banger.sh(vm, "echo ${SSH_AUTH_SOCK-none}") == "none"
