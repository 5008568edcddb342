"""What every implementation of a seam or a source has to hold, as classes to subclass in a test module."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import pytest
from pydantic import BaseModel

from banger.errors import CancelledError, HostError, NotFoundError, UsageError
from banger.host.command import OUTPUT_LIMIT, Commands, HostCommands
from banger.host.disk import Disks, HostDisks
from banger.model.source import ImageSource, KernelSource, PulledImage, PulledKernel


class CommandsContract:
    """Subclass with a fixture ``commands`` that knows these programs.

    ``printf`` and ``cat`` as usual; ``false`` ends with 1; ``sh -c 'echo no >&2; exit 3'``; ``sleep 60`` takes
    that long; ``head -c 3000000 /dev/zero`` prints that many zeros; ``no-such-program`` is not installed.
    """

    @pytest.fixture
    def commands(self) -> Commands:
        raise NotImplementedError

    def test_output_and_status_are_returned(self, commands: Commands) -> None:
        done = commands.run(["printf", "hello"], timeout=10)
        assert (done.status, done.stdout, done.stderr) == (0, b"hello", b"")
        assert done.argv == (commands.resolve("printf"), "hello")

    def test_input_reaches_the_program(self, commands: Commands) -> None:
        assert commands.run(["cat"], timeout=10, input=b"a\0b").stdout == b"a\0b"

    def test_standard_output_can_be_a_file(self, commands: Commands, tmp_path: Path) -> None:
        with open(tmp_path / "out", "w+b") as file:
            assert commands.run(["printf", "hello"], timeout=10, stdout=file).stdout == b""
        assert (tmp_path / "out").read_bytes() == b"hello"

    def test_bad_status_is_an_error_with_the_last_line(self, commands: Commands) -> None:
        with pytest.raises(HostError, match="sh ended with status 3: no"):
            commands.run(["sh", "-c", "echo no >&2; exit 3"], timeout=10)

    def test_bad_status_can_be_returned(self, commands: Commands) -> None:
        assert commands.run(["false"], timeout=10, check=False).status == 1

    def test_missing_program_is_an_error(self, commands: Commands) -> None:
        assert commands.find("no-such-program") is None
        with pytest.raises(HostError, match="no-such-program is not installed"):
            commands.run(["no-such-program"], timeout=10)

    def test_timeout_is_an_error(self, commands: Commands) -> None:
        with pytest.raises(HostError, match="sleep did not end within"):
            commands.run(["sleep", "60"], timeout=0.3)

    def test_cancellation_ends_the_program(self, commands: Commands) -> None:
        with pytest.raises(CancelledError):
            commands.run(["sleep", "60"], timeout=30, cancelled=lambda: True)

    def test_output_is_bounded(self, commands: Commands) -> None:
        assert len(commands.run(["head", "-c", "3000000", "/dev/zero"], timeout=10).stdout) == OUTPUT_LIMIT


@dataclass
class RecordedProgress:
    """A :class:`~banger.model.source.PullContext` on the real host that remembers what it was told.

    :param cancel_at: the first stage that is answered with CancelledError; ``""`` for the very first report.
    """

    staging: Path
    cache: Path
    commands: Commands = field(default_factory=HostCommands)
    disks: Disks = field(default_factory=lambda: HostDisks(HostCommands()))
    arch: str = field(default_factory=lambda: os.uname().machine)
    cancel_at: str | None = None
    stages: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    models: dict[str, BaseModel] = field(default_factory=dict)

    def settings(self, plugin: str) -> BaseModel:
        return self.models[plugin]

    def progress(
        self, stage: str, detail: str = "", *, done: int | None = None, total: int | None = None
    ) -> None:
        assert done is None or total is None or 0 <= done <= total
        if stage not in self.stages:
            self.stages.append(stage)
        if self.cancel_at is not None and self.cancel_at in (stage, ""):
            raise CancelledError("cancelled by the test")

    def notice(self, text: str) -> None:
        assert "\n" not in text
        self.notices.append(text)


MakeContext = Callable[..., RecordedProgress]


class _SourceContract:
    """What image and kernel sources have in common."""

    #: A reference that can be pulled here, and one that cannot exist.
    reference: str
    unknown = "no-such-reference"
    #: How often the pull is repeated; once where it takes minutes and another test repeats it.
    pulls = 2
    #: The settings it asks for, by plugin.
    models: Mapping[str, BaseModel] = MappingProxyType({})
    #: The stage at which the cancellation test stops a pull: one that takes a while.
    cancel_at = ""

    @pytest.fixture
    def source(self) -> ImageSource | KernelSource:
        raise NotImplementedError

    @pytest.fixture
    def make_context(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeContext:
        """Make contexts in a directory with a space in its name, each with a staging directory of its own."""
        temporary = tmp_path / "with space" / "tmp"
        temporary.mkdir(parents=True)
        monkeypatch.setenv("TMPDIR", str(temporary))

        def make(name: str = "one", cancel_at: str | None = None) -> RecordedProgress:
            staging = tmp_path / "with space" / name
            cache = tmp_path / "with space" / "cache"
            staging.mkdir()
            cache.mkdir(exist_ok=True)
            return RecordedProgress(staging, cache, cancel_at=cancel_at, models=dict(self.models))

        return make

    def test_default_name_is_a_name(self, source: ImageSource | KernelSource) -> None:
        from banger.model.name import check_ref_name

        for reference in (self.reference, *source.known):
            assert check_ref_name(source.default_name(reference), "an image")

    def test_unknown_reference_is_refused_before_any_work(
        self, source: ImageSource | KernelSource, make_context: MakeContext
    ) -> None:
        ctx = make_context()
        for attempt in (lambda: source.default_name(self.unknown), lambda: source.pull(self.unknown, ctx)):
            with pytest.raises((NotFoundError, UsageError)) as caught:
                attempt()
            assert caught.value.hint
        assert list_tree(ctx.staging) == []

    def test_cancellation_leaves_nothing_behind(
        self, source: ImageSource | KernelSource, make_context: MakeContext, tmp_path: Path
    ) -> None:
        ctx = make_context("cancelled", self.cancel_at)
        with pytest.raises(CancelledError):
            source.pull(self.reference, ctx)
        remove_tree(ctx.staging)
        remove_tree(ctx.cache)
        assert list_tree(tmp_path / "with space") == [str(tmp_path / "with space" / "tmp")]


class ImageSourceContract(_SourceContract):
    """Subclass with ``reference`` and a fixture ``source``; its pulls are real ones."""

    @pytest.fixture
    def source(self) -> ImageSource:
        raise NotImplementedError

    def check_pulled(self, pulled: PulledImage, ctx: RecordedProgress) -> None:
        """Look closer at what was pulled; override where there is something to see."""

    def test_pull_fills_only_staging(self, source: ImageSource, make_context: MakeContext) -> None:
        for count in range(self.pulls):
            ctx = make_context(f"pull {count}")
            pulled = source.pull(self.reference, ctx)
            expected = {pulled.rootfs.name} | ({pulled.work_seed.name} if pulled.work_seed else set())
            assert {path.name for path in ctx.staging.iterdir()} == expected
            assert pulled.rootfs.parent == ctx.staging
            assert ctx.disks.read_uuid(pulled.rootfs)
            assert ctx.stages
            if pulled.work_seed is not None:
                assert_plain_tree(pulled.work_seed)
            self.check_pulled(pulled, ctx)
            remove_tree(ctx.staging)


def _read_index(ctx: RecordedProgress, modules: Path, name: str) -> bytes:
    """Return a file of a directory, or an ext4 file, of modules."""
    return (modules / name).read_bytes() if modules.is_dir() else ctx.disks.read_file(modules, f"/{name}")


class KernelSourceContract(_SourceContract):
    """Subclass with ``reference`` and a fixture ``source``; its pulls are real ones."""

    @pytest.fixture
    def source(self) -> KernelSource:
        raise NotImplementedError

    def check_pulled(self, pulled: PulledKernel, ctx: RecordedProgress) -> None:
        """Look closer at what was pulled; override where there is something to see."""

    def test_pull_fills_only_staging(self, source: KernelSource, make_context: MakeContext) -> None:
        for count in range(self.pulls):
            ctx = make_context(f"pull {count}")
            pulled = source.pull(self.reference, ctx)
            expected = {pulled.vmlinuz.name} | ({pulled.modules.name} if pulled.modules else set())
            assert {path.name for path in ctx.staging.iterdir()} == expected
            head = pulled.vmlinuz.read_bytes()[:0x206]
            assert head[:4] == b"\x7fELF" or head[0x202:0x206] == b"HdrS" or head[56:60] == b"ARM\x64"
            assert pulled.release
            if pulled.modules is not None:
                assert _read_index(ctx, pulled.modules, "modules.dep")
                assert _read_index(ctx, pulled.modules, "modules.builtin")
            self.check_pulled(pulled, ctx)
            remove_tree(ctx.staging)


def list_tree(directory: Path) -> list[str]:
    """Return what is below a directory; nothing when it is gone."""
    return sorted(str(path) for path in directory.rglob("*"))


def remove_tree(directory: Path) -> None:
    """Remove a directory as the core would: as this user, without help."""
    import shutil

    shutil.rmtree(directory)


def assert_plain_tree(directory: Path) -> None:
    """Check that a tree holds directories and regular files only."""
    for path in directory.rglob("*"):
        assert not path.is_symlink(), path
        assert path.is_dir() or path.is_file(), path
