"""Content and names: what is in the store has its files, whoever pulls and deletes at the same time."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import pytest

from banger.daemon.publish import content_dir
from banger.errors import ConflictError, KernelError, NotFoundError, PluginError
from banger.model.source import KernelSource, PullContext, PulledKernel
from banger.model.vm import VmState
from banger.testing.app import BangerApp
from banger.testing.plugin_sets import make_plugin
from banger.testing.samples import sample_image, sample_vm

MakeLab = Callable[..., BangerApp]


def same_content(reference: str, pull: PullContext) -> PulledKernel:
    file = pull.staging / "vmlinuz"
    file.write_bytes(b"the same for every reference")
    return PulledKernel(file, "6.1.0", "test")


def make_source(*known: str, scheme: str = "same", **members: Any) -> ModuleType:
    """Return a plugin whose kernels are called as they are referred to, and are all the same."""
    values: dict[str, Any] = {"default_name": lambda rest: rest, "pull": same_content, **members}

    def banger_register_kernel_sources() -> list[KernelSource]:
        return [KernelSource(scheme, "a test's", known=known, **values)]

    return make_plugin(scheme, banger_register_kernel_sources)


class SlowDatabase:
    """The daemon's database, which takes its time after a row is gone and before one is there."""

    def __init__(self, app: BangerApp) -> None:
        self._real = app.services.database
        self.busy = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def _dawdle(self) -> None:
        self.busy.set()
        time.sleep(0.4)

    def add_kernel(self, kernel: Any) -> None:
        self._dawdle()
        self._real.add_kernel(kernel)

    def delete_kernel(self, digest: str) -> None:
        self._real.delete_kernel(digest)
        self._dawdle()


def names_with_files(app: BangerApp) -> list[str]:
    """Return the names of the kernels; each has its files, and there are no others."""
    kernels = [kernel for kernel in app.services.database.kernels() if kernel.name != "test-kernel"]
    places = [content_dir(app.paths.kernels, kernel.digest) for kernel in kernels]
    assert sorted(app.paths.kernels.iterdir()) == sorted(places)
    assert all((place / "vmlinuz").is_file() for place in places)
    return [kernel.name for kernel in kernels]


def test_two_pulls_of_the_same_content_at_once_leave_one_whole(lab: MakeLab) -> None:
    app = lab(make_source("a", "b"))
    slow: Any = SlowDatabase(app)
    app.services.database = slow
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(app.call, "kernel.pull", {"reference": "same:a"})
        assert slow.busy.wait(10)
        with pytest.raises(ConflictError, match="the same content is in the store as 'a'"):
            app.call("kernel.pull", {"reference": "same:b"})
        first.result(10)
    assert names_with_files(app) == ["a"]


def test_delete_beside_a_pull_of_the_same_content_leaves_the_pulled_one_whole(lab: MakeLab) -> None:
    app = lab(make_source("a", "b"))
    app.call("kernel.pull", {"reference": "same:a"})
    slow: Any = SlowDatabase(app)
    app.services.database = slow
    with ThreadPoolExecutor(1) as pool:
        deleted = pool.submit(app.call, "kernel.rm", {"name": "a"})
        assert slow.busy.wait(10)
        app.call("kernel.pull", {"reference": "same:b"})
        deleted.result(10)
    assert names_with_files(app) == ["b"]


# Names


def broken_name(rest: str) -> str:
    raise ZeroDivisionError("1/0")


@pytest.mark.parametrize("default_name", [broken_name, lambda rest: None], ids=["raises", "none"])
def test_source_that_cannot_name_its_references_stands_in_nobodys_way(
    lab: MakeLab, default_name: Any
) -> None:
    app = lab(make_source("a"), make_source("x", scheme="broken", default_name=default_name))
    assert app.call("kernel.list")["available"] == ["a"]
    assert app.call("kernel.pull", {"reference": "a"})["kernel"]["source"] == "same:a"
    with pytest.raises(NotFoundError, match="there is no kernel 'x'"):
        app.call("kernel.pull", {"reference": "x"})
    with pytest.raises(PluginError, match="kernel source 'broken' of plugin 'broken' failed") as caught:
        app.call("kernel.pull", {"reference": "broken:x"})
    assert caught.value.plugin == "broken"


