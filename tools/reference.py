"""Writes the generated pages of docs/ again: ``make docs``. A test compares them with what this would write."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
NOTE = "<!-- Written by `make docs`; edit what it is made from instead. -->\n"


def hooks_page() -> str:
    """Return every hook with its signature and contract, from the docstrings of banger/hookspecs.py."""
    tree = ast.parse((ROOT / "banger/hookspecs.py").read_text(encoding="utf-8"))
    intro = (ast.get_docstring(tree) or "").replace("Every hook of banger. No logic.", "").strip()
    parts = ["# Hooks", "", NOTE, _markdown(intro), ""]
    specs = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    for kind, prefix in (("Declare", "banger_register_"), ("Events", "banger_vm_")):
        parts += [f"## {kind}", ""]
        for spec in specs:
            if spec.name.startswith(prefix):
                doc = ast.get_docstring(spec) or ""
                parts += [f"### {spec.name}", "", "```python", signature(spec), "```", "", _markdown(doc), ""]
    return "\n".join(parts)


def signature(spec: ast.FunctionDef) -> str:
    """Return a function's name, arguments and return type as its source has them."""
    returns = f" -> {ast.unparse(spec.returns)}" if spec.returns else ""
    return f"{spec.name}({ast.unparse(spec.args)}){returns}"


def _markdown(doc: str) -> str:
    """Turn the little reStructuredText that our docstrings use into Markdown."""
    doc = re.sub(r":\w+:`([^`]+)`", r"`\1`", doc).replace("``", "`")
    text, _, code = doc.partition(".. code-block:: python\n")
    text = re.sub(r"^:(\w+): ", lambda match: f"- **{match[1].capitalize()}**: ", text, flags=re.MULTILINE)
    text = re.sub(r"\n {4}(?=\S)", "\n  ", text).rstrip()
    if not code:
        return text
    return f"{text}\n\n```python\n{textwrap.dedent(code).strip()}\n```"


def cli_page() -> str:
    """Return the help of every command."""
    parts = [
        "# Commands",
        "",
        NOTE,
        "Every command has `--help`, and `--json` where it prints something of its own. Exit status: 0, 1 for what",
        "failed, 2 for what was asked wrongly, 130 after Ctrl-C, 141 when nobody reads the output any more, 70 for a",
        "fault in banger; `vm run` and `vm exec` end with the status of the command they ran.",
    ]
    parts += [
        "",
    ]
    for context in walk_commands(whole_cli(), "banger"):
        parts += [f"## {context.command_path}", "", "```", context.get_help().rstrip(), "```", ""]
    return "\n".join(parts)


def whole_cli() -> click.Group:
    """Return the root command with the commands of the built-in plugins, whether a daemon ever ran or not."""
    from banger.cli.group import make_cli

    return make_cli([command for plugin, command in _plugins().declared("commands") if plugin != "core"])


def walk_commands(
    command: click.Command, name: str, parent: click.Context | None = None
) -> Iterator[click.Context]:
    """Yield a context for every command of the tree, groups before their members."""
    from banger.errors import PluginError

    context = click.Context(
        command, parent, info_name=name, terminal_width=100, max_content_width=100, **command.context_settings
    )
    yield context
    if isinstance(command, click.Group):
        for member_name in command.list_commands(context):
            try:
                member = command.get_command(context, member_name)
            except PluginError:  # a test of its own says that a command cannot be loaded
                continue
            assert member is not None
            yield from walk_commands(member, member_name, context)


def configuration_page() -> str:
    """Return every key of the configuration file, the plugins' included."""
    from banger.config.lent import Auth, FileSync
    from banger.config.settings import CoreSettings, Defaults

    parts = ["# Configuration", "", NOTE]
    parts += [
        "TOML: `/etc/banger/config.toml`, then `~/.config/banger/config.toml` over it (`XDG_CONFIG_HOME`), then",
        "the environment (`BANGER_LOG_LEVEL`, `BANGER_IMAGE`, `BANGER_KERNEL`, `BANGER_VCPU`, `BANGER_MEMORY`,",
        "`BANGER_DISK_SIZE`, `BANGER_OVERLAY_SIZE`, `BANGER_VMM`, `BANGER_ACCEL`, `BANGER_NET`), then flags. An",
        "unknown key is an error that names file and dotted path. Every key may be left out. Where banger is a",
        "[service of the host](../how-to/system-mode.md), of your own file only `[defaults]`, `[auth]` and",
        "`[[file_sync]]` count; `BANGER_MODE` (`user`, `system`) and `BANGER_SOCKET` say which daemon is meant.",
        "",
        "## At the top",
        "",
        *_keys(CoreSettings, skip={"defaults", "auth", "file_sync"}),
        "",
        "## [defaults]",
        "",
        "What a new VM gets unless a flag says otherwise. Sizes are MiB, or text like `2G`.",
        "",
        *_keys(Defaults),
        "",
        "## [auth]",
        "",
        *_keys(Auth),
        "",
        "## [[file_sync]]",
        "",
        "One table for each file or directory.",
        "",
        *_keys(FileSync),
        "",
    ]
    for plugin, model in settings_models():
        parts += [f"## [plugins.{plugin}]", "", *_keys(model), ""]
    return "\n".join(parts)


