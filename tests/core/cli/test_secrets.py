"""Secrets: read from where they are kept, bounded, and shown nowhere."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from banger.cli.secrets import COUNT_LIMIT, SIZE_LIMIT, Secret, collect_secrets
from banger.errors import BangerError, HostError, NotFoundError, UsageError

VALUE = "hunter2-7f3a"


def test_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOKEN", VALUE)
    (tmp_path / "file").write_bytes(b"\0raw\n")
    got = collect_secrets(
        (
            "TOKEN",
            "OTHER=env:TOKEN",
            f"FILE=file:{tmp_path}/file",
            "CMD=cmd:printf 'a\\n\\n'",
            "CMD=cmd:echo two",
        )
    )
    assert {secret.name: secret.value for secret in got} == {
        "TOKEN": VALUE.encode(),
        "OTHER": VALUE.encode(),
        "FILE": b"\0raw\n",
        "CMD": b"two",
    }


def test_a_keyring_is_asked_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = ModuleType("keyring")
    known = {("site", "ann"): VALUE}
    monkeypatch.setattr(
        keyring, "get_password", lambda service, user: known.get((service, user)), raising=False
    )
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    assert collect_secrets(("K=keyring:site/ann",)) == (Secret("K", VALUE.encode()),)
    with pytest.raises(NotFoundError, match="no such entry"):
        collect_secrets(("K=keyring:site/bob",))
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(HostError, match="not installed"):
        collect_secrets(("K=keyring:site/ann",))


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (f"{VALUE}!=x", "begins with a NAME"),
        ("=x", "begins with a NAME"),
        ("../x=env:HOME", "begins with a NAME"),
        ("MISSING_HERE", "no such variable"),
        (f"N={VALUE}", "no source"),
        (f"N=password:{VALUE}", "no source"),
        ("N=file:", "no source"),
        ("N=file:/nowhere/at/all", "No such file"),
        ("N=file:/", "Is a directory"),
        ("N=file:/dev/zero", "no file"),
        ("N=cmd:exit 3", "status 3"),
        ("N=keyring:site", "a service and a user"),
    ],
)
def test_what_is_wrong_is_said_without_what_may_be_the_secret(text: str, wrong: str) -> None:
    with pytest.raises(BangerError, match=wrong) as caught:
        collect_secrets((text,))
    assert caught.value.hint
    assert VALUE not in caught.value.message + caught.value.hint


def test_how_much_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "most").write_bytes(b"x" * SIZE_LIMIT)
    assert collect_secrets((f"N=file:{tmp_path}/most",))
    (tmp_path / "more").write_bytes(b"x" * (SIZE_LIMIT + 1))
    for source in (f"file:{tmp_path}/more", "cmd:cat /dev/zero"):
        with pytest.raises(UsageError, match="longer than 64 KiB"):
            collect_secrets((f"N={source}",))
    with pytest.raises(UsageError, match="more than 64 secrets"):
        collect_secrets(tuple(f"N{number}=env:HOME" for number in range(COUNT_LIMIT + 1)))


def test_no_representation_shows_it() -> None:
    assert VALUE not in repr(Secret("N", VALUE.encode()))
