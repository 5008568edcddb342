from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banger.cli.output import Progress, age, clean, print_pairs, print_table, red


@given(st.text())
def test_cleaned_text_holds_nothing_that_drives_a_terminal(text: str) -> None:
    cleaned = clean(text)
    assert cleaned.isprintable() and len(cleaned) == len(text)


@pytest.mark.parametrize("text", ["plain", "äöü", "数", "a b"])
def test_text_for_people_stays_as_it_is(text: str) -> None:
    assert clean(text) == text


def test_table_is_aligned_and_clean(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("NAME", "WHAT"), [("a", "x\x1b[2J"), ("longer", "y\nz")])
    assert capsys.readouterr().out == "NAME    WHAT\na       x?[2J\nlonger  y?z\n"


def test_pairs_leave_out_what_is_empty_and_are_clean(capsys: pytest.CaptureFixture[str]) -> None:
    print_pairs([("a", "1"), ("empty", ""), ("bb", "\x07")])
    assert capsys.readouterr().out == "a   1\nbb  ?\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_is_only_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert red("x", io.StringIO()) == "x"
    assert red("x", Terminal()) == "\x1b[31mx\x1b[0m"
    for without in ("dumb", ""):
        monkeypatch.setenv("TERM", without)
        assert red("x", Terminal()) == "x"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert red("x", Terminal()) == "x"
    monkeypatch.setenv("NO_COLOR", "")  # as good as not set, says no-color.org
    assert red("x", Terminal()) == "\x1b[31mx\x1b[0m"


@pytest.mark.parametrize(
    ("ago", "text"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (200_000, "2 d"), (-500, "0 s")]
)
def test_age(ago: int, text: str) -> None:
    assert age((datetime.now(UTC) - timedelta(seconds=ago)).isoformat()) == text


def show(*events: dict[str, object], quiet: bool = False) -> Progress:
    progress = Progress(quiet=quiet)
    for event in events:
        progress(event)
    progress.end()
    return progress


def test_specification_and_notices_are_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    progress = show(
        {"event": "operation", "op_id": "op-1"},
        {"event": "spec", "text": "spec: 2 vcpu"},
        {"event": "notice", "text": "no KVM\x1b[2J"},
    )
    assert capsys.readouterr().err == "spec: 2 vcpu\nnote: no KVM?[2J\n"
    assert progress.op_id == "op-1"


def test_stages_of_a_pull_are_one_line_each_and_short_ones_none(capsys: pytest.CaptureFixture[str]) -> None:
    show(
        {"event": "stage", "stage": "image x: unpacking", "detail": "\x1bbase"},
        {"event": "stage", "stage": "image x: unpacking", "done": 5, "total": 9},
        {"event": "stage", "stage": "boot"},
    )
    assert capsys.readouterr().err == "  image x: unpacking\n"


def test_quiet_shows_notices_only(capsys: pytest.CaptureFixture[str]) -> None:
    show({"event": "stage", "stage": "image x: a"}, {"event": "notice", "text": "n"}, quiet=True)
    assert capsys.readouterr().err == "note: n\n"


def test_event_of_an_unknown_kind_does_no_harm(capsys: pytest.CaptureFixture[str]) -> None:
    show({"event": "from-the-future"}, {})
    assert capsys.readouterr().err == ""
