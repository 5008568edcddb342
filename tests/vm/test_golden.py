"""Images beyond the lean one, built for real and put to the use they are for. ``make golden``."""

from __future__ import annotations

import pytest
from vmring import Home, until

pytestmark = [pytest.mark.golden, pytest.mark.timeout(1800)]

#: A container's whole file system, from the guest's own files: nothing is fetched.
_TINY = """
set -eu
root=$(mktemp -d)
mkdir -p $root/bin $root/lib64 $root/lib/x86_64-linux-gnu
cp /bin/dash $root/bin/sh
cp /lib64/ld-linux-x86-64.so.2 $root/lib64/
cp /lib/x86_64-linux-gnu/libc.so.6 $root/lib/x86_64-linux-gnu/
tar -C $root -c . | docker import - tiny
"""


def make(home: Home, image: str, name: str) -> None:
    """Build an image where it is missing, boot a VM of it and see that all of its services are up."""
    home.ok("vm", "create", "--name", name, "--image", image, "--memory", "1G", timeout=1500)
    assert home.sh(name, "systemctl is-system-running --wait") == "running"


def test_docker_runs_containers_of_a_local_image(banger: Home) -> None:
    make(banger, "debian-bookworm-docker", "dock")
    banger.ok("vm", "exec", "dock", "--", "sh", "-c", _TINY, timeout=300)
    ran = banger.exec(
        "dock", "docker", "run", "--rm", "tiny", "/bin/sh", "-c", "echo $$; exit 7", timeout=300
    )
    assert (ran.status, ran.text) == (7, "1")
    banger.sh("dock", "docker run -d -p 8080:80 --name web tiny /bin/sh -c 'read x'")
    assert "0.0.0.0:8080->80/tcp" in banger.sh("dock", "docker ps")
    assert banger.sh("dock", "docker info -f '{{.Driver}}'") == "overlay2"
    assert (
        "docker.io"
        in banger.ok("image", "show", "debian-bookworm-docker", "--json").json["image"]["packages"]
    )
    banger.ok("vm", "delete", "dock")


def test_a_row_of_postgresql_and_a_file_nobody_synced_survive_stop_and_start(banger: Home) -> None:
    make(banger, "debian:bookworm+postgresql", "data")
    query = "cd /; runuser -u postgres -- psql -qtAc"
    banger.sh(
        "data", f"{query} 'create table t (x int); insert into t values (42)'; echo unsynced > /root/file"
    )
    banger.ok("vm", "stop", "data")
    banger.ok("vm", "start", "data")
    assert banger.sh("data", f"cat /root/file; {query} 'select x from t'") == "unsynced\n42"
    assert "database system was not properly shut down" not in banger.sh(
        "data", "cat /var/log/postgresql/*.log"
    )
    banger.ok("vm", "delete", "data")


def test_the_image_for_development_has_what_builds_need(banger: Home) -> None:
    make(banger, "debian-bookworm-dev", "dev")
    program = "int main(void) { return 42; }"
    assert banger.exec("dev", "sh", "-c", f"echo '{program}' | gcc -xc - -o /root/a && /root/a").status == 42
    assert banger.sh("dev", "node -p '6 * 7'") == "42"
    banger.sh(
        "dev", "npm --version && python3 -m venv /root/v && rg --version && rsync --version", timeout=120
    )
    banger.sh("dev", "tmux new-session -d -s work -c /usr/share && tmux new-window -t work:7 -c /etc")
    saved = "cat /root/.local/state/tmux-sessions"
    until(lambda: "work|7" in banger.exec("dev", "sh", "-c", saved).text, 60, "tmux's sessions are not saved")
    banger.ok("vm", "stop", "dev")
    banger.ok("vm", "start", "dev")
    banger.sh("dev", "tmux new-session -d -s other")
    panes = "tmux list-panes -a -F '#{session_name} #{window_index} #{pane_current_path}'"
    until(lambda: "work 7 /etc" in banger.sh("dev", panes), 60, "tmux's sessions did not come back")
    assert "work 0 /usr/share" in banger.sh("dev", panes)
    banger.ok("vm", "delete", "dev")


def test_trixie(banger: Home) -> None:
    make(banger, "debian-trixie", "new")
    assert banger.sh("new", ". /etc/os-release; echo $VERSION_CODENAME; uname -r").startswith("trixie\n6.12")
    banger.ok("vm", "delete", "new")


def test_a_package_that_does_not_exist_is_one_clear_error(banger: Home) -> None:
    refused = banger("image", "pull", "debian:bookworm+no-such-package", timeout=600)
    assert refused.status == 1
    assert "Unable to locate package no-such-package" in refused.err
    banger.assert_clean()
