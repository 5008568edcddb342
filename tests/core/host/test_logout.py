from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from banger.host import logout
from banger.model.check import CheckStatus

NO_COMMANDS: Any = None


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_later_files_stand_over_earlier_ones(tmp_path: Path) -> None:
    assert logout.read_settings(tmp_path) == {}
    write(tmp_path, "usr/lib/systemd/logind.conf", "[Login]\nKillUserProcesses=yes\nOther=1\n")
    assert logout.read_settings(tmp_path) == {"KillUserProcesses": "yes", "Other": "1"}
    write(tmp_path, "etc/systemd/logind.conf", "[Login]\n#KillUserProcesses=no\n")
    assert logout.read_settings(tmp_path) == {}
    write(tmp_path, "usr/lib/systemd/logind.conf.d/50-x.conf", "KillUserProcesses = yes\n")
    assert logout.read_settings(tmp_path)["KillUserProcesses"] == "yes"
    write(tmp_path, "etc/systemd/logind.conf.d/50-x.conf", "KillUserProcesses=no\n")
    assert logout.read_settings(tmp_path)["KillUserProcesses"] == "no"


@pytest.mark.parametrize(
    ("settings", "lingers", "status"),
    [
        ({}, False, CheckStatus.PASS),
        ({"KillUserProcesses": "no"}, False, CheckStatus.PASS),
        ({"KillUserProcesses": "yes"}, False, CheckStatus.WARN),
        ({"KillUserProcesses": "yes"}, True, CheckStatus.PASS),
        ({"KillUserProcesses": "yes", "KillExcludeUsers": "root me"}, False, CheckStatus.PASS),
        ({"KillUserProcesses": "yes", "KillOnlyUsers": "you"}, False, CheckStatus.PASS),
        ({"KillUserProcesses": "yes", "KillOnlyUsers": "me"}, False, CheckStatus.WARN),
    ],
)
def test_who_is_ended_at_logout(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    settings: dict[str, str],
    lingers: bool,
    status: CheckStatus,
) -> None:
    monkeypatch.setattr(logout, "_user", lambda: "me")
    monkeypatch.setattr(logout, "_LINGER", tmp_path)
    monkeypatch.setattr(logout, "read_settings", lambda _: settings)
    if lingers:
        (tmp_path / "me").touch()
    result = logout.check_logout(NO_COMMANDS)
    assert result.status is status
    assert result.hint == ("loginctl enable-linger me" if status is CheckStatus.WARN else None)
