"""The daemon's locks and their order. Taking one against the order is a bug and raises at once.

    1 vm        one per VM, held for the whole of a start, stop, kill or delete; never during guest I/O of a client
    2 pull      one per image or kernel name, held while it is pulled, so that the same thing is pulled once
    3 publish   one for all content: held while what was pulled gets its place and its row, or loses both. Names do not
                tell whether two have the same content, and with it the same place
    4 reserve   held for milliseconds, while a name and an address are given to a new VM

A thread takes them in growing rank only, and at most one of each rank. The database's own lock comes below all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from banger.errors import CancelledError

RANKS = {"vm": 1, "pull": 2, "publish": 3, "reserve": 4}

_held = threading.local()


class _Counted:
    """A lock, and how many hold it or wait for it."""

    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock, self.users = threading.Lock(), 0


class Locks:
    """Named locks by kind; one exists only while somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._table: dict[tuple[str, str], _Counted] = {}
        self._guard = threading.Lock()

    @contextmanager
    def hold(
        self, kind: str, name: str = "", *, cancelled: Callable[[], bool] | None = None
    ) -> Iterator[None]:
        """Hold one lock; CancelledError when ``cancelled`` turns true while waiting for it."""
        ranks: list[int] = getattr(_held, "ranks", [])
        if ranks and ranks[-1] >= RANKS[kind]:
            raise RuntimeError(f"lock order: '{kind}' wanted while rank {ranks[-1]} is held")
        with self._counted((kind, name)) as lock:
            while not lock.acquire(timeout=0.1 if cancelled else -1):
                if cancelled is not None and cancelled():
                    raise CancelledError(
                        f"cancelled while waiting for the {kind} lock of {name or 'the daemon'}"
                    )
            _held.ranks = [*ranks, RANKS[kind]]
            try:
                yield
            finally:
                _held.ranks = ranks
                lock.release()

    def held(self) -> list[str]:
        """Return the locks that somebody holds or waits for."""
        with self._guard:
            return [f"{kind} {name}".strip() for kind, name in self._table]

    @contextmanager
    def _counted(self, key: tuple[str, str]) -> Iterator[threading.Lock]:
        with self._guard:
            counted = self._table.setdefault(key, _Counted())
            counted.users += 1
        try:
            yield counted.lock
        finally:
            with self._guard:
                counted.users -= 1
                if not counted.users:
                    del self._table[key]
