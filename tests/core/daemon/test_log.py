"""The daemon's log: JSON lines that say to which operation they belong."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from banger.config.paths import find_paths
from banger.daemon.context import current_op
from banger.daemon.log import JournalFormatter, is_journal, set_up_log
from banger.model.log_entry import MESSAGE_LIMIT, TRACE_LIMIT, LogEntry, parse_entries
from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import MakeApp


@pytest.fixture
def logged(banger_app: MakeApp) -> Iterator[Path]:
    """The file that everything is logged to during a test."""
    app: BangerApp = banger_app(builtin=["core"])
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    set_up_log(app.paths)
    yield app.paths.log
    for handler in root.handlers:
        handler.close()
    root.handlers = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def test_every_line_is_an_object_with_time_level_operation_and_words(logged: Path) -> None:
    token = current_op.set("op-7")
    logging.getLogger("banger.x").warning("a guest says %s", 'x"\n{"time": "never"}\x1b[31m\udcff')
    current_op.reset(token)
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("banger.y").exception("it failed")
    first, second = logged.read_text("ascii").splitlines()
    said = json.loads(first)
    assert (said["level"], said["op"], said["logger"]) == ("WARNING", "op-7", "banger.x")
    assert said["message"].endswith("\x1b[31m\udcff") and "trace" not in said
    assert json.loads(second)["op"] == "-" and "ValueError: no" in json.loads(second)["trace"]
    [entry, other] = parse_entries([first, second])
    assert entry.moment.tzinfo is not None and entry.moment <= other.moment
    assert other.lines()[0].endswith("ERROR - banger.y: it failed") and other.lines()[-1] == "ValueError: no"


def test_the_file_is_rotated_and_a_line_is_bounded(logged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handlers = logging.getLogger().handlers
    [handler] = [each for each in handlers if isinstance(each, logging.handlers.RotatingFileHandler)]
    monkeypatch.setattr(handler, "maxBytes", 1000)
    for number in range(30):
        logging.getLogger("banger").info("line %d %s", number, "x" * 300)
    files = sorted(logged.parent.glob("bangerd.log*"))
    assert [file.name for file in files] == ["bangerd.log", "bangerd.log.1", "bangerd.log.2"]
    assert all(file.stat().st_size <= 1000 for file in files)
    entry = LogEntry("2026-01-01T00:00:00+00:00", "INFO", "-", "x", "m" * 10**6, "t" * 10**6)
    assert len(entry.to_json()) < MESSAGE_LIMIT + TRACE_LIMIT + 200


def test_the_journal_gets_a_priority() -> None:
    record = logging.LogRecord("banger", logging.ERROR, "", 0, "two\nlines", None, None)
    line = JournalFormatter().format(record)
    assert line.startswith("<3>{") and "\n" not in line and json.loads(line[3:])["message"] == "two\nlines"


def test_what_leads_to_the_journal(tmp_path: Path) -> None:
    with open(tmp_path / "stream", "w") as stream:
        info = os.fstat(stream.fileno())
        assert is_journal(stream.fileno(), f"{info.st_dev}:{info.st_ino}")
        assert not is_journal(stream.fileno(), f"{info.st_dev}:{info.st_ino + 1}")
        assert not is_journal(stream.fileno(), None)
    assert not is_journal(9999, "1:2")


def test_under_systemd_lines_go_to_the_journal_as_well(
    logged: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with open(tmp_path / "journal", "w+") as stream:
        info = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{info.st_dev}:{info.st_ino}")
        monkeypatch.setattr(sys, "stderr", stream)
        set_up_log(find_paths())
        logging.getLogger("banger").info("to both")
        stream.seek(0)
        assert stream.read().startswith("<6>{")
    assert "to both" in logged.read_text()
