from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import MakeApp
from banger.testing.samples import sample_image, sample_kernel
from tests.core.daemon.paper_lab import CONFIG, make_lab


@pytest.fixture
def lab(banger_app: MakeApp) -> Callable[..., BangerApp]:
    """Start a daemon with the core, VMs on paper, and an image and a kernel in the store."""

    def start(*modules: ModuleType, config: str = "", **parts: Any) -> BangerApp:
        app = banger_app(make_lab(**parts), *modules, builtin=["core"], config=config or CONFIG)
        app.services.database.add_image(sample_image())
        app.services.database.add_kernel(sample_kernel())
        return app

    return start
