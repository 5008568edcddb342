"""Noticing that a guest's agent has gone while somebody waits for it: the port of a VM stays open without it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from banger.errors import GuestError
from banger.guest.wire import GuestSilence

#: Seconds between two looks at whether the guest said anything.
INTERVAL = 5.0
#: Looks in a row without a word, after it was asked, until the agent is taken for gone: a minute. A guest that is only
#: busy answers within that, and one that is paused is not counted.
LIMIT = 12


class Listener(Protocol):
    """A channel whose guest may fall silent."""

    @property
    def received(self) -> int:
        """How often something came from the guest."""

    @property
    def awaited(self) -> bool:
        """Whether anybody waits for the guest."""

    def ping(self) -> None:
        """Ask for a sign of life, without waiting for it; GuestError when the channel is lost."""

    def lose(self, reason: GuestError) -> None:
        """Give the channel up."""


async def watch_pulse(channel: Listener, runs: Callable[[], bool]) -> None:
    """Give a channel up once its guest, asked for a sign of life, has not said a word for a minute.

    :param runs: whether the guest's processors go; a paused one cannot answer, and is waited for.
    """
    silent, received = 0, channel.received
    while True:
        await asyncio.sleep(INTERVAL)
        if channel.received != received or not channel.awaited or not runs():
            silent, received = 0, channel.received
            continue
        silent += 1
        if silent == 1:
            try:
                channel.ping()
            except GuestError:
                return
        elif silent > LIMIT:
            channel.lose(
                GuestSilence(
                    f"the guest's agent has not answered for {INTERVAL * LIMIT:.0f} s: it ended, or the guest hangs",
                    hint="look at its console: banger vm logs VM; start it anew: banger vm restart VM --timeout 0",
                )
            )
            return
