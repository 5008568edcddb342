from __future__ import annotations

import os
import pwd
import socket
from pathlib import Path

import pytest

from banger.config.paths import find_paths, find_state, make_private
from banger.errors import ConfigError, StoreError
from banger.testing.pytest_plugin import BangerDirs


def test_paths_follow_the_xdg_variables(banger_dirs: BangerDirs) -> None:
    paths = find_paths()
    assert paths.state == banger_dirs.state
    assert paths.cache == banger_dirs.cache
    assert paths.config == (Path("/etc/banger/config.toml"), banger_dirs.config)


def test_paths_follow_home_where_nothing_is_set(
    banger_dirs: BangerDirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("STATE", "CACHE", "CONFIG"):
        monkeypatch.delenv(f"XDG_{kind}_HOME")
    assert find_paths().state == banger_dirs.home / ".local" / "state" / "banger"


def test_state_does_not_live_in_the_runtime_directory_which_vanishes_at_logout(
    banger_dirs: BangerDirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/4242")
    paths = find_paths()
    assert all("4242" not in str(path) for path in (paths.state, paths.daemon_socket, paths.stream_socket))


def padded(base: Path, length: int) -> Path:
    """Return a directory below ``base`` whose path with ``/banger`` is exactly ``length`` bytes long."""
    return base / ("d" * (length - len(os.fsencode(base / "banger")) - 1))


def test_state_path_of_90_characters_is_fine_and_its_longest_socket_can_be_bound(
    banger_dirs: BangerDirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(padded(banger_dirs.home, 90)))
    paths = find_paths()
    assert len(str(paths.state)) == 90
    for path in (paths.sockets / "01234567" / "agent", paths.daemon_socket, paths.stream_socket):
        make_private(path.parent)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))


def test_longer_state_path_is_refused_with_both_lengths(
    banger_dirs: BangerDirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(padded(banger_dirs.home, 91)))
    with pytest.raises(ConfigError, match="too long: 91 bytes, 90 at most") as caught:
        find_paths()
    assert "XDG_STATE_HOME" in (caught.value.hint or "")


def test_length_counts_bytes_not_characters(banger_dirs: BangerDirs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(banger_dirs.home / ("ä" * 40)))
    with pytest.raises(ConfigError, match="too long"):
        find_paths()


def test_relative_state_path_is_never_used(banger_dirs: BangerDirs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The specification says to ignore it; an older platformdirs hands it on, and then it is refused."""
    monkeypatch.setenv("XDG_STATE_HOME", "here")
    try:
        found = find_paths().state
    except ConfigError as error:
        found = error.message
    assert found in (
        banger_dirs.home / ".local" / "state" / "banger",
        "there is no home directory",
    )


def test_state_of_a_user(banger_dirs: BangerDirs) -> None:
    assert find_state(os.getuid()) == banger_dirs.state
    other = next(entry for entry in pwd.getpwall() if entry.pw_uid != os.getuid())
    assert find_state(other.pw_uid) == Path(pwd.getpwuid(other.pw_uid).pw_dir) / ".local/state/banger"
    with pytest.raises(ConfigError, match="there is no user 4000000 here"):
        find_state(4_000_000)


def test_private_directory_is_made_with_its_parents_and_only_for_its_owner(tmp_path: Path) -> None:
    directory = make_private(tmp_path / "a" / "b c")
    assert directory.stat().st_mode & 0o777 == 0o700


def test_private_directory_that_was_open_is_closed(tmp_path: Path) -> None:
    directory = tmp_path / "open"
    directory.mkdir(mode=0o777)
    directory.chmod(0o777)
    make_private(directory)
    assert directory.stat().st_mode & 0o777 == 0o700


def test_private_directory_where_a_file_is_in_the_way_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError) as caught:
            make_private(path)
        assert str(path) in caught.value.message and caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: others cannot give a directory away")
def test_private_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "theirs"
    directory.mkdir()
    os.chown(directory, 12345, 12345)
    with pytest.raises(StoreError, match="not a directory of yours"):
        make_private(directory)
    assert directory.stat().st_uid == 12345
