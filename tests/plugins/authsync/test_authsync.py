"""What the plugin offers, and what of a git configuration it takes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from banger.api import HostCommands
from banger.testing.fakes import FakeCommands
from banger.testing.pytest_plugin import MakeApp
from banger_authsync import banger_register_auth_syncs
from banger_authsync.identity import read_identity

SECRET = '[credential]\n\thelper = store\n[url "https://token@host/"]\n\tinsteadOf = https://host/\n'


def git_value(file: Path, key: str) -> str:
    done = subprocess.run(["git", "config", "--file", str(file), key], capture_output=True, text=True)
    assert done.returncode == 0, done
    return done.stdout.removesuffix("\n")


@pytest.mark.parametrize("name", ["Ann Example", 'Ann "A" \\ Example # ; x', "Ünì\tcode", " blanks "])
def test_identity_is_name_and_address_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)
    (tmp_path / ".gitconfig").write_text(SECRET)
    for key, value in (("user.name", name), ("user.email", "ann@example.org"), ("user.signingkey", "K")):
        subprocess.run(["git", "config", "--global", key, value], check=True)
    made = read_identity(HostCommands())
    assert made is not None
    (tmp_path / "out").write_bytes(made)
    assert git_value(tmp_path / "out", "user.name") == name
    assert git_value(tmp_path / "out", "user.email") == "ann@example.org"
    assert b"token" not in made and b"helper" not in made and b"signingkey" not in made


def test_nobody_has_no_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_identity(HostCommands()) is None
    assert read_identity(FakeCommands(programs=())) is None


def test_a_repository_has_no_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    subprocess.run(["git", "init", "-q", str(tmp_path / "repo")], check=True)
    subprocess.run(["git", "-C", str(tmp_path / "repo"), "config", "user.name", "Mallory"], check=True)
    monkeypatch.chdir(tmp_path / "repo")
    assert read_identity(HostCommands()) is None


def test_logins_are_for_their_owner_alone() -> None:
    offers = {entry.name: entry for entry in banger_register_auth_syncs()}
    assert sorted(offers) == ["claude", "codex", "gh", "git", "pi"]
    assert {entry.mode for name, entry in offers.items() if name != "git"} == {0o600}
    assert offers["git"].keep


def test_the_list_says_what_there_is(
    banger_app: MakeApp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    app = banger_app(builtin=["core", "authsync"], config='[auth]\nsync = ["codex"]\n')

    def listed() -> dict[str, tuple[bool, bool]]:
        offers = app.call("auth.list")["offers"]
        return {offer["name"]: (offer["there"], offer["chosen"]) for offer in offers}

    assert listed()["codex"] == (False, True) and listed()["git"] == (False, False)
    (tmp_path / ".codex").mkdir()
    (tmp_path / ".codex/auth.json").touch()
    (tmp_path / ".gitconfig").write_text("[user]\n\tname = Ann\n")
    assert listed()["codex"] == (True, True) and listed()["git"] == (True, False)
