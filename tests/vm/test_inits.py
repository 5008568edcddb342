"""Debian with other inits than systemd, and one that gets its init at its first start. ``make golden``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from vmring import Home, until

sys.path.insert(0, str(Path(__file__).parents[1] / "plugins" / "images_oci"))

from registry_lab import make_layout, missing_programs, push, run_registry

pytestmark = [pytest.mark.golden, pytest.mark.timeout(1800)]

#: What ``--init provisioned`` installs, and where it lies in the image: a repository without a network.
_PACKAGES = "systemd systemd-sysv udev kmod dbus openssh-server"
_FETCH = f'chroot "$1" apt-get install -y -q --download-only --no-install-recommends {_PACKAGES}'
_MAKE_REPOSITORY = """
set -eu
mkdir -p "$1/srv/repo"
mv "$1"/var/cache/apt/archives/*.deb "$1/srv/repo/"
cd "$1/srv/repo"
for deb in *.deb; do
    dpkg-deb -f "$deb"
    echo "Filename: ./$deb"
    echo "Size: $(stat -c %s "$deb")"
    echo "SHA256: $(sha256sum "$deb" | cut -d ' ' -f 1)"
    echo
done >Packages
rm -rf "$1"/var/lib/apt/lists/*
rm -f "$1"/etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/srv/repo ./' >"$1/etc/apt/sources.list"
"""


def make_debian(directory: Path, name: str, *options: str, config: dict[str, object] | None = None) -> Path:
    """Make a container image of a small Debian without an init, plus what the options say."""
    if missing := missing_programs("mmdebstrap"):
        pytest.skip(f"needs the Debian packages of {', '.join(missing)}")
    tar = directory / f"{name}.tar"
    line = ["mmdebstrap", "-q", "--variant=apt", *options, "bookworm", tar]
    subprocess.run(line, check=True, timeout=1200)
    layout = make_layout(directory / name, [tar.read_bytes()], config)
    tar.unlink()
    return layout


@pytest.mark.parametrize(
    ("name", "packages", "ready", "init"),
    [
        ("sysvinit", "sysvinit-core", "test -e /run/utmp && runlevel | grep -q 2", "init"),
        ("openrc", "openrc,sysvinit-core", "rc-status -r | grep -q default", "init"),
        ("runit", "runit-init", "pgrep runsvdir || grep -q runsvdir /proc/[0-9]*/comm", "runit"),
    ],
)
def test_another_init_boots_runs_commands_and_stops(
    alone: Home, tmp_path: Path, name: str, packages: str, ready: str, init: str
) -> None:
    layout = make_debian(tmp_path, name, f"--include={packages}")
    alone.ok("vm", "create", "--name", name, "--image", f"oci-layout:{layout}")
    until(lambda: alone.exec(name, "sh", "-c", ready).status == 0, 120, f"{name} did not get there")
    assert alone.sh(name, "cat /proc/1/comm") == init
    assert alone.sh(name, "id -u; hostname; echo unsynced >/etc/kept") == f"0\n{name}"
    assert int(alone.sh(name, "df -m --output=size / | tail -n 1")) > 7000  # it has grown to its disk
    stopped = alone.ok("vm", "stop", name)
    assert "did not" not in stopped.err, stopped.err
    alone.ok("vm", "start", name)
    assert alone.sh(name, "cat /etc/kept") == "unsynced"
    alone.ok("vm", "delete", name)


def test_debian_from_a_registry_runs_as_its_makers_meant_it(alone: Home, tmp_path: Path) -> None:
    config = {
        "User": "games:daemon",
        "WorkingDir": "/var/games",
        "Env": ["GREETING=hello"],
        "Cmd": ["/bin/sh"],
    }
    layout = make_debian(tmp_path, "debian", config=config)
    with run_registry(tmp_path) as host:
        push(layout, f"{host}/lab/debian:v1")
        script = 'id -un; id -gn; pwd; echo "$GREETING"; . /etc/os-release; echo $ID; cat /proc/1/comm'
        ran = alone.ok("vm", "run", "--rm", "--image", f"{host}/lab/debian:v1", "--", "sh", "-c", script)
    assert ran.text.split() == ["games", "daemon", "/var/games", "hello", "debian", "banger-agent"]
    alone.assert_clean()


def test_provisioned_gets_systemd_and_sshd_from_its_own_package_manager(alone: Home, tmp_path: Path) -> None:
    hooks = (f"--customize-hook={_FETCH}", f"--customize-hook={_MAKE_REPOSITORY}")
    layout = make_debian(tmp_path, "bare", *hooks)
    line = ("--name", "bare", "--image", f"oci-layout:{layout}", "--init", "provisioned")
    alone.ok("vm", "create", *line, timeout=900)
    assert alone.sh("bare", "cat /proc/1/comm; systemctl is-active ssh") == "systemd\nactive"
    alone.ok("vm", "stop", "bare")
    started = alone.ok("vm", "start", "bare")
    assert "installs" not in started.err
    assert alone.sh("bare", "systemctl is-system-running") == "running"
    alone.ok("vm", "delete", "bare")


def test_what_cannot_be_provisioned_says_why(alone: Home, tmp_path: Path) -> None:
    layout = make_debian(tmp_path, "cut", '--customize-hook=rm "$1"/etc/apt/sources.list')
    refused = alone(
        "vm",
        "create",
        "--name",
        "cut",
        "--image",
        f"oci-layout:{layout}",
        "--init",
        "provisioned",
        timeout=300,
    )
    assert refused.status == 1
    assert "apt-get failed in the guest with status 100" in refused.err and "--init agent" in refused.err
    assert alone.show("cut")["vm"]["state"] == "error"
    assert alone.qemus() == []
    alone.ok("vm", "delete", "cut")
