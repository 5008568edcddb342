"""The step that brings into the guest what the user lends it, before anything of the user's runs there."""

from __future__ import annotations

from banger.errors import GuestError
from banger.host.lent import LentFile, encode_files, read_lent
from banger.model.auth import Lent
from banger.start.context import StartContext

#: Where everything lent arrives. The guest's agent follows no link below it.
HOME = "/root"
#: Seconds for all of it.
_TIMEOUT = 60.0


def lend_files(ctx: StartContext) -> None:
    """Copy each entry into the guest; what the host lacks, or the guest does not take, is said and left as it is."""
    for lent in ctx.lent:
        ctx.progress("auth", lent.label)
        files = read_lent(lent, ctx.commands)
        if files is None:
            ctx.notice(f"{lent.label}: there is no {lent.shown} here; the guest's stays as it is")
            continue
        try:
            wanted = [file for file in files if lent.tree or not _stays(ctx, lent, file)]
            complaints = ctx.guest.write_tree(HOME, encode_files(wanted), _TIMEOUT) if wanted else []
        except GuestError as error:
            complaints = [error.message]
        if complaints:
            ctx.notice(f"{lent.label} did not arrive: in the guest: {complaints[0]}")


def _stays(ctx: StartContext, lent: Lent, file: LentFile) -> bool:
    """Tell whether the guest's own file stays: a token that was refreshed there is worth more than an old one."""
    changed = ctx.guest.find_modified("/".join((HOME, *file.names)))
    return changed is not None and (lent.keep or changed > file.time // 10**9)
