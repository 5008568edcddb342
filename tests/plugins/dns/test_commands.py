"""``banger dns``: in a whole daemon, and as root and not."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from banger.daemon.main import write_commands
from banger.errors import NotFoundError
from banger.model.vm import VmState
from banger.testing.app import BangerApp
from banger.testing.fakes import FakeCommands
from banger.testing.pytest_plugin import BangerDirs, MakeApp, RunCli
from banger.testing.samples import sample_image, sample_kernel, sample_vm
from banger_dns import check, commands, note, server
from banger_dns.route import Route
from tests.plugins.dns.name_server import question, values


def wait_up(app: BangerApp) -> dict[str, Any]:
    """Return ``dns.status``, which waits until the server of a new daemon is up or has failed."""
    answer = app.call("dns.status")
    assert (answer["port"] is None) == (answer["state"] == "failed")
    return answer


@pytest.fixture
def app(banger_app: MakeApp, fake_host: Any) -> BangerApp:
    with socket.socket() as probe:
        probe.bind((server.ADDRESS, 0))
        port = probe.getsockname()[1]
    app = banger_app(
        builtin=["core", "dns"], config=f"[plugins.dns]\nport = {port}\n", commands=fake_host.commands
    )
    write_commands(app.services)
    return app


def add_vm(app: BangerApp) -> None:
    app.services.database.add_image(sample_image())
    app.services.database.add_kernel(sample_kernel())
    app.services.database.add_vm(sample_vm("otter", state=VmState.RUNNING, address="127.64.0.7"))
    app.services.database.add_vm(sample_vm("lynx", state=VmState.STOPPED, address="127.64.0.8"))


def test_status(app: BangerApp, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    add_vm(app)
    port = wait_up(app)["port"]
    shown = run_cli("dns", "status")
    assert shown.status == 0
    lines = {line.split("  ")[0].strip(): line.split("  ")[-1].strip() for line in shown.stdout.splitlines()}
    assert lines["server"] == f"127.0.0.1:{port}, UDP and TCP"
    assert (lines["resolves"], lines["otter.vm"]) == ("no", "127.64.0.7")
    assert "lynx.vm" not in lines
    answer = json.loads(run_cli("dns", "status", "--json").stdout)
    assert answer["names"] == [{"name": "otter.vm", "address": "127.64.0.7"}]
    assert f"127.0.0.1:{port}" in run_cli("daemon", "status").stdout


def test_the_daemon_answers_names_of_running_vms(app: BangerApp) -> None:
    add_vm(app)
    port = wait_up(app)["port"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(30)
        client.connect((server.ADDRESS, port))
        client.send(question("otter.vm"))
        assert values(client.recv(512)) == ["127.64.0.7"]
        client.send(question("lynx.vm"))
        assert values(client.recv(512)) == []


@pytest.mark.parametrize(
    ("route", "resolves", "hint"),
    [
        (None, False, 'sudo "$(command -v banger)" dns install\n'),
        (Route(Path("/etc/x"), 1), False, 'sudo "$(command -v banger)" dns install --port '),
        (Route(Path("/etc/x"), 1), True, ""),
    ],
)
def test_status_says_what_to_do_next(
    app: BangerApp,
    run_cli: RunCli,
    monkeypatch: pytest.MonkeyPatch,
    route: Route | None,
    resolves: bool,
    hint: str,
) -> None:
    from banger_dns import operations

    wait_up(app)
    monkeypatch.setattr(operations, "find_route", lambda: route)
    monkeypatch.setattr(operations, "resolves", lambda *_: resolves)
    said = run_cli("dns", "status")
    assert said.status == 0 and (hint in said.stderr if hint else said.stderr == "")


def test_doctor_has_the_check(app: BangerApp, monkeypatch: pytest.MonkeyPatch) -> None:
    wait_up(app)
    monkeypatch.setattr(check, "has_local_resolver", lambda: True)
    serving = server.find_serving()
    assert serving is not None
    assert isinstance(app.services.commands, FakeCommands)
    app.services.commands.answer(f"getent hosts {serving.probe}", stdout=b"127.0.0.1 x\n")
    [line] = [line for line in app.call("doctor")["checks"] if line["name"] == "names"]
    assert line["status"] == "PASS"


def test_a_server_that_has_no_port_is_said(banger_app: MakeApp, run_cli: RunCli) -> None:
    with socket.socket() as other:
        other.bind((server.ADDRESS, 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(server, "_TRIES", 1)
            app = banger_app(builtin=["core", "dns"], config=f"[plugins.dns]\nport = {taken}\n")
            write_commands(app.services)
            answer = wait_up(app)
    assert (answer["state"], answer["port"]) == ("failed", None)
    assert f"the ports {taken} to {taken} of 127.0.0.1 are taken" in answer["detail"]
    assert run_cli("dns", "status").status == 1
    assert run_cli("vm", "list").status == 0


# As root

Install = Callable[..., dict[str, Any]]


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Be root, called by sudo, as far as the commands can see; nothing of the host is changed. Ports asked for."""
    asked: list[int] = []

    def install_route(port: int, _: Any) -> tuple[Route, bool]:
        asked.append(port)
        return Route(Path("/etc/x"), port), len(asked) == 1

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(commands, "install_route", install_route)
    monkeypatch.setattr(commands, "uninstall_route", lambda _: [])
    monkeypatch.setenv("SUDO_UID", str(os.getuid()))
    return asked


