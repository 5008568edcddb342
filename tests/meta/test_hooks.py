"""The plugin surface: each hook has a contract, a page, a test and a user; implementations keep the grammar."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPECS = {
    node.name: node
    for node in ast.parse((ROOT / "banger/hookspecs.py").read_text()).body
    if isinstance(node, ast.FunctionDef)
}
#: Hooks that nothing shipped implements, and why they exist all the same.
WITHOUT_USER = {}


@cache
def implementations() -> list[tuple[Path, ast.FunctionDef]]:
    """Return every function marked as a hook implementation in what is shipped, and in the tutorial."""
    found = []
    for folder in ("banger", "plugins", "contrib", "docs"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(
                    ast.unparse(mark).split("(")[0].endswith("hookimpl") for mark in node.decorator_list
                ):
                    assert isinstance(node, ast.FunctionDef), f"{path}: {node.name} is async"
                    found.append((path.relative_to(ROOT), node))
    return found


@pytest.mark.parametrize("name", SPECS)
def test_contract(name: str) -> None:
    doc = ast.get_docstring(SPECS[name]) or ""
    assert re.match(r"^[A-Z].+", doc), "the first line says what it is for"
    for part in (":when:", ":process:", ":returns:", ":errors:"):
        assert re.search(rf"^{part} \S", doc, re.MULTILINE), f"{name} does not say {part}"
    example = doc.partition(".. code-block:: python\n")[2]
    assert f"@hookimpl\n    def {name}(" in example, f"{name} has no example of itself"
    assert 8 <= len(doc.splitlines()) <= 24


@pytest.mark.parametrize("name", SPECS)
def test_grammar(name: str) -> None:
    spec = SPECS[name]
    assert re.fullmatch(r"banger_register_[a-z_]+s|banger_vm_[a-z_]+ed", name)
    assert len(spec.args.args) <= 3
    assert not spec.args.defaults
    assert spec.returns is not None
    if name.startswith("banger_register_"):
        assert not spec.args.args
        assert ast.unparse(spec.returns).startswith("list[")
    else:
        assert ast.unparse(spec.returns) == "None"


@pytest.mark.parametrize("name", SPECS)
def test_page_has_heading_and_exact_signature(name: str) -> None:
    page = (ROOT / "docs/reference/hooks.md").read_text()
    spec = SPECS[name]
    assert spec.returns is not None
    signature = f"{name}({ast.unparse(spec.args)}) -> {ast.unparse(spec.returns)}"
    assert f"### {name}\n\n```python\n{signature}\n```\n" in page


def test_page_has_no_other_hook() -> None:
    page = (ROOT / "docs/reference/hooks.md").read_text()
    assert re.findall(r"^### (\w+)$", page, re.MULTILINE) == list(SPECS)


@pytest.mark.parametrize("name", SPECS)
def test_every_hook_has_a_test(name: str) -> None:
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert re.search(rf"def test_hook_(banger_)?{name.removeprefix('banger_')}\b", tests), (
        f"write test_hook_{name.removeprefix('banger_')}"
    )


@pytest.mark.parametrize("name", SPECS)
def test_every_hook_has_a_user(name: str) -> None:
    users = [path for path, node in implementations() if node.name == name and path.parts[0] != "docs"]
    if name in WITHOUT_USER:
        assert not users, f"{name} has a user now: take it off the list"
    else:
        assert users, f"no plugin implements {name}: a hook comes with a plugin that uses it"


@pytest.mark.parametrize(
    ("path", "node"), implementations(), ids=lambda value: getattr(value, "name", "").replace(".py", "")
)
def test_implementation(path: Path, node: ast.FunctionDef) -> None:
    assert node.name in SPECS, f"{path}: there is no hook {node.name}"
    assert not node.args.defaults, "a default is never passed"
    assert not node.args.kwonlyargs
    assert [ast.unparse(mark) for mark in node.decorator_list] == ["hookimpl"], (
        "no tryfirst, trylast, wrapper, optionalhook or specname"
    )
    assert {arg.arg for arg in node.args.args} <= {arg.arg for arg in SPECS[node.name].args.args}


@pytest.mark.parametrize("path", sorted({path for path, _ in implementations()}), ids=str)
def test_modules_with_hooks_are_cheap(path: Path) -> None:
    heavy = {"pydantic", "pyroute2", "paramiko", "httpx", "rich", "zstandard", "starlette", "uvicorn", "qemu"}
    tree = ast.parse((ROOT / path).read_text())
    imported = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in imported} & heavy
