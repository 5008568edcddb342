"""The commands around it: records, locks, options, and the place a command runs in."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import click
import pytest

from banger.api import ConflictError, NotFoundError, Place
from banger_workspace import extend, place
from banger_workspace.commands import prepare
from banger_workspace.exec import find_place
from banger_workspace.place import head_moved, locked
from banger_workspace.prepare import Wanted, read_repository
from banger_workspace.repository import strip_credentials

from .conftest import Local, commit_all, files_of, git


def run_plan(*words: str, extension: Any = extend.vm_run) -> Any:
    """Parse words as the command would, and let the extension plan."""
    command = click.Command("run", params=[*extension.params, click.Option(["--user"])])
    with command.make_context("run", list(words)) as context:
        choices = dict(context.params)
        choices.pop("user")
        plan = extension.plan(choices)
    assert choices == {}, "the extension takes all of its own out"
    return plan


def test_a_bare_run_has_no_plan() -> None:
    assert run_plan() is None


@pytest.mark.parametrize(
    "words", [("--branch", "x"), ("--from", "x"), ("--readonly",), ("--mode", "full_copy"), ("--dry-run",)]
)
def test_options_that_need_a_path(words: tuple[str, ...]) -> None:
    with pytest.raises(click.UsageError, match=f"{words[0]} needs the PATH of a repository"):
        run_plan(*words)


def test_a_dry_run_lists_files_and_ends(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repo / "new\nline").write_text("x")
    (repo / "tool").unlink()
    with pytest.raises(click.exceptions.Exit) as caught:
        run_plan(str(repo / "folder"), "--dry-run", "--include-untracked")
    assert caught.value.exit_code == 0
    out, err = capsys.readouterr()
    assert out.split("\n") == [".gitignore", "a.txt", "folder/b.txt", '"new\\nline"', "out", ""]
    assert err == "shallow_overlay to /root/repo; nothing was done\n"


def test_what_is_brought_is_what_is_there_when_the_vm_runs(
    repo: Path, local: Local, capsys: pytest.CaptureFixture[str]
) -> None:
    (repo / "untracked").write_text("u\n")
    plan = run_plan(str(repo), "--guest-path", str(local.path))
    assert capsys.readouterr().err == "note: 1 untracked left out (--include-untracked)\n"
    (repo / "untracked").unlink()
    (repo / "a.txt").write_text("edited while the VM booted\n")
    assert plan.arrive(local, "vm", False) == Place(str(local.path), extend.WRAPPER)
    assert local.files() == files_of(repo)


def test_prepare_without_a_path_repeats_the_first_time(
    repo: Path, local: Local, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("banger_workspace.commands.Client", lambda: local)
    with pytest.raises(NotFoundError, match="'vm' has no workspace"):
        prepare.main(["vm"], standalone_mode=False)
    prepare.main(
        ["vm", str(repo), "--guest-path", str(local.path), "--include-untracked", "--branch", "b"],
        standalone_mode=False,
    )
    (repo / "untracked").write_text("u\n")
    capsys.readouterr()
    prepare.main(["vm"], standalone_mode=False)
    assert local.files() == files_of(repo)
    assert capsys.readouterr().out.endswith(", branch b\n")


def test_where_a_command_runs(repo: Path, local: Local, capsys: pytest.CaptureFixture[str]) -> None:
    assert find_place(local, "vm", None, auto_prepare=False) == Place()
    assert find_place(local, "vm", "/srv", auto_prepare=False) == Place("/srv")
    local.bring(repo)
    here = Place(str(local.path), extend.WRAPPER)
    assert find_place(local, "vm", None, auto_prepare=False) == here
    assert find_place(local, "vm", "/srv", auto_prepare=False) == Place("/srv", extend.WRAPPER)
    assert capsys.readouterr().err == ""
    commit_all(repo, "moved")
    assert find_place(local, "vm", None, auto_prepare=False) == here
    assert "has another HEAD than when it was prepared" in capsys.readouterr().err
    assert find_place(local, "vm", None, auto_prepare=True) == here
    assert git(local.path, "rev-parse", "HEAD") == git(repo, "rev-parse", "HEAD")
    assert find_place(local, "vm", None, auto_prepare=False) == here
    assert capsys.readouterr().err == ""


def test_another_user_stays_at_home() -> None:
    assert run_plan("--user", "somebody", extension=extend.vm_exec) is None
    assert run_plan("--user", "root", extension=extend.vm_exec) is not None


def test_a_repository_that_is_gone_has_not_moved(repo: Path) -> None:
    assert not head_moved({"source": str(repo / "gone"), "source_head": "a" * 40})
    assert not head_moved({"source": str(repo.parent), "source_head": "a" * 40})
    assert head_moved({"source": str(repo), "source_head": "a" * 40})


def test_imports_exclude_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detail = {"lock": str(tmp_path / "lock"), "vm": "vm"}
    with locked(detail):
        monkeypatch.setattr(place, "_PATIENCE", 0.0)
        with pytest.raises(ConflictError, match="was in use"), locked(detail):
            pytest.fail("two at once")
    with locked(detail):
        pass


def test_an_export_waits_for_an_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    detail = {"lock": str(tmp_path / "lock"), "vm": "vm"}
    order: list[str] = []

    def export() -> None:
        with locked(detail):
            order.append("export")

    with locked(detail):
        thread = threading.Thread(target=export)
        thread.start()
        while "waiting for another import or export" not in capsys.readouterr().err:
            time.sleep(0.01)
        order.append("import")
    thread.join(60)
    assert order == ["import", "export"]


def test_a_vm_that_was_deleted_meanwhile(tmp_path: Path) -> None:
    with (
        pytest.raises(NotFoundError, match="deleted meanwhile"),
        locked({"lock": str(tmp_path / "no" / "lock"), "vm": "x"}),
    ):
        pass


def test_garbage_collection_in_the_guest_keeps_what_is_compared_with(repo: Path, local: Local) -> None:
    (repo / "a.txt").write_text("edited\n")
    record = local.bring(repo)
    git(local.path, "reset", "-q", "--hard")
    git(local.path, "-c", "gc.reflogExpire=now", "gc", "-q", "--prune=now")
    assert git(local.path, "cat-file", "-t", record["tree"]) == "tree"


@pytest.mark.parametrize(
    ("address", "stripped"),
    [
        ("https://user:token@host/x", "https://host/x"),
        ("https://token@host:8443/x?y", "https://host:8443/x?y"),
        ("ssh://git@host/x", "ssh://git@host/x"),
        ("ssh://git:word@host/x", "ssh://host/x"),
        ("git@host:x", "git@host:x"),
        ("/srv/x", "/srv/x"),
        ("https://[bad", ""),
    ],
)
def test_addresses_lose_their_passwords(address: str, stripped: str) -> None:
    assert strip_credentials(address) == stripped


def test_the_file_list_of_a_repository_without_a_commit(tmp_path: Path) -> None:
    from banger_workspace.changes import list_files

    git(tmp_path, "init", "-q")
    (tmp_path / "f").write_text("f")
    git(tmp_path, "add", "f")
    found = read_repository(Wanted(str(tmp_path)))
    assert list_files(found.repository, found.changes) == [b"f"]
