"""Work seeds: the file system that work disks of an image's new VMs begin as."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from banger.api import HostError, ImageError, UsageError
from banger_local.ext4_tree import unpack_ext4
from banger_local.flatten import shrink_ext4

if TYPE_CHECKING:
    from banger.api import Image, OperationContext, PullContext

#: MiB of a seed's file system before it is made as small as its content; grown in each VM to the work disk's size.
_LEAST_MIB = 512
#: The file of a work seed in an image's directory, and the directory that older images have.
SEED, TREE = "work-seed.ext4", "work-seed"


def make_seed(pull: PullContext, tree: Path, target: Path) -> Path:
    """Make a seed of a directory's content, owned by root in the guest."""
    used = sum(-(-path.lstat().st_size >> 12 << 12) + 4096 for path in tree.rglob("*"))
    size = max(_LEAST_MIB, used * 3 // 2 >> 20)
    pull.disks.make_ext4(target, size, uuid=str(uuid.uuid4()), label="banger-work", content=tree)
    shrink_ext4(pull.commands, target)
    return target


def seed_from_image(pull: PullContext, rootfs: Path) -> Path | None:
    """Make a seed of the ``/root`` in an ext4 file; None when there is no such directory, or it is too large."""
    pull.progress("work seed", "/root of the image")
    tree = pull.staging / "seed-tree"
    if not unpack_ext4(pull.commands, rootfs, "/root", tree):
        return None
    return make_seed(pull, tree, pull.staging / "seed.ext4")


def seed_from_directory(pull: PullContext, directory: str) -> Path:
    """Make a seed of a directory on this machine."""
    tree = Path(directory)
    if not tree.is_absolute() or not tree.is_dir():
        raise UsageError(f"{directory[:200]} is not a directory", hint="--work-seed DIR")
    if not os.access(tree, os.R_OK | os.X_OK):
        raise HostError(f"{tree} cannot be read", hint=f"ls -ld {tree}")
    pull.progress("work seed", str(tree))
    return make_seed(pull, tree, pull.staging / "seed.ext4")


def find_seed(pull: PullContext, image_dir: Path) -> Path | None:
    """Return an image's seed as a file system: its own, or one made of the directory it has; None without either."""
    if (image_dir / SEED).is_file():
        return image_dir / SEED
    if (image_dir / TREE).is_dir():
        return make_seed(pull, image_dir / TREE, pull.staging / "seed.ext4")
    return None


def renew_seed(op: OperationContext, image: Image, directory: str | None) -> None:
    """Make an image's seed anew and put it in the place of the old one, in one step."""
    image_dir = op.image_directory(image)
    with op.staging(f"image {image.name}", "local") as pull:
        if directory is not None:
            made: Path | None = seed_from_directory(pull, directory)
        else:
            made = seed_from_image(pull, image_dir / "rootfs.ext4")
        if made is None:
            raise ImageError(
                f"'{image.name}' has no /root to make a work seed of", hint="name a directory: --from DIR"
            )
        made.chmod(0o400)
        with open(made, "rb") as file:
            os.fsync(file.fileno())
        made.replace(image_dir / SEED)
