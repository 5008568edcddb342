"""Doctor's lines about building images: what is missing, and the command that mends it."""

from __future__ import annotations

from pathlib import Path

import pytest

from banger.model.check import CheckStatus
from banger.testing.fakes import FakeCommands
from banger_images_debian import banger_register_checks
from banger_images_debian.checks import check_build_tools, check_namespaces


@pytest.mark.parametrize(
    ("programs", "keyring", "packages"),
    [
        ((), True, "mmdebstrap"),
        (("mmdebstrap",), False, "debian-archive-keyring"),
        ((), False, "mmdebstrap debian-archive-keyring"),
    ],
)
def test_missing_packages_are_named_in_one_command(
    tmp_path: Path, programs: tuple[str, ...], keyring: bool, packages: str
) -> None:
    if keyring:
        _make_keyring(tmp_path)
    found = check_build_tools(FakeCommands(programs), tmp_path)
    assert (found.status, found.hint) == (CheckStatus.WARN, f"sudo apt install {packages}")


def test_host_that_can_build_passes(tmp_path: Path) -> None:
    _make_keyring(tmp_path)
    assert check_build_tools(FakeCommands(("mmdebstrap",)), tmp_path).status is CheckStatus.PASS


def test_missing_newuidmap_is_a_warning_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    found = check_namespaces(FakeCommands(()))
    assert (found.status, found.hint) == (CheckStatus.WARN, "sudo apt install uidmap")


def test_namespace_that_can_be_made_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    commands = FakeCommands()
    assert check_namespaces(commands).status is CheckStatus.PASS
    assert commands.lines == [
        "unshare --user --map-root-user --map-auto --mount --pid --fork --kill-child true"
    ]


def test_checks_are_declared() -> None:
    assert {check.name for check in banger_register_checks()} == {"image builds", "user namespaces"}


def _make_keyring(root: Path) -> None:
    path = root / "usr/share/keyrings/debian-archive-keyring.gpg"
    path.parent.mkdir(parents=True)
    path.touch()
