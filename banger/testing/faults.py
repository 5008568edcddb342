"""A plugin that lets things go wrong on purpose: before or after each step and each row of a VM's life.

Load it beside the plugins under test; ``fault.arm`` chooses one place and one fault, which strikes once, and
``fault.report`` says what was passed since. Whatever any plugin registered is a place: ``run lease``, ``undo lease``,
``remove lease``, ``quiesce lease``, ``pull debian``, ``row starting``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from banger.hookspecs import hookimpl

if TYPE_CHECKING:
    from banger.model.command import Operation


@hookimpl
def banger_register_operations() -> list[Operation]:
    """Declare ``fault.arm`` and ``fault.report``."""
    from banger.model.command import Operation
    from banger.testing.injection import ArmParams, FaultReport, Nothing, arm, report

    return [
        Operation("fault.arm", "let one thing go wrong", ArmParams, FaultReport, arm),
        Operation("fault.report", "what was passed since", Nothing, FaultReport, report),
    ]
