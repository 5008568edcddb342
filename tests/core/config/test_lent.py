"""What may be lent to VMs: from where, to where."""

from __future__ import annotations

from pathlib import Path

import pytest

from banger.config.lent import FileSync, split_guest_path
from banger.config.settings import read_settings
from banger.errors import ConfigError


def read(tmp_path: Path, text: str) -> tuple[FileSync, ...]:
    file = tmp_path / "config.toml"
    file.write_text(text)
    return read_settings([file]).core.file_sync


def test_an_entry_becomes_paths_of_this_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nowhere/me")
    [entry] = read(tmp_path, '[[file_sync]]\nhost = "~/.npmrc"\nguest = "~/.config//npm/rc"\nmode = "0640"\n')
    lent = entry.lent()
    assert (lent.host, lent.guest, lent.mode) == ("/nowhere/me/.npmrc", (".config", "npm", "rc"), 0o640)
    assert (lent.tree, lent.private_keys, lent.keep) == (True, False, False)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ('host = ""', "1 to 4096 printable characters"),
        ('host = "etc/x"', "must begin with ~/ or /"),
        ('host = "~other/x"', "your own file"),
        ('host = "~/a/../b"', "without '..'"),
        ('host = "/"', "below a directory"),
        ('host = "~/"', "below a directory"),
        ('host = "~/a\\nb"', "printable"),
        ('guest = "~/x/../../etc"', "without '..'"),
        ('guest = "/etc/x"', "must begin with ~/ or /root/"),
        ('guest = "/root/"', "below /root"),
        ('guest = "~root/x"', "must begin with ~/ or /root/"),
        ('mode = "4755"', "form"),
        ("mode = 600", "text in octal"),
        ('owner = "me"', "unknown key file_sync.1.owner"),
    ],
)
def test_a_wrong_entry_is_named_by_its_number(tmp_path: Path, line: str, wrong: str) -> None:
    fields = {"host": 'host = "~/x"', "guest": 'guest = "~/x"', line.split(maxsplit=1)[0]: line}
    good = '[[file_sync]]\nhost = "~/x"\nguest = "~/x"\n'
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, good + "[[file_sync]]\n" + "\n".join(fields.values()))
    assert "file_sync.1" in caught.value.message
    assert wrong in caught.value.message


def test_names_of_the_guest_are_bounded() -> None:
    assert split_guest_path("/root/" + "n" * 255) == ("n" * 255,)
    with pytest.raises(ValueError, match="below /root"):
        split_guest_path("~/" + "é" * 128)
