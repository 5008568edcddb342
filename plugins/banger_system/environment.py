"""Environments of Python's that need no network: what is installed here, copied to where only root writes."""

from __future__ import annotations

import os
import re
import shutil
import stat
import struct
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import MAGIC_NUMBER, cache_from_source, find_spec
from pathlib import Path, PurePosixPath

from banger.api import Commands, HostError
from banger_system.guard import find_writable

#: What of banger the helper runs: no plugin, and nothing that would load one.
HELPER_PARTS = ("__init__.py", "_build.py", "errors.py", "helper", "host", "model")
#: Libraries of the helper's.
HELPER_LIBRARIES = ("pyroute2",)
#: Seconds to compile everything.
_COMPILE_SECONDS = 600.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

Files = dict[PurePosixPath, Path]


def find_python(uid: int = 0) -> Path:
    """Return an interpreter like this one, for which compiled libraries fit, that only root can change.

    :raises HostError: there is none.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    base = Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
    refused = []
    for candidate in (base, Path("/usr/bin", version), Path("/usr/local/bin", version)):
        if not candidate.is_file():
            continue
        library = candidate.parent.parent / "lib" / version
        found = next(find_writable([candidate, library], uid, skip=("site-packages", "dist-packages")), None)
        if found is None:
            return candidate
        refused.append(found)
    raise HostError(
        f"no {version} is root's alone: {'; '.join(refused)[:300]}",
        hint=f"the services need one: sudo apt install {version}; or install banger with /usr/bin/python3",
    )


def daemon_files() -> Files:
    """Return what goes into the daemon's environment: banger and all that it depends on."""
    files: Files = {}
    for found in _closure("banger"):
        files |= _files_of(found)
    return files


def helper_files() -> Files:
    """Return what goes into the helper's environment."""
    files: Files = {}
    for name in HELPER_LIBRARIES:
        for found in _closure(name):
            files |= _files_of(found)
    own = _package("banger")
    for part in HELPER_PARTS:
        if not (own / part).exists():
            raise HostError(
                f"{own / part} is missing", hint="install banger again: pip install --force-reinstall banger"
            )
        files |= _tree(own / part, PurePosixPath("banger", part))
    return files


def make_environment(target: Path, python: Path, files: Files, commands: Commands) -> None:
    """Make a virtual environment of copied files, all of them the caller's own and written by nobody else.

    :param target: is not there yet.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    packages = target / "lib" / f"python{version}" / "site-packages"
    for folder in (packages, target / "bin"):
        _make_folder(folder, target.parent)
    for name in ("python", "python3"):
        (target / "bin" / name).symlink_to(python)
    settings = f"home = {python.parent}\ninclude-system-site-packages = false\nversion = {version}\n"
    _write(target / "pyvenv.cfg", settings)
    for relative, source in files.items():
        _make_folder((packages / relative).parent, target.parent)
        _copy(source, packages / relative)
        _copy_compiled(source, packages / relative)
    compile_all = ["-I", "-m", "compileall", "-q", "-s", str(target.parent), str(packages)]
    commands.run([str(target / "bin" / "python3"), *compile_all], timeout=_COMPILE_SECONDS)


def _closure(name: str) -> list[Distribution]:
    """Return a distribution and all that it needs, as far as it is installed: the rest is not needed on this host."""
    found: dict[str, Distribution] = {}
    wanted = [name]
    while wanted:
        key = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        if key in found:
            continue
        try:
            found[key] = distribution(key)
        except PackageNotFoundError:
            if key == name:
                raise HostError(
                    f"{name} is not installed for {sys.executable}", hint=f"pip install {name}"
                ) from None
            continue
        for line in found[key].requires or ():
            requirement, _, marker = line.partition(";")
            if "extra" not in marker and (named := _NAME.match(requirement)):
                wanted.append(named[0])
    return list(found.values())


def _files_of(found: Distribution) -> Files:
    """Return a distribution's files, without programs, caches and what Python would run by itself (``.pth``)."""
    files: Files = {}
    for path in found.files or ():
        kept = ".." not in path.parts and not path.is_absolute() and "__pycache__" not in path.parts
        if kept and path.suffix not in (".pth", ".pyc") and path.name not in ("RECORD", "direct_url.json"):
            files[PurePosixPath(path)] = Path(str(found.locate_file(path)))
    if found.metadata["Name"] == "banger":  # whose packages are elsewhere in an editable installation
        points = {point.value.partition(":")[0].partition(".")[0] for point in found.entry_points}
        for package in points:
            files |= _tree(_package(package), PurePosixPath(package))
    return files


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise HostError(f"the package {name} is not there", hint="pip install --force-reinstall banger")
    return Path(next(iter(spec.submodule_search_locations)))


def _tree(source: Path, relative: PurePosixPath) -> Files:
    return {relative / path.relative_to(source).as_posix(): path for path in _walk(source)}


def _walk(source: Path) -> Iterator[Path]:
    if source.is_file():
        yield source
    for folder, folders, names in os.walk(source):
        folders[:] = [name for name in folders if name != "__pycache__"]
        yield from (Path(folder, name) for name in names if not name.endswith(".pyc"))


def _make_folder(folder: Path, top: Path) -> None:
    """Make a directory and those above it below ``top``, for everybody to read."""
    missing: list[Path] = []
    while folder != top and not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir()
        new.chmod(0o755)


def _copy(source: Path, target: Path) -> None:
    """Copy a plain file: its content, its time and whether it is a program."""
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as reader:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise HostError(f"{source} is no plain file", hint="install banger again")
        with open(target, "xb") as writer:
            shutil.copyfileobj(reader, writer)
            os.fchmod(writer.fileno(), 0o755 if info.st_mode & 0o100 else 0o644)
    os.utime(target, ns=(info.st_mtime_ns, info.st_mtime_ns))


def _copy_compiled(source: Path, target: Path) -> None:
    """Copy what Python compiled a source file to, where that is of its time and size; the rest is compiled later.

    It is no less to be trusted than the source, which comes from the same place (PEP 552 for the header).
    """
    if source.suffix != ".py":
        return
    compiled = Path(cache_from_source(source))
    try:
        info = source.stat()
        with open(compiled, "rb") as file:
            head = file.read(16)
    except OSError:
        return
    fields = struct.pack("<III", 0, int(info.st_mtime) & 0xFFFFFFFF, info.st_size & 0xFFFFFFFF)
    if head == MAGIC_NUMBER + fields and compiled.is_file() and not compiled.is_symlink():
        copied = Path(cache_from_source(target))
        _make_folder(copied.parent, target.parent)
        _copy(compiled, copied)


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o644)
