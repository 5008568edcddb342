"""What the user set: read from files, checked by models, frozen; each value knows where it came from."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from banger.config.lent import Auth, FileSync
from banger.config.lines import find_line
from banger.errors import BangerError, ConfigError, PluginError
from banger.model.name import unknown_hint
from banger.model.size import parse_size
from banger.model.validation import describe_refusal

#: Where a value came from when no file gave it.
BUILT_IN = "built-in"


class Defaults(BaseModel):
    """``[defaults]``: what a new VM gets unless a flag says otherwise. Sizes are MiB or text like ``2G``.

    :param image: name or reference of an image.
    :param kernel: name or reference of a kernel; none means the one that goes with the image.
    :param vcpu: processors; none means a quarter of the host's, 1 to 4.
    :param memory: none means an eighth of the host's, 1 to 8 GiB.
    :param disk_size: the work disk, ``/root``; sparse.
    :param overlay_size: the root disk as the guest sees it; sparse.
    :param vmm: virtual machine monitor; none means the first one that is usable.
    :param network: network mode; none means ``user``.
    :param proxy: commands in VMs get your proxy variables.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str = "debian-bookworm"
    kernel: str | None = None
    vcpu: int | None = Field(default=None, ge=1, le=255)
    memory: int | None = None
    disk_size: int = 8192
    overlay_size: int = 8192
    vmm: str | None = None
    network: str | None = None
    proxy: bool = False

    @field_validator("memory", "disk_size", "overlay_size", mode="before")
    @classmethod
    def _size(cls, value: Any) -> Any:
        try:
            return parse_size(str(value)) if value is not None else None
        except BangerError as error:
            raise ValueError(error.message) from error


class CoreSettings(BaseModel):
    """The whole file, but ``[plugins]``.

    :param log_level: what the daemon writes to its log.
    :param disabled: plugins that are not loaded, by the names that ``banger plugins list`` shows.
    :param defaults: what a new VM gets.
    :param auth: what every new VM is lent.
    :param file_sync: files and directories that every VM is lent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    disabled: tuple[str, ...] = ()
    defaults: Defaults = Defaults()
    auth: Auth = Auth()
    file_sync: tuple[FileSync, ...] = Field(default=(), max_length=64)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that was configured.

    :param origins: dotted path to the file that gave the value; absent means built-in.
    :param tables: the raw ``[plugins.<name>]`` tables.
    """

    core: CoreSettings = CoreSettings()
    origins: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: What is wrong with the files: all of the above is built-in then, but for ``disabled``.
    problem: ConfigError | None = None

    def origin(self, path: str) -> str:
        """Return the file that gave the value at a dotted path, or ``built-in``."""
        return self.origins.get(path, BUILT_IN)


#: What a user may set for the host's daemon: what his VMs get. The rest is root's, in /etc.
_PERSONAL = ("auth", "defaults", "file_sync")


def read_settings(files: Iterable[Path], personal: Path | None = None) -> Settings:
    """Read and check configuration files, later ones over earlier ones; missing ones are fine.

    :param personal: the one of them of which only what VMs get is taken, in system mode.
    :raises ConfigError: unreadable, not TOML, an unknown key or a wrong value; names file and dotted path.
    """
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for file in files:
        table = _read_file(file)
        if file == personal:
            table = {key: value for key, value in table.items() if key in _PERSONAL}
        _merge(merged, table, str(file), origins)
    level = os.environ.get("BANGER_LOG_LEVEL")
    if level:
        merged["log_level"], origins["log_level"] = level.lower(), "environment variable BANGER_LOG_LEVEL"
    tables = merged.pop("plugins", {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise ConfigError("plugins: not a table of tables", hint="write [plugins.<name>]")
    return Settings(check_model(CoreSettings, merged, "", origins), origins, tables)


def salvage_settings(files: Iterable[Path], problem: ConfigError) -> Settings:
    """Return what holds of files that do not hold: only which plugins are not to be loaded, as far as that can be read.

    With it the daemon serves what needs no settings, such as listing, stopping and deleting VMs.
    """
    disabled: list[str] = []
    for file in files:
        try:
            given = _read_file(file).get("disabled")
        except ConfigError:
            continue
        if isinstance(given, list):
            disabled = [name for name in given if isinstance(name, str)]
    return Settings(CoreSettings(disabled=tuple(disabled)), problem=problem)


def _read_file(file: Path) -> dict[str, Any]:
    try:
        if file.is_fifo():  # reading it would wait for a writer
            raise ConfigError(f"{file} is a pipe, not a file", hint=f"rm {file}")
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}", hint="check its permissions") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not TOML: {error}", hint="mend the line it names") from error


