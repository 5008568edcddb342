"""The work disk: the VM's own /root, on a disk that outlives stops and starts."""

from __future__ import annotations

from banger.api import Capability, StartStep, hookimpl


@hookimpl
def banger_register_capabilities() -> list[Capability]:
    """Declare the capability ``workdisk``, on by default."""
    from banger_workdisk import disk

    step = StartStep(
        "work-disk", disk.make, after=("preflight",), before=("disks-ready",), remove=disk.remove
    )
    return [
        Capability(
            name="workdisk",
            summary="a disk of its own for /root, filled from the image",
            default=True,
            steps=(step,),
            drives=disk.drives,
            guest_config=disk.guest_config,
        )
    ]
