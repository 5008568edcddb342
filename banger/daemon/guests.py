"""Channels to the guests' agents: one per running VM, opened when first needed, shared by everything."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath
from typing import Any, TypeVar

from banger.daemon.complaints import Complaints
from banger.errors import GuestError
from banger.guest import wire
from banger.guest.channel import AgentInfo, GuestChannel, GuestRefusal, GuestStream, SessionEnded
from banger.model.vmm import VmmStatus

T = TypeVar("T")

#: Bytes kept of what a command says on its standard error.
_SAID = 4096


class Guests:
    """The open channels, by VM id. Lives on the daemon's loop.

    :param statuses: what the VMMs say, for errors to name the cause. :param complaints: takes what guests do wrong.
    """

    def __init__(
        self, statuses: Mapping[str, VmmStatus] | None = None, complaints: Complaints | None = None
    ) -> None:
        self._statuses = statuses if statuses is not None else {}
        self._complaints = complaints if complaints is not None else Complaints()
        self._channels: dict[str, GuestChannel] = {}
        self._opening: dict[str, asyncio.Lock] = {}

    async def channel(self, vm_id: str, socket: Path, timeout: float) -> GuestChannel:
        """Return the VM's channel, opening it when there is none or it was lost."""
        async with self._opening.setdefault(vm_id, asyncio.Lock()):
            channel = self._channels.get(vm_id)
            if channel is None or channel.closed.done():
                try:
                    channel = await GuestChannel.connect(
                        socket, timeout=timeout, runs=lambda: self._runs(vm_id)
                    )
                except GuestError as error:
                    self._blame(vm_id, error)
                    raise
                channel.blame = partial(self._blame, vm_id)
                self._channels[vm_id] = channel
            return channel

    def is_open(self, vm_id: str) -> bool:
        """Tell whether there is a channel to the VM's agent."""
        channel = self._channels.get(vm_id)
        return channel is not None and not channel.closed.done()

    def _runs(self, vm_id: str) -> bool:
        status = self._statuses.get(vm_id)
        return status is None or status.runs

    async def describe(self, vm_id: str, socket: Path, timeout: float) -> AgentInfo | None:
        """Return what the VM's agent is; None when it does not answer in time."""
        try:
            async with asyncio.timeout(timeout):
                return (await self.channel(vm_id, socket, timeout)).info
        except (GuestError, OSError, TimeoutError):
            return None

    async def open(self, vm_id: str, socket: Path, op: str, **fields: Any) -> GuestStream:
        """Open a stream to the VM's agent."""
        return await self._ask(vm_id, socket, 10.0, lambda channel: channel.open(op, **fields))

    async def request(
        self, vm_id: str, socket: Path, op: str, *, timeout: float, **fields: Any
    ) -> dict[str, Any]:
        """Ask the VM's agent once; ``timeout`` seconds for its answer."""
        return await self._ask(
            vm_id, socket, timeout, lambda channel: channel.request(op, timeout=timeout, **fields)
        )

    async def _ask(
        self, vm_id: str, socket: Path, timeout: float, ask: Callable[[GuestChannel], Awaitable[T]]
    ) -> T:
        """Ask, and once more on a new channel when the agent had ended the session before it saw the request."""
        try:
            try:
                answer = await ask(await self.channel(vm_id, socket, timeout))
            except SessionEnded:
                answer = await ask(await self.channel(vm_id, socket, timeout))
        except GuestRefusal:
            self._complaints.behaved(vm_id)
            raise
        except GuestError as error:
            self._blame(vm_id, error)
            status = self._statuses.get(vm_id)
            if status is not None and not status.runs:
                raise GuestError(
                    f"{error.message}; the VM is {status.words}", hint=f"{status.remedy} VM"
                ) from error
            raise
        self._complaints.behaved(vm_id)
        return answer

    def _blame(self, vm_id: str, error: GuestError) -> None:
        """Remember what a guest did; one that is paused cannot do anything."""
        if self._runs(vm_id):
            self._complaints.take(vm_id, error)

    async def drop(self, vm_id: str) -> None:
        """Close the VM's channel, if there is one."""
        channel = self._channels.pop(vm_id, None)
        self._opening.pop(vm_id, None)
        if channel is not None:
            await channel.close()
        self._complaints.forget(vm_id)

    async def close(self) -> None:
        """Close every channel; the guests' non-detached processes get SIGHUP."""
        for vm_id in list(self._channels):
            await self.drop(vm_id)