def settings_models() -> list[tuple[str, Any]]:
    """Return the settings model of every built-in plugin that has one."""
    from banger.config.settings import load_model

    plugins = _plugins()
    return [(name, load_model(target, name)) for name, target in plugins.declared("settings")]


def _keys(model: Any, skip: Iterable[str] = ()) -> list[str]:
    described = descriptions(model)
    lines = ["| key | type | default | |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        if name not in skip:
            default = "none" if field.default is None else f"`{_toml(field.default)}`"
            lines.append(f"| `{name}` | {_type_name(field.annotation)} | {default} | {described[name]} |")
    return lines


def descriptions(model: Any) -> dict[str, str]:
    """Return what a settings model says about each of its keys."""
    from banger.config.schema import describe_keys

    return describe_keys(model)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _type_name(annotation: Any) -> str:
    text = str(annotation) if not isinstance(annotation, type) else annotation.__name__
    names = {"bool": "boolean", "int": "integer", "str": "text", "tuple[str, ...]": "list of texts"}
    text = text.replace("typing.Literal[", "one of ").rstrip("]") if "Literal" in text else text
    text = text.removesuffix(" | None")
    return names.get(text, text.replace("'", "`"))


def api_page() -> str:
    """Return every operation of the daemon with its parameters and result."""
    from banger.daemon.services import fill_registries

    registry = fill_registries(_plugins()).operations
    parts = [
        (ROOT / "tools/daemon-api.md").read_text(encoding="utf-8").replace("<!-- note -->\n", NOTE).rstrip(),
        "",
    ]
    for owned in registry.owned():
        operation = owned.value
        parts += ["", f"### {operation.name}", "", f"{operation.summary[:1].upper()}{operation.summary[1:]}."]
        parts += ["", f"- parameters: {_fields(operation.params)}", f"- result: {_fields(operation.result)}"]
    return "\n".join(parts) + "\n"


def _fields(model: Any) -> str:
    fields = [
        f"`{field.alias or name}`{'' if field.is_required() else '?'}"
        for name, field in model.model_fields.items()
    ]
    return ", ".join(fields) or "none"


def helper_page() -> str:
    """Return every operation of the root helper with its fields, from the docstrings of banger/helper/requests.py."""
    from dataclasses import fields

    from banger.helper import names
    from banger.helper.requests import REQUESTS

    parts = [
        (ROOT / "tools/root-helper.md").read_text(encoding="utf-8").replace("<!-- note -->\n", NOTE).rstrip(),
        "",
        "| name | pattern |",
        "|---|---|",
        *(
            f"| {what} | `{pattern.replace('|', chr(92) + '|')}` |"
            for what, pattern in (
                ("bridge", names.BRIDGE),
                ("tap of a VM", names.VM_TAP),
                ("tap of the pool", names.POOL_TAP),
                ("mark", names.MARK),
            )
        ),
        "",
        "## Operations",
    ]
    for operation, request in REQUESTS.items():
        said, _, _ = inspect.cleandoc(request.__doc__ or "").partition(":param")
        there = ", ".join(f"`{field.name}` ({_type_name(str(field.type))})" for field in fields(request))
        parts += ["", f"### {operation}", "", _markdown(said.strip()), ""]
        parts += [f"Fields: {there or 'none'}."]
    return "\n".join(parts) + "\n"


def plan_lines() -> list[str]:
    """Return the plan of a VM on the network user with what is on by default, as ``vm start --plan`` prints it."""
    from banger.daemon.services import fill_registries

    registries = fill_registries(_plugins())
    attachment = registries.networks["user"].attachment
    capabilities = registries.capabilities.items()
    on = {name: {} for name, capability in capabilities if capability.default and capability.fits(attachment)}
    steps = [f"{owned.value.name} ({owned.plugin})" for owned in registries.plan(on)]
    return [f"{number:2}. {step}" for number, step in enumerate(steps, 1)]


def pipeline_page() -> str:
    """Return docs/explanation/start-pipeline.md with the plan between its marks as it is now."""
    text = (ROOT / "docs/explanation/start-pipeline.md").read_text(encoding="utf-8")
    plan = "\n".join(plan_lines())
    return re.sub(
        r"(<!-- plan -->\n```\n).*?(```)",
        lambda match: f"{match[1]}{plan}\n{match[2]}",
        text,
        flags=re.DOTALL,
    )


def _plugins() -> Any:
    from banger.plugins import Plugins, find_plugins

    plugins = Plugins()
    plugins.load(find_plugins(), third_parties=False)
    return plugins


PAGES = {
    "docs/reference/hooks.md": hooks_page,
    "docs/reference/cli.md": cli_page,
    "docs/reference/configuration.md": configuration_page,
    "docs/reference/daemon-api.md": api_page,
    "docs/reference/root-helper.md": helper_page,
    "docs/explanation/start-pipeline.md": pipeline_page,
}


def main() -> None:
    """Write every page that differs."""
    for name, page in PAGES.items():
        path, text = ROOT / name, page()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {name}\n")


if __name__ == "__main__":
    main()
