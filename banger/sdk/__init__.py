"""banger from Python: ``from banger import Sandbox``.

Synchronous and typed. It talks to the same daemon as the command line, which it starts when it does not run, and raises
the same errors (:mod:`banger.errors`).
"""

from __future__ import annotations

from banger.sdk.process import CommandFailed, Completed, Process
from banger.sdk.sandbox import Port, Sandbox

__all__ = ["CommandFailed", "Completed", "Port", "Process", "Sandbox"]
