from __future__ import annotations

from pathlib import Path

import pytest

from banger.cli import environment
from banger.cli.environment import collect_environment, language, terminal_environment, time_zone
from banger.cli.escape import Escape, check_escape
from banger.errors import UsageError


def test_files_then_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAKEN", "from here")
    monkeypatch.delenv("ABSENT", raising=False)
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b'# words\r\nA=1\r\n\nexport B=two words = yes\nTAKEN\nABSENT\nQ="kept"\nN=\xff\n')
    two.write_text("A=2\n")
    found = collect_environment(("B=flag",), (str(one), str(two)))
    assert found == {"A": "2", "B": "flag", "TAKEN": "from here", "Q": '"kept"', "N": "\udcff"}


@pytest.mark.parametrize("content", ["=x\n", "A=1\n a b=2\n", "hush hush\n", "A\0=1\n"])
def test_a_bad_file_is_named_and_its_values_are_not(tmp_path: Path, content: str) -> None:
    path = tmp_path / "env"
    path.write_text(content)
    with pytest.raises(UsageError, match="line [12] is no NAME=VALUE") as caught:
        collect_environment((), (str(path),))
    assert "hush" not in caught.value.message
    with pytest.raises(UsageError, match="No such file"):
        collect_environment((), (str(tmp_path / "none"),))
    with pytest.raises(UsageError, match="Is a directory"):
        collect_environment((), (str(tmp_path),))


@pytest.mark.parametrize(
    ("value", "zone"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        (":America/Lima", "America/Lima"),
        ("/usr/share/zoneinfo/Asia/Tokyo", "Asia/Tokyo"),
        ("../etc/passwd", None),
        ("/etc/passwd", None),
        ("a\x1bb", None),
    ],
)
def test_the_zone_of_the_caller(monkeypatch: pytest.MonkeyPatch, value: str, zone: str | None) -> None:
    monkeypatch.setenv("TZ", value)
    assert time_zone() == zone


def test_the_zone_of_the_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TZ", raising=False)
    monkeypatch.setattr(environment, "_LOCAL_TIME", tmp_path / "localtime")
    assert time_zone() is None
    (tmp_path / "localtime").symlink_to("../usr/share/zoneinfo/Europe/Oslo")
    assert time_zone() == "Europe/Oslo"


def test_a_terminal_always_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "")
    monkeypatch.delenv("COLORTERM", raising=False)
    assert terminal_environment() == {"TERM": "xterm-256color"}
    monkeypatch.setenv("COLORTERM", "truecolor")
    assert terminal_environment()["COLORTERM"] == "truecolor"


def type_all(escape: Escape, *pieces: bytes) -> bytes:
    return b"".join(escape.feed(piece) for piece in pieces)


@pytest.mark.parametrize(
    ("pieces", "passed", "left"),
    [
        ([b"~."], b"", True),
        ([b"ls\r", b"~", b"."], b"ls\r", True),
        ([b"ls\n~.rest"], b"ls\n", True),
        ([b"a~."], b"a~.", False),
        ([b"~~."], b"~.", False),
        ([b"~a", b"~."], b"~a~.", False),
        ([b"~"], b"", False),
        ([b"~\r~."], b"~\r", True),
        ([b"cd ~/src\r"], b"cd ~/src\r", False),
    ],
)
def test_the_escape_is_seen_at_the_beginning_of_a_line_only(
    pieces: list[bytes], passed: bytes, left: bool
) -> None:
    escape = Escape("~")
    assert type_all(escape, *pieces) == passed
    assert escape.left is left


def test_without_an_escape_all_is_the_guests() -> None:
    escape = Escape(check_escape("none"))
    assert type_all(escape, b"~.\r~.") == b"~.\r~."
    assert not escape.left
    assert type_all(Escape(check_escape("^")), b"^.") == b""
    for text in ("", "ab", ".", "\x1b", "é"):
        with pytest.raises(UsageError):
            check_escape(text)


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("de_DE.UTF-8", "de_DE.UTF-8"),
        ("", None),
        ("C", None),
        ("POSIX", None),
        ("\udcff", None),
        ("x" * 101, None),
    ],
)
def test_language(monkeypatch: pytest.MonkeyPatch, value: str, sent: str | None) -> None:
    monkeypatch.setenv("LANG", value)
    assert language() == sent
