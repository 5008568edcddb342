from __future__ import annotations

pytest_plugins = ["banger.testing.pytest_plugin"]
