"""What a shell is answered when somebody presses Tab."""

from __future__ import annotations

import os
import socket

import pytest

from banger.cli.table import ALIASES, COMMANDS, GROUPS
from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import BangerDirs, MakeApp, RunCli
from banger.testing.samples import sample_image, sample_kernel
from tests.core.daemon.paper_lab import CONFIG, make_lab


class Tab:
    """Presses Tab behind a line, as bash or fish would."""

    def __init__(self, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
        self._run_cli, self._monkeypatch = run_cli, monkeypatch

    def __call__(self, line: str, shell: str = "bash") -> list[str]:
        words = line.split(" ")
        with self._monkeypatch.context() as patch:
            patch.setenv("_BANGER_COMPLETE", f"{shell}_complete")
            patch.setenv("COMP_WORDS", line if shell == "fish" else "\n".join(words))
            patch.setenv("COMP_CWORD", words[-1] if shell == "fish" else str(len(words) - 1))
            patch.delenv("BANGER_DEBUG", raising=False)
            result = self._run_cli()
        assert result.stderr == ""
        return [text.partition(",")[2] for text in result.stdout.splitlines() if text]


@pytest.fixture
def tab(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> Tab:
    return Tab(run_cli, monkeypatch)


@pytest.fixture
def app(banger_app: MakeApp) -> BangerApp:
    app = banger_app(make_lab(), builtin=["core"], config=CONFIG)
    app.services.database.add_image(sample_image())
    app.services.database.add_kernel(sample_kernel())
    for name in ("brisk-otter", "calm-deer"):
        app.call("vm.create", {"name": name, "start": False})
    return app


def test_words_of_the_command_line(tab: Tab) -> None:
    everything = tab("banger ")
    assert {*GROUPS, *(command.name for command in COMMANDS if " " not in command.name)} <= set(everything)
    assert not {"ls", "rm", "shell"} & set(everything)
    assert tab("banger vm sho") == ["show"]
    assert tab("banger vm nothing") == []
    assert "run" in tab("banger ru") and "shell" in tab("banger she")
    assert "--json" in tab("banger vm list --")
    assert tab("banger vm run --accel ") == ["auto", "kvm", "tcg"]


def test_files_of_this_host(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_BANGER_COMPLETE", "bash_complete")
    for line in ("vm exec --env-file se", "vm run ./pr", "vm cp no"):
        words = ["banger", *line.split(" ")]
        monkeypatch.setenv("COMP_WORDS", "\n".join(words))
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        assert run_cli().stdout.splitlines() == [f"file,{words[-1]}"], line


@pytest.mark.parametrize("command", ["show", "start", "stop", "kill", "delete", "logs", "exec"])
def test_names_of_vms(app: BangerApp, tab: Tab, command: str) -> None:
    assert tab(f"banger vm {command} ") == ["brisk-otter", "calm-deer"]
    assert tab(f"banger vm {command} b") == ["brisk-otter"]


@pytest.mark.parametrize("alias", [name for name in ("rm", "shell", "exec", "vm rm") if name in ALIASES])
def test_names_of_vms_behind_short_forms(app: BangerApp, tab: Tab, alias: str) -> None:
    assert tab(f"banger {alias} c") == ["calm-deer"]


def test_places_of_a_copy(app: BangerApp, tab: Tab) -> None:
    """A file's own name comes from the shell: the entry of another type says so."""
    assert tab("banger vm cp b") == ["b", "brisk-otter:"]
    assert tab("banger cp note.txt ") == ["", "brisk-otter:", "calm-deer:"]
    assert tab("banger vm cp ./b") == ["./b"]
    assert tab("banger vm cp brisk-otter:/e") == []


def test_names_of_images_and_kernels(app: BangerApp, tab: Tab) -> None:
    assert tab("banger image show t") == ["test-image"]
    assert tab("banger image rm t") == ["test-image"]
    assert tab("banger kernel show t") == ["test-kernel"]
    assert tab("banger vm run --image t") == ["test-image"]
    assert tab("banger vm create --kernel t") == ["test-kernel"]


def test_names_of_what_plugins_offer(banger_app: MakeApp, tab: Tab) -> None:
    banger_app()
    assert tab("banger vm run --vmm q") == ["qemu"]
    assert tab("banger vm create --net u") == ["user"]
    assert "workdisk" in tab("banger vm run --with ")
    assert tab("banger vm run --without work") == ["workdisk"]


def test_a_new_name_is_not_completed(app: BangerApp, tab: Tab) -> None:
    assert tab("banger vm create --name b") == []
    assert tab("banger image pull x --name t") == []


def test_what_runs_in_a_vm_is_not_completed_with_names(app: BangerApp, tab: Tab) -> None:
    assert tab("banger vm exec calm-deer b") == []


def test_fish_sees_states(app: BangerApp, tab: Tab) -> None:
    assert tab("banger vm show b", "fish") == ["brisk-otter\tcreated, test-image"]


def test_no_daemon_means_no_names_and_none_is_started(banger_dirs: BangerDirs, tab: Tab) -> None:
    assert tab("banger vm show ") == []
    assert not banger_dirs.state.exists()


def test_daemon_that_says_nothing_is_left_alone(banger_dirs: BangerDirs, tab: Tab) -> None:
    path = banger_dirs.state / "s" / "bangerd.sock"
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        assert tab("banger vm show ") == []
    os.unlink(path)


def test_daemon_of_another_version_answers_and_stays(
    app: BangerApp, tab: Tab, banger_dirs: BangerDirs
) -> None:
    banger_dirs.config.write_text(f"# changed\n{CONFIG}")
    assert tab("banger vm show b") == ["brisk-otter"]
    assert not app.services.stopping.is_set()


@pytest.mark.parametrize("cword", ["", "x", "-7", "99"])
def test_nonsense_of_a_shell_is_silence(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, cword: str) -> None:
    monkeypatch.setenv("_BANGER_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "banger")
    monkeypatch.setenv("COMP_CWORD", cword)
    monkeypatch.setenv("BANGER_DEBUG", "")
    assert run_cli().stderr == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_ask_the_program(run_cli: RunCli, shell: str) -> None:
    result = run_cli("completion", shell)
    assert result.status == 0 and f"_BANGER_COMPLETE={shell}_complete" in result.stdout
