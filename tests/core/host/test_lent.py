"""Files of the user's as they are lent: what is read, what is refused, what the guest gets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from banger.errors import ConfigError
from banger.guest import tree
from banger.host.command import HostCommands
from banger.host.lent import COUNT_LIMIT, FILE_LIMIT, TOTAL_LIMIT, LentFile, encode_files, read_lent
from banger.model.auth import Lent

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"


def read(host: Path, **members: Any) -> list[LentFile] | None:
    return read_lent(Lent("it", str(host), ("a", "b"), **members), HostCommands())


def test_a_file_keeps_its_time_and_gets_the_mode_of_the_entry(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"s3cret")
    os.utime(tmp_path / "token", (5, 5))
    (tmp_path / "link").symlink_to("token")
    [file] = read(tmp_path / "link", mode=0o640) or []
    assert file == LentFile(("a", "b"), 0o640, 5 * 10**9, b"s3cret")
    assert "s3cret" not in repr(file)
    assert read(tmp_path / "none") is None
    assert read(tmp_path / "token" / "none") is None


def test_a_directory_is_only_for_those_that_may_be_one(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x").write_bytes(b"x")
    (tmp_path / "sub" / "x").chmod(0o751)
    (tmp_path / "out").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    assert [(file.names, file.mode) for file in read(tmp_path, tree=True) or []] == [
        (("a", "b", "sub", "x"), 0o751)
    ]
    with pytest.raises(ConfigError, match="is no file"):
        read(tmp_path)
    with pytest.raises(ConfigError, match="is no file"):
        read(tmp_path / "pipe", tree=True)


@pytest.mark.parametrize(
    "text", [KEY, "# mine\n" + KEY, KEY.replace("OPENSSH", "RSA"), "PuTTY-User-Key-File-3: x"]
)
def test_a_private_key_is_refused_wherever_it_lies(tmp_path: Path, text: str) -> None:
    (tmp_path / "id").write_text(text)
    for host, tree_ in ((tmp_path / "id", False), (tmp_path, True)):
        with pytest.raises(ConfigError, match=r"/id is a private key") as caught:
            read(host, tree=tree_)
        assert "--ssh-agent" in (caught.value.hint or "")
        assert read(host, tree=tree_, private_keys=True)


def test_how_much_is_bounded(tmp_path: Path) -> None:
    with open(tmp_path / "large", "wb") as file:
        file.truncate(FILE_LIMIT + 1)
    with pytest.raises(ConfigError, match="more than 1 MiB"):
        read(tmp_path / "large")
    assert read(tmp_path / "large", tree=True)
    with open(tmp_path / "large", "wb") as file:
        file.truncate(TOTAL_LIMIT + 1)
    with pytest.raises(ConfigError, match="more than 16 MiB"):
        read(tmp_path, tree=True)
    (tmp_path / "large").unlink()
    for number in range(COUNT_LIMIT + 1):
        (tmp_path / str(number)).touch()
    with pytest.raises(ConfigError, match="4096 files"):
        read(tmp_path, tree=True)


def test_what_makes_its_own_content_is_asked(tmp_path: Path) -> None:
    assert read(tmp_path, read=lambda _: None) is None
    [file] = read(tmp_path, read=lambda _: b"made") or []
    assert (file.names, file.data) == (("a", "b"), b"made")


def test_the_guest_gets_a_tree_of_names() -> None:
    files = [
        LentFile(("d", "x"), 0o600, 7, b"1"),
        LentFile(("d", "e", "y"), 0o755, 8, b""),
        LentFile(("z",), 0o600, 9, b"3"),
    ]
    parser = tree.Parser()
    records = list(parser.feed(encode_files(files)))
    assert parser.finished
    assert [(record.name, record.number) for record in records if record.type == tree.DIRECTORY] == [
        (b"", 0o700),
        (b"d", 0o700),
        (b"e", 0o700),
    ]
    assert [(record.name, record.number, record.time) for record in records if record.type == tree.FILE] == [
        (b"x", 0o600, 7),
        (b"y", 0o755, 8),
        (b"z", 0o600, 9),
    ]
