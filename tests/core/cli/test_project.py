"""Trust in a repository's ``banger.toml``, and what of it reaches ``vm run``."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from banger.cli.project import plan_project
from banger.cli.trust import store, trust
from banger.errors import ConfigError, NotFoundError

REACHING = 'env_from_host = ["TOKEN", "MISSING_HERE"]\nssh_agent = true\n[secrets]\nKEY = "env:TOKEN"\n'


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOKEN", "t0ken")
    (tmp_path / "repo/.git").mkdir(parents=True)
    return tmp_path / "repo"


def write(repository: Path, text: str) -> str:
    (repository / "banger.toml").write_text(text)
    return str(repository)


def plan(path: str | None, **given: Any) -> tuple[Any, dict[str, Any]]:
    choices = {"path": path, "no_project": False, "publish": (), "auth": (), **given}
    return plan_project(choices), choices


def run(*words: str) -> None:
    trust.main(list(words), standalone_mode=False)


def test_flags_stand_over_the_file(repository: Path) -> None:
    path = write(repository, 'image = "other"\nvcpu = 2\npublish = ["80"]\nenv.A = "b"\nsetup = ["x"]\n')
    found, choices = plan(path, image="mine", publish=("90",))
    assert (choices["image"], choices["vcpu"], choices["publish"]) == ("mine", 2, ("90", "80"))
    assert (found.env, found.setup, found.secrets) == ({"A": "b"}, ("x",), ())
    assert "no_project" not in choices


def test_no_path_no_project_no_file_and_a_dry_run_ask_for_nothing(repository: Path) -> None:
    assert plan(str(repository))[0].env == {}
    path = write(repository, REACHING)
    for found, choices in (plan(None), plan(path, no_project=True), plan(path, dry_run=True)):
        assert (found.env, found.secrets, choices["auth"]) == ({}, (), ())


def test_without_trust_nothing_reaches_the_host_and_the_lines_are_listed(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(repository, REACHING)
    with pytest.raises(ConfigError, match="is not trusted") as caught:
        plan(path)
    assert "banger trust " in (caught.value.hint or "")
    said = capsys.readouterr().err
    assert "line 2: ssh_agent = true" in said and 'line 4: secrets.KEY = "env:TOKEN"' in said
    assert "t0ken" not in said


def test_trust_is_in_the_content(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(repository, REACHING)
    run(path)
    assert 'env_from_host = ["TOKEN", "MISSING_HERE"]' in capsys.readouterr().out
    found, _ = plan(path)
    assert (found.env, found.secrets, found.ssh_agent) == ({"TOKEN": "t0ken"}, ("KEY=env:TOKEN",), True)
    assert "MISSING_HERE, which you do not have" in capsys.readouterr().err
    write(repository, REACHING + "# changed\n")
    with pytest.raises(ConfigError):
        plan(path)
    assert "has changed since it was trusted" in capsys.readouterr().err
    write(repository, REACHING)
    assert plan(path)[0].ssh_agent
    write(repository, "vcpu = 1\n")
    assert plan(path)[1]["vcpu"] == 1, "what needs no trust asks for none"
    run("--remove", path)
    write(repository, REACHING)
    with pytest.raises(ConfigError):
        plan(path)


def test_what_was_trusted_is_listed_and_kept_for_the_user_alone(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--list")
    assert "nothing is trusted" in capsys.readouterr().err
    path = write(repository, REACHING)
    run(f"{path}/banger.toml", "--json")
    made = json.loads(capsys.readouterr().out)
    assert made["sha256"] == hashlib.sha256(REACHING.encode()).hexdigest()
    assert len(made["reaches"]) == 3
    run("--list", "--json")
    assert json.loads(capsys.readouterr().out) == [{"path": f"{path}/banger.toml", "sha256": made["sha256"]}]
    assert os.stat(store()._file).st_mode & 0o777 == 0o600
    with pytest.raises(NotFoundError, match="not trusted"):
        run("--remove", str(repository.parent))
    with pytest.raises(NotFoundError, match="no banger.toml"):
        run(str(repository.parent))


def test_a_broken_store_trusts_nothing(repository: Path) -> None:
    path = write(repository, REACHING)
    run(path)
    for broken in ("[]", "{", '{"a": 1}'):
        store()._file.write_text(broken)
        with pytest.raises(ConfigError):
            plan(path)
    run(path)
    assert plan(path)[0].ssh_agent
