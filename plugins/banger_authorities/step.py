"""Bringing certificates into a guest, as its distribution wants them."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from banger.api import GuestError, StartContext
from banger_authorities.certificates import read_certificates

#: Seconds that a guest gets to make its bundle anew; under software emulation it takes several.
_TIMEOUT = 120.0


def bring(ctx: StartContext) -> None:
    """Let the guest trust what the settings name, or no longer what they named at an earlier start.

    :raises ConfigError: a file that is named is no good. :raises GuestError: the guest could not take them.
    """
    settings: Any = ctx.settings("authorities")
    wanted, brought = read_certificates(settings.files), ctx.paths.directory / "authorities"
    if not wanted and not brought.exists():
        return
    ctx.progress("authorities", "certificates for the guest")
    brought.touch()
    script = files("banger_authorities").joinpath("install.sh").read_text(encoding="ascii")
    status, said = ctx.guest.run(("/bin/sh", "-c", script), input=wanted.encode(), timeout=_TIMEOUT)
    if status != 0:
        raise GuestError(
            f"the guest did not take the certificates: {said or f'status {status}'}",
            hint="the settings name their files: banger config show plugins.authorities",
        )
    if not wanted:
        brought.unlink(missing_ok=True)
