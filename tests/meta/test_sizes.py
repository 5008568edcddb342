"""Sizes: files and functions that one can read in one go, and a core that stays small."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE_LINES, FUNCTION_LINES = 500, 80
#: Files and functions (path::name) that are longer, each with its reason.
LONGER: dict[str, str] = {}
#: Lines of code of banger/ (blank lines, comments and docstrings do not count): the core proper, and what stands
#: around it.
CORE_BUDGET, AROUND_BUDGET = 11022, 8600
#: The root helper's: what runs as root is to be read in one go.
HELPER_BUDGET = 1572
AROUND = ("cli", "testing", "bench", "sdk", "transfer")


def sources(*folders: str, suffixes: tuple[str, ...] = (".py", ".c", ".h", ".sh")) -> Iterator[Path]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in suffixes and "build" not in path.relative_to(ROOT).parts:
                yield path


ALL = [*sources("banger", "plugins", "agent", "tests", "tools", "docs"), *sorted(ROOT.glob("*.py"))]


@pytest.mark.parametrize("path", ALL, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_and_functions(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    text = path.read_text()
    lines = len(text.splitlines())
    assert lines <= FILE_LINES or name in LONGER, f"{name} has {lines} lines: split it by noun"
    assert path.stem not in {"utils", "helpers", "common", "misc"}, (
        f"{name}: a module is named after its noun"
    )
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                assert length <= FUNCTION_LINES or f"{name}::{node.name}" in LONGER, (
                    f"{node.name}: {length} lines"
                )


def code_lines(text: str) -> int:
    """Return how many lines of a module hold code."""
    layout = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in layout:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            lines -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(lines)


def count_lines(paths: Iterator[Path]) -> tuple[int, int, int]:
    core = around = helper = 0
    for path in paths:
        lines = code_lines(path.read_text())
        part = path.relative_to(ROOT / "banger").parts[0]
        if part in AROUND:
            around += lines
        elif part == "helper":
            helper += lines
        else:
            core += lines
    return core, around, helper


def test_budget_of_the_core() -> None:
    core, around, helper = count_lines(sources("banger", suffixes=(".py",)))
    assert core <= CORE_BUDGET, f"the core has {core} lines of code: what of it is a plugin's job?"
    assert around <= AROUND_BUDGET, f"{', '.join(AROUND)} have {around} lines together"
    assert helper <= HELPER_BUDGET, f"the root helper has {helper} lines of code"


def test_root_conftest_stays_small() -> None:
    assert len((ROOT / "conftest.py").read_text().splitlines()) < 80
