"""What a user lends to a VM arrives there for root alone, and is found nowhere on the host but where it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from traces import traces
from vmring import BOOT, CONFIG, Home

VM = "lent"
SECRET = "tok-5c1f7e0d9b"
AUTH = """
[[file_sync]]
host = "~/tools"
guest = "~/.config/tools"

[[file_sync]]
host = "~/nothing"
guest = "~/nothing"
"""


@pytest.fixture(scope="module")
def vm(banger: Home) -> Iterator[str]:
    banger.config.write_text(CONFIG + AUTH)
    for name, text in {
        ".codex/auth.json": SECRET,
        "tools/deep/rc": "deep",
        "tools/run": "#!/bin/sh\n",
    }.items():
        file = banger.base / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (banger.base / "tools/run").chmod(0o750)
    (banger.base / "tools/out").symlink_to("/etc/passwd")
    banger.base.joinpath(".gitconfig").write_text(f'[user]\n\tname = "Ann # Ex"\n[x]\n\ttoken = {SECRET}\n')
    flags = ("--auth", "git", "--auth", "codex", "--auth", "gh")
    made = banger.ok("vm", "create", "--name", VM, *flags, "--wait", "agent", timeout=BOOT)
    assert "auth 'gh': there is no" in made.err and "file_sync ~/nothing: there is no" in made.err
    yield VM
    banger.ok("vm", "delete", VM)


def test_what_is_lent_is_there_and_for_root_alone(banger: Home, vm: str) -> None:
    assert banger.sh(vm, "cat ~/.codex/auth.json; stat -c '%a %u:%g' ~/.codex ~/.codex/auth.json") == (
        f"{SECRET}700 0:0\n600 0:0"
    )
    assert (
        banger.sh(vm, "git config --global --list; cat ~/.gitconfig | grep -c token || :")
        == "user.name=Ann # Ex\n0"
    )
    listed = banger.sh(vm, "cd ~/.config/tools && find . -type f -printf '%P %m\\n' -o -type l -print | sort")
    assert listed == "deep/rc 644\nrun 750"
    assert banger.show(vm)["vm"]["spec"]["auth"] == ["git", "codex", "gh"]
    assert traces(banger, SECRET) == []


def test_the_next_start_brings_what_is_newer_and_follows_no_link_of_the_guests(banger: Home, vm: str) -> None:
    banger.sh(vm, "echo theirs > ~/.gitconfig; mkdir /root/bait; rm -r ~/.codex ~/.config/tools/deep")
    banger.sh(
        vm,
        "ln -s /root/bait ~/.codex; ln -s /root/bait ~/.config/tools/deep; ln -sf /etc/motd ~/.config/tools/run; sync",
    )
    banger.ok("vm", "kill", vm)
    started = banger.ok("vm", "start", vm, "--wait", "agent", timeout=BOOT)
    assert "auth 'codex' did not arrive: in the guest" in started.err
    assert (
        banger.sh(vm, "ls -A /root/bait; cat ~/.gitconfig; head -c 9 ~/.config/tools/run")
        == "theirs\n#!/bin/sh"
    )
    assert (
        banger.sh(vm, "test -L /root/.config/tools/run && echo link || stat -c %a /root/.config/tools/run")
        == "750"
    )
    assert traces(banger, SECRET) == []


def test_a_private_key_makes_no_vm(banger: Home, vm: str) -> None:
    key = banger.base / "tools/id_ed25519"
    key.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nx\n")
    refused = banger("vm", "create", "--name", "other")
    key.unlink()
    assert refused.status == 1
    assert "id_ed25519 is a private key, which a VM is not lent" in refused.err
    assert [made["name"] for made in banger.vms()] == [vm]
