"""The step ``nat``: the VM's address in the set of those that have a way out."""

from __future__ import annotations

from banger.api import AllowNat, DenyNat, ShowNat, StartContext, Tap, UndoContext
from banger_nat.blockers import describe_blockers, on_the_way_out
from banger_nat.note import NOTE, write_note


def allow(ctx: StartContext) -> None:
    """Give the VM a way out; say so when somebody else's firewall stands in it."""
    tap = ctx.attachment
    if not isinstance(tap, Tap) or ctx.vm.address is None:
        return  # its network was changed since
    ctx.record("bridge", tap.bridge)
    ctx.record("mark", tap.mark)
    ctx.record("address", ctx.vm.address)
    write_note(ctx.paths.directory, tap.bridge, tap.mark, ctx.vm.address)
    ctx.privileged.call(AllowNat(tap.bridge, tap.mark, (ctx.vm.address,), only=False))
    blockers = ctx.privileged.call(ShowNat(tap.bridge, tap.mark))["blockers"]
    for blocker in on_the_way_out(blockers):
        detail, hint = describe_blockers(blocker, tap.bridge)
        ctx.notice(f"{detail}; {hint}")


def deny(ctx: UndoContext) -> None:
    """Take the way out away."""
    (ctx.paths.directory / NOTE).unlink(missing_ok=True)
    bridge, mark, address = (ctx.section.get(key) for key in ("bridge", "mark", "address"))
    if isinstance(bridge, str) and isinstance(mark, str) and isinstance(address, str):
        ctx.privileged.call(DenyNat(bridge, mark, address))
