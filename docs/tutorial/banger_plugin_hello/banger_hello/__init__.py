"""A greeting on a disk of its own, in every VM that asks for it."""

from __future__ import annotations

from banger.api import Capability, StartStep, hookimpl


@hookimpl
def banger_register_capabilities() -> list[Capability]:
    """Declare the capability ``hello``: ``banger vm run --with hello:to=World``."""
    from banger_hello import disk

    step = StartStep(
        "hello-disk", disk.make, after=("preflight",), before=("disks-ready",), remove=disk.remove
    )
    return [
        Capability(
            name="hello",
            summary="a greeting at /hello",
            options="banger_hello.options:Options",
            steps=(step,),
            drives=disk.drives,
            guest_config=disk.guest_config,
        )
    ]
