"""Emptying the cache: what goes, what would, and not while somebody needs it."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from banger.daemon.main import write_commands
from banger.errors import CancelledError
from banger.testing.pytest_plugin import BangerDirs, MakeApp, RunCli
from banger_images_oci.cache import hold_cache


@pytest.fixture
def empty(banger_dirs: BangerDirs, banger_app: MakeApp) -> Path:
    write_commands(banger_app(builtin=("core", "images-oci")).services)
    return banger_dirs.cache / "sources" / "oci"


@pytest.fixture
def cache(empty: Path) -> Path:
    (empty / "blobs").mkdir(parents=True)
    for name in ("one", "two.part"):
        (empty / "blobs" / name).write_bytes(b"x" * 5000)
    return empty


def test_prune(cache: Path, run_cli: RunCli) -> None:
    assert "9.8 KiB in 2 blobs would be freed" in run_cli("image", "cache", "prune", "--dry-run").stdout
    assert len(list((cache / "blobs").iterdir())) == 2
    assert json.loads(run_cli("image", "cache", "prune", "--json").stdout) == {"blobs": 2, "bytes": 10000}
    assert list((cache / "blobs").iterdir()) == []
    assert "0 blobs freed" in run_cli("image", "cache", "prune").stdout


@pytest.mark.usefixtures("empty")
def test_nothing_to_prune(run_cli: RunCli) -> None:
    assert "in 0 blobs" in run_cli("image", "cache", "prune").stdout


def test_not_during_a_pull_and_no_pull_meanwhile(cache: Path, run_cli: RunCli) -> None:
    with hold_cache(cache, lambda: None), hold_cache(cache, lambda: None):
        refused = run_cli("image", "cache", "prune")
        assert refused.status == 1 and "an image is being pulled" in refused.stderr
    assert len(list((cache / "blobs").iterdir())) == 2


def test_a_pull_waits_while_the_cache_is_emptied(cache: Path) -> None:
    import fcntl

    waited = threading.Event()

    def wait() -> None:
        waited.set()
        time.sleep(0.01)

    def cancelled() -> None:
        raise CancelledError("cancelled by the test")

    with open(cache / "lock", "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(CancelledError), hold_cache(cache, cancelled):
            pass
        release = threading.Thread(target=lambda: (waited.wait(30), fcntl.flock(file, fcntl.LOCK_UN)))
        release.start()
        with hold_cache(cache, wait) as blobs:
            assert blobs == cache / "blobs"
        release.join()
