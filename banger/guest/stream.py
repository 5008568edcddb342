"""One stream of a guest channel."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any

from banger.errors import GuestError
from banger.guest import wire
from banger.guest.wire import Frame, GuestFault

if TYPE_CHECKING:
    from banger.guest.channel import GuestChannel


class GuestRefusal(GuestError):
    """The agent answered with an ERROR frame.

    :param code: the protocol's word for it: ``not-found``, ``permission``, ``no-user``, ``not-ready``, …
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code

    @classmethod
    def from_frame(cls, frame: Frame) -> GuestRefusal:
        problem = frame.json()
        code = wire.clean_text(problem.get("code"), 64) or "failed"
        return cls(wire.clean_text(problem.get("message"), 2000) or code, code=code)


class SessionEnded(GuestError):
    """The agent had ended the session before this request came: nothing of it was done, and the channel is lost."""


class GuestStream:
    """A stream the agent accepted. Frames come and go as they are; the windows are watched here.

    A reader that keeps DATA frames gives credit back with :meth:`grant`; a relay passes CREDIT frames through
    :meth:`send_frame` instead.
    """

    def __init__(self, channel: GuestChannel, stream: int, op: str) -> None:
        self._channel = channel
        self._op = op
        self._frames: deque[Frame] = deque()
        self._arrived = asyncio.Event()
        self._credited = asyncio.Event()
        self._error: GuestError | None = None
        self._ended: set[int] = set()
        self._accepted = False
        self._finished = False
        self._window_in = wire.WINDOW
        self._window_out = wire.WINDOW
        self._owed = 0
        self.id = stream
        self.accept: dict[str, Any] = {}

    def _take(self, frame: Frame) -> None:
        """A frame of the guest: check it against the state and the window, then queue it."""
        if frame.type in (wire.DATA, wire.EOF):
            self._check_data(frame)
        elif frame.type == wire.CREDIT:
            self._check_credit(frame)
        elif frame.type in (wire.ACCEPT, wire.RESULT):
            if self._accepted:
                raise GuestFault(f"the guest agent accepted {self._op} twice")
            self._accepted = True
        self._finished = frame.type in wire.FINAL
        self._queue(frame)
        self._arrived.set()

    def _check_data(self, frame: Frame) -> None:
        if not self._accepted or frame.flags not in (wire.STDOUT, wire.STDERR) or frame.flags in self._ended:
            raise GuestFault(f"the guest agent sent {frame.name} on a channel of {self._op} that is not open")
        if frame.type == wire.EOF:
            self._ended.add(frame.flags)
            return
        self._window_in -= frame.cost
        if self._window_in < 0:
            raise GuestFault(f"the guest agent sent more data on {self._op} than its window allows")

    def _check_credit(self, frame: Frame) -> None:
        self._window_out += frame.credit
        if frame.credit == 0 or self._window_out > wire.WINDOW:
            raise GuestFault(f"the guest agent gave more credit on {self._op} than it was owed")
        self._credited.set()

    def _queue(self, frame: Frame) -> None:
        """CREDIT frames that nobody read yet become one."""
        if frame.type == wire.CREDIT and self._frames and self._frames[-1].type == wire.CREDIT:
            frame = wire.credit(self.id, self._frames.pop().credit + frame.credit)
        self._frames.append(frame)

    def _fail(self, error: GuestError) -> None:
        if self._error is None and not self._finished:
            self._error = error
        self._arrived.set()
        self._credited.set()

    async def read_frame(self) -> Frame:
        """The next frame of the guest; after the last one (EXIT, ERROR, RESULT) it raises."""
        while not self._frames:
            if self._error is not None:
                raise self._error
            if self._finished:
                raise GuestError(f"the stream of {self._op} has ended")
            self._arrived.clear()
            await self._arrived.wait()
        return self._frames.popleft()

    async def send_frame(self, frame: Frame) -> None:
        """Send a frame of a client as it is, under this stream's number. Late frames are dropped."""
        if self._error is not None:
            raise self._error
        if self._finished:
            return
        if frame.type not in wire.FROM_HOST or frame.type == wire.OPEN:
            raise GuestError(f"a client may not send a {frame.name} frame on an open stream")
        if frame.type == wire.DATA:
            self._window_out -= frame.cost
            if self._window_out < 0:
                raise GuestError("the client sent more data than its window allows")
        elif frame.type == wire.CREDIT:
            self._window_in += frame.credit
            if self._window_in > wire.WINDOW:
                raise GuestError("the client gave more credit than it was owed")
        await self._channel._write(frame._replace(stream=self.id))

    async def read_output(self) -> bytes:
        """Return what the far end writes next, nothing once it is done. :raises GuestRefusal: it failed."""
        while True:
            frame = await self.read_frame()
            if frame.type == wire.ERROR:
                raise GuestRefusal.from_frame(frame)
            if frame.type in wire.FINAL:
                return b""
            if frame.type == wire.DATA:
                await self.grant(frame)
                if frame.flags == wire.STDOUT:
                    return frame.payload

    async def grant(self, frame: Frame) -> None:
        """Say that a DATA frame was used up; the credit goes back in steps."""
        self._owed += frame.cost
        if self._owed >= wire.GRANT and not self._finished:
            owed, self._owed = self._owed, 0
            await self.send_frame(wire.credit(self.id, owed))

    async def send_data(self, data: bytes, channel: int = wire.STDIN) -> None:
        """Send all of it, waiting for credit as needed."""
        for frame in wire.split_data(self.id, channel, data):
            while self._window_out < frame.cost and self._error is None and not self._finished:
                self._credited.clear()
                await self._credited.wait()
            await self.send_frame(frame)

    async def send_eof(self, channel: int = wire.STDIN) -> None:
        await self.send_frame(Frame(wire.EOF, self.id, channel))

    async def close(self) -> None:
        """Abandon the stream: its process gets SIGHUP. Never waits for the guest."""
        self._abandon(GuestError(f"the stream of {self._op} was closed"))

    def _abandon(self, reason: GuestError) -> None:
        """Fail with this reason and tell the guest, unless the stream has ended or failed before."""
        self._channel._forget(self.id)
        if self._finished or self._error is not None:
            return
        self._fail(reason)
        with contextlib.suppress(GuestError):  # the channel is lost
            self._channel._post(Frame(wire.CLOSE, self.id))
