from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from banger.errors import BangerError, HostError, KernelError, NotFoundError
from banger.model.source import KernelSource, PulledKernel
from banger.testing.contracts import KernelSourceContract, RecordedProgress
from banger.testing.fakes import Call, FakeCommands
from banger_kernels_debian import banger_register_kernel_sources
from banger_kernels_debian.source import arrange, default_name, explain_failure, pull


class _Debian(KernelSourceContract):
    cancel_at = "unpacking the kernel"

    @pytest.fixture
    def source(self) -> KernelSource:
        return banger_register_kernel_sources()[0]

    def check_pulled(self, pulled: PulledKernel, ctx: RecordedProgress) -> None:
        assert pulled.release.endswith(("-cloud-amd64", "-cloud-arm64"))
        assert pulled.modules is not None
        dependencies = (pulled.modules / "modules.dep").read_text()
        assert "virtio_net.ko" in dependencies
        assert "failover.ko" in dependencies
        for line in dependencies.splitlines()[:50]:
            module, _, needed = line.partition(":")
            for path in (module, *needed.split()):
                assert (pulled.modules / path).is_file()
        assert (pulled.modules / "modules.alias.bin").stat().st_size > 0
        assert not (pulled.modules / "build").is_symlink()


@pytest.mark.vm
@pytest.mark.timeout(600)
class TestBookworm(_Debian):
    reference = "bookworm"


@pytest.mark.long
@pytest.mark.timeout(600)
class TestTrixie(_Debian):
    reference = "trixie"
    pulls = 1


def make_context(tmp_path: Path, commands: FakeCommands) -> RecordedProgress:
    staging = tmp_path / "staging"
    staging.mkdir()
    return RecordedProgress(staging, tmp_path / "cache", commands=commands)


def make_tree(call: Call) -> None:
    """What the hook leaves."""
    assert call.env is not None
    tree = Path(call.env["BANGER_OUT"]) / "tree"
    (tree / "boot").mkdir(parents=True)
    (tree / "boot/vmlinuz-1.2-cloud").write_bytes(b"kernel")
    (tree / "lib/modules/1.2-cloud/kernel").mkdir(parents=True)
    (tree / "lib/modules/1.2-cloud/modules.dep").write_text("")
    (tree / "lib/modules/1.2-cloud/build").symlink_to("/nowhere")
    (tree / "usr").symlink_to(".")
    Path(call.argv[-1]).mkdir()


def test_pull_arranges_what_the_hook_leaves(tmp_path: Path) -> None:
    commands = FakeCommands()
    commands.answer("mmdebstrap", effect=make_tree)
    ctx = make_context(tmp_path, commands)
    pulled = pull("bookworm", ctx)
    assert pulled == PulledKernel(ctx.staging / "vmlinuz", "1.2-cloud", "debian", ctx.staging / "modules")
    assert sorted(path.name for path in ctx.staging.iterdir()) == ["modules", "vmlinuz"]
    assert [path.name for path in ctx.staging.joinpath("modules").iterdir()].count("build") == 0


def test_package_with_two_kernels(tmp_path: Path) -> None:
    for release in ("one", "two"):
        (tmp_path / "out/tree/lib/modules" / release).mkdir(parents=True)
    with pytest.raises(KernelError, match="2 kernels"):
        arrange(tmp_path / "out", tmp_path)


def test_unknown_suite() -> None:
    with pytest.raises(NotFoundError, match="no kernel debian:trixy") as caught:
        default_name("trixy")
    assert "did you mean debian:trixie?" in str(caught.value.hint)


def test_importing_the_plugin_is_cheap() -> None:
    heavy = "{'subprocess', 'tempfile', 'pydantic', 'banger_kernels_debian.source'}"
    code = f"import sys, banger_kernels_debian; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_missing_program_and_other_architecture(tmp_path: Path) -> None:
    ctx = make_context(tmp_path, FakeCommands(programs=("dpkg-deb",)))
    with pytest.raises(HostError, match="mmdebstrap is not installed"):
        pull("trixie", ctx)
    ctx.commands, ctx.arch = FakeCommands(), "riscv64"
    with pytest.raises(HostError, match="riscv64"):
        pull("trixie", ctx)


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        ("tar: write error: No space left on device", HostError, "no space left"),
        ("W: GPG error: x InRelease: NO_PUBKEY 123", KernelError, "signature"),
        ("E: Failed to fetch x", KernelError, "could not be fetched"),
        ("E: linux-image-cloud-amd64 depends on no kernel", KernelError, "depends on no kernel"),
    ],
)
def test_failures_are_explained(line: str, kind: type[BangerError], message: str) -> None:
    error = explain_failure(["I: x", line, "E: mmdebstrap failed to run"], "trixie")
    assert isinstance(error, kind)
    assert message in str(error)
    assert error.hint


def test_failed_pull_is_one_error(tmp_path: Path) -> None:
    commands = FakeCommands()
    commands.answer("mmdebstrap", status=1, stdout=b"E: broken\n")
    with pytest.raises(KernelError, match="pulling debian:trixie failed: E: broken"):
        pull("trixie", make_context(tmp_path, commands))
