"""Debian's own kernels, from the distribution's signed packages (scheme ``debian``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from banger.api import hookimpl

if TYPE_CHECKING:
    from banger.api import KernelSource


@hookimpl
def banger_register_kernel_sources() -> list[KernelSource]:
    from banger.api import KernelSource
    from banger_kernels_debian.source import SUITES, default_name, find_size, pull

    summary = "the distribution's kernel for clouds"
    return [KernelSource("debian", summary, default_name, pull, known=SUITES, size=find_size)]
