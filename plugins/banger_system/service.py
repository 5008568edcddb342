"""The two services as systemd has them, and whether the daemon answers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from banger.api import BangerError, Client, Commands, Completed, DaemonError, HostError
from banger_system.layout import DAEMON_UNIT, HELPER_UNIT, Layout

#: Seconds for systemd to answer, and to end or start a service.
_ASK_SECONDS, _WORK_SECONDS = 10.0, 120.0
#: Seconds that the daemon gets until it answers: it adopts what runs first.
ANSWER_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Unit:
    """A service.

    :param state: ``active``, ``inactive``, ``failed``, …, as systemd says it; ``missing``: it knows none.
    """

    name: str
    state: str
    detail: str
    pid: int | None
    restarts: int


def check_systemd(commands: Commands) -> None:
    """HostError unless systemd is what runs this host."""
    hint = "system mode needs it; user mode needs nothing: banger vm run"
    if commands.find("systemctl") is None:
        raise HostError("there is no systemd here", hint=hint)
    done = commands.run(["systemctl", "show", "--property=Version"], timeout=_ASK_SECONDS, check=False)
    if done.status != 0:
        raise HostError("systemd does not run here", hint=hint)


def find_unit(name: str, commands: Commands) -> Unit:
    """Return how a service is."""
    wanted = "LoadState,ActiveState,SubState,MainPID,NRestarts,Result"
    try:
        argv = ["systemctl", "show", f"--property={wanted}", name]
        done = commands.run(argv, timeout=_ASK_SECONDS, check=False)
    except HostError as error:
        return Unit(name, "unknown", error.message, None, 0)
    found = dict(
        line.split("=", 1) for line in done.stdout.decode(errors="replace").splitlines() if "=" in line
    )
    if found.get("LoadState") in (None, "not-found"):
        return Unit(name, "missing", "", None, 0)
    pid, restarts = found.get("MainPID", "0"), found.get("NRestarts", "0")
    detail = found.get("SubState", "") if found.get("Result") == "success" else found.get("Result", "")
    number = int(pid) if pid.isdecimal() and pid != "0" else None
    return Unit(
        name,
        found.get("ActiveState", "unknown"),
        detail,
        number,
        int(restarts) if restarts.isdecimal() else 0,
    )


def systemctl(commands: Commands, *arguments: str, check: bool = True) -> Completed:
    """Let systemd do something, bounded."""
    return commands.run(["systemctl", *arguments], timeout=_WORK_SECONDS, check=check)


def ask_daemon(
    layout: Layout, operation: str = "daemon.status", seconds: float = 15.0
) -> dict[str, Any] | None:
    """Return what the host's daemon answers; None when it does not."""
    try:
        return Client(layout.socket).peek(operation, seconds)
    except BangerError:
        return None


def wait_answers(layout: Layout, commands: Commands, seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
    """Wait until the daemon answers and the helper runs; return ``daemon.status``.

    :raises DaemonError: not within ``seconds``, or one of the services has given up.
    """
    deadline = time.monotonic() + seconds
    while True:
        answer, helper = ask_daemon(layout), find_unit(HELPER_UNIT, commands)
        if answer is not None and helper.state == "active":
            return answer
        broken = next(
            (unit for unit in (helper, find_unit(DAEMON_UNIT, commands)) if unit.state == "failed"), None
        )
        if broken is not None or time.monotonic() > deadline:
            name = broken.name if broken else (DAEMON_UNIT if answer is None else HELPER_UNIT)
            how = f"ended ({broken.detail})" if broken else f"did not answer within {seconds:.0f} s"
            raise DaemonError(
                f"{name} {how}: {_last_words(name, commands)}", hint=f"what happened: journalctl -u {name}"
            )
        time.sleep(0.1)


def _last_words(name: str, commands: Commands) -> str:
    try:
        argv = ["journalctl", "--unit", name, "--lines", "3", "--output", "cat", "--no-pager"]
        done = commands.run(argv, timeout=_ASK_SECONDS, check=False)
    except HostError:
        return "its journal cannot be read"
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"
