from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from banger.errors import CancelledError, HostError, NotFoundError, UsageError
from banger.testing.contracts import RecordedProgress
from banger.testing.fakes import FakeCommands
from banger_images_debian import banger_register_image_sources
from banger_images_debian.failure import explain_failure
from banger_images_debian.recipes import LEAN, RECIPES, SUITES, Recipe, default_name, find_recipe
from banger_images_debian.source import check_space, proxy_options, pull


def make_context(tmp_path: Path, commands: FakeCommands) -> RecordedProgress:
    staging = tmp_path / "staging"
    staging.mkdir()
    return RecordedProgress(staging, tmp_path / "cache", commands=commands)


def test_declares_one_source() -> None:
    (source,) = banger_register_image_sources()
    assert (source.scheme, source.known) == ("debian", tuple(RECIPES))
    assert source.default_name("trixie") == "debian-trixie"


def test_importing_the_plugin_is_cheap() -> None:
    heavy = "{'subprocess', 'tarfile', 'tempfile', 'pydantic', 'banger_images_debian.source'}"
    code = f"import sys, banger_images_debian; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("wrong", "meant"), [("bookwurm", "bookworm"), ("Trixie", "trixie"), ("", None)])
def test_unknown_suite(wrong: str, meant: str | None) -> None:
    with pytest.raises(NotFoundError, match=f"no image debian:{wrong}") as caught:
        default_name(wrong)
    hint = str(caught.value.hint)
    assert all(f"debian:{name}" in hint for name in RECIPES)
    assert (f"did you mean debian:{meant}?" in hint) == (meant is not None)


def test_recipes_are_suites_with_packages() -> None:
    assert {recipe.suite for recipe in RECIPES.values()} == set(SUITES)
    for name, recipe in RECIPES.items():
        assert set(LEAN) <= set(recipe.packages) and len(set(recipe.packages)) == len(recipe.packages), name
        assert default_name(name) == f"debian-{name}"


def test_reference_may_add_packages() -> None:
    recipe = find_recipe("bookworm+rsync,g++,git")
    assert recipe == Recipe("bookworm", (*LEAN, "rsync", "g++"))
    assert default_name("bookworm+rsync,g++,git") == "debian-bookworm-rsync-g-git"


@pytest.mark.parametrize("wrong", ["", "Foo", "a b", "-y", "a,,b", "ab,--option", "a" * 65, "ab;cd", "ab\n"])
def test_what_is_no_package_is_refused_before_anything_is_fetched(wrong: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not the name of a package"):
        pull(f"bookworm+{wrong}", make_context(tmp_path, FakeCommands()))


def test_too_many_packages() -> None:
    with pytest.raises(UsageError, match="201 packages are too many"):
        find_recipe("bookworm+" + ",".join(f"p{number}" for number in range(201)))
    many = ",".join(f"package{number}" for number in range(20))
    first, second = default_name(f"bookworm+{many}"), default_name(f"bookworm+{many},zstd")
    assert first != second and all(len(name) <= 127 for name in (first, second))


def test_missing_program_names_its_package(tmp_path: Path) -> None:
    ctx = make_context(tmp_path, FakeCommands(programs=("mke2fs", "unshare")))
    with pytest.raises(HostError, match="mmdebstrap is not installed") as caught:
        pull("bookworm", ctx)
    assert caught.value.hint == "sudo apt install mmdebstrap"


def test_no_space_is_said_before_anything_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=700 * 2**20))
    commands = FakeCommands()
    with pytest.raises(HostError, match="700 MiB are free at .*, an image needs about 1200 MiB") as caught:
        pull("bookworm+rsync", make_context(tmp_path, commands))
    assert "XDG_STATE_HOME" in str(caught.value.hint)
    check_space(find_recipe("bookworm"), tmp_path)


def test_other_architecture(tmp_path: Path) -> None:
    ctx = make_context(tmp_path, FakeCommands())
    ctx.arch = "riscv64"
    with pytest.raises(HostError, match="riscv64"):
        pull("bookworm", ctx)


def test_apt_proxies_are_used(tmp_path: Path) -> None:
    commands = FakeCommands()
    dump = b"""Acquire::http::Proxy "http://proxy.example:3142";
Acquire::https::Proxy::a.example "DIRECT";
Acquire::http::Proxy-Auto-Detect "/usr/bin/detect";
Acquire::http::Proxy "";
Acquire::Check-Date "false";
APT::Get::AllowUnauthenticated "true";
"""
    commands.answer("apt-config", stdout=dump)
    assert proxy_options(make_context(tmp_path, commands)) == (
        '--aptopt=Acquire::http::Proxy "http://proxy.example:3142";',
        '--aptopt=Acquire::https::Proxy::a.example "DIRECT";',
        '--aptopt=Acquire::http::Proxy-Auto-Detect "/usr/bin/detect";',
    )


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        ("dpkg: error: failed to write: No space left on device", HostError, "no space left"),
        ("W: GPG error: x InRelease: The following NO_PUBKEY 123", Exception, "signatures"),
        ("Err:1 x Could not resolve 'a.example'", Exception, "could not be fetched"),
        (
            "E: Unable to locate package git",
            Exception,
            "debian:x cannot be built: E: Unable to locate package git",
        ),
        ("E: Sub-process exited", Exception, "building debian:x failed: E: Sub-process exited"),
    ],
)
def test_failures_are_explained(line: str, kind: type[Exception], message: str) -> None:
    error = explain_failure(["I: running apt-get update...", line, "E: mmdebstrap failed to run"], "debian:x")
    assert isinstance(error, kind)
    assert message in str(error)
    assert error.hint
    assert line in error.__notes__[0]


def test_failed_build_is_one_error(tmp_path: Path) -> None:
    commands = FakeCommands()
    commands.answer(r"build\.sh", status=1, stdout=b"I: x\nE: something broke\nE: mmdebstrap failed to run\n")
    ctx = make_context(tmp_path, commands)
    with pytest.raises(Exception, match="building debian:bookworm failed: E: something broke"):
        pull("bookworm", ctx)


def test_cancellation_before_the_build(tmp_path: Path) -> None:
    ctx = make_context(tmp_path, FakeCommands())
    ctx.cancel_at = ""
    with pytest.raises(CancelledError):
        pull("bookworm", ctx)
