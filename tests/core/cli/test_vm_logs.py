"""``vm logs``: whose words, and since when."""

from __future__ import annotations

from pathlib import Path

import pytest

from banger.cli.vm_logs import About, _moment
from banger.config.paths import find_paths
from banger.daemon.starts import vm_paths
from banger.errors import UsageError
from banger.model.vm import Vm, VmState
from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import MakeApp, RunCli
from banger.testing.samples import sample_image, sample_kernel, sample_vm

LOG = """\
2026-11-20 08:00:00,100 INFO op-1 banger.daemon: vm.create done
2026-11-20 08:00:00,000 INFO op-1 banger.daemon: otter is started
2026-11-21 08:00:00,000 ERROR - banger.daemon: the watch of otter failed
Traceback (most recent call last):
  ValueError: no
2026-11-21 08:00:01,000 INFO - banger.daemon: otter-2 is started
2026-11-21 08:00:02,000 INFO op-2 banger.daemon: lynx is started
2026-11-21 08:00:03,000 INFO op-3 banger.daemon: vm.stop of 'otter': nobody used it
"""


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


def test_what_the_daemon_says_of_a_vm(vm: Vm, run_cli: RunCli) -> None:
    find_paths().log.write_text(LOG)
    lines = LOG.splitlines()
    assert run_cli("vm", "logs", "--source", "daemon", "otter").stdout.splitlines() == [*lines[:5], lines[7]]
    since = run_cli("vm", "logs", "--source", "daemon", "--since", "2026-11-21T08:00:02", "otter")
    assert since.stdout.splitlines() == [lines[7]]
    refused = run_cli("vm", "logs", "--since", "1h", "otter")
    assert refused.status == 2 and "banger vm logs --source daemon --since 1h otter" in refused.stderr
    missing = run_cli("vm", "logs", "--source", "daemon", "nobody")
    assert missing.status == 1 and "there is no VM 'nobody'" in missing.stderr


def test_lines_that_come_later_belong_to_operations_seen_before() -> None:
    about = About("otter", "f" * 32)
    first, second = LOG.splitlines()[1], LOG.splitlines()[0]
    assert about.choose([first]) == [first]
    assert about.choose([second]) == [second]


def test_moments() -> None:
    assert _moment("2h") < _moment("1h") < _moment("1s")
    assert _moment("2026-11-21T08:00") == "2026-11-21 08:00:00"
    for text in ("", "soon", "5x", "9999999d", "999999d"):
        with pytest.raises(UsageError, match="is no time"):
            _moment(text)
