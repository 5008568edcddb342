from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banger.errors import UsageError
from banger.model.size import format_bytes, format_mib, parse_size


@pytest.mark.parametrize(
    ("text", "mib"),
    [
        ("512", 512),
        ("512M", 512),
        ("2G", 2048),
        ("2g", 2048),
        ("2 GiB", 2048),
        ("1.5GiB", 1536),
        ("1T", 1024 * 1024),
        ("2048K", 2),
        (" 8G ", 8192),
    ],
)
def test_sizes_as_people_write_them(text: str, mib: int) -> None:
    assert parse_size(text) == mib


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "G",
        "two",
        "2X",
        "-2G",
        "+2G",
        "2,5G",
        "1e3",
        "0x10",
        "2G2",
        "٢G",
        "9" * 13,
        "1..5G",
        "2\nG2",
        "nan",
    ],
)
def test_what_is_no_size_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size") as caught:
        parse_size(text)
    assert caught.value.hint


@pytest.mark.parametrize("text", ["0", "0G", "0.5M", "1023K"])
def test_too_small_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="too small"):
        parse_size(text)


def test_part_of_a_mib_is_refused_with_the_next_whole_one() -> None:
    with pytest.raises(UsageError, match="not a whole number") as caught:
        parse_size("0.1G")
    assert caught.value.hint == "write 103M"


@given(st.integers(1, 999_999_999_999))
def test_formatted_size_reads_back_as_itself(mib: int) -> None:
    assert parse_size(format_mib(mib)) == mib


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1024, "1.0 KiB"), (304 * 1024**2, "304 MiB"), (5 * 1024**4, "5.0 TiB")],
)
def test_bytes_for_people(count: int, text: str) -> None:
    assert format_bytes(count) == text
