"""``vm logs``: whose words, and since when."""

from __future__ import annotations

from pathlib import Path

import pytest

from banger.cli.vm_logs import About, _moment
from banger.config.paths import find_paths
from banger.daemon.starts import vm_paths
from banger.errors import UsageError
from banger.model.log_entry import LogEntry
from banger.model.vm import Vm, VmState
from banger.start.console_times import note_size, times_of
from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import MakeApp, RunCli
from banger.testing.samples import sample_image, sample_kernel, sample_vm

ENTRIES = [
    LogEntry("2026-11-20T08:00:00.100+00:00", "INFO", "op-1", "banger.daemon", "vm.create done"),
    LogEntry("2026-11-20T08:00:00.000+00:00", "INFO", "op-1", "banger.daemon", "otter is started"),
    LogEntry(
        "2026-11-21T08:00:00.000+00:00", "ERROR", "-", "banger.daemon", "the watch of otter failed", "T\n  no"
    ),
    LogEntry("2026-11-21T08:00:01.000+00:00", "INFO", "-", "banger.daemon", "otter-2 is started"),
    LogEntry("2026-11-21T08:00:02.000+00:00", "INFO", "op-2", "banger.daemon", "lynx is started"),
    LogEntry("2026-11-21T08:00:03.000+00:00", "INFO", "op-3", "banger.daemon", "vm.stop of 'otter': unused"),
]
LINES = [entry.to_json() for entry in ENTRIES]


@pytest.fixture
def vm(banger_app: MakeApp) -> Vm:
    app: BangerApp = banger_app(builtin=["core"])
    app.services.database.add_image(sample_image())
    app.services.database.add_kernel(sample_kernel())
    vm = sample_vm("otter", state=VmState.STOPPED)
    app.services.database.add_vm(vm)
    paths = vm_paths(app.services, vm)
    paths.directory.mkdir(parents=True)
    Path(paths.console).write_text("Linux\nbanger-agent: no disk\nlogin:\n")
    (paths.directory / f"{vm.spec.vmm}.log").write_text("qemu: a warning\n")
    return vm


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "Linux\nbanger-agent: no disk\nlogin:\n"),
        (("-n", "1"), "login:\n"),
        (("-n", "0"), ""),
        (("-f",), "Linux\nbanger-agent: no disk\nlogin:\n"),
        (("--source", "agent"), "banger-agent: no disk\n"),
        (("--source", "vmm"), "qemu: a warning\n"),
    ],
)
def test_sources(vm: Vm, run_cli: RunCli, options: tuple[str, ...], said: str) -> None:
    shown = run_cli("vm", "logs", *options, "otter")
    assert (shown.status, shown.stdout) == (0, said), shown.stderr


def shown(*numbers: int) -> list[str]:
    return [line for number in numbers for line in ENTRIES[number].lines()]


def test_what_the_daemon_says_of_a_vm(vm: Vm, run_cli: RunCli) -> None:
    find_paths().log.write_text("".join(f"{line}\n" for line in [*LINES, "otter, by hand", '{"time":']))
    all_ = run_cli("vm", "logs", "--source", "daemon", "otter")
    assert all_.stdout.splitlines() == shown(0, 1, 2, 5)
    since = run_cli("vm", "logs", "--source", "daemon", "--since", "2026-11-21T08:00:02+00:00", "otter")
    assert since.stdout.splitlines() == shown(5)
    missing = run_cli("vm", "logs", "--source", "daemon", "nobody")
    assert missing.status == 1 and "there is no VM 'nobody'" in missing.stderr


@pytest.mark.parametrize(("source", "text"), [("console", "login:\n"), ("vmm", "late\n"), ("agent", "")])
def test_what_came_since_a_time(vm: Vm, run_cli: RunCli, source: str, text: str) -> None:
    folder = find_paths().vms / vm.id
    file = folder / (f"{vm.spec.vmm}.log" if source == "vmm" else "console.log")
    begun = file.read_text()
    if source == "vmm":
        file.write_text(begun + text)
    note_size(file, 1000.0)
    times_of(file).write_text(f"1000 {file.stat().st_size - len(text)}\n2000 {file.stat().st_size}\n")
    for since, said in (("1970-01-01T00:16:41+00:00", text), ("1h", "")):
        found = run_cli("vm", "logs", "--source", source, "--since", since, "otter")
        assert (found.status, found.stdout) == (0, said)
    every = run_cli("vm", "logs", "--source", source, "--since", "1970-01-01T00:01:00+00:00", "otter")
    whole = file.read_text()
    assert every.stdout == ("banger-agent: no disk\n" if source == "agent" else whole)


def test_lines_that_come_later_belong_to_operations_seen_before() -> None:
    about = About("otter", "f" * 32)
    assert about.choose([LINES[1]]) == shown(1)
    assert about.choose([LINES[0]]) == shown(0)


def test_moments() -> None:
    assert _moment("2h") < _moment("1h") < _moment("1s")
    assert _moment("2026-11-21T08:00").isoformat()[:19] == "2026-11-21T08:00:00"
    for text in ("", "soon", "5x", "9999999d", "999999d"):
        with pytest.raises(UsageError, match="is no time"):
            _moment(text)
