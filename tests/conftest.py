"""The kit that third parties get, for our own tests too."""

from __future__ import annotations

from banger.testing.pytest_plugin import (  # noqa: F401  fixtures are found by their names
    banger_app,
    banger_dirs,
    fake_host,
    hook_recorder,
    plan_for,
    run_cli,
)
