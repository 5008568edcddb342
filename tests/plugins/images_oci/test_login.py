"""Logins: where they are found, whom they are sent to, and that they are seen nowhere."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from misbehaving import Request, digest, serve
from registry_lab import entry, make_layout, make_tar, missing_programs, push, run_registry

from banger.errors import ConfigError, HostError, ImageError, LoginError
from banger.host.caller import Login
from banger.host.command import HostCommands
from banger.testing.pytest_plugin import BangerDirs, MakeApp, RunCli
from banger.transfer.connections import Connections
from banger_images_oci.documents import Blob
from banger_images_oci.login import find_login
from banger_images_oci.reference import parse_reference
from banger_images_oci.registry import Registry

SECRET = "secret-word"
#: SECRET by bcrypt, as the registry wants it in its file.
HASH = "$2b$04$Sti9TfJpIofgDAPMhD/7quBbXvuAXk0qscMCMeKI53wtIqXKVhdIe"
CONTENT = b"content" * 1000
BLOB = Blob(digest(CONTENT), len(CONTENT))


def packed(user: str = "user", secret: str = SECRET) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{secret}".encode()).decode()}


class Files:
    """A home with files of logins, and a directory of helpers."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "bin").mkdir()
        self.env = {"HOME": str(home), "PATH": f"{home}/bin:{os.environ['PATH']}"}

    def write(self, where: str, value: Any) -> None:
        path = self.home / where
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value))

    def helper(self, name: str, script: str) -> None:
        path = self.home / "bin" / f"docker-credential-{name}"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def find(self, registry: str) -> tuple[str, str] | None:
        login = find_login(registry, env=self.env)
        return None if login is None else (login.user, login.secret)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    files = Files(tmp_path)
    monkeypatch.setenv("PATH", files.env["PATH"])
    return files


def test_nothing_is_found_where_nothing_is(files: Files) -> None:
    assert files.find("docker.io/library/debian") is None


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("https://index.docker.io/v1/", "docker.io/library/debian"),
        ("docker.io", "docker.io/library/debian"),
        ("registry.example:5000", "registry.example:5000/a/b"),
        ("https://registry.example", "registry.example/a/b"),
        ("registry.example/a", "registry.example/a/b"),
    ],
)
def test_names_of_registries(files: Files, key: str, registry: str) -> None:
    files.write(".docker/config.json", {"auths": {key: packed(), "other.example": packed("other")}})
    assert files.find(registry) == ("user", SECRET)


def test_the_closest_login_wins_and_a_chosen_file_stands_alone(files: Files) -> None:
    auths = {"q.example": packed("all"), "q.example/team": packed("team"), "q.example/team/x": packed("x")}
    files.write(".config/containers/auth.json", {"auths": auths})
    files.write(
        ".docker/config.json", {"auths": {"d.example": {"identitytoken": "token"}, "q.example": packed("no")}}
    )
    assert [files.find(f"q.example/{path}") for path in ("b", "team/y", "team/x")] == [
        (user, SECRET) for user in ("all", "team", "x")
    ]
    assert files.find("d.example/x") == ("", "token")
    files.env["REGISTRY_AUTH_FILE"] = str(files.home / "none.json")
    assert files.find("q.example/b") is None


def test_helpers(files: Files) -> None:
    files.helper(
        "one", f'read -r line; echo "{{\\"Username\\": \\"u-$line\\", \\"Secret\\": \\"{SECRET}\\"}}"'
    )
    files.helper("store", 'echo \'{"Username": "<token>", "Secret": "refresh"}\'')
    files.helper("none", "echo credentials not found in native keychain; exit 1")
    files.helper("bad", f"echo {SECRET}; echo {SECRET} >&2; exit 3")
    files.helper("mute", "true")
    helpers = {
        "a.example": "one",
        "b.example": "none",
        "c.example": "bad",
        "d.example": "mute",
        "e.example": "absent",
    }
    known = {
        "credHelpers": {**helpers, "f.example": "../x"},
        "credsStore": "store",
        "auths": {"g.example": {}},
    }
    files.write(".docker/config.json", known)
    assert files.find("a.example/x") == ("u-a.example", SECRET)
    assert files.find("b.example/x") is None
    assert files.find("g.example/x") == ("", "refresh")
    for registry, said in {"c": "status 3", "d": "printed no login", "e": "not installed"}.items():
        with pytest.raises(HostError, match=said) as caught:
            files.find(f"{registry}.example/x")
        assert SECRET not in f"{caught.value} {caught.value.hint}"
    with pytest.raises(ConfigError, match="cannot be one"):
        files.find("f.example/x")


@pytest.mark.parametrize(
    "text", ["", "[]", f'{{"auths": "{SECRET}', '{"auths": {"r.example": {"auth": "!"}}}', "[" * 90000]
)
def test_files_that_cannot_be_read(files: Files, text: str) -> None:
    files.write(".docker/config.json", text)
    with pytest.raises(ConfigError) as caught:
        files.find("r.example/x")
    assert SECRET not in str(caught.value) and caught.value.hint


@pytest.mark.parametrize("value", [{"auths": []}, {"credHelpers": 7, "auths": {"r.example": 7}}, {}])
def test_files_that_say_nothing(files: Files, value: Any) -> None:
    files.write(".docker/config.json", value)
    assert files.find("r.example/x") is None


