"""The daemon's log: JSON lines in a file of bounded size, and in the journal where systemd runs the daemon."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import sys
from datetime import datetime

from banger.config.paths import Paths
from banger.daemon.context import current_op
from banger.model.log_entry import LogEntry

#: Bytes of the log before it is rotated, and how many old ones are kept.
_LOG_BYTES, _LOG_COUNT = 5 * 1024 * 1024, 2
#: What sd-daemon(3) calls the levels, which the journal takes from the beginning of a line.
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.DEBUG, 7))


class JsonFormatter(logging.Formatter):
    """Writes a record as a :class:`~banger.model.log_entry.LogEntry`; its operation's id is on every line."""

    def format(self, record: logging.LogRecord) -> str:
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        when = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
        words = record.getMessage()
        return LogEntry(when, record.levelname, current_op.get(), record.name, words, trace).to_json()


class JournalFormatter(JsonFormatter):
    """The same behind a priority, for the journal, which has times and names of its own."""

    def format(self, record: logging.LogRecord) -> str:
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), 7)
        return f"<{priority}>{super().format(record)}"


def is_journal(stream: int, named: str | None) -> bool:
    """Tell whether a descriptor leads to systemd's journal.

    :param named: the environment's ``JOURNAL_STREAM``: device and inode of what systemd gave the service.
    """
    with contextlib.suppress(OSError):
        info = os.fstat(stream)
        return named == f"{info.st_dev}:{info.st_ino}"
    return False


def set_up_log(paths: Paths) -> None:
    """Write to ``<state>/bangerd.log`` from now on, the owner's alone; OSError when that cannot be."""
    file = logging.handlers.RotatingFileHandler(
        paths.log, maxBytes=_LOG_BYTES, backupCount=_LOG_COUNT, encoding="utf-8"
    )
    os.chmod(paths.log, 0o600)
    file.setFormatter(JsonFormatter())
    handlers: list[logging.Handler] = [file]
    if sys.stderr is not None and is_journal(sys.stderr.fileno(), os.environ.get("JOURNAL_STREAM")):
        journal = logging.StreamHandler(sys.stderr)
        journal.setFormatter(JournalFormatter())
        handlers.append(journal)
    logging.basicConfig(handlers=handlers, level=logging.INFO, force=True)
    logging.captureWarnings(True)