def test_name_of_two_sources_is_refused_with_both_and_either_can_be_had(lab: MakeLab) -> None:
    app = lab(make_source("a", "b"), make_source("a", scheme="other"))
    assert app.call("kernel.list")["available"] == ["b", "other:a", "same:a"]
    with pytest.raises(ConflictError, match="other:a and same:a are both called 'a'") as caught:
        app.call("kernel.pull", {"reference": "a"})
    assert "other:a or same:a" in (caught.value.hint or "")
    assert app.call("kernel.pull", {"reference": "other:a"})["kernel"]["source"] == "other:a"


# Getting it again, and what stands in the way of deleting


class Edition:
    """Content of a source that changes from time to time."""

    def __init__(self) -> None:
        self.text = b"first"

    def pull(self, reference: str, pull: PullContext) -> PulledKernel:
        file = pull.staging / "vmlinuz"
        file.write_bytes(self.text)
        return PulledKernel(file, "6.1.0", "test")


def test_force_gets_a_newer_kernel_under_the_same_name(lab: MakeLab) -> None:
    edition = Edition()
    app = lab(make_source("a", pull=edition.pull))
    first = app.call("kernel.pull", {"reference": "a"})["kernel"]
    again = app.call("kernel.pull", {"reference": "a", "force": True})["kernel"]
    assert again == first
    edition.text = b"second"
    assert app.call("kernel.pull", {"reference": "a"})["kernel"] == first
    second = app.call("kernel.pull", {"reference": "a", "force": True})["kernel"]
    assert second["name"] == "a" and second["digest"] != first["digest"]
    assert second["vmlinuz_sha256"] == hashlib.sha256(b"second").hexdigest()
    assert names_with_files(app) == ["a"]


def test_force_keeps_the_kernel_that_a_vm_is_pinned_to(lab: MakeLab) -> None:
    edition = Edition()
    app = lab(make_source("a", pull=edition.pull))
    first = app.call("kernel.pull", {"reference": "a"})["kernel"]
    app.services.database.add_vm(sample_vm(kernel=first["digest"], state=VmState.STOPPED))
    edition.text = b"second"
    app.call("kernel.pull", {"reference": "a", "force": True})
    kept = f"a-{first['digest'][7:19]}"
    assert names_with_files(app) == ["a", kept]
    assert app.call("kernel.show", {"name": kept})["used_by"] == ["otter"]
    with pytest.raises(ConflictError, match="the kernel is in use by otter"):
        app.call("kernel.rm", {"name": kept})


def test_a_pull_that_fails_leaves_the_kernel_that_is_there(lab: MakeLab) -> None:
    edition = Edition()

    def pull(reference: str, context: PullContext) -> PulledKernel:
        if edition.text == b"second":
            raise KernelError("the line is down")
        return edition.pull(reference, context)

    app = lab(make_source("a", pull=pull))
    app.call("kernel.pull", {"reference": "a"})
    edition.text = b"second"
    with pytest.raises(KernelError, match="the line is down"):
        app.call("kernel.pull", {"reference": "a", "force": True})
    assert names_with_files(app) == ["a"]
    assert list(app.paths.staging.iterdir()) == []


def test_kernel_that_an_image_could_not_get_again_is_not_deleted(lab: MakeLab) -> None:
    app = lab(make_source("a"))
    kernel = app.call("kernel.pull", {"reference": "a"})["kernel"]
    app.services.database.add_image(
        sample_image(name="mine", digest=f"sha256:{'5' * 64}", kernel_ref=kernel["digest"])
    )
    with pytest.raises(ConflictError, match="the image 'mine' boots with the kernel 'a' only") as caught:
        app.call("kernel.rm", {"name": "a"})
    assert caught.value.hint == "banger image delete mine"
    app.services.database.delete_image(f"sha256:{'5' * 64}")
    app.services.database.add_image(
        sample_image(name="mine", digest=f"sha256:{'5' * 64}", kernel_ref="same:a")
    )
    app.call("kernel.rm", {"name": "a"})


def test_what_can_be_pulled_says_what_is_known_of_it(lab: MakeLab) -> None:
    app = lab(make_source("a", "b", size={"a": 5 << 20}.get))
    assert app.call("kernel.list")["offers"] == [
        {"name": "a", "reference": "same:a", "state": "available", "bytes": 5 << 20},
        {"name": "b", "reference": "same:b", "state": "available", "bytes": None},
    ]
    kernel = app.call("kernel.pull", {"reference": "b"})["kernel"]
    assert app.call("kernel.list")["offers"][1] == {
        "name": "b",
        "reference": "same:b",
        "state": "pulled",
        "bytes": kernel["allocated_bytes"],
    }
