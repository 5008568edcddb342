"""Which accelerator QEMU gets: KVM only where it truly works."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from banger.host.kvm import Kvm, probe_kvm, processor_flags
from banger.model.check import CheckStatus
from banger.testing.fakes import FakeCommands
from banger_vmm_qemu import checks, probe, tsc

USABLE = Kvm(True)
NOT_USABLE = Kvm(False, "no permission for /dev/kvm", "sudo usermod -aG kvm $USER, then log in again")


def cpuinfo(tmp_path: Path, flags: str) -> Path:
    path = tmp_path / "cpuinfo"
    path.write_text(
        f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: vmx_none\n\nprocessor\t: 1\nflags\t\t: other\n"
    )
    return path


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "kvm"
    path.write_text("")
    return path


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the device answer every ioctl as KVM does; the descriptors asked are collected."""
    asked: list[int] = []

    def ioctl(descriptor: int, request: int, argument: int) -> int:
        asked.append(request)
        return 12 if request == 0xAE00 else os.open(os.devnull, os.O_RDONLY)

    monkeypatch.setattr("fcntl.ioctl", ioctl)
    return asked


@pytest.mark.parametrize("flags", ["fpu vmx sse", "fpu svm sse"])
def test_device_that_answers_on_a_processor_that_virtualises_is_usable(
    tmp_path: Path, device: Path, answers: list[int], flags: str
) -> None:
    assert probe_kvm(device, cpuinfo(tmp_path, flags)) == Kvm(True)
    assert answers == [0xAE00, 0xAE01]


def test_device_that_answers_on_a_processor_that_does_not_is_the_trap(
    tmp_path: Path, device: Path, answers: list[int]
) -> None:
    """Nested clouds: every ioctl succeeds, and a stock kernel hangs early."""
    found = probe_kvm(device, cpuinfo(tmp_path, "fpu hypervisor sse svmx"))
    assert not found.usable and "neither vmx nor svm" in (found.reason or "")


def test_processor_whose_flags_cannot_be_read_is_not_trusted(
    tmp_path: Path, device: Path, answers: list[int]
) -> None:
    assert not probe_kvm(device, tmp_path / "missing").usable


def test_device_that_is_not_there(tmp_path: Path) -> None:
    found = probe_kvm(tmp_path / "kvm", cpuinfo(tmp_path, "vmx"))
    assert not found.usable and "there is no" in (found.reason or "") and found.hint


def test_device_that_is_something_else_does_not_answer(tmp_path: Path, device: Path) -> None:
    found = probe_kvm(device, cpuinfo(tmp_path, "vmx"))
    assert not found.usable and "does not answer" in (found.reason or "")


