"""What a command finds around it, and terminals that are left, against the real agent on this host."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from banger.guest import wire
from banger.guest.channel import GuestChannel
from banger.guest.wire import Frame
from tests.core.guest.client import run_command
from tests.core.guest.test_agent import read_all, read_until, until


async def terminal_says(channel: GuestChannel, script: str, **fields: object) -> bytes:
    stream = await channel.open("exec", argv=["sh", "-c", script], tty=True, **fields)
    output, _ = await read_all(stream)
    return output.replace(b"\r\n", b"\n")


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        ("xterm-256color", b"xterm-256color"),
        ("vt100", b"vt100"),
        ("xterm-of-the-future", b"xterm-256color"),
        ("../../etc/passwd", b"xterm-256color"),
        ("", b"xterm-256color"),
        ("x" * 500, b"xterm-256color"),
    ],
)
@pytest.mark.skipif(not Path("/lib/terminfo/x/xterm-256color").exists(), reason="no terminfo data base here")
async def test_an_unknown_terminal_becomes_a_known_one(
    channel: GuestChannel, wanted: str, got: bytes
) -> None:
    assert await terminal_says(channel, "printf %s $TERM", env={"TERM": wanted}) == got


async def test_without_a_terminal_no_name_is_made_up(channel: GuestChannel) -> None:
    done = await run_command(
        channel, ["sh", "-c", "echo ${TERM-none}"], input=b"", timeout=20, max_output=1000
    )
    assert done.stdout == b"none\n"


@pytest.mark.skipif(not Path("/usr/share/zoneinfo/Etc/UTC").exists(), reason="no zones here")
async def test_a_zone_is_set_where_it_is_known(channel: GuestChannel) -> None:
    for zone, env, shown in (
        ("Etc/UTC", {}, b"Etc/UTC"),
        ("Mars/Olympus", {}, b"none"),
        ("../../../etc/passwd", {}, b"none"),
        ("Etc/UTC", {"TZ": "CET"}, b"CET"),
    ):
        assert await terminal_says(channel, "printf %s ${TZ-none}", tz=zone, env=env) == shown


async def test_a_process_goes_on_when_its_terminal_is_left(
    channel: GuestChannel, listening_agent: Path, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    script = f"echo ready; yes | head -c 3000000; touch {flag}; sleep 60"
    stream = await channel.open("exec", argv=["sh", "-c", script], tty=True)
    await read_until(stream, b"ready")
    pid = stream.accept["pid"]
    await stream.send_frame(Frame(wire.CLOSE, 0, wire.LEAVE))
    await stream.close()
    await until(flag.exists)  # nobody gives credit, and it writes on
    assert (await channel.request("health"))["state"] == "ready"
    await channel.close()
    again = await GuestChannel.connect(listening_agent, timeout=10)  # the end of the session is not its end
    try:
        await asyncio.sleep(0.2)
        os.kill(pid, 0)
        os.kill(pid, 9)
        assert (await again.request("health"))["state"] == "ready"
    finally:
        await again.close()


async def test_without_a_terminal_leaving_is_closing(channel: GuestChannel) -> None:
    stream = await channel.open("exec", argv=["sleep", "60"])
    pid = stream.accept["pid"]
    await stream.send_frame(Frame(wire.CLOSE, 0, wire.LEAVE))

    await until(lambda: not Path(f"/proc/{pid}").exists())  # the agent is its parent and reaps it


@pytest.mark.skipif(not Path("/usr/lib/locale/C.utf8/LC_CTYPE").exists(), reason="no such locale here")
async def test_a_language_is_set_where_it_is_known(channel: GuestChannel) -> None:
    for language, shown in (
        ("C.UTF-8", b"C.UTF-8"),
        ("xx_XX.UTF-8", b"given"),
        ("../locale/C.utf8", b"given"),
    ):
        said = await terminal_says(channel, "printf %s $LANG", lang=language, env={"LANG": "given"})
        assert said == shown
