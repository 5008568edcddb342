"""Ctrl-C, and clients that are killed, at every moment of ``vm run``: nothing is left and nobody sees a traceback."""

from __future__ import annotations

import signal
import time

import pytest
from vmring import Home, finish, until

COMMAND = ("--", "sleep", "60")


@pytest.fixture(scope="module")
def span(banger: Home) -> float:
    """Seconds that a whole run takes here and now."""
    banger.ok("vm", "run", "--rm", "--", "true")
    began = time.monotonic()
    banger.ok("vm", "run", "--rm", "--", "true")
    return time.monotonic() - began


@pytest.fixture(scope="module")
def awake(banger: Home) -> float:
    """Seconds until the interpreter has come to our code: before that Ctrl-C is Python's own."""
    took = []
    for _ in range(3):
        began = time.monotonic()
        banger.ok("--version")
        took.append(time.monotonic() - began)
    return max(took) + 0.05


def _interrupt(banger: Home, after: float, *arguments: str) -> None:
    process = banger.start("vm", "run", *arguments, *COMMAND)
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    result = finish(process, timeout=90)
    assert result.status == 130, f"after {after:.1f} s: {result.status}\n{result.err}"
    assert "Traceback" not in result.err, f"after {after:.1f} s:\n{result.err}"
    assert "\n\n" not in result.err
    left = banger.vms()
    if left:
        # once its command runs, Ctrl-C is the command's, and a VM without --rm stays: it said so
        assert "--rm" not in arguments, f"after {after:.1f} s: a VM is left\n{result.err}"
        assert f"{left[0]['name']} is still running" in result.err, result.err
        if "banger: interrupted" in result.err:  # and it was not the command that was
            assert result.err.splitlines()[-1] == f"banger: interrupted; '{left[0]['name']}' stays"
        assert left[0]["state"] == "running"
        banger.ok("vm", "delete", left[0]["name"])
    elif "one moment" in result.err:
        assert result.err.endswith((" was deleted again\n", "; no VM was made\n")), result.err
    banger.assert_clean()


def _moments(awake: float, span: float, step: float) -> list[float]:
    count = int((span + 0.5) / step) + 1
    return [awake + number * step for number in range(count)]


@pytest.mark.parametrize(
    "arguments", [("--rm",), pytest.param((), marks=pytest.mark.long)], ids=["run --rm", "run"]
)
def test_interrupt(banger: Home, span: float, awake: float, arguments: tuple[str, ...]) -> None:
    """Twelve moments over a boot; every tenth of a second is the soak's."""
    for after in _moments(awake, span, max(0.1, span / 12)):
        _interrupt(banger, after, *arguments)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("arguments", [("--rm",), ()], ids=["run --rm", "run"])
def test_interrupt_at_every_tenth_of_a_second(
    banger: Home, span: float, awake: float, arguments: tuple[str, ...]
) -> None:
    for after in _moments(awake, span, 0.1):
        _interrupt(banger, after, *arguments)


def test_two_interrupts_in_a_row(banger: Home, span: float, awake: float) -> None:
    for part in (0.2, 0.5, 0.8):
        process = banger.start("vm", "run", "--rm", *COMMAND)
        time.sleep(awake + part * span)
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        result = finish(process, timeout=90)
        assert result.status in (130, -signal.SIGINT), result.err
        assert "Traceback" not in result.err
        until(lambda: banger.vms() == [], 60, "a VM is left")
        banger.assert_clean()


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_client_that_is_killed_at_every_fiftieth_of_a_second(
    banger: Home, span: float, awake: float
) -> None:
    for after in _moments(awake, span, 0.02):
        process = banger.start("vm", "run", "--rm", *COMMAND)
        time.sleep(after)
        process.kill()
        finish(process, timeout=90)
    until(lambda: banger.vms() == [], 90, "a VM is left")
    banger.assert_clean()


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        *(pytest.param(number, marks=pytest.mark.long) for number in (signal.SIGTERM, signal.SIGHUP)),
    ],
)
def test_a_client_that_is_killed_leaves_no_throwaway_vm(
    banger: Home, span: float, awake: float, number: signal.Signals
) -> None:
    for part in (0.1, 0.3, 0.6, 0.9, 1.3):
        process = banger.start("vm", "run", "--rm", *COMMAND)
        time.sleep(awake + part * span)
        process.send_signal(number)
        assert "Traceback" not in finish(process, timeout=90).err
        until(lambda: banger.vms() == [], 90, f"{number.name} after {part:.1f} of a boot left a VM")
        banger.assert_clean()
