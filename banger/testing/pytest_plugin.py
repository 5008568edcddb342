"""Fixtures for tests of plugins: ``pytest_plugins = ["banger.testing.pytest_plugin"]`` in a conftest.py.

Nothing here acts unless a test asks for it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from banger.host.command import Commands
    from banger.host.disk import Disks
    from banger.testing.app import BangerApp
    from banger.testing.fakes import FakeCommands
    from banger.testing.recorder import HookRecorder

pytest.register_assert_rewrite("banger.testing.contracts", "banger.testing.step_contract")

#: Variables that would let the caller's own settings into a test.
_FOREIGN = ("BANGER_PLUGINS", "BANGER_STRICT_PLUGINS", "BANGER_LOG_LEVEL", "BANGER_SOCKET", "XDG_RUNTIME_DIR")


@dataclass(frozen=True, slots=True)
class BangerDirs:
    """The test's own home; its path has a space in it and is short enough for sockets.

    :param config: the user's configuration file, not there at first.
    """

    home: Path
    state: Path
    cache: Path
    config: Path

    def write_config(self, text: str) -> None:
        """Write the user's configuration file."""
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.config.write_text(text, encoding="utf-8")


@pytest.fixture
def banger_dirs(monkeypatch: pytest.MonkeyPatch) -> Iterator[BangerDirs]:
    """Give banger XDG directories of the test's own; a daemon started in them is ended afterwards."""
    home = Path(tempfile.mkdtemp(prefix="banger t"))
    for name in [*_FOREIGN, *(name for name in os.environ if name.startswith("BANGER_"))]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BANGER_MODE", "user")
    monkeypatch.setenv("HOME", str(home))
    for kind in ("STATE", "CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(home / kind.lower()))
    dirs = BangerDirs(
        home, home / "state" / "banger", home / "cache" / "banger", home / "config" / "banger" / "config.toml"
    )
    yield dirs
    _end_daemon(dirs)
    shutil.rmtree(home)


def _end_daemon(dirs: BangerDirs) -> None:
    from banger.cli.client import Client
    from banger.cli.launch import end_daemon
    from banger.errors import BangerError

    if (dirs.state / "s" / "bangerd.sock").exists():
        with contextlib.suppress(BangerError):
            end_daemon(Client(), force=True)


MakeApp = Callable[..., "BangerApp"]


@pytest.fixture
def banger_app(banger_dirs: BangerDirs, hook_recorder: HookRecorder) -> Iterator[MakeApp]:
    """Start daemons in this process: ``banger_app(my_plugin_module, builtin=("core",), config="…")``.

    ``builtin`` are banger's own plugins by name (None: all), ``commands`` and ``disks`` the seams to use. The command
    line and the client find the daemon by themselves.
    """
    from banger.testing.app import BangerApp
    from banger.testing.plugin_sets import load_chosen

    with ExitStack() as running:

        def start(
            *modules: ModuleType,
            builtin: Iterable[str] | None = None,
            disabled: Iterable[str] = (),
            config: str = "",
            commands: Commands | None = None,
            disks: Disks | None = None,
        ) -> BangerApp:
            if config:
                banger_dirs.write_config(config)
            plugins = load_chosen(modules, builtin=builtin, disabled=disabled, before=hook_recorder.watch)
            return running.enter_context(BangerApp(plugins, commands=commands, disks=disks))

        yield start


@dataclass(frozen=True, slots=True)
class CliResult:
    """What a command line ended with and printed."""

    status: int
    stdout: str
    stderr: str


RunCli = Callable[..., CliResult]


@pytest.fixture
def run_cli(
    banger_dirs: BangerDirs, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> RunCli:
    """Run command lines in this process: ``run_cli("vm", "list")``. A bug raises; it is never printed away."""
    from banger.cli.main import run

    monkeypatch.setenv("BANGER_DEBUG", "1")

    def invoke(*arguments: str) -> CliResult:
        capfd.readouterr()
        status = run(list(arguments))
        printed = capfd.readouterr()
        return CliResult(status, printed.out, printed.err)

    return invoke


@dataclass
class FakeHost:
    """The host's seams, none of which starts a program.

    ``disks`` are the real ones over the fake programs: files appear as they would, empty.
    """

    commands: FakeCommands
    disks: Disks = field(init=False)

    def __post_init__(self) -> None:
        from banger.host.disk import HostDisks

        self.disks = HostDisks(self.commands)


@pytest.fixture
def fake_host() -> FakeHost:
    """Fake the host: record programs, answer from a script."""
    from banger.testing.fakes import FakeCommands

    return FakeHost(FakeCommands())


PlanFor = Callable[..., list[str]]


@pytest.fixture
def plan_for() -> PlanFor:
    """Order steps without running any: ``plan_for("workdisk", plugins=[my_module])`` gives their names.

    ``plan_for`` takes the capabilities that are on; ``owners=True`` adds each step's plugin.
    """
    from banger.daemon.services import fill_registries
    from banger.testing.plugin_sets import load_chosen

    def plan(
        *capabilities: str,
        plugins: Iterable[ModuleType] = (),
        builtin: Iterable[str] | None = None,
        owners: bool = False,
    ) -> list[str]:
        loaded = load_chosen(plugins, builtin=builtin)
        registries = fill_registries(loaded)
        failed = {name: plugin.reason for name, plugin in loaded.failed.items()}
        assert not failed, f"plugins that do not load: {failed}"
        chosen: Mapping[str, Any] = {name: registries.capabilities.resolve(name) for name in capabilities}
        steps = registries.plan(chosen)
        return [f"{owned.value.name} ({owned.plugin})" if owners else owned.value.name for owned in steps]

    return plan


@pytest.fixture
def hook_recorder() -> HookRecorder:
    """Record hook calls; ``banger_app`` is watched from its start, other plugins by ``hook_recorder.watch``."""
    from banger.testing.recorder import HookRecorder

    return HookRecorder()
