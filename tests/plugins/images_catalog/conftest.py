from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from banger.daemon.main import write_commands
from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import MakeApp
from banger_images_catalog import catalogs
from tests.core.daemon.paper_lab import make_lab
from tests.plugins.images_catalog.catalog_lab import image_members, make_rootfs, pack, publish

StartApp = Callable[..., BangerApp]


@pytest.fixture
def www(tmp_path: Path) -> Path:
    """Give a directory with a catalog and a bundle."""
    directory = tmp_path / "www"
    directory.mkdir()
    publish(directory, pack(image_members(make_rootfs(tmp_path).read_bytes(), distro="debian")))
    return directory


@pytest.fixture
def start(banger_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> StartApp:
    """Start a daemon with these catalogs and plugins; catalogs are asked every time."""
    monkeypatch.setattr(catalogs, "FRESH", -1.0)

    def run(*places: Any, plugins: tuple[str, ...] = (), modules: tuple[Any, ...] = ()) -> BangerApp:
        listed = ", ".join(f'"{place}"' for place in places)
        config = f"[defaults]\nmemory = 128\n[plugins.images-catalog]\ncatalogs = [{listed}]\n"
        builtin = ["core", "images-catalog", "local", *plugins]
        app = banger_app(make_lab(), *modules, builtin=builtin, config=config)
        write_commands(app.services)
        return app

    return run
