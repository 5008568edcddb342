"""Every command block of the documentation, run against a real VM."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

import pytest
from pages import Terminal, blocks, is_as_shown, openssh, plain, run_page
from vmring import Ring

ROOT = Path(__file__).parents[2]
PAGES = [
    path
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if any(block.language == "console" and block.note != "not run" for block in blocks(path))
]


#: Pages that take half a minute or more and show what tests of VMs try besides: for the ring that has the time.
LONG = {
    f"docs/how-to/{name}.md"
    for name in ("copy-files", "local-images", "publish-ports", "secrets", "take-changes-out", "use-ssh")
}


def installed(folder: Path) -> Path:
    """Return a folder with the tutorial's plugin in it, as pip would leave it."""
    source = ROOT / "docs/tutorial/banger_plugin_hello"
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    points = project["entry-points"]["banger"].items()
    (info / "entry_points.txt").write_text(
        "[banger]\n" + "".join(f"{name} = {module}\n" for name, module in points)
    )
    (folder / "banger_hello").symlink_to(source / "banger_hello")
    return folder


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(path, id=name, marks=[pytest.mark.long] if name in LONG else [])
        for path in PAGES
        for name in (str(path.relative_to(ROOT)),)
    ],
)
def test_page(ring: Ring, tmp_path: Path, page: Path) -> None:
    home = ring.home()
    # as a reader has it: what the pages show comes from the built-in defaults
    home.config.write_text("[plugins.net-user]\nrestrict = true\n")
    environment = {
        "LANG": "C.UTF-8",
        **home.env,
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), home.env["PATH"])),
    }
    environment["PATH"] = os.pathsep.join((str(openssh(tmp_path)), environment["PATH"]))
    if page.name == "first-plugin.md":
        environment["PYTHONPATH"] = str(installed(tmp_path / "site"))
    work = tmp_path / "work"
    work.mkdir()
    try:
        problems = run_page(page, work, environment)
    finally:
        home.close()
    assert not problems, "\n\n".join(["", *problems])


def test_a_difference_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- file: note -->\n```\nmilk\n```\n```console\n$ cat note\nmilk\n$ cat \\\n> note\nbread\n```\n"
        "<!-- not run: never ends -->\n```console\n$ sleep inf\n```\n"
    )
    (problem,) = run_page(page, tmp_path, dict(os.environ))
    assert "page.md:8: $ cat" in problem
    assert problem.endswith("    bread\n  it printed:\n    milk\n    ")


def test_what_may_differ_and_what_not() -> None:
    shown = plain(["published 127.93.79.190:8080 -> 8080", "…", "image: done, 230 MiB (op-0123456789ab)"])
    printed = plain(["published 127.64.0.3:8080 -> 8080", "a", "b", "image: done, 1.5 GiB (op-ba9876543210)"])
    assert is_as_shown(shown, printed)
    assert not is_as_shown(shown, printed[:-1])
    assert not is_as_shown(shown, [*printed, "more"])


def test_a_terminal_knows_the_prompts_of_guests(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, dict(os.environ))
    try:
        assert terminal.run("PS1='root@web:~# '") == [""]
        assert terminal.run("echo hello") == ["hello", ""]
    finally:
        terminal.close()
