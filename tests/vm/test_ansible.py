"""Ansible, rsync and scp with a VM, through the ssh_config that ``ssh-config --install`` names. ``make golden``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from pages import blocks, openssh
from vmring import Home

pytestmark = [pytest.mark.golden, pytest.mark.timeout(1800)]
PAGE = Path(__file__).parents[2] / "docs/how-to/ansible.md"

Run = Callable[..., str]


@pytest.fixture(scope="module")
def web(banger: Home) -> str:
    """Name of a VM with what the page asks for, which ssh knows."""
    if shutil.which("ansible-playbook") is None:
        pytest.skip("ansible-core is not installed")
    image = next(line for block in blocks(PAGE) for line in block.lines if "image pull" in line)
    banger.ok(*image.removeprefix("$ banger ").split(), timeout=1500)
    banger.ok("vm", "create", "--name", "web", "--image", "for-ansible")
    banger.ok("ssh-config", "--install")
    return "web"


@pytest.fixture
def run(banger: Home, web: str, tmp_path: Path) -> Run:
    """Run a program where the page's files are; what it printed."""
    for block in blocks(PAGE):
        if block.note == "file":
            (tmp_path / block.value).write_text("\n".join(block.lines) + "\n")
    path = os.pathsep.join((str(openssh(tmp_path)), banger.env["PATH"]))
    env = {**banger.env, "PATH": path, "LC_ALL": "C.UTF-8", "ANSIBLE_PIPELINING": "true"}

    def run_program(*argv: str) -> str:
        done = subprocess.run(
            argv, env=env, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, timeout=600
        )
        printed = (done.stdout + done.stderr).decode()
        assert done.returncode == 0, printed
        return printed

    return run_program


def recap(printed: str) -> dict[str, int]:
    """Return what Ansible counted."""
    return {
        name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", printed.rpartition("PLAY RECAP")[2])
    }


def test_a_playbook_with_handlers_and_templates(banger: Home, web: str, run: Run) -> None:
    playbook = ("ansible-playbook", "-i", "web.vm,", "site.yml")
    first = run(*playbook)
    assert "RUNNING HANDLER [Restart hello]" in first
    assert {"ok": 4, "changed": 3, "failed": 0}.items() <= recap(first).items()
    assert banger.sh(web, "cat /run/hello; systemctl is-active hello") == "hello from web\nactive"
    again = run(*playbook)
    assert "RUNNING HANDLER" not in again
    assert {"ok": 3, "changed": 0, "failed": 0}.items() <= recap(again).items()
    changed = run(*playbook, "-e", "greeting=moin")
    assert {"ok": 4, "changed": 2, "failed": 0}.items() <= recap(changed).items()
    assert banger.sh(web, "cat /run/hello") == "moin from web"


def test_an_ordinary_user_becomes_root_and_raw_needs_no_python(banger: Home, web: str, run: Run) -> None:
    banger.sh(web, "useradd -m -s /bin/bash dev; echo 'dev ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/dev")
    command = ("-m", "command", "-a", "id -un")
    assert run("ansible", "all", "-i", "web.vm,", "-u", "dev", *command).split()[-1] == "dev"
    assert run("ansible", "all", "-i", "web.vm,", "-u", "dev", "-b", *command).split()[-1] == "root"
    said = run("ansible", "all", "-i", "web.vm,", "-m", "raw", "-a", "test -x /usr/bin/python3 && echo there")
    assert "there" in said.splitlines()


def test_rsync_and_scp_both_ways(run: Run, tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/a b").write_bytes(data)
    run("rsync", "-a", "tree/", "web.vm:/srv/tree/")
    run("rsync", "-a", "web.vm:/srv/tree/", "back/")
    assert (tmp_path / "back/a b").read_bytes() == data
    assert ">f" not in run("rsync", "-ai", "tree/", "web.vm:/srv/tree/"), (
        "what is there already was sent again"
    )
    run("scp", "-q", "tree/a b", "web.vm:/srv/c d")
    run("scp", "-q", "web.vm:/srv/c d", "copied")
    assert (tmp_path / "copied").read_bytes() == data