def test_sudo_finds_the_command_and_starts_no_daemon(
    banger_dirs: BangerDirs, run_cli: RunCli, as_root: list[int]
) -> None:
    assert run_cli("dns", "install", "--port", "42071").status == 0
    assert run_cli("dns", "uninstall").status == 0
    assert as_root == [42071]
    assert not banger_dirs.state.exists()
    assert run_cli("dns", "instal").status == 2


def test_install_takes_the_port_of_the_callers_daemon(
    banger_dirs: BangerDirs, run_cli: RunCli, as_root: list[int]
) -> None:
    folder = banger_dirs.state / "plugins" / "dns"
    folder.mkdir(parents=True)
    note.write_note(folder, note.Note(42072, 42069))
    first, second = run_cli("dns", "install"), run_cli("dns", "install", "--json")
    assert "now leads to 127.0.0.1:42072" in first.stderr
    assert json.loads(second.stdout) == {"path": "/etc/x", "port": 42072, "changed": False}
    assert as_root == [42072, 42072]


def test_install_without_a_note(banger_dirs: BangerDirs, run_cli: RunCli, as_root: list[int]) -> None:
    failed = run_cli("dns", "install")
    assert failed.status == 1 and "has not noted its port" in failed.stderr and "--port PORT" in failed.stderr
    assert as_root == []


@pytest.mark.parametrize("uid", ["x", "-1", "99999999", "9" * 30])
def test_nonsense_of_sudo_is_refused(
    banger_dirs: BangerDirs,
    run_cli: RunCli,
    as_root: list[int],
    monkeypatch: pytest.MonkeyPatch,
    uid: str,
) -> None:
    monkeypatch.setenv("SUDO_UID", uid)
    failed = run_cli("dns", "install")
    assert failed.status in (1, 2) and "hint: " in failed.stderr and as_root == []


@pytest.mark.parametrize("what", ["install", "uninstall"])
def test_only_root(app: BangerApp, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(commands.os, "geteuid", lambda: 1000)
    failed = run_cli("dns", what)
    assert failed.status == 1
    assert "only root may" in failed.stderr and f'sudo "$(command -v banger)" dns {what}' in failed.stderr


# The note


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", '{"port": 1}', '{"port": "1", "wanted": 1}', '{"port": 0, "wanted": 1}', "[" * 900],
)
def test_a_note_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "port.json").write_text(text)
    assert note.find_note(tmp_path, os.getuid()) is None


def test_only_a_plain_file_of_the_user_is_a_note(tmp_path: Path) -> None:
    note.write_note(tmp_path, note.Note(42069, 42069))
    assert note.find_note(tmp_path, os.getuid()) == note.Note(42069, 42069)
    assert note.find_note(tmp_path, os.getuid() + 1) is None
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "port.json").symlink_to(tmp_path / "port.json")
    assert note.find_note(tmp_path / "a", os.getuid()) is None
    (tmp_path / "b").mkdir()
    os.mkfifo(tmp_path / "b" / "port.json")
    assert note.find_note(tmp_path / "b", os.getuid()) is None


def test_state_of_another_user() -> None:
    with pytest.raises(NotFoundError):
        note.resolve_port(65534 if os.getuid() != 65534 else 2)
