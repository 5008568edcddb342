"""The smallest client of an agent that runs a command and keeps what it printed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from banger.errors import GuestError
from banger.guest import wire
from banger.guest.channel import GuestChannel, GuestRefusal, GuestStream


@dataclass(frozen=True)
class CompletedGuestCommand:
    """How a command in the guest ended. ``exit_code`` is 128 + n after signal n."""

    exit_code: int
    stdout: bytes
    stderr: bytes


async def run_command(
    channel: GuestChannel,
    argv: Sequence[str],
    *,
    input: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    user: str | int | None = None,
    timeout: float,
    max_output: int,
) -> CompletedGuestCommand:
    """Run a command to its end and keep what it printed, bounded in time and size."""
    fields: dict[str, Any] = {"argv": list(argv), "env": dict(env or {}), "cwd": cwd, "user": user}
    stream: GuestStream | None = None
    try:
        async with asyncio.timeout(timeout):
            stream = await channel.open("exec", timeout=timeout, **fields)
            return await _collect(stream, input, max_output)
    except TimeoutError:
        raise GuestError(f"'{argv[0]}' did not end within {timeout:g} s in the guest") from None
    finally:
        if stream is not None and not channel.closed.done():
            await stream.close()


async def _collect(stream: GuestStream, input: bytes, max_output: int) -> CompletedGuestCommand:
    output = {wire.STDOUT: bytearray(), wire.STDERR: bytearray()}
    feeder = asyncio.create_task(_feed(stream, input))
    try:
        while True:
            frame = await stream.read_frame()
            if frame.type == wire.DATA:
                output[frame.flags] += frame.payload
                if sum(map(len, output.values())) > max_output:
                    raise GuestError(f"a command in the guest printed more than {max_output} bytes")
                await stream.grant(frame)
            elif frame.type == wire.ERROR:
                raise GuestRefusal.from_frame(frame)
            elif frame.type == wire.EXIT:
                code = exit_code(frame.json())
                return CompletedGuestCommand(code, bytes(output[wire.STDOUT]), bytes(output[wire.STDERR]))
    finally:
        feeder.cancel()
        await asyncio.gather(feeder, return_exceptions=True)


async def _feed(stream: GuestStream, data: bytes) -> None:
    await stream.send_data(data)
    await stream.send_eof()


def exit_code(end: Mapping[str, Any]) -> int:
    """The shell's number for the JSON of an EXIT frame."""
    code, signal = end.get("code"), end.get("signal")
    if isinstance(signal, int) and 0 < signal < 128:
        return 128 + signal
    if isinstance(code, int) and 0 <= code < 256:
        return code
    raise GuestError("the guest agent sent an exit status that makes no sense")
