from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

from banger.cli.group import learn_commands, make_cli
from banger.cli.table import COMMANDS
from banger.config.paths import find_paths
from banger.testing.pytest_plugin import BangerDirs, RunCli


@pytest.mark.parametrize(
    ("words", "suggestion"),
    [
        (("vms", "list"), "did you mean 'vm'?"),
        (("vm", "lst"), "did you mean 'list'?"),
        (("docter",), "did you mean 'doctor'?"),
        (("image", "pul"), "did you mean 'pull'?"),
    ],
)
def test_unknown_command_is_refused_with_a_suggestion(
    run_cli: RunCli, words: tuple[str, ...], suggestion: str
) -> None:
    result = run_cli(*words)
    assert result.status == 2 and result.stdout == ""
    assert "there is no command 'banger" in result.stderr and suggestion in result.stderr
    assert len(result.stderr.splitlines()) <= 2


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_help_and_is_what_the_table_says(command: Any, run_cli: RunCli) -> None:
    module, _, name = command.target.partition(":")
    if command.name == "bench":
        pytest.importorskip(module)
    result = run_cli(*command.name.split(), "--help")
    assert result.status == 0 and result.stderr == ""
    assert result.stdout.startswith(f"Usage: banger {command.name} ")


def test_help_lists_every_command_and_says_where_to_start(run_cli: RunCli) -> None:
    result = run_cli("--help")
    assert result.status == 0
    for word in ("vm", "image", "kernel", "daemon", "plugins", "doctor", "ps", "vm run --rm -- uname -a"):
        assert word in result.stdout
    group = run_cli("vm", "--help").stdout
    assert all(
        f"\n  {command.name.split()[1]} " in group for command in COMMANDS if command.name.startswith("vm ")
    )


@pytest.mark.parametrize("words", [(), ("vm",), ("image",)])
def test_no_command_shows_the_help_as_it_is(run_cli: RunCli, words: tuple[str, ...]) -> None:
    result = run_cli(*words)
    shown = result.stdout + result.stderr
    assert shown.startswith("Usage: banger") and "Commands:" in shown
    assert "hint:" not in shown


def test_h_is_short_for_help(run_cli: RunCli) -> None:
    assert run_cli("vm", "run", "-h").stdout == run_cli("vm", "run", "--help").stdout


@pytest.mark.parametrize(
    "words",
    [
        ("vm", "run", "--nonsense"),
        ("vm", "show"),
        ("vm", "stop", "--timeout", "soon", "x"),
        ("vm", "show", "a", "b"),
    ],
)
def test_wrong_usage_is_one_line_and_where_help_is(run_cli: RunCli, words: tuple[str, ...]) -> None:
    result = run_cli(*words)
    assert result.status == 2 and result.stdout == ""
    message, hint = result.stderr.splitlines()
    assert message.startswith("banger: ") and hint == f"hint: banger {words[0]} {words[1]} --help"


# Commands of plugins


def write_cache(*commands: dict[str, str]) -> None:
    path = find_paths().commands
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"fingerprint": "", "commands": list(commands)}))


@pytest.fixture
def salute(monkeypatch: pytest.MonkeyPatch, banger_dirs: BangerDirs) -> None:
    module = ModuleType("banger_salute")

    @click.command()
    def say() -> int:
        click.echo("hello")
        return 3

    module.say, module.no_command = say, 7  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "banger_salute", module)


def test_plugin_command_runs_and_its_result_is_the_exit_status(salute: None, run_cli: RunCli) -> None:
    write_cache({"name": "salute say", "help": "greet", "target": "banger_salute:say"})
    result = run_cli("salute", "say")
    assert (result.status, result.stdout) == (3, "hello\n")


@pytest.mark.parametrize(
    "target", ["banger_salute.gone:say", "banger_salute:nothing", "banger_salute:no_command"]
)
def test_plugin_command_that_cannot_be_loaded_is_one_clear_error(
    salute: None, run_cli: RunCli, target: str
) -> None:
    write_cache({"name": "salute say", "help": "greet", "target": target})
    result = run_cli("salute", "say")
    assert result.status == 1 and target in result.stderr and "hint: banger doctor" in result.stderr


@pytest.mark.parametrize("target", ["banger_gone:say", "banger_gone.deep:say", ""])
def test_command_of_a_plugin_that_is_gone_is_gone_and_the_others_stay(
    salute: None, run_cli: RunCli, target: str
) -> None:
    write_cache(
        {"name": "gone", "help": "go", "target": target},
        {"name": "salute say", "help": "greet", "target": "banger_salute:say"},
    )
    assert "salute" in run_cli("--help").stdout
    result = run_cli("gone")
    assert result.status == 2 and "there is no command 'banger gone'" in result.stderr


def test_commands_are_looked_for_without_importing_their_plugins(
    banger_dirs: BangerDirs, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "banger_loud.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    write_cache({"name": "loud", "help": "be heard", "target": "banger_loud:say"})
    assert "be heard" in run_cli("--help").stdout


@pytest.mark.parametrize("name", ["vm run", "vm", "vm run fast", "doctor", "doctor deep"])
def test_plugin_command_never_hides_one_of_ours(salute: None, run_cli: RunCli, name: str) -> None:
    write_cache({"name": name, "help": "greet", "target": "banger_salute:say"})
    assert "Create a VM and run COMMAND in it" in run_cli("vm", "run", "--help").stdout
    assert "Look at the host" in run_cli("doctor", "--help").stdout


def test_plugin_may_add_a_command_to_a_group_of_ours(salute: None, run_cli: RunCli) -> None:
    write_cache({"name": "vm salute", "help": "greet it", "target": "banger_salute:say"})
    assert "greet it" in run_cli("vm", "--help").stdout
    assert run_cli("vm", "salute").stdout == "hello\n"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"commands": [{}]}', b'{"commands": 3}'])
def test_damaged_cache_is_as_good_as_none(banger_dirs: BangerDirs, run_cli: RunCli, content: bytes) -> None:
    path = find_paths().commands
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert run_cli("--help").status == 0


def test_where_no_daemon_answers_our_own_plugins_commands_are_known(
    banger_dirs: BangerDirs, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As on a host whose service is down: what says so, and mends it, is a plugin's command."""
    monkeypatch.setenv("BANGER_SOCKET", str(tmp_path / "none.sock"))
    monkeypatch.setattr("banger.cli.client._SERVICE_TIMEOUT", 0.0)
    result = run_cli("system", "status", "--help")
    assert result.status == 0 and "Usage: banger system status" in result.stdout
    assert "there is no command 'banger nonsense'" in run_cli("nonsense").stderr


def test_making_the_tree_imports_no_command() -> None:
    assert isinstance(make_cli(), click.Group)


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["vm", "workspace", "--help"], True),
        (["vm", "workspace"], True),
        (["hello"], True),
        (["vm"], False),
        (["vm", "--help"], False),
        (["--help"], False),
        ([], False),
        (["vm", "list"], False),
        (["ls", "-q"], False),
        (["run", "x"], False),
    ],
)
def test_a_daemon_is_asked_for_commands_that_nobody_knows_yet(
    monkeypatch: pytest.MonkeyPatch, banger_dirs: BangerDirs, arguments: list[str], asked: bool
) -> None:
    calls: list[str] = []
    monkeypatch.setattr("banger.cli.client.Client.call", lambda self, name: calls.append(name))
    learn_commands(arguments)
    assert bool(calls) == asked