class LoopGuest:
    """A guest for worker threads: :class:`banger.start.context.GuestHandle` over the daemon's loop.

    :param watch: called ten times a second while waiting; raises when waiting makes no sense any more
        (cancelled, VMM gone).
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        guests: Guests,
        vm_id: str,
        socket: Path,
        watch: Callable[[], None] | None = None,
    ) -> None:
        self._loop, self._guests, self._vm_id, self._socket, self._watch = loop, guests, vm_id, socket, watch

    def connect(self, timeout: float) -> None:
        self._wait(self._guests.channel(self._vm_id, self._socket, timeout), timeout + 5, "the guest agent")

    def wait_ready(self, timeout: float) -> None:
        async def ready() -> None:
            channel = await self._guests.channel(self._vm_id, self._socket, timeout)
            await channel.wait_ready(timeout)

        self._wait(ready(), timeout + 5, "the guest to report ready")

    def request(self, op: str, *, timeout: float = 10, **fields: Any) -> dict[str, Any]:
        asked = self._guests.request(self._vm_id, self._socket, op, timeout=timeout, **fields)
        answer: dict[str, Any] = self._wait(asked, timeout + 5, f"the guest's answer to {op}")
        return answer

    def find_modified(self, path: str) -> int | None:
        async def look() -> int | None:
            try:
                stream = await self._guests.open(self._vm_id, self._socket, "file-read", path=path)
            except GuestRefusal as refusal:
                if refusal.code == "not-found":
                    return None
                raise
            await stream.close()
            changed = stream.accept.get("mtime")
            return changed if isinstance(changed, int) else 0

        found: int | None = self._wait(look(), 15, f"the guest's answer on {path}")
        return found

    def write_tree(self, directory: str, records: bytes, timeout: float) -> list[str]:
        complaints: list[str] = self._wait(
            self._send_tree(directory, records), timeout, "the end of the copy into the guest"
        )
        return complaints

    async def _send_tree(self, directory: str, records: bytes) -> list[str]:
        """Send it all, then read what the guest has to say: no more than one window."""
        fields = {"path": directory, "base": ".", "directory": True}
        stream = await self._guests.open(self._vm_id, self._socket, "tree-write", **fields)
        said, code = b"", 0
        try:
            await stream.send_data(records)
            await stream.send_eof()
            while True:
                frame = await stream.read_frame()
                if frame.type == wire.DATA and frame.flags == wire.STDERR:
                    said += frame.payload
                elif frame.type == wire.EXIT:
                    code = frame.json().get("code", 1)
                    break
                elif frame.type == wire.ERROR:
                    raise GuestRefusal.from_frame(frame)
        finally:
            await stream.close()
        lines = [wire.clean_text(line, 300) for line in said.decode(errors="replace").splitlines()[:20]]
        return lines or ([] if code == 0 else ["the copy was cut off"])

    def run(self, argv: Sequence[str], *, input: bytes = b"", timeout: float = 30) -> tuple[int, str]:
        ran: tuple[int, str] = self._wait(
            self._run(argv, input), timeout, f"the end of {PurePath(argv[0]).name} in the guest"
        )
        return ran

    async def _run(self, argv: Sequence[str], input: bytes) -> tuple[int, str]:
        stream = await self._guests.open(self._vm_id, self._socket, "exec", argv=list(argv), user="root")
        feeding = asyncio.create_task(_feed(stream, input))
        said = b""
        try:
            while True:
                frame = await stream.read_frame()
                if frame.type == wire.DATA:
                    said = (said + frame.payload if frame.flags == wire.STDERR else said)[-_SAID:]
                    await stream.grant(frame)
                elif frame.type == wire.EXIT:
                    return _status(frame.json()), _last_line(said)
                elif frame.type == wire.ERROR:
                    raise GuestRefusal.from_frame(frame)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            await stream.close()

    def _wait(self, work: Any, timeout: float, what: str) -> Any:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        deadline = time.monotonic() + timeout
        try:
            while time.monotonic() < deadline:
                try:
                    return future.result(0.1)
                except concurrent.futures.TimeoutError:
                    if future.done():
                        raise
                    if self._watch is not None:
                        self._watch()
            raise GuestError(f"{what} did not come within {timeout:.0f} s")
        finally:
            future.cancel()


async def _feed(stream: GuestStream, data: bytes) -> None:
    await stream.send_data(data)
    await stream.send_eof()


def _status(end: dict[str, Any]) -> int:
    """Return an exit status as a shell would have it; the guest may send anything."""
    code, signal = end.get("code"), end.get("signal")
    if isinstance(code, int):
        return code & 255
    return 128 + (signal & 127) if isinstance(signal, int) else 255


def _last_line(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    return wire.clean_text(lines[-1], 300) if lines else ""
