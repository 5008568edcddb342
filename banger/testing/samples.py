"""A VM, an image and a kernel on paper, for tests that need a row and no machine."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime
from typing import Any

from banger.model.image import Image, Kernel
from banger.model.vm import Vm, VmSpec, VmState

#: When everything here was made; no test depends on the clock.
CREATED = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


def sample_digest(text: str) -> str:
    """Return a digest as content called ``text`` might have it."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def sample_id(text: str) -> str:
    """Return a VM id, the same for the same text."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def sample_image(name: str = "test-image", **changes: Any) -> Image:
    """Return an image's row."""
    values: dict[str, Any] = {
        "name": name,
        "digest": sample_digest(f"image {name}"),
        "distro": "debian",
        "arch": "x86_64",
        "source": f"test:{name}",
        "root_uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, name)),
        "allocated_bytes": 1024**2,
        "size_bytes": 8 * 1024**2,
        "created_at": CREATED,
    }
    return Image.model_validate({**values, **changes})


def sample_kernel(name: str = "test-kernel", **changes: Any) -> Kernel:
    """Return a kernel's row."""
    values: dict[str, Any] = {
        "name": name,
        "digest": sample_digest(f"kernel {name}"),
        "release": "6.1.0-test",
        "distro": "debian",
        "arch": "x86_64",
        "source": f"test:{name}",
        "allocated_bytes": 1024**2,
        "created_at": CREATED,
    }
    return Kernel.model_validate({**values, **changes})


def sample_vm(name: str = "otter", *, spec: dict[str, Any] | None = None, **changes: Any) -> Vm:
    """Return a VM's row, with sizes small enough for every host.

    :param spec: members of its :class:`~banger.model.vm.VmSpec` that matter to the test.
    """
    sizes: dict[str, Any] = {"vcpu": 1, "memory_mib": 128, "disk_mib": 64, "overlay_mib": 64}
    values: dict[str, Any] = {
        "id": sample_id(name),
        "name": name,
        "state": VmState.CREATED,
        "spec": VmSpec.model_validate({**sizes, "vmm": "qemu", "network": "user", **(spec or {})}),
        "image": sample_image().digest,
        "kernel": sample_kernel().digest,
        "image_name": "test-image",
        "kernel_name": "test-kernel",
        "created_at": CREATED,
    }
    return Vm.model_validate({**values, **changes})
