from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from banger.errors import HostError
from banger.helper.requests import ShowJail
from banger.host.kvm import Kvm
from banger.model.check import CheckStatus
from banger.testing.fakes import FakeCommands
from banger.testing.privileged import FakePrivileged
from banger_vmm_firecracker import checks, probe


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeCommands:
    program = tmp_path / "firecracker"
    program.touch()
    monkeypatch.setattr(probe, "_versions", {})
    monkeypatch.setattr(probe, "probe_kvm", lambda: Kvm(True))
    monkeypatch.setattr(probe.platform, "machine", lambda: "x86_64")
    monkeypatch.setenv(probe.VARIABLE, str(program))
    return FakeCommands()


def says(commands: FakeCommands, version: str) -> None:
    commands.answer("--version", stdout=f"Firecracker v{version}\n\nSupported snapshot data".encode())


@pytest.mark.parametrize("version", ["1.14.4", "1.14.5", "1.15.1", "1.16.0", "1.16.1", "2.0.0", "1.15.1-dev"])
def test_versions_without_known_holes_are_usable(commands: FakeCommands, version: str) -> None:
    says(commands, version)
    found = probe.probe(commands, "auto", FakePrivileged(None))
    assert found.usable and found.accelerator == "kvm" and found.version == version.removesuffix("-dev")
    expected = CheckStatus.WARN if version.startswith("1.16.") else CheckStatus.PASS
    assert checks.check_firecracker(commands).status is expected


@pytest.mark.parametrize("version", ["0.25.2", "1.7.0", "1.13.2", "1.14.3", "1.15.0"])
def test_versions_with_known_holes_are_refused_with_the_advisories(
    commands: FakeCommands, version: str
) -> None:
    says(commands, version)
    found = probe.probe(commands, "auto")
    assert not found.usable and f"{version} has known holes: CVE-2026-1386" in str(found.reason)
    assert checks.check_firecracker(commands).status is CheckStatus.FAIL


def test_without_kvm_it_is_no_choice(commands: FakeCommands, monkeypatch: pytest.MonkeyPatch) -> None:
    says(commands, "1.15.1")
    monkeypatch.setattr(probe, "probe_kvm", lambda: Kvm(False, "there is no /dev/kvm", "mend it"))
    found = probe.probe(commands, "auto")
    assert (found.usable, found.reason, found.hint) == (
        False,
        "firecracker needs KVM: there is no /dev/kvm",
        "mend it",
    )
    assert checks.check_firecracker(commands).status is CheckStatus.WARN
    assert "emulates no processor" in str(probe.probe(commands, "tcg").reason)


def test_no_program_is_no_fault(commands: FakeCommands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(probe.VARIABLE)
    monkeypatch.setattr(commands, "find", lambda _: None)
    assert probe.probe(commands, "auto").reason == "firecracker is not installed"
    assert checks.check_firecracker(commands).status is CheckStatus.PASS


def test_a_program_that_is_something_else_is_not_used(commands: FakeCommands) -> None:
    commands.answer("--version", stdout=b"QEMU emulator version 8.2.4\n")
    assert "does not say that it is Firecracker" in str(probe.probe(commands, "auto").reason)
    assert checks.check_firecracker(commands).status is CheckStatus.FAIL


def says_both(commands: FakeCommands, firecracker: str, jailer: str) -> None:
    commands.answer("firecracker --version", stdout=f"Firecracker v{firecracker}\n".encode())
    commands.answer("jailer --version", stdout=f"Jailer v{jailer}\n".encode())


def test_a_jail_wants_both_programs_of_one_version(commands: FakeCommands) -> None:
    says_both(commands, "1.15.1", "1.15.1")
    found = checks.check_jail(commands, FakePrivileged("helper"))
    assert (found.status, found.detail) == (CheckStatus.PASS, "firecracker runs in one, by jailer 1.15.1")
    probe._versions.clear()
    says_both(commands, "1.15.1", "1.14.4")
    found = checks.check_jail(commands, FakePrivileged("helper"))
    assert found.status is CheckStatus.WARN
    assert found.detail == "firecracker 1.15.1 and jailer 1.14.4 are of different versions"


def test_a_jail_that_cannot_be_made_is_said_with_its_reason(commands: FakeCommands) -> None:
    class Refuses(FakePrivileged):
        def _jail_show(self, request: ShowJail) -> dict[str, Any]:
            raise HostError("no devices can be made there", hint="mend it")

    says(commands, "1.15.1")
    refused = probe.probe(commands, "auto", Refuses())
    assert (refused.usable, refused.reason, refused.hint) == (
        False,
        "no devices can be made there",
        "mend it",
    )
    assert probe.probe(commands, "auto", FakePrivileged("helper")).usable
    probe._versions.clear()
    says_both(commands, "1.15.1", "1.14.4")
    refused = probe.probe(commands, "auto", FakePrivileged("helper"))
    assert not refused.usable and "are of different versions" in str(refused.reason)
    found = checks.check_jail(commands, Refuses())
    assert (found.status, found.detail, found.hint) == (
        CheckStatus.WARN,
        "no devices can be made there",
        "mend it",
    )


def test_where_nobody_can_make_a_jail_none_is_missed(
    commands: FakeCommands, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checks.check_jail(commands, FakePrivileged(None)).detail.startswith("none: no root helper")
    monkeypatch.delenv(probe.VARIABLE)
    monkeypatch.setattr(commands, "find", lambda _: None)
    assert checks.check_jail(commands).detail == "not needed: firecracker is not installed"
