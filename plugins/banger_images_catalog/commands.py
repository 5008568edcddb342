"""``image bundle`` and ``kernel bundle``."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from banger.api import UsageError, format_bytes, print_json, print_pairs, run_operation


def _absolute(_: Any, __: Any, path: str | None) -> str | None:
    """Return a path as the daemon understands it, which has another directory; a callback for click."""
    return os.path.abspath(os.path.expanduser(path)) if path and path != "-" else path


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.option("--name", help="what it is called in the catalog [as here]"),
        click.option("--distro", help="what it is, for people [what it says it is]"),
        click.option("--description", help="a line about it"),
        click.option(
            "--out",
            metavar="DIR",
            default=".",
            show_default=True,
            callback=_absolute,
            help="where the bundle goes",
        ),
        click.option("--catalog", metavar="FILE", callback=_absolute, help="write it into this catalog"),
        click.option("--url", help="what others fetch the bundle from [as it lies to the catalog]"),
        click.option("--json", "as_json", is_flag=True, help="print JSON"),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("image_name", metavar="[IMAGE]", required=False)
@click.option(
    "--rootfs-tar", metavar="FILE", callback=_absolute, help="make it of a tar; '-': of the standard input"
)
@click.option("--kernel-ref", metavar="KERNEL", help="the kernel that boots it [as here]")
@click.option("--arch", help="what it is for [this machine's]")
@click.option("--size", help="of the tar's disk, at least: 4G [as small as its content]")
@_options
def image(image_name: str | None, rootfs_tar: str | None, as_json: bool, **choices: str | None) -> None:
    """Make a bundle of an image that is here, or of a root file system in a tar.

    \b
      banger image bundle debian-bookworm --out /srv/images --catalog /srv/images/catalog.json
      podman export box | banger image bundle --rootfs-tar - --name box --kernel-ref debian:bookworm
    """
    if (image_name is None) == (rootfs_tar is None):
        raise UsageError(
            "a bundle is of an image here or of a tar, one of both",
            hint="banger image bundle NAME, or --rootfs-tar FILE --name NAME",
        )
    if rootfs_tar is not None and choices["name"] is None:
        raise UsageError("a bundle of a tar needs a name", hint="--name NAME")
    with _input(rootfs_tar, str(choices["out"])) as path:
        _run("image.bundle", {"image": image_name, "rootfs_tar": path, **choices}, as_json)


@click.command()
@click.argument("kernel_name", metavar="KERNEL")
@_options
def kernel(kernel_name: str, as_json: bool, **choices: str | None) -> None:
    """Make a bundle of a kernel that is here.

    \b
      banger kernel bundle debian-bookworm --out /srv/images --catalog /srv/images/catalog.json
    """
    _run("kernel.bundle", {"kernel": kernel_name, **choices}, as_json)


@contextmanager
def _input(path: str | None, directory: str) -> Iterator[str | None]:
    """Give a file's path; the standard input becomes a file without a name, which goes with this process."""
    if path != "-":
        yield path
        return
    if sys.stdin.isatty():
        raise UsageError("the standard input is a terminal", hint="podman export … | banger image bundle …")
    if not os.path.isdir(directory):
        raise UsageError(f"there is no directory {directory}", hint=f"mkdir -p {directory}")
    import shutil

    with tempfile.TemporaryFile(dir=directory) as file:
        shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)
        file.flush()
        yield f"/proc/{os.getpid()}/fd/{file.fileno()}"


def _run(operation: str, params: dict[str, Any], as_json: bool) -> None:
    answer = run_operation(operation, {key: value for key, value in params.items() if value is not None})
    if as_json:
        print_json(answer)
        return
    pairs = [
        ("path", answer["path"]),
        ("sha256", answer["sha256"]),
        ("size", f"{answer['size']} bytes ({format_bytes(answer['size'])})"),
    ]
    if answer["catalog"]:
        pairs.append(("catalog", answer["catalog"]))
    print_pairs(pairs)
