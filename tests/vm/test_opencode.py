"""A VM made for opencode: found, its login lent, served, waited for, attached to; a repository brings what plays it."""

from __future__ import annotations

import json
from pathlib import Path

from test_workspace import commit_all, git
from vmring import BOOT, Home

#: A server on a port, a client that tells what it was told, and whatever else.
_PLAYS = r"""#!/bin/sh
case $1 in
serve) echo "serving $*"; exec perl -MIO::Socket::INET -e '
    my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => $ARGV[0], Listen => 5) or die;
    sleep 1 while 1' "$5" ;;
*) pwd; printf '%s\n' "$@"; exit 6 ;;
esac
"""


def make_repository(where: Path) -> Path:
    """Make a repository that becomes a directory of the guest's PATH."""
    where.mkdir()
    git(where, "init", "-q", "-b", "main")
    git(where, "config", "user.name", "Tester")
    git(where, "config", "user.email", "t@example.org")
    (where / "opencode").write_text(_PLAYS)
    (where / "opencode").chmod(0o755)
    (where / ".nvmrc").write_text("20\n")
    commit_all(where, "first")
    return where


def test_opencode_is_found_served_and_attached_to(alone: Home) -> None:
    where = make_repository(alone.base / "project")
    login = alone.base / ".local" / "share" / "opencode" / "auth.json"
    login.parent.mkdir(parents=True)
    login.write_text(json.dumps({"anthropic": {"type": "api", "key": "s3cret"}}))
    words = ("vm", "run", "-d", "--name", "coder", "--wait", "agent", "--guest-path", "/root/.opencode/bin")
    refused = alone(*words, str(where))
    assert refused.status == 2 and alone.vms() == [], refused
    assert "node@20 (.nvmrc)), and network 'user' leaves no way out to fetch them" in refused.err
    assert "hint: --no-bootstrap" in refused.err
    alone.ok(*words, "--no-bootstrap", "--with", "opencode:port=4096", str(where), timeout=BOOT)
    ports = alone.ok("vm", "ports", "coder", "--json").json
    assert [port["port"] for port in ports if port["process"].startswith("perl")] == [4096]
    lent = alone.sh(
        "coder", "cd; stat -c %a .local/share/opencode/auth.json; cat .local/share/opencode/auth.json"
    )
    assert lent.split("\n")[0] == "600" and "s3cret" in lent
    attached = alone("vm", "opencode", "coder")
    assert attached.status == 6, attached
    assert attached.text.split("\n") == ["/root/.opencode/bin", "attach", "http://127.0.0.1:4096"]
    said = alone("vm", "opencode", "coder", "--", "run", "a b")
    assert said.status == 6 and said.text.split("\n")[1:] == ["run", "a b"]
    alone.sh("coder", "rm -f /root/.opencode/bin/opencode")
    gone = alone("vm", "opencode", "coder")
    assert (
        gone.status == 1 and "there is no opencode in 'coder'" in gone.err and "--with opencode" in gone.err
    )
