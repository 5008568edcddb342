"""What a person sees when something is wrong: one line, a hint, a status; never a traceback."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from typing import Any

import click
import pytest

from banger.cli import main as cli_main
from banger.cli.main import run, show_error
from banger.config.paths import find_paths
from banger.errors import BangerError, GuestError, UsageError
from banger.model.log_entry import LogEntry
from banger.testing.pytest_plugin import BangerDirs, MakeApp, RunCli


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let the command line's only command raise ``error``."""

    @click.command()
    def boom() -> None:
        raise error

    monkeypatch.setattr("banger.cli.group.make_cli", lambda _: boom)
    monkeypatch.delenv("BANGER_DEBUG", raising=False)


@pytest.mark.parametrize(
    ("error", "status"),
    [(UsageError("bad size", hint="2G"), 2), (GuestError("it hung", hint="logs"), 1), (BangerError("no"), 1)],
)
def test_error_is_one_line_and_a_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BangerError, status: int
) -> None:
    raising(monkeypatch, error)
    error.op_id = "op-7"
    assert run([]) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    hint = error.hint or "what happened: banger daemon logs --op op-7"
    expected = [f"banger: {error.message} (op-7)", f"hint: {hint}"]
    assert printed.err.splitlines() == expected


def test_message_of_many_lines_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(GuestError("first\n\tsecond\r\nthird", hint="do\nthis"))
    assert capsys.readouterr().err == "banger: first second third\nhint: do this\n"


def test_what_a_guest_says_in_an_error_never_drives_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(GuestError("no such file: \x1b[2J\x1b]0;owned\x07\x9b31m", hint="\x1b[5m"))
    printed = capsys.readouterr().err
    assert all(char.isprintable() or char == "\n" for char in printed)
    assert "no such file" in printed


def test_bug_is_one_line_and_shows_its_traceback_only_when_asked_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, ZeroDivisionError("1/0"))
    assert run([]) == 70
    printed = capsys.readouterr().err
    assert "Traceback" not in printed and "internal error: ZeroDivisionError: 1/0" in printed
    assert "BANGER_DEBUG=1" in printed
    monkeypatch.setenv("BANGER_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run([])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_interrupt_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException
) -> None:
    raising(monkeypatch, error)
    assert run([]) == 130
    assert capsys.readouterr().err.strip() == "banger: interrupted"


def test_click_errors_are_ours_in_form(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, click.FileError("x.txt", "not there"))
    assert run([]) == 1
    assert capsys.readouterr().err.startswith("banger: ")


def test_version_is_answered_without_a_home_or_a_daemon() -> None:
    environment = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-m", "banger", "--version"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and done.stdout.startswith("banger ") and done.stderr == ""


def test_version_option_stands_anywhere_click_takes_it(run_cli: RunCli) -> None:
    assert run_cli("--version").stdout.startswith("banger ")


def test_help_is_a_command_too(run_cli: RunCli) -> None:
    assert run_cli("help").stdout == run_cli("--help").stdout
    assert run_cli("help", "vm", "cp").stdout == run_cli("vm", "cp", "--help").stdout != ""


def test_reader_that_goes_away_is_no_error() -> None:
    command = f"{shlex.quote(sys.executable)} -m banger --help | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


def test_commands_against_a_daemon(banger_app: MakeApp, run_cli: RunCli) -> None:
    banger_app(builtin=["core"])
    assert run_cli("vm", "list").stderr == "no VMs; make one: banger vm run\n"
    assert run_cli("vm", "list", "--json").stdout == "[]\n"
    assert run_cli("plugins", "list").stdout.splitlines()[1].startswith("core  loaded  banger ")
    refused = run_cli("vm", "show", "otter")
    assert refused.status == 1 and "there is no VM 'otter'" in refused.stderr and "(op-" in refused.stderr
    assert "hint: " in refused.stderr
    assert run_cli("vm", "create", "--memory", "zero").status == 2
    status = run_cli("daemon", "status")
    assert status.status == 0 and f"process      {os.getpid()}" in status.stdout
    assert run_cli("daemon", "stop").stdout == "daemon stopped\n"


def test_status_of_no_daemon_starts_none(banger_dirs: BangerDirs, run_cli: RunCli) -> None:
    result = run_cli("daemon", "status")
    assert result.status == 1 and "does not run" in result.stderr
    assert run_cli("daemon", "stop").status == 0
    assert not (banger_dirs.state / "bangerd.lock").exists()


def test_logs_before_the_first_daemon_are_one_clear_error(run_cli: RunCli) -> None:
    result = run_cli("daemon", "logs")
    assert result.status == 1 and "there is no log" in result.stderr


def test_log_of_one_operation(banger_dirs: BangerDirs, run_cli: RunCli) -> None:
    entries = [
        LogEntry("2026-11-21T05:00:00+00:00", "INFO", "-", "banger.daemon", "serving"),
        LogEntry(
            "2026-11-21T05:00:01+00:00", "ERROR", "op-1", "banger.daemon.app", "internal error", "T\n  x"
        ),
        LogEntry("2026-11-21T05:00:02+00:00", "INFO", "op-2", "banger.daemon.app", "vm.list done"),
        LogEntry("2026-11-21T05:00:03+00:00", "INFO", "op-1", "banger.daemon.app", "done"),
    ]
    banger_dirs.state.mkdir(parents=True, exist_ok=True)
    find_paths().log.write_text("\n".join(entry.to_json() for entry in entries))
    shown = run_cli("daemon", "logs", "--op", "op-1").stdout.splitlines()
    assert shown == [*entries[1].lines(), *entries[3].lines()]
    said = json.loads(run_cli("daemon", "logs", "--op", "op-1", "--json").stdout)
    assert said["lines"] == [entries[1].to_dict(), entries[3].to_dict()]
    unknown = run_cli("daemon", "logs", "--op", "op-3")
    assert unknown.status == 1 and "knows no op-3" in unknown.stderr


def test_log_is_printed_as_it_is_except_to_a_terminal(banger_dirs: BangerDirs, run_cli: RunCli) -> None:
    banger_dirs.state.mkdir(parents=True, exist_ok=True)
    find_paths().log.write_text("older\n\x1b]0;title\x07 guest:\tsaid\n")
    assert run_cli("daemon", "logs", "-n", "1").stdout == "\x1b]0;title\x07 guest:\tsaid\n"
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "banger", "daemon", "logs", "-n", "1"]
    subprocess.run(command, stdin=theirs, stdout=theirs, stderr=theirs, timeout=30, check=True)
    os.close(theirs)
    shown = os.read(ours, 4096)
    os.close(ours)
    assert shown == b"?]0;title? guest:       said\r\n"


def test_state_path_too_long_is_one_clear_error(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/" + "x" * 120)
    result = run_cli("vm", "list")
    assert result.status == 1 and "too long" in result.stderr and "XDG_STATE_HOME" in result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="needs an ordinary user: root writes everywhere")
def test_state_directory_without_permission_is_one_clear_error(
    run_cli: RunCli, banger_dirs: BangerDirs
) -> None:
    (banger_dirs.home / "state").mkdir(mode=0o500)
    result = run_cli("vm", "list")
    assert result.status == 1 and "cannot be used: Permission denied" in result.stderr


def test_main_ends_with_the_status_of_run(monkeypatch: pytest.MonkeyPatch) -> None:
    statuses: list[Any] = []
    for arguments in (["--version"], ["no-such-command"]):
        monkeypatch.setattr(sys, "argv", ["banger", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli_main.main()
        statuses.append(caught.value.code)
    assert statuses == [0, 2]
