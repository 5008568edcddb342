from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banger.config.lines import find_line, find_lines


def test_each_path_is_found_where_its_statement_begins() -> None:
    text = (
        '# a comment\nlog_level = "info"\n\n[defaults]  # here\nimage = "x"\nvcpu = 2\n'
        'disabled = [\n  "a",\n  "b",\n]\n[plugins.net-user]\nrestrict = true\n[plugins]\nx.y = 1\n'
    )
    assert find_lines(text) == {
        "log_level": 2,
        "defaults": 4,
        "defaults.image": 5,
        "defaults.vcpu": 6,
        "defaults.disabled": 7,
        "plugins": 11,
        "plugins.net-user": 11,
        "plugins.net-user.restrict": 12,
        "plugins.x": 14,
        "plugins.x.y": 14,
    }


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ('note = """\nvcpu = 7\n"""\nvcpu = 2\n', "vcpu", 4),
        ("defaults = { vcpu = 1, image = 'x' }", "defaults.image", 1),
        ('"a.b" = 1\n', "a.b", 1),
        ("a = 1\r\nb = 2\r\n", "b", 2),
    ],
)
def test_what_looks_like_a_key_is_none_inside_a_text(text: str, path: str, line: int) -> None:
    assert find_lines(text)[path] == line


def test_text_that_is_not_toml_is_read_as_far_as_it_is() -> None:
    assert find_lines("a = 1\nb = = 2\nc = 3") == {"a": 1}
    assert find_lines("") == {}


def test_nothing_is_looked_for_in_what_is_no_file(tmp_path: Path) -> None:
    assert find_line("environment variable X", "a") is None
    assert find_line(str(tmp_path), "a") is None
    (tmp_path / "x.toml").write_text("[a]\nb = 1\n")
    assert find_line(str(tmp_path / "x.toml"), "a.b") == 2
    assert find_line(str(tmp_path / "x.toml"), "a.c") == 1
    assert find_line(str(tmp_path / "x.toml"), "z") is None


@given(
    st.lists(
        st.sampled_from(["a = 1", "", "[t]", "[t.u]", "b = '''x", "'''", "c = [", "]", "# x"]), max_size=8
    )
)
def test_every_path_of_a_text_has_a_line(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    found = find_lines(text)
    assert set(table) <= set(found)
    assert all(1 <= line <= len(lines) for line in found.values())