def test_device_of_another_version_does_not_answer(
    tmp_path: Path, device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcntl.ioctl", lambda *_: 11)
    assert not probe_kvm(device, cpuinfo(tmp_path, "vmx")).usable


@pytest.mark.skipif(os.geteuid() == 0, reason="needs an ordinary user: root opens everything")
def test_device_without_permission_has_the_command_that_mends_it(tmp_path: Path, device: Path) -> None:
    device.chmod(0)
    found = probe_kvm(device, cpuinfo(tmp_path, "vmx"))
    assert not found.usable and "usermod -aG kvm" in (found.hint or "")


def test_device_that_is_a_directory_is_one_clause(tmp_path: Path) -> None:
    found = probe_kvm(tmp_path, cpuinfo(tmp_path, "vmx"))
    assert not found.usable and "does not open" in (found.reason or "")


def test_probing_leaks_no_descriptor(tmp_path: Path, device: Path, answers: list[int]) -> None:
    path = cpuinfo(tmp_path, "vmx")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        probe_kvm(device, path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_flags_are_the_first_processors(tmp_path: Path) -> None:
    assert processor_flags(cpuinfo(tmp_path, "a b c")) == {"a", "b", "c"}
    assert processor_flags(tmp_path / "missing") == set()


# The choice


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> FakeCommands:
    monkeypatch.setattr(probe, "_versions", {})
    commands = FakeCommands()
    commands.answer("--version", stdout=b"QEMU emulator version 8.2.4 (Debian 1:8.2.4)\n")
    return commands


@pytest.fixture
def host_kvm(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_kvm(found: Kvm) -> None:
        monkeypatch.setattr(probe, "probe_kvm", lambda: found)
        monkeypatch.setattr(checks, "probe_kvm", lambda: found)

    return set_kvm


@pytest.mark.parametrize(
    ("accel", "found", "usable", "accelerator"),
    [
        ("auto", USABLE, True, "kvm"),
        ("auto", NOT_USABLE, True, "tcg"),
        ("tcg", USABLE, True, "tcg"),
        ("kvm", USABLE, True, "kvm"),
        ("kvm", NOT_USABLE, False, ""),
    ],
)
def test_accelerator(
    commands: FakeCommands, host_kvm: Any, accel: str, found: Kvm, usable: bool, accelerator: str
) -> None:
    host_kvm(found)
    result = probe.probe(commands, accel)
    assert (result.usable, result.accelerator, result.version) == (usable, accelerator, "8.2.4")


def test_fallback_says_that_it_is_slower_and_what_mends_it(commands: FakeCommands, host_kvm: Any) -> None:
    host_kvm(NOT_USABLE)
    result = probe.probe(commands, "auto")
    assert "slower" in (result.reason or "") and "no permission" in (result.reason or "")
    assert result.hint == NOT_USABLE.hint
    assert "KVM is not usable" in (probe.probe(commands, "kvm").reason or "")


def test_missing_program_names_its_package() -> None:
    result = probe.probe(FakeCommands(programs=()), "auto")
    assert not result.usable and "qemu-system-x86_64 is not installed" in (result.reason or "")
    assert result.hint == "sudo apt install qemu-system-x86"


def test_program_that_does_not_run_is_not_usable(commands: FakeCommands) -> None:
    commands.answer("--version", status=127, stderr=b"error while loading shared libraries: libfoo.so")
    result = probe.probe(commands, "auto")
    assert not result.usable and "libfoo.so" in (result.reason or "")


def test_version_is_asked_for_once(commands: FakeCommands, host_kvm: Any) -> None:
    host_kvm(USABLE)
    for _ in range(3):
        probe.probe(commands, "auto")
    assert len(commands.calls) == 1


def test_checks_pass_warn_and_fail_as_they_should(commands: FakeCommands, host_kvm: Any) -> None:
    host_kvm(NOT_USABLE)
    assert checks.check_qemu(commands).status is CheckStatus.PASS
    missing = checks.check_qemu(FakeCommands(programs=()))
    assert missing.status is CheckStatus.FAIL and missing.hint
    warned = checks.check_kvm(commands)
    assert warned.status is CheckStatus.WARN and warned.hint == NOT_USABLE.hint and "slower" in warned.detail
    host_kvm(USABLE)
    assert checks.check_kvm(commands).status is CheckStatus.PASS


# The TSC


@pytest.mark.parametrize("flags", [set(), {"constant_tsc"}, {"nonstop_tsc"}, {"tsc"}])
def test_tsc_that_is_not_constant_is_not_measured(flags: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tsc, "processor_flags", lambda: flags)
    monkeypatch.setattr(tsc, "_measure", lambda read: pytest.fail("measured"))
    tsc.measure_tsc_khz.cache_clear()
    assert tsc.measure_tsc_khz() is None
    tsc.measure_tsc_khz.cache_clear()


@pytest.mark.parametrize(("measured", "given"), [(2_400_000, 2_400_000), (1, None), (10**8, None)])
def test_implausible_measurement_is_none(
    measured: int, given: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tsc, "processor_flags", lambda: {"constant_tsc", "nonstop_tsc"})
    monkeypatch.setattr(tsc, "_measure", lambda read: measured)
    tsc.measure_tsc_khz.cache_clear()
    assert tsc.measure_tsc_khz() == given
    tsc.measure_tsc_khz.cache_clear()


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="rdtsc is an instruction of x86_64")
def test_two_measurements_agree() -> None:
    if not {"constant_tsc", "nonstop_tsc"} <= processor_flags():
        pytest.skip("this processor's TSC is not constant")
    measured = []
    for _ in range(2):
        tsc.measure_tsc_khz.cache_clear()
        measured.append(tsc.measure_tsc_khz())
    first, second = measured
    assert first is not None and second is not None
    assert abs(first - second) < first / 1000, "one per mille is a second and a half per half hour"
