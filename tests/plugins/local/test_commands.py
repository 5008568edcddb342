"""The commands as they are typed: what is refused, in one line and with a hint, and what is printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from banger.daemon.main import write_commands
from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import RunCli

REFUSALS = [
    (2, "image register --name x", "--rootfs is missing", "banger image register --help"),
    (
        2,
        "image register --name x --rootfs a --kernel-ref b --kernel c",
        "--kernel-ref goes with none of --kernel, --initrd and --modules",
        "name a kernel in one way",
    ),
    (2, "image register --name x --rootfs /no/such", "--rootfs /no/such: No such file", "ls -l /no/such"),
    (2, "image import /no/such", "FILE /no/such: No such file or directory", "ls -l /no/such"),
    (2, "kernel import mine", "--from is missing", "banger kernel import --help"),
    (1, "image promote nothing", "there is no image 'nothing'", "test-image"),
    (1, "image seed nothing", "there is no image 'nothing'", "test-image"),
    (1, "image export nothing /tmp/no-such-file", "there is no image 'nothing'", "test-image"),
    (1, "image commit otter ready", "there is no VM 'otter'", "banger vm list"),
    (1, "image import /etc/passwd", "this is no image archive", "copy it again"),
    (1, "kernel import mine --from /etc/apt", "there is no kernel in /etc/apt", "boot/vmlinuz-*"),
]


@pytest.mark.parametrize(("status", "typed", "message", "hint"), REFUSALS, ids=[row[1] for row in REFUSALS])
def test_refusal_and_hint(
    app: BangerApp, run_cli: RunCli, status: int, typed: str, message: str, hint: str
) -> None:
    write_commands(app.services)
    done = run_cli(*typed.split())
    assert (done.status, done.stdout) == (status, ""), done.stderr
    said = [line for line in done.stderr.splitlines() if not line.startswith("  ")]
    assert len(said) == 2 and message in said[0] and hint in said[1], done.stderr


def test_what_is_printed(
    app: BangerApp, run_cli: RunCli, rootfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_commands(app.services)
    done = run_cli(
        "image", "register", "--name", "mine", "--rootfs", str(rootfs), "--kernel-ref", "test-kernel"
    )
    assert done.stdout.startswith("mine sha256:") and done.stdout.endswith("iB\n")
    shown = run_cli("image", "show", "mine").stdout
    pairs = dict(line.split(None, 1) for line in shown.splitlines())
    assert (pairs["managed"], pairs["path"], pairs["name"]) == ("no", str(rootfs), "mine")
    assert "mtime" not in shown
    line = ("image", "export", "mine", str(tmp_path / "out"), "--no-kernel", "--json")
    assert json.loads(run_cli(*line).stdout)["kernel"] is None
    monkeypatch.chdir(tmp_path)
    assert run_cli("image", "export", "mine", "short", "--no-kernel").stdout.startswith("short sha256:")
    run_cli("image", "delete", "mine")
    assert run_cli("image", "import", "short", "--name", "back").stdout.startswith("back sha256:")
