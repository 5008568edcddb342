"""Every tool that looks at the source, each as one test."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def check(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        pytest.fail(f"{' '.join(command)}\n{done.stdout}{done.stderr}", pytrace=False)


def test_ruff_check() -> None:
    check(f"{BIN}/ruff", "check", "--output-format=concise", ".")


def test_ruff_format() -> None:
    check(f"{BIN}/ruff", "format", "--diff", "--quiet", ".")


@pytest.mark.timeout(300)
def test_mypy() -> None:
    check(f"{BIN}/mypy")


def test_mypy_looks_at_every_package() -> None:
    plugins = [path.name for path in (ROOT / "plugins").iterdir() if (path / "__init__.py").exists()]
    assert sorted(PROJECT["tool"]["mypy"]["packages"]) == ["banger", *sorted(plugins)]


def test_shellcheck() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed; make test installs it")
    folders = ("tools", "plugins", "tests", "agent", ".ci")
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*")) if is_shell(path)]
    assert files, "no shell script found"
    check("shellcheck", "-x", *(str(path.relative_to(ROOT)) for path in files))


def is_shell(path: Path) -> bool:
    if not path.is_file() or path.suffix not in ("", ".sh"):
        return False
    with path.open("rb") as file:
        first = file.readline(100)
    return first.startswith(b"#!") and b"sh" in first.split(b"/")[-1]


def test_import_contracts() -> None:
    check(f"{BIN}/lint-imports", "--no-cache")


def contract(name: str) -> dict[str, list[str]]:
    return next(found for found in PROJECT["tool"]["importlinter"]["contracts"] if found["id"] == name)


def test_import_contracts_name_every_package() -> None:
    plugins = sorted(path.name for path in (ROOT / "plugins").iterdir() if (path / "__init__.py").exists())
    assert sorted(PROJECT["tool"]["importlinter"]["root_packages"]) == ["banger", *plugins]
    assert sorted(contract("core-plugins")["forbidden_modules"]) == plugins
    assert sorted(contract("plugins-api")["source_modules"]) == plugins
    assert sorted(contract("plugins-apart")["modules"]) == plugins


def test_plugins_may_import_no_part_of_the_core() -> None:
    parts = {
        f"banger.{path.stem}"
        for path in (ROOT / "banger").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    allowed = {"banger.__init__", "banger._build", "banger.api"}
    assert parts - set(contract("plugins-api")["forbidden_modules"]) == parts & allowed


def test_a_helper_has_its_contract() -> None:
    """The root helper never imports pluggy; import-linter refuses a contract on a package that does not exist."""
    names = {found["id"] for found in PROJECT["tool"]["importlinter"]["contracts"]}
    assert not (ROOT / "banger/helper").exists() or "helper" in names, (
        "write the contract: helper imports no pluggy"
    )


#: Within a function: `from banger import Sandbox` is for people, and the command line must not pay for it.
LAZY = "banger -> banger.sdk"


@pytest.mark.parametrize("ignored", sorted({*contract("layers")["ignore_imports"]} - {LAZY}))
def test_ignored_imports_are_for_type_checkers_only(ignored: str) -> None:
    importer, _, imported = ignored.partition(" -> ")
    source = (ROOT / importer.replace(".", "/")).with_suffix(".py").read_text()
    at_run_time = [
        node.module
        for node in ast.walk(_without_type_checking(ast.parse(source)))
        if isinstance(node, ast.ImportFrom)
    ]
    assert imported not in at_run_time


def _without_type_checking(tree: ast.Module) -> ast.Module:
    tree.body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    return tree
