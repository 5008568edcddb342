"""Making opencode ready while a VM starts: found or fetched, and served where that was asked for."""

from __future__ import annotations

import time
from importlib.resources import files

from banger.api import GuestError, QemuUser, StartContext, clean_text
from banger_opencode.options import Options

#: Seconds for a look into the guest, and for fetching: some 50 MB, and npm under software emulation.
_LOOK, _INSTALL = 60.0, 900.0
#: Seconds between two looks at the guest's ports.
_PAUSE = 0.5
#: Statuses of guest.sh with a meaning of their own.
MISSING, NOTHING_FETCHES, ENDED = 90, 91, 92

SCRIPT = files("banger_opencode").joinpath("guest.sh").read_text(encoding="utf-8")
#: In the guest: what installer and server say.
LOG = "/root/.cache/banger/opencode.log"


def make_ready(ctx: StartContext) -> None:
    """Find opencode in the guest, or fetch it; start its server where a port was given, and wait for that.

    :raises GuestError: it is not there and cannot be fetched, or does not listen in time.
    """
    options = Options.model_validate(dict(ctx.options("opencode")))
    ctx.progress("opencode", "looking for it")
    status, said = _ask(ctx, "find")
    if status == MISSING:
        _install(ctx, options)
    elif status != 0:
        raise GuestError(f"the guest cannot be searched for opencode: {said}", hint=f"status {status}")
    if options.port is not None:
        _serve(ctx, options.port, options.wait)


def _ask(ctx: StartContext, *words: str, timeout: float = _LOOK) -> tuple[int, str]:
    return ctx.guest.run(("/bin/sh", "-c", SCRIPT, "opencode", *words), timeout=timeout)


def _install(ctx: StartContext, options: Options) -> None:
    missing, elsewhere = (
        "there is no opencode in the guest",
        "an image that has it, or leave --with opencode out",
    )
    if not options.install:
        raise GuestError(missing, hint=elsewhere)
    if isinstance(ctx.attachment, QemuUser) and ctx.attachment.restrict:
        raise GuestError(
            f"{missing}, and its network leaves no way out to fetch it",
            hint=f"{elsewhere}; or restrict = false under [plugins.net-user]",
        )
    ctx.progress("opencode", f"fetching {options.version}")
    try:
        status, said = _ask(ctx, "install", options.version, "/usr/local/bin", timeout=_INSTALL)
    except GuestError as error:
        raise GuestError(f"opencode could not be fetched: {error.message}", hint=elsewhere) from error
    if status == NOTHING_FETCHES:
        raise GuestError(f"{missing}: {said}", hint=elsewhere)
    if status != 0:
        raise GuestError(
            f"opencode could not be fetched: {said or f'status {status}'}",
            hint=f"has the guest a way out? {elsewhere}",
        )


def _serve(ctx: StartContext, port: int, wait: float) -> None:
    """Start the server unless something listens there; wait until it does."""
    if _listens(ctx, port):
        return
    ctx.progress("opencode", f"serving on port {port}")
    status, said = _ask(ctx, "serve", str(port))
    if status != 0:
        raise GuestError(
            f"opencode's server could not be started: {said}", hint="--with opencode, without port"
        )
    deadline = time.monotonic() + wait
    while not _listens(ctx, port):
        status, said = _ask(ctx, "look")
        ctx.progress("opencode", f"waiting for port {port}")
        if status == ENDED:
            raise GuestError(
                f"opencode's server ended: {said or 'it said nothing'}", hint="another port, perhaps"
            )
        if time.monotonic() > deadline:
            raise GuestError(
                f"opencode does not listen on port {port} after {wait:g} s; it said last: {said or 'nothing'}",
                hint=f"more time: --with opencode:port={port},wait={min(600, round(wait * 3))}",
            )
        time.sleep(_PAUSE)


def _listens(ctx: StartContext, port: int) -> bool:
    """Tell whether something in the guest listens on a TCP port; what the guest answers is looked at piece by piece."""
    found = ctx.guest.request("ports").get("ports")
    entries = [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
    return any(
        entry.get("port") == port and clean_text(entry.get("protocol", "tcp"), 8) == "tcp"
        for entry in entries
    )
