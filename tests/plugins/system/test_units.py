"""The units: closed as far as the documentation says, and what they must not be without."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from banger.errors import UsageError
from banger_system.layout import DAEMON_UNIT, HELPER_UNIT
from banger_system.units import Owner, daemon_unit, find_owner, helper_unit, tmpfiles

OWNER = Owner("daemon", 1, 1, "/usr/sbin", (1, 2))
TEXTS = {HELPER_UNIT: helper_unit(OWNER), DAEMON_UNIT: daemon_unit(OWNER)}
#: What `systemd-analyze security` may say at most; the scores themselves are in docs/how-to/system-mode.md.
MOST = {HELPER_UNIT: 4.0, DAEMON_UNIT: 3.5}
PAGE = Path(__file__).parents[3] / "docs/how-to/system-mode.md"


def knows_offline_scores() -> bool:
    if shutil.which("systemd-analyze") is None:
        return False
    said = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True).stdout
    version = re.match(r"systemd (\d+)", said)
    return version is not None and int(version[1]) >= 252


@pytest.mark.skipif(not knows_offline_scores(), reason="systemd-analyze 252 or newer is not here")
@pytest.mark.parametrize("name", MOST)
def test_scores(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(TEXTS[name])
    argv = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(tmp_path / name)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    said = re.search(rf"exposure level for {name}: ([0-9.]+)", done.stdout)
    assert said is not None, done.stderr
    assert "gnoring" not in done.stderr, done.stderr
    assert float(said[1]) <= MOST[name]
    assert f"`{name}` | {said[1]} |" in PAGE.read_text(), f"{name} scores {said[1]}"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
@pytest.mark.parametrize("name", MOST)
def test_systemd_takes_every_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(TEXTS[name])
    argv = ["systemd-analyze", "verify", "--recursive-errors=no", str(tmp_path / name)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    wrong = [
        line for line in done.stderr.splitlines() if str(tmp_path) in line and "not executable" not in line
    ]
    assert not wrong, done.stderr


@pytest.mark.parametrize("name", TEXTS)
def test_vms_outlive_a_service(name: str) -> None:
    lines = TEXTS[name].splitlines()
    assert {"KillMode=process", "SendSIGKILL=no", "RuntimeDirectoryPreserve=yes"} <= set(lines)


@pytest.mark.parametrize("name", TEXTS)
def test_a_vmm_can_close_itself_up_further(name: str) -> None:
    """QEMU knows no -sandbox where it may not ask for seccomp(2)."""
    filters = re.findall(r"^SystemCallFilter=(?!~)(.*)", TEXTS[name], re.MULTILINE)
    assert any("seccomp" in line.split() for line in filters)


def test_code_is_run_apart_from_the_users_own() -> None:
    for name, module in ((HELPER_UNIT, "banger.helper"), (DAEMON_UNIT, "banger.daemon.main")):
        command = TEXTS[name].partition("\nExecStart=")[2].replace("\\\n", "").split("\nRestart", 1)[0]
        assert re.search(rf"/usr/local/lib/banger/\w+/bin/python3 -I -m {re.escape(module)}", command), (
            command
        )


def test_the_daemon_gives_up_root_before_any_code_of_ours() -> None:
    text = TEXTS[DAEMON_UNIT]
    assert "ExecStart=!/usr/bin/setpriv --reuid 1 --regid 1 --groups 1,2 --inh-caps -all" in text
    assert "CapabilityBoundingSet=CAP_SETGID CAP_SETUID\n" in text and "AmbientCapabilities" not in text


def test_the_helper_makes_devices_in_jails_and_groups_below_its_own() -> None:
    lines = set(TEXTS[HELPER_UNIT].splitlines())
    assert {"DeviceAllow=/dev/kvm rwm", "DeviceAllow=/dev/net/tun rwm", "Delegate=yes"} <= lines
    assert {"StateDirectory=bangerd-root", "StateDirectoryMode=0700", "ProtectControlGroups=yes"} <= lines
    assert "Delegate" not in TEXTS[DAEMON_UNIT] and "rwm" not in TEXTS[DAEMON_UNIT]


def test_programs_of_now_are_in_both_units() -> None:
    programs = {"BANGER_FIRECRACKER": "/opt/fc/firecracker", "BANGER_JAILER": "/opt/fc/jailer"}
    for text in (helper_unit(OWNER, programs), daemon_unit(OWNER, programs)):
        lines = text.partition("\n[Service]\n")[2].splitlines()
        assert {f"Environment={name}={path}" for name, path in programs.items()} <= set(lines)
    assert not any("BANGER_FIRECRACKER" in text for text in TEXTS.values())


def test_places_are_the_owners_alone() -> None:
    lines = [line for line in tmpfiles(OWNER).splitlines() if not line.startswith("#")]
    assert lines == [
        f"d {place} 0700 1 1 -" for place in ("/run/banger", "/var/lib/banger", "/var/cache/banger")
    ]


def test_owner_by_name_and_number() -> None:
    entry = next(user for user in pwd.getpwall() if user.pw_uid not in (0, os.getuid()))
    owner = find_owner(str(entry.pw_uid))
    assert (owner.name, owner.uid, owner.gid) == (entry.pw_name, entry.pw_uid, entry.pw_gid)
    assert entry.pw_gid in owner.groups


@pytest.mark.parametrize("name", ["root", "0", "nobody-of-this-name", "99999999999999999999", "a b"])
def test_who_cannot_be_the_owner(name: str) -> None:
    with pytest.raises(UsageError):
        find_owner(name)
