"""The documentation says what is so: generated pages, commands, links."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import reference  # noqa: E402

make_cli = reference.whole_cli

PAGES = [
    path
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
    if "changelog" not in path.parts
]
GENERATED = [ROOT / name for name in reference.PAGES]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", reference.PAGES)
def test_generated_page_is_up_to_date(page: str) -> None:
    assert (ROOT / page).read_text() == reference.PAGES[page](), "write it again: make docs"


def test_every_step_is_in_the_table_of_faults() -> None:
    page = (ROOT / "docs/explanation/faults.md").read_text()
    steps = [line.split()[1] for line in reference.plan_lines()]
    missing = [step for step in steps if f"`run {step}`" not in page]
    assert not missing, f"{', '.join(missing)}: write it again, which takes a minute: python tools/faults.py"


def test_every_scenario_is_in_the_table_of_smoke() -> None:
    smoke = import_module("smoke")
    page = (ROOT / "docs/explanation/smoke.md").read_text()
    rows = [f"| `{scenario.name}` | {scenario.about} |" for scenario in smoke.scenarios()]
    assert rows and all(scenario.about for scenario in smoke.scenarios())
    missing = [row for row in rows if row not in page]
    assert not missing, f"{', '.join(missing)}: write it again: make smoke ARGS=--record"


def test_record_of_some_scenarios_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smoke = import_module("smoke")
    page = tmp_path / "smoke.md"
    page.write_text("| `kill` | what it said then | failed | 7 | 2026-01-31 |\n")
    monkeypatch.setattr(smoke, "PAGE", page)
    smoke.record({"prune": ("passed", 12.4), "set": ("failed", 3.0)})
    rows = {
        line.split("`")[1]: line.split(" | ")[2:] for line in page.read_text().splitlines() if "| `" in line
    }
    assert rows["kill"] == ["failed", "7", "2026-01-31 |"]
    assert rows["prune"][:2] == ["passed", "12"] and rows["set"][:2] == ["failed", "3"]
    assert rows["ports"] == ["not run", "-", "- |"]
    before = page.read_text()
    smoke.record({})
    assert page.read_text() == before


@pytest.mark.parametrize("command", make_cli().list_commands(click.Context(make_cli())))
def test_every_command_can_be_loaded(command: str) -> None:
    def load(group: click.Group, context: click.Context) -> None:
        for name in group.list_commands(context):
            member = group.get_command(context, name)
            assert member is not None
            if isinstance(member, click.Group):
                load(member, click.Context(member, context, info_name=name))

    root = make_cli()
    context = click.Context(root)
    member = root.get_command(context, command)
    if isinstance(member, click.Group):
        load(member, click.Context(member, context, info_name=command))


def test_every_configuration_key_is_described() -> None:
    from banger.config.settings import CoreSettings, Defaults

    for model in (CoreSettings, Defaults, *(model for _, model in reference.settings_models())):
        assert set(reference.descriptions(model)) == set(model.model_fields), model.__name__


def typed_commands(page: Path) -> Iterator[str]:
    """Yield every call of banger that a page shows at a prompt (``$ banger …``)."""
    for line in page.read_text().splitlines():
        if line.lstrip().startswith("$ "):
            for part in re.split(r" \| | && ", line.lstrip().removeprefix("$ ")):
                if part.startswith("banger "):
                    yield part.split("  # ")[0].strip()


def named_commands(page: Path) -> Iterator[str]:
    """Yield every call of banger that a page names within a sentence."""
    yield from re.findall(r"`(banger [a-z][^`]*)`", page.read_text())


def resolve(line: str) -> tuple[click.Command, click.Context, list[str]]:
    """Find the command of a line, and what is left of the line after it."""
    words = shlex.split(line, comments=True)[1:]
    command: click.Command = make_cli()
    context = click.Context(command, info_name="banger", **command.context_settings)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        member = command.get_command(context, words[0])
        assert member is not None, f"there is no command '{context.command_path} {words[0]}'"
        context = click.Context(member, context, info_name=words.pop(0), **member.context_settings)
        command = member
    return command, context, words


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_at_a_prompt_parse(page: Path) -> None:
    for line in typed_commands(page):
        command, context, words = resolve(line)
        if words in (["--version"], ["--help"]):
            continue
        assert not isinstance(command, click.Group), f"{line}: a group is no command"
        try:
            command.parse_args(context, words)
        except click.ClickException as error:
            pytest.fail(f"{line}: {error.format_message()}", pytrace=False)


@pytest.mark.parametrize("page", [page for page in PAGES if page not in GENERATED], ids=name_of)
def test_commands_in_sentences_exist(page: Path) -> None:
    for line in named_commands(page):
        command, context, words = resolve(line)
        known = {
            name
            for parameter in command.get_params(context)
            for name in (*parameter.opts, *parameter.secondary_opts)
        }
        ours = words[: words.index("--")] if "--" in words else words
        assert {word.split("=")[0] for word in ours if word.startswith("-")} <= known, line


def test_readme_shows_commands() -> None:
    assert len(list(typed_commands(ROOT / "README.md"))) >= 2
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for target in re.findall(r"(?:^\$ |`)make ([a-z]+)", page.read_text(), re.MULTILINE):
            assert target in targets, f"{page}: make {target}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file) if file else page
        assert path.exists(), f"{page}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{page}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_page_is_reachable(page: Path) -> None:
    if page.parent == ROOT:
        return
    texts = [other.read_text() for other in PAGES if other != page]
    assert any(re.search(rf"\]\([^)]*\b{re.escape(page.name)}", text) for text in texts), (
        f"no page links to {page}"
    )
