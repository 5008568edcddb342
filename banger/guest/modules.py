"""Which kernel modules to load, in which order, and their plain bytes."""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from collections.abc import Sequence

from banger.errors import KernelError

#: No module of a distribution comes near this when decompressed.
MAX_MODULE = 64 * 1024 * 1024
_SUFFIXES = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")


def module_name(path: str) -> str:
    """``kernel/drivers/block/virtio_blk.ko.xz`` is ``virtio_blk``; dashes and underscores are the same."""
    name = path.rsplit("/", 1)[-1]
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        name = name.removesuffix(suffix)
    return name.replace("-", "_")


def resolve_modules(names: Sequence[str], *, modules_dep: str, modules_builtin: str) -> list[str]:
    """The paths below ``/lib/modules/<release>`` of these modules and all they need, dependencies first.

    A name that is built in needs nothing; one that is neither raises :class:`KernelError`.
    """
    needs = _parse_dep(modules_dep)
    paths = {module_name(path): path for path in needs}
    built_in = {module_name(line.strip()) for line in modules_builtin.splitlines() if line.strip()}
    ordered: list[str] = []
    for name in names:
        key = module_name(name)
        if key in paths:
            _add(paths[key], needs, ordered, ())
        elif key not in built_in:
            raise KernelError(
                f"this kernel has no module '{name}', and it is not built in",
                hint="use another kernel, for example the distribution's own",
            )
    return ordered


def _parse_dep(text: str) -> dict[str, list[str]]:
    needs: dict[str, list[str]] = {}
    for line in text.splitlines():
        path, colon, rest = line.partition(":")
        if colon:
            needs[path.strip()] = rest.split()
    return needs


def _add(path: str, needs: dict[str, list[str]], ordered: list[str], above: tuple[str, ...]) -> None:
    """modules.dep lists all that a module needs, nearest first; walking each entry gives a load order."""
    if path in ordered:
        return
    if path in above:
        raise KernelError(f"modules.dep has a cycle through {path}")
    if path not in needs:
        raise KernelError(f"modules.dep names {path} as a dependency but does not list it")
    for other in reversed(needs[path]):
        _add(other, needs, ordered, (*above, path))
    ordered.append(path)


def decompress_module(path: str, data: bytes) -> bytes:
    """The plain ELF bytes of a module, by the suffix of its path; at most :data:`MAX_MODULE`."""
    try:
        plain = _decompress(path, data)
    except (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError) as error:
        raise KernelError(f"the module {path} cannot be decompressed: {error}") from error
    if len(plain) > MAX_MODULE:
        raise KernelError(f"the module {path} is larger than {MAX_MODULE >> 20} MiB")
    if not plain.startswith(b"\x7fELF"):
        raise KernelError(f"the module {path} is not an ELF file")
    return plain


def _decompress(path: str, data: bytes) -> bytes:
    if path.endswith(".xz"):
        return lzma.LZMADecompressor(memlimit=256 * 1024 * 1024).decompress(data, MAX_MODULE + 1)
    if path.endswith(".gz"):
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            return file.read(MAX_MODULE + 1)
    if path.endswith(".zst"):
        return _decompress_zstd(data)
    return data


def _decompress_zstd(data: bytes) -> bytes:
    import zstandard

    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data) as file:
            return file.read(MAX_MODULE + 1)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
