"""The traps of software emulation and of KVM that is not one, and boots that fail."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from vmring import Home, Ring, until

ODD = Path(__file__).parent / "odd"


def _has_hardware_virtualisation() -> bool:
    flags = next(
        (line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), ""
    )
    return bool({"vmx", "svm"} & set(flags.split()))


@pytest.fixture(scope="module")
def odd(ring: Ring) -> Iterator[Home]:
    """A home whose daemon has a third party's plugin with odd VMMs."""
    home = ring.home()
    home.program = (sys.executable, "-m", "banger")
    home.env["PYTHONPATH"] = str(ODD)
    # the command line would start it without PYTHONPATH
    daemon = subprocess.Popen(
        [sys.executable, "-m", "banger.daemon.main"], env=home.env, cwd="/", stdin=subprocess.DEVNULL
    )
    try:
        until((home.state / "s" / "bangerd.sock").exists, 30, "the daemon did not start")
        yield home
        home.close()
    finally:
        daemon.terminate()
        daemon.wait(30)


def _rate(banger: Home, vm: str) -> float:
    """Return guest seconds per host second, over two seconds."""
    # nothing but the shell's own words: starting a program would take longer than what is measured
    script = "while read go; do read up rest </proc/uptime; echo $up; done"
    process = banger.start("vm", "exec", vm, "--", "sh", "-c", script, bufsize=0)
    with process:
        host_begin, guest_begin = _read_both(process)
        time.sleep(2)
        host_end, guest_end = _read_both(process)
        assert process.stdin is not None
        process.stdin.close()
    return (guest_end - guest_begin) / (host_end - host_begin)


def _read_both(process: subprocess.Popen[bytes]) -> tuple[float, float]:
    """Return the host's and the guest's clock, by the quickest of several answers."""
    assert process.stdin is not None
    assert process.stdout is not None
    answers: list[tuple[float, float, float]] = []
    for _ in range(8):
        before = time.monotonic()
        process.stdin.write(b"\n")
        guest = float(process.stdout.readline())
        after = time.monotonic()
        answers.append((after - before, (before + after) / 2, guest))
    return min(answers)[1:]


def test_two_seconds_of_the_guest_are_two_of_the_host(banger: Home, vm: str) -> None:
    rates: list[float] = []
    # a wrong frequency shows in every rate; a host that is itself held up for a moment spoils only some
    while not any(0.9 < rate < 1.1 for rate in rates):
        assert len(rates) < 6, rates
        rates.append(_rate(banger, vm))


def test_the_kernel_is_told_the_tsc_or_has_a_timer_to_measure_it(banger: Home, vm: str) -> None:
    detail = banger.show(vm)
    if detail["accelerator"] == "kvm":
        pytest.skip("KVM is not concerned")
    told = "tsc_early_khz=" in banger.sh(vm, "cat /proc/cmdline")
    assert (detail["machine"], told) in (("microvm", True), ("q35", False))


def test_kvm_that_would_hang_a_guest_is_not_used(banger: Home) -> None:
    if not Path("/dev/kvm").exists() or _has_hardware_virtualisation():
        pytest.skip("this host has no such KVM; the faked one is below")
    result = banger.ok("vm", "run", "--rm", "--", "true")
    assert "software emulation" in result.err
    refused = banger("vm", "run", "--rm", "--accel", "kvm", "--", "true")
    assert refused.status == 1
    assert "KVM is not usable" in refused.err
    assert "hint: " in refused.err


def test_faked_kvm_that_answers_but_has_no_hardware_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from banger.host import kvm
    from banger_vmm_qemu import probe

    device, cpuinfo = tmp_path / "kvm", tmp_path / "cpuinfo"
    device.touch()
    cpuinfo.write_text("flags\t\t: fpu tsc constant_tsc hypervisor\n")
    monkeypatch.setattr(kvm, "_answers", lambda _: True)
    found = kvm.probe_kvm(device, cpuinfo)
    assert not found.usable
    monkeypatch.setattr(probe, "probe_kvm", lambda: found)
    from banger.host.command import HostCommands

    chosen = probe.probe(HostCommands(), "auto")
    assert (chosen.usable, chosen.accelerator) == (True, "tcg")
    assert chosen.reason is not None
    assert "software emulation" in chosen.reason
    cpuinfo.write_text("flags\t\t: fpu tsc svm\n")
    assert kvm.probe_kvm(device, cpuinfo).usable


def test_software_emulation_can_be_forced(banger: Home) -> None:
    banger.ok("vm", "create", "--name", "emulated", "--accel", "tcg", "--wait", "agent")
    assert banger.show("emulated")["accelerator"] == "tcg"
    banger.ok("vm", "delete", "emulated")


def test_the_other_machine_type_boots_and_its_clock_is_right(odd: Home) -> None:
    odd.ok("vm", "create", "--name", "large", "--vmm", "q35", "--accel", "tcg", "--wait", "agent")
    assert odd.show("large")["machine"] == "q35"
    assert odd.sh("large", "grep -c tsc_early_khz /proc/cmdline || true") == "0"
    rates = [_rate(odd, "large") for _ in range(3)]
    assert 0.9 < sorted(rates)[1] < 1.1, rates
    odd.ok("vm", "delete", "large")


@pytest.mark.parametrize(
    ("vmm", "words"),
    [
        pytest.param("no-disks", "disk", marks=pytest.mark.long),
        ("no-init", "Kernel panic"),
        ("no-kernel", "qemu"),
    ],
)
def test_a_boot_that_fails_says_why(odd: Home, vmm: str, words: str) -> None:
    result = odd("vm", "create", "--name", "sad", "--vmm", vmm)
    assert result.status == 1
    assert words in result.err
    assert "hint: " in result.err
    assert "Traceback" not in result.err
    detail = odd.show("sad")
    assert detail["vm"]["state"] == "error"
    assert words in detail["vm"]["last_error"]
    assert detail["holds"] == []
    assert odd.qemus() == []
    odd.ok("vm", "delete", "sad")
    thrown = odd("vm", "run", "--rm", "--vmm", vmm, "--", "true")
    assert thrown.status == 1
    assert words in thrown.err
    odd.assert_clean()
