"""Every setting with its value and where it came from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, SecretBytes, SecretStr

from banger.config.lent import Auth
from banger.config.lines import find_lines
from banger.config.schema import describe_keys
from banger.config.settings import BUILT_IN, CoreSettings, Defaults, PluginSettings, Settings, check_model
from banger.config.sizes import default_memory_mib, default_vcpu, host_cpus, host_memory_mib

#: Environment variable -> the setting that it stands over. The caller's, read by the command line.
VARIABLES = {
    "BANGER_IMAGE": "defaults.image",
    "BANGER_KERNEL": "defaults.kernel",
    "BANGER_VCPU": "defaults.vcpu",
    "BANGER_MEMORY": "defaults.memory",
    "BANGER_DISK_SIZE": "defaults.disk_size",
    "BANGER_OVERLAY_SIZE": "defaults.overlay_size",
    "BANGER_VMM": "defaults.vmm",
    "BANGER_NET": "defaults.network",
    "BANGER_PROXY": "defaults.proxy",
}
_SECRET = re.compile(r"password|passphrase|secret|token|api_?key|credential", re.IGNORECASE)
#: What is shown in the place of a secret that is set.
HIDDEN = "(set, not shown)"


class Setting(BaseModel):
    """One setting. ``line`` counts from 1; ``origin`` says the same as the others, for people."""

    key: str
    value: Any
    source: Literal["built-in", "host", "file", "environment"]
    origin: str
    file: str | None = None
    line: int | None = None
    variable: str | None = None
    description: str = ""


class Report:
    """The settings of a daemon as its caller sees them.

    :param environment: the caller's variables; those of :data:`VARIABLES` count, empty ones do not.
    :raises ConfigError: a variable has a value that its setting cannot have.
    """

    def __init__(
        self, settings: Settings, plugins: PluginSettings, environment: Mapping[str, str] | None = None
    ) -> None:
        self._settings, self._plugins = settings, plugins
        self._origins = dict(settings.origins)
        self._lines: dict[str, dict[str, int]] = {}
        table = settings.core.defaults.model_dump()
        for variable, key in VARIABLES.items():
            if given := (environment or {}).get(variable):
                table[key.partition(".")[2]] = given
                self._origins[key] = f"environment variable {variable}"
        self._defaults: Defaults = check_model(Defaults, table, "defaults.", self._origins)

    def settings(self) -> Iterator[Setting]:
        """Yield every setting, in the order of the documentation; those of plugins that did not load as written."""
        core = self._settings.core
        for key in CoreSettings.model_fields:
            if key == "auth":
                yield self._setting("auth.sync", core.auth.sync, describe_keys(Auth)["sync"])
            elif key != "defaults":
                yield self._setting(key, getattr(core, key), describe_keys(CoreSettings).get(key, ""))
        for key, text in describe_keys(Defaults).items():
            yield self._default(key, text)
        for name, model in sorted(self._plugins.items()):
            described = describe_keys(type(model))
            for key in type(model).model_fields:
                yield self._setting(f"plugins.{name}.{key}", getattr(model, key), described.get(key, ""))
        mounted = {name for name, _ in self._plugins.items()}
        for name, table in self._settings.tables.items():
            if name not in mounted:
                for key, value in table.items():
                    yield self._setting(f"plugins.{name}.{key}", value, "of a plugin that is not loaded")

    def _default(self, key: str, text: str) -> Setting:
        setting = self._setting(f"defaults.{key}", getattr(self._defaults, key), text)
        if key == "vcpu" and setting.value is None:
            share = f"the host: a quarter of {host_cpus()} processors, 1 to 4"
            return setting.model_copy(
                update={"value": default_vcpu(self._defaults), "source": "host", "origin": share}
            )
        if key == "memory" and setting.value is None:
            share = f"the host: an eighth of {host_memory_mib()} MiB, 1 to 8 GiB"
            return setting.model_copy(
                update={"value": default_memory_mib(self._defaults), "source": "host", "origin": share}
            )
        return setting

    def _setting(self, key: str, value: Any, text: str) -> Setting:
        origin = self._origins.get(key, BUILT_IN)
        shown = _shown(key.rpartition(".")[2], value)
        if origin == BUILT_IN:
            return Setting(key=key, value=shown, source="built-in", origin=origin, description=text)
        if origin.startswith("environment variable "):
            variable = origin.rpartition(" ")[2]
            return Setting(
                key=key, value=shown, source="environment", origin=origin, variable=variable, description=text
            )
        line = self._line(origin, key)
        place = f"{origin}:{line}" if line else origin
        return Setting(
            key=key, value=shown, source="file", origin=place, file=origin, line=line, description=text
        )

    def _line(self, file: str, key: str) -> int | None:
        if file not in self._lines:
            try:
                with open(file, encoding="utf-8") as opened:
                    self._lines[file] = find_lines(opened.read())
            except (OSError, UnicodeDecodeError):
                self._lines[file] = {}
        return self._lines[file].get(key)


def _shown(key: str, value: Any) -> Any:
    """Return a value as JSON has it; of secrets only that there is one."""
    if isinstance(value, SecretStr | SecretBytes) or (_SECRET.search(key) and isinstance(value, str)):
        return HIDDEN if value else None
    if isinstance(value, BaseModel):
        return {name: _shown(name, getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, dict):
        return {str(name): _shown(str(name), inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_shown(key, inner) for inner in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
