"""When what a guest printed was printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from banger.daemon.console import bound_console
from banger.start import console_times
from banger.start.console_times import forget_sizes, note_size, offset_since, times_of


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "console.log"


def grow(file: Path, size: int, now: float) -> None:
    with open(file, "ab") as out:
        out.write(b"x" * (size - out.tell()))
    note_size(file, now)


def test_a_time_is_found_never_too_late(file: Path) -> None:
    assert offset_since(file, 1e9) == 0
    for size, now in ((10, 100.0), (20, 110.0), (20, 120.0), (50, 130.0)):
        grow(file, size, now)
    found = {now: offset_since(file, now) for now in (99.0, 100.0, 109.0, 110.0, 129.0, 130.0, 1e9)}
    assert found == {99.0: 0, 100.0: 10, 109.0: 10, 110.0: 20, 129.0: 20, 130.0: 50, 1e9: 50}
    assert times_of(file).stat().st_mode & 0o777 == 0o600


def test_a_clock_that_jumps_there_and_back_hides_nothing(file: Path) -> None:
    year = 365.0 * 24 * 3600
    for size, now in ((10, 100.0), (20, 100.0 + year), (30, 120.0), (40, 130.0)):
        grow(file, size, now)
    assert [offset_since(file, now) for now in (105.0, 125.0, 135.0)] == [10, 30, 40]


def test_a_file_that_begins_anew_or_is_cut(file: Path) -> None:
    grow(file, 100, 100.0)
    grow(file, 1000, 200.0)
    assert bound_console(file, limit=999, keep=50)
    assert file.stat().st_size == 75
    assert (offset_since(file, 150.0), offset_since(file, 200.0)) == (0, 75)
    file.write_bytes(b"anew")
    note_size(file, 300.0)
    assert (offset_since(file, 250.0), offset_since(file, 300.0)) == (0, 4)
    forget_sizes(file)
    assert offset_since(file, 300.0) == 0


def test_the_notes_are_bounded_and_the_old_ones_get_rarer(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_times, "_LIMIT", 200)
    for second in range(1, 200):
        grow(file, second, float(second))
        assert times_of(file).stat().st_size <= 200
    assert offset_since(file, 199.0) == 199 and 0 <= offset_since(file, 100.0) <= 100


@pytest.mark.parametrize("notes", ["1 2 3\n", "1\n", "a b\n", "\x00\xff"])
def test_notes_that_are_damaged_hide_nothing(file: Path, notes: str) -> None:
    file.write_bytes(b"x" * 10)
    times_of(file).write_text(notes)
    assert offset_since(file, 1e9) == 0
    note_size(file, 100.0)
    assert 0 <= offset_since(file, 1e9) <= 10


def test_a_file_that_is_not_there(file: Path) -> None:
    note_size(file, 1.0)
    assert not times_of(file).exists()
