from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from banger.host.command import HostCommands
from banger.host.disk import HostDisks
from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import MakeApp
from banger.testing.samples import sample_image, sample_kernel
from banger_local import flatten, seed
from tests.core.daemon.paper_lab import CONFIG, make_lab

MakeLab = Callable[[], BangerApp]


@pytest.fixture
def app(banger_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> BangerApp:
    """Give a daemon with this plugin, VMs on paper, and an image and a kernel in the store; work seeds are small."""
    monkeypatch.setattr(seed, "_LEAST_MIB", 8)
    monkeypatch.setattr(flatten, "_AIR_BLOCKS", 64)
    app = banger_app(make_lab(), builtin=["core", "local", "workdisk"], config=CONFIG)
    app.services.database.add_image(sample_image())
    app.services.database.add_kernel(sample_kernel())
    return app


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """Give an ext4 file with a ``/root`` that holds something."""
    content = tmp_path / "content"
    (content / "root" / ".config").mkdir(parents=True)
    (content / "root" / ".profile").write_text("export A=1\n")
    (content / "etc").mkdir()
    (content / "etc" / "hostname").write_text("here\n")
    path = tmp_path / "rootfs.ext4"
    HostDisks(HostCommands()).make_ext4(
        path, 8, uuid="11111111-2222-4333-8444-555555555555", label="r", content=content
    )
    return path
