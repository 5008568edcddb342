"""Loading chosen plugins: those of banger itself by name, those under test as modules."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from types import ModuleType

from banger.hookspecs import hookimpl
from banger.plugins import FoundPlugin, Plugins, find_plugins


def make_plugin(name: str, *functions: Callable[..., object], **members: object) -> ModuleType:
    """Return a plugin module made of hook functions, each marked as one.

    :param name: as its entry point would be called: ``scratch``.
    :param members: further names in the module, such as ``REQUIRES``.
    """
    module = ModuleType(f"banger_{name.replace('-', '_')}", f"The test's plugin {name}.")
    for function in functions:
        setattr(module, function.__name__, hookimpl(function))
    for key, value in members.items():
        setattr(module, key, value)
    return module


def found_plugin(module: ModuleType) -> FoundPlugin:
    """Return what an entry point for ``module`` would say: ``banger_foo`` is ``foo`` of ``banger-plugin-foo``."""
    name = module.__name__.rpartition(".")[2].removeprefix("banger_").replace("_", "-")
    return FoundPlugin(name, module.__name__, f"banger-plugin-{name}", "0")


def load_chosen(
    modules: Iterable[ModuleType] = (),
    *,
    builtin: Iterable[str] | None = None,
    disabled: Iterable[str] = (),
    before: Callable[[Plugins], None] | None = None,
) -> Plugins:
    """Load the given modules as third parties' plugins, next to banger's own.

    :param builtin: which of banger's own are there, by name; None for all.
    :param before: gets the plugins before any is loaded.
    """
    table = {module.__name__: module for module in modules}
    wanted = None if builtin is None else set(builtin)
    found = [
        plugin for plugin in find_plugins() if plugin.builtin and (wanted is None or plugin.name in wanted)
    ]
    plugins = Plugins()
    if before is not None:
        before(plugins)
    plugins.load(
        [*found, *(found_plugin(module) for module in table.values())],
        disabled=disabled,
        importer=lambda name: table[name] if name in table else import_module(name),
    )
    return plugins