def fetch(
    host: str, tmp_path: Path, login: Login | None, insecure: tuple[str, ...] = ("127.0.0.1",)
) -> bytes:
    connections = Connections(lambda: None)
    try:
        registry = Registry(parse_reference(f"{host}/some/image:v1"), insecure, connections, login)
        registry.blob(BLOB, tmp_path / "blob", lambda done: None)
    finally:
        connections.close()
    return (tmp_path / "blob").read_bytes()


def basic(request: Request) -> None:
    if request.headers.get("Authorization") == "Basic " + packed()["auth"]:
        request.answer(200, CONTENT)
    else:
        request.answer(401, WWW_Authenticate='Basic realm="here"')


def test_basic(tmp_path: Path) -> None:
    with serve(basic) as lab:
        with pytest.raises(LoginError, match="refuses anonymous pulls") as caught:
            fetch(lab.host, tmp_path, None)
        assert caught.value.registry == f"{lab.host}/some/image"
        with pytest.raises(ImageError, match="with your login") as wrong:
            fetch(lab.host, tmp_path, Login("user", "wrong-word"))
        assert not isinstance(wrong.value, LoginError) and "wrong-word" not in str(wrong.value)
        assert fetch(lab.host, tmp_path, Login("user", SECRET)) == CONTENT


def test_a_token_for_a_login_goes_nowhere_else(tmp_path: Path) -> None:
    def store(request: Request) -> None:
        request.answer(200, CONTENT)

    def handle(request: Request) -> None:
        if request.path.startswith("/token"):
            good = request.headers.get("Authorization") == "Basic " + packed()["auth"]
            request.answer(200 if good else 401, b'{"token": "t"}')
        elif request.headers.get("Authorization") == "Bearer t":
            request.answer(307, Location=f"http://{elsewhere.host}/blob")
        else:
            request.answer(401, WWW_Authenticate=f'Bearer realm="http://{lab.host}/token"')

    with serve(store) as elsewhere, serve(handle) as lab:
        with pytest.raises(LoginError):
            fetch(lab.host, tmp_path, None)
        assert fetch(lab.host, tmp_path, Login("user", SECRET)) == CONTENT
        assert all("authorization" not in headers for _, headers in elsewhere.asked)
        assert not [path for path, _ in lab.asked if SECRET in path or "user" in path]


def test_an_identity_token_is_posted(tmp_path: Path) -> None:
    posted: list[bytes] = []

    def handle(request: Request) -> None:
        if request.command == "POST":
            posted.append(request.rfile.read(int(request.headers["Content-Length"])))
            request.answer(200, b'{"access_token": "t"}')
        elif request.headers.get("Authorization") == "Bearer t":
            request.answer(200, CONTENT)
        else:
            request.answer(401, WWW_Authenticate=f'Bearer realm="http://{lab.host}/token",service="s"')

    with serve(handle) as lab:
        assert fetch(lab.host, tmp_path, Login("", SECRET)) == CONTENT
        assert not [path for path, _ in lab.asked if SECRET in path]
    assert b"grant_type=refresh_token" in posted[0] and f"refresh_token={SECRET}".encode() in posted[0]


def test_no_login_is_sent_without_tls_to_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(basic) as lab:
        monkeypatch.setenv("http_proxy", f"http://{lab.host}")
        monkeypatch.delenv("no_proxy", raising=False)
        with pytest.raises(ImageError, match="without TLS"):
            fetch("registry.test", tmp_path, Login("user", SECRET), ("registry.test",))
        assert all("authorization" not in headers for _, headers in lab.asked)


def test_pull_from_a_private_registry(
    banger_app: MakeApp,
    banger_dirs: BangerDirs,
    run_cli: RunCli,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if missing := missing_programs("docker-registry", "skopeo"):
        pytest.skip(f"needs the Debian packages {', '.join(missing)}")
    caplog.set_level("DEBUG")
    layout = make_layout(tmp_path / "layout", [make_tar([entry("hello", b"hello")])])
    (tmp_path / "users").write_text(f"user:{HASH}\n")
    banger_app(builtin=("core", "images-oci"))
    with run_registry(tmp_path, users=tmp_path / "users") as host:
        push(layout, f"{host}/team/private:v1", f"user:{SECRET}")
        wanted = ("image", "pull", f"{host}/team/private:v1")
        refused = run_cli(*wanted)
        assert refused.status == 1 and "refuses anonymous pulls (401)" in refused.stderr
        assert f"docker login {host}" in refused.stderr
        logins = banger_dirs.home / ".docker/config.json"
        logins.parent.mkdir()
        logins.write_text(json.dumps({"auths": {host: packed(secret="wrong-word")}}))
        refused = run_cli(*wanted)
        assert refused.status == 1 and "refuses pulls with your login" in refused.stderr
        logins.write_text(json.dumps({"auths": {host: packed()}}))
        assert run_cli(*wanted).status == 0
    for text in (caplog.text, (banger_dirs.state / "banger.db").read_bytes().decode(errors="replace")):
        assert SECRET not in text and packed()["auth"] not in text
    line = ["grep", "-rlE", f"{SECRET}|{packed()['auth']}", str(banger_dirs.state), str(banger_dirs.cache)]
    assert subprocess.run(line, capture_output=True, text=True).stdout == ""


def test_a_helper_gets_the_callers_environment(files: Files) -> None:
    files.helper("env", 'echo "{\\"Username\\": \\"$SESSION\\", \\"Secret\\": \\"s\\"}"')
    files.write(".docker/config.json", {"credsStore": "env"})
    files.env["SESSION"] = "mine"
    assert find_login("r.example/x", HostCommands(), files.env) == Login("mine", "s")
