"""Rules about what is written in this repository."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
#: How many places silence a tool, in what is shipped and in tests. These may only go down.
SUPPRESSIONS = {
    "shipped": {"noqa": 7, "type: ignore": 1, "shellcheck disable": 0, "pragma: no cover": 0},
    "tests": {"noqa": 2, "type: ignore": 18, "shellcheck disable": 0, "pragma: no cover": 0},
}
#: What names one machine or one person's account rather than any.
MACHINE = re.compile(
    r"(?<![\w.$}])/(?:work|mnt|Users|workspace|builds)/|/home/(?!\*|\$|NAME|user\b)\w+|\.pyenv|/opt/wheels"
)
SKIPPED = {
    ".git",
    ".venv",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    "__pycache__",
    "build",
    "dist",
}


def text_files() -> Iterator[tuple[Path, str]]:
    """Yield every text file of the checkout; without asking git, which may not be there."""
    for path in sorted(ROOT.rglob("*")):
        relative = path.relative_to(ROOT)
        if SKIPPED.intersection(relative.parts) or not path.is_file() or path == Path(__file__):
            continue
        try:
            yield relative, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def dependencies() -> set[str]:
    project = PROJECT["project"]
    lists = [project["dependencies"], *project.get("optional-dependencies", {}).values()]
    lists += [*PROJECT["dependency-groups"].values(), PROJECT["build-system"]["requires"]]
    return {re.split(r"[\s<>=!~;\[]", line)[0] for lines in lists for line in lines}


def test_every_dependency_has_its_reason() -> None:
    page = (ROOT / "docs/explanation/dependencies.md").read_text()
    explained = re.findall(r"^### (\S+)\n\n(.+)", page, re.MULTILINE)
    assert {name for name, _ in explained} == dependencies()
    assert [name for name, _ in explained if explained.count((name, _)) > 1] == []


@pytest.mark.parametrize("where", SUPPRESSIONS)
def test_suppressions_only_go_down(where: str) -> None:
    for word, most in SUPPRESSIONS[where].items():
        pattern = re.compile(rf"#\s*{re.escape(word)}")
        places = [
            f"{path}:{number}"
            for path, text in text_files()
            if (path.suffix in (".py", ".sh") or path.name == "run")
            and (path.parts[0] == "tests") == (where == "tests")
            for number, line in enumerate(text.splitlines(), 1)
            if pattern.search(line)
        ]
        assert len(places) <= most, f"{word}, at most {most}:\n" + "\n".join(places)


def test_no_machine_is_named() -> None:
    found = [
        f"{path}:{number}: {line.strip()[:100]}"
        for path, text in text_files()
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE.search(line)
    ]
    assert not found, "\n".join(found)


def test_text_ends_with_one_newline_and_has_no_carriage_returns() -> None:
    for path, text in text_files():
        assert "\r\n" not in text, path
        assert not text or (text.endswith("\n") and not text.endswith("\n\n")), (
            f"{path}: one newline at the end"
        )


def test_changelog_fragments() -> None:
    kinds = [kind["directory"] for kind in PROJECT["tool"]["towncrier"]["type"]]
    valid = re.compile(rf"(\d+|\+[a-z0-9-]+)\.({'|'.join(kinds)})\.md")
    fragments = [path for path in (ROOT / "docs/changelog").iterdir() if path.name != "README.md"]
    assert fragments, "the first release has no news?"
    for path in fragments:
        assert valid.fullmatch(path.name), (
            f"{path.name}: write NUMBER.KIND.md or +WORDS.KIND.md; kinds: {kinds}"
        )
        text = path.read_text().strip()
        assert text.endswith("."), f"{path.name}: whole sentences"
        assert "\n\n" not in text, f"{path.name}: one paragraph"


def test_python_version_is_said_once_everywhere() -> None:
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert PROJECT["tool"]["mypy"]["python_version"] == oldest
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
    major, minor = oldest.split(".")
    assert f"({major}, {minor})" in (ROOT / "tools/setup.sh").read_text()
