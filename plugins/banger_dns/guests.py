"""The same names for VMs on a bridge: they ask the bridge's address, and the host asks for ``vm.`` by that link.

The root helper leads port 53 of that address to the name server, which is not root, and systemd-resolved to it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from banger.api import BangerError, DropNames, Privileged, RouteNames, StartContext, Tap, UndoContext

log = logging.getLogger(__name__)

#: Beside the VM's other files, for a daemon that starts while it runs.
NOTE = "names.json"
#: Seconds for the daemon's loop to open two sockets.
_OPEN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """A bridge, whose it is, and the host's address there."""

    bridge: str
    mark: str
    address: str


class Hub:
    """Where steps, in threads, and the name server, on the loop, meet: which bridges are answered on, at which port."""

    def __init__(self) -> None:
        self.places: set[Place] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listen: Callable[[Place], Awaitable[None]] | None = None
        self._port = 0

    def begin(self, port: int, listen: Callable[[Place], Awaitable[None]]) -> None:
        """Have a name server from now on; on its loop.

        :param listen: opens it to guests of a bridge.
        """
        self._loop, self._port, self._listen = asyncio.get_running_loop(), port, listen

    def end(self) -> None:
        """Have none any more."""
        self._loop, self._listen = None, None
        self.places.clear()

    async def open(self, place: Place) -> int:
        """Answer guests of a bridge; return the port. On the loop."""
        if self._listen is None:
            raise BangerError("the name server does not run", hint="see: banger dns status")
        if place not in self.places:
            await self._listen(place)
            self.places.add(place)
        return self._port

    def sync(self, place: Place, privileged: Privileged) -> None:
        """Answer guests of a bridge, and lead questions there; from a worker thread.

        :raises BangerError: the name server does not run, or the helper refused.
        """
        loop = self._loop
        if loop is None:
            raise BangerError("the name server does not run", hint="see: banger dns status")
        port = asyncio.run_coroutine_threadsafe(self.open(place), loop).result(_OPEN_SECONDS)
        privileged.call(RouteNames(place.bridge, place.mark, port))


HUB = Hub()


def tell_names(ctx: StartContext) -> None:
    """Let a VM on a bridge find others by name; that it cannot is said, and no reason not to start."""
    tap = ctx.attachment
    if not isinstance(tap, Tap) or tap.interface.gateway is None:
        return
    place = Place(tap.bridge, tap.mark, tap.interface.gateway)
    (ctx.paths.directory / NOTE).write_text(json.dumps(asdict(place)))
    try:
        HUB.sync(place, ctx.privileged)
    except (BangerError, TimeoutError) as error:
        ctx.notice(f"VMs on {tap.bridge} do not find each other by name: {error}; see: banger dns status")


def forget_names(ctx: UndoContext) -> None:
    """Forget that the VM is on a bridge; what leads there stays with the bridge, for the others."""
    (ctx.paths.directory / NOTE).unlink(missing_ok=True)


def read_places(directories: Iterable[Path]) -> set[Place]:
    """Return the bridges that VMs with these directories are on."""
    places = set()
    for directory in directories:
        try:
            note = json.loads((directory / NOTE).read_text())
            places.add(Place(str(note["bridge"]), str(note["mark"]), str(note["address"])))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return places


def sync_all(places: Iterable[Place], privileged: Privileged) -> None:
    """Lead questions to a name server that has only just started; what fails is in the log."""
    for place in places:
        try:
            HUB.sync(place, privileged)
        except (BangerError, TimeoutError) as error:
            log.error("VMs on %s do not find each other by name: %s", place.bridge, error)


def drop_all(places: Iterable[Place], privileged: Privileged) -> None:
    """Lead nobody here any more."""
    for place in places:
        try:
            privileged.call(DropNames(place.bridge, place.mark))
        except BangerError as error:
            log.warning("names on %s still lead here: %s", place.bridge, error)
