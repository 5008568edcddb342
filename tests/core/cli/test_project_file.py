"""``banger.toml`` of a repository that somebody else wrote."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from banger.cli.project_file import Project, ProjectFile, find_project, project_schema
from banger.errors import ConfigError


def write(tmp_path: Path, text: str | bytes) -> Path:
    (tmp_path / ".git").mkdir(exist_ok=True)
    data = text.encode() if isinstance(text, str) else text
    (tmp_path / "banger.toml").write_bytes(data)
    return tmp_path


def read(tmp_path: Path, text: str | bytes) -> ProjectFile:
    found = find_project(str(write(tmp_path, text)))
    assert found is not None
    return found


def test_it_stands_at_the_top_of_the_repository(tmp_path: Path) -> None:
    assert find_project(str(tmp_path)) is None
    (tmp_path / "banger.toml").write_text("vcpu = 2\n")
    assert find_project(str(tmp_path)) is None, "no repository, no project"
    (tmp_path / ".git").write_text("gitdir: elsewhere\n")
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/banger.toml").write_text("vcpu = 3\n")
    found = find_project(str(tmp_path / "a/b"))
    assert found is not None and found.project.vcpu == 2


def test_what_stays_in_the_guest_needs_no_trust(tmp_path: Path) -> None:
    text = """
    image = "debian-bookworm"
    kernel = "debian-bookworm"
    vcpu = 2
    memory = "2G"
    publish = ["8080", "9000:80"]
    setup = ["make deps"]
    env = {MODE = "test"}
    """
    found = read(tmp_path, text)
    assert found.reaching_lines() == []
    assert read(tmp_path, f'image = "sha256:{"0" * 64}"\n').reaching_lines() == []
    assert read(tmp_path, "secrets = {}\nauth = []\nssh_agent = false\n").reaching_lines() == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('image = "oci-dir:/etc"', 'line 1: image = "oci-dir:/etc"'),
        ('image = "registry.example/x"', 'line 1: image = "registry.example/x"'),
        ('image = "../x"', 'line 1: image = "../x"'),
        ('kernel = "/boot/vmlinuz"', 'line 1: kernel = "/boot/vmlinuz"'),
        ('vcpu = 1\nauth = [\n"git",\n"gh"]', 'line 2: auth = ["git", "gh"]'),
        ('[secrets]\nA = "cmd:id"', 'line 2: secrets.A = "cmd:id"'),
        ('secrets.A = "cmd:id\\u001b[2K"', r'line 1: secrets.A = "cmd:id\u001b[2K"'),
        ('secrets.A = "cmd:\\u202e"', 'line 1: secrets.A = "cmd:?"'),
        ('env_from_host = ["HOME"]', 'line 1: env_from_host = ["HOME"]'),
        ("ssh_agent = true", "line 1: ssh_agent = true"),
        (
            '[[file_sync]]\nhost = "~/x"\nguest = "~/x"',
            'line 1: file_sync = {"host": "~/x", "guest": "~/x", "mode": "0600", "private_keys": false}',
        ),
    ],
)
def test_what_reaches_the_host_is_listed_as_it_was_understood(tmp_path: Path, text: str, line: str) -> None:
    assert read(tmp_path, text).reaching_lines() == [line]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("mounts = []", "unknown key mounts"),
        ("[plugins.net-user]\nrestrict = false", "unknown key plugins"),
        ('[[file_sync]]\nhost = "~/../x"\nguest = "~/x"', r"without '..'"),
        ("vcpu = 0", "1 or more"),
        ('memory = "2G\\u001b"', "memory"),
        ('publish = ["0.0.0.0:80:80"]', "publish"),
        ('env = {"A-B" = "x"}', "env"),
        ('env = {LD = ["x"]}', "env"),
        (f'setup = ["{"x" * 1001}"]', "setup"),
        ("vcpu = ", "is not TOML"),
        (b"\xff", "is not TOML"),
        ("x = " + "[" * 5000, "is not TOML"),
        ("# " + "x" * 20000, "longer than 16 KiB"),
    ],
)
def test_what_it_may_not_say(tmp_path: Path, text: str | bytes, wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong) as caught:
        read(tmp_path, text)
    assert caught.value.hint and caught.value.message.isprintable()


def test_only_an_ordinary_file_is_read(tmp_path: Path) -> None:
    write(tmp_path, "").joinpath("banger.toml").unlink()
    (tmp_path / "banger.toml").symlink_to("/etc/passwd")
    with pytest.raises(ConfigError):
        find_project(str(tmp_path))
    (tmp_path / "banger.toml").unlink()
    os.mkfifo(tmp_path / "banger.toml")
    with pytest.raises(ConfigError, match="is no file"):
        find_project(str(tmp_path))
    (tmp_path / "banger.toml").unlink()
    (tmp_path / "banger.toml").mkdir()
    with pytest.raises(ConfigError, match="is no file|Is a directory"):
        find_project(str(tmp_path))


def test_the_schema_has_every_key_and_says_what_it_is_for() -> None:
    schema = json.loads(json.dumps(project_schema()))
    assert set(schema["properties"]) == set(Project.model_fields)
    assert schema["additionalProperties"] is False
    assert all(member["description"] for member in schema["properties"].values())