def _merge(
    into: dict[str, Any], table: Mapping[str, Any], file: str, origins: dict[str, str], path: str = ""
) -> None:
    for key, value in table.items():
        dotted = f"{path}{key}"
        if isinstance(value, dict):
            branch = into.setdefault(key, {})
            if isinstance(branch, dict):
                origins[dotted] = file
                _merge(branch, value, file, origins, f"{dotted}.")
                continue
        into[key] = value
        origins[dotted] = file


def check_model(
    model: type[BaseModel], table: Mapping[str, Any], prefix: str, origins: Mapping[str, str]
) -> Any:
    """Return ``model`` made of ``table`` or raise ConfigError with file, dotted path and, where close, a suggestion."""
    try:
        return model.model_validate(dict(table))
    except ValidationError as error:
        first = error.errors()[0]
        dotted = prefix + ".".join(str(part) for part in first["loc"])
        where = _place(dotted, origins)
        if first["type"] == "extra_forbidden":
            known = _known_keys(model, first["loc"][:-1])
            hint = unknown_hint(str(first["loc"][-1]), known, f"known keys: {', '.join(sorted(known))}")
            raise ConfigError(f"{where}: unknown key {dotted}", hint=hint) from error
        raise ConfigError(
            f"{where}: {dotted}: {describe_refusal(first)}", hint="correct the value or delete the line"
        ) from error


def _place(dotted: str, origins: Mapping[str, str]) -> str:
    """Return where a path was set, for people: file and line, or the environment variable."""
    origin = next((origins[key] for key in _ancestors(dotted) if key in origins), "the configuration")
    line = find_line(origin, dotted)
    return f"{origin}:{line}" if line is not None else origin


def _ancestors(dotted: str) -> list[str]:
    parts = dotted.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _known_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        info = model.model_fields.get(str(part))
        if (
            info is None
            or not isinstance(info.annotation, type)
            or not issubclass(info.annotation, BaseModel)
        ):
            break
        model = info.annotation
    return list(model.model_fields)


class PluginSettings:
    """The typed settings of every plugin that declared a model.

    :param problem: why there are none: nobody gets any then.
    """

    def __init__(self, problem: ConfigError | None = None) -> None:
        self._models: dict[str, BaseModel] = {}
        self._problem = problem

    def mount(self, plugin: str, target: str, settings: Settings) -> None:
        """Check ``[plugins.<plugin>]`` against the declared ``"module:Class"`` and freeze it.

        :raises PluginError: no such model, one that is not strict, or a second one.
        :raises ConfigError: the table does not fit the model.
        """
        if plugin in self._models:
            raise PluginError(f"{target} is a second model; a plugin has at most one", plugin=plugin)
        model = load_model(target, plugin)
        prefix = f"plugins.{plugin}."
        self._models[plugin] = check_model(model, settings.tables.get(plugin, {}), prefix, settings.origins)

    def items(self) -> list[tuple[str, BaseModel]]:
        """Return every plugin that declared settings, with them."""
        return list(self._models.items())

    def has(self, plugin: str) -> bool:
        """Tell whether a plugin declared settings."""
        return plugin in self._models

    def get(self, plugin: str) -> BaseModel:
        """Return a plugin's settings.

        :raises PluginError: it declared none.
        :raises ConfigError: the files do not hold.
        """
        if self._problem is not None:
            raise repeat_problem(self._problem)
        if plugin not in self._models:
            raise PluginError(f"plugin '{plugin}' declares no settings", plugin=plugin)
        return self._models[plugin]


def repeat_problem(problem: ConfigError) -> ConfigError:
    """Return a fresh error that says the same: each one raised belongs to one operation."""
    return ConfigError(problem.message, hint=problem.hint)


def load_model(target: str, plugin: str) -> type[BaseModel]:
    """Import a pydantic model declared as ``"module:Class"``; PluginError when it is not one, or not strict."""
    module, _, name = target.partition(":")
    try:
        model = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise PluginError(f"{target}: {error}", plugin=plugin) from error
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise PluginError(f"{target} is not a pydantic model", plugin=plugin)
    if model.model_config.get("extra") != "forbid" or not model.model_config.get("frozen"):
        raise PluginError(f"{target} must have frozen=True and extra='forbid'", plugin=plugin)
    return model
