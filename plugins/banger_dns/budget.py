"""How many questions are answered per second: who asks for more waits, and the kernel drops what piles up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class Budget:
    """A token bucket.

    :param rate: questions per second in the long run.
    :param burst: questions that may come at once.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left, self._last = float(burst), clock()

    def reserve(self) -> float:
        """Take one and return the seconds until it may be used; those who come together get their turns in order."""
        now = self._clock()
        self._left = min(float(self._burst), self._left + (now - self._last) * self._rate) - 1
        self._last = now
        return max(0.0, -self._left / self._rate)

    async def take(self) -> None:
        """Take one, after a while when there is none; the loop gets a turn either way."""
        await asyncio.sleep(self.reserve())
