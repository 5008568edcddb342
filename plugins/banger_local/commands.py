"""Commands on images and kernels of this machine."""

from __future__ import annotations

import os
from typing import Any

import click

from banger.api import UsageError, format_bytes, print_json, run_operation, say

_json = click.option("--json", "as_json", is_flag=True, help="print JSON")


def _absolute(_: Any, __: Any, path: str | None) -> str | None:
    """Return a path as the daemon understands it, which has another directory; a callback for click."""
    return os.path.abspath(os.path.expanduser(path)) if path else path


def _show(thing: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(thing)
    else:
        print(f"{thing['name']} {thing['digest'][:19]} {format_bytes(thing['allocated_bytes'])}")


@click.command()
@click.option("--name", required=True, help="what to call it here")
@click.option(
    "--rootfs", "path", required=True, metavar="FILE", callback=_absolute, help="an ext4 file system"
)
@click.option("--distro", help="what it is, for people")
@click.option("--kernel-ref", metavar="KERNEL", help="boot it with a kernel that is here, or can be pulled")
@click.option("--kernel", "kernel_file", metavar="FILE", callback=_absolute, help="boot it with this kernel")
@click.option("--initrd", metavar="FILE", callback=_absolute, help="kept with the kernel, not booted")
@click.option("--modules", metavar="DIR", callback=_absolute, help="the kernel's /lib/modules/RELEASE")
@click.option(
    "--work-seed", metavar="DIR", callback=_absolute, help="what /root begins with [the image's /root]"
)
@_json
def register(name: str, path: str, kernel_file: str | None, as_json: bool, **choices: str | None) -> None:
    """Use a root file system that is on this machine, where it lies.

    VMs write to disks of their own; the file must not change as long as the image is here. A kernel given as files is
    copied.
    """
    if choices["kernel_ref"] and (kernel_file or choices["initrd"] or choices["modules"]):
        raise UsageError(
            "--kernel-ref goes with none of --kernel, --initrd and --modules", hint="name a kernel in one way"
        )
    params = {"name": name, "rootfs": path, "kernel": kernel_file, **choices}
    answer = run_operation("image.register", {key: value for key, value in params.items() if value})
    _show(answer["image"], as_json)


@click.command()
@click.argument("name")
@_json
def promote(name: str, as_json: bool) -> None:
    """Copy a registered image into the store; the file it was is not needed any more. VMs stay as they are."""
    _show(run_operation("image.promote", {"name": name})["image"], as_json)


@click.command()
@click.argument("vm")
@click.argument("new_name", metavar="NAME")
@_json
def commit(vm: str, new_name: str, as_json: bool) -> None:
    """Make an image of a VM's disks, its /root included.

    The VM may run: it stands still while its disks are copied, usually less than a second.
    """
    _show(run_operation("image.commit", {"vm": vm, "name": new_name})["image"], as_json)


@click.command()
@click.argument("name")
@click.option(
    "--from", "directory", metavar="DIR", callback=_absolute, help="of this machine [the image's /root]"
)
@_json
def seed(name: str, directory: str | None, as_json: bool) -> None:
    """Renew what work disks, the /root of new VMs, begin with; VMs that are there keep theirs."""
    params = {"name": name, **({"directory": directory} if directory else {})}
    _show(run_operation("image.seed", params)["image"], as_json)


@click.command()
@click.argument("name")
@click.argument("path", metavar="FILE", callback=_absolute)
@click.option("--force", is_flag=True, help="write over a file that is there")
@click.option("--no-kernel", is_flag=True, help="leave the kernel out")
@_json
def export(name: str, path: str, force: bool, no_kernel: bool, as_json: bool) -> None:
    """Write an image, and the kernel it boots with, to one file: banger image import reads it anywhere.

    It holds all that is in the image, private things as well.
    """
    params = {"name": name, "path": path, "force": force, "kernel": not no_kernel}
    answer = run_operation("image.export", params)
    if as_json:
        print_json(answer)
        return
    short = os.path.relpath(answer["path"])
    shown = answer["path"] if short.startswith("..") else short
    print(f"{shown} {answer['digest'][:19]} {format_bytes(answer['size'])}")
    if answer["kernel"] is None and not no_kernel:
        say("note: no kernel is in it: the one this image names is not here")


@click.command("import")
@click.argument("path", metavar="FILE", callback=_absolute)
@click.option("--name", help="what to call it here [what the file says]")
@_json
def import_image(path: str, name: str | None, as_json: bool) -> None:
    """Read an image, and its kernel, from a file that banger image export wrote."""
    answer = run_operation("image.import", {"path": path, **({"name": name} if name else {})})
    if as_json:
        print_json(answer)
        return
    _show(answer["image"], as_json=False)
    if answer["kernel"] is not None:
        say(f"boots with the kernel {answer['kernel']['name']}")


@click.command("import")
@click.argument("new_name", metavar="NAME")
@click.option("--from", "directory", required=True, metavar="DIR", callback=_absolute, help="where it is")
@click.option("--distro", help="what it is of, for people")
@click.option("--arch", help="what it is for [this machine's]")
@_json
def import_kernel(new_name: str, directory: str, as_json: bool, **choices: str | None) -> None:
    """Take over a kernel of a directory: what its metadata.json says, or boot/vmlinux-*, boot/vmlinuz-*, lib/modules.

    \b
      banger kernel import mine --from /
      banger kernel import built --from ./build
    """
    params = {"name": new_name, "directory": directory, **choices}
    answer = run_operation(
        "kernel.import", {key: value for key, value in params.items() if value is not None}
    )
    _show(answer["kernel"], as_json)
