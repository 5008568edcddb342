"""Every setting, its value, and where it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, SecretStr

from banger.config.report import HIDDEN, VARIABLES, Report, Setting
from banger.config.schema import make_schema
from banger.config.settings import Defaults, PluginSettings, read_settings
from banger.errors import ConfigError

HERE = __name__


class Registry(BaseModel):
    """A plugin with secrets.

    :param password: nobody's business.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    password: SecretStr | None = None
    token: str = ""
    user: str = "me"
    hosts: dict[str, str] = {}


def report(tmp_path: Path, text: str, environment: dict[str, str] | None = None) -> dict[str, Setting]:
    file = tmp_path / "config.toml"
    file.write_text(text)
    settings, plugins = read_settings([file]), PluginSettings()
    plugins.mount("registry", f"{HERE}:Registry", settings)
    return {setting.key: setting for setting in Report(settings, plugins, environment).settings()}


def test_each_source_is_named(tmp_path: Path) -> None:
    found = report(
        tmp_path, '[defaults]\nimage = "mine"\nmemory = "2G"\n', {"BANGER_IMAGE": "theirs", "BANGER_VMM": ""}
    )
    image, memory, vcpu, vmm = (found[f"defaults.{key}"] for key in ("image", "memory", "vcpu", "vmm"))
    assert (image.value, image.source, image.variable) == ("theirs", "environment", "BANGER_IMAGE")
    assert (memory.value, memory.source, memory.line) == (2048, "file", 3)
    assert memory.origin == f"{tmp_path / 'config.toml'}:3" and memory.file == str(tmp_path / "config.toml")
    assert vcpu.source == "host" and vcpu.value >= 1 and "processors" in vcpu.origin
    assert (vmm.value, vmm.source, vmm.origin) == (None, "built-in", "built-in")


def test_every_key_is_there_with_a_description(tmp_path: Path) -> None:
    found = report(tmp_path, "")
    assert {f"defaults.{key}" for key in Defaults.model_fields} <= set(found)
    assert {"log_level", "disabled", "plugins.registry.user"} <= set(found)
    assert all(setting.description for key, setting in found.items() if key.startswith("defaults."))


def test_every_variable_is_a_setting(tmp_path: Path) -> None:
    assert set(VARIABLES.values()) == {f"defaults.{key}" for key in Defaults.model_fields}


@pytest.mark.parametrize("variable", ["BANGER_VCPU", "BANGER_MEMORY"])
def test_wrong_variable_is_named(tmp_path: Path, variable: str) -> None:
    with pytest.raises(ConfigError, match=f"environment variable {variable}: "):
        report(tmp_path, "", {variable: "lots"})


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    found = report(
        tmp_path,
        '[plugins.registry]\npassword = "hunter2"\ntoken = "hunter3"\n[plugins.registry.hosts]\napi_key = "hunter4"\n'
        '[plugins.gone]\nsecret = "hunter5"\n',
    )
    assert found["plugins.registry.password"].value == HIDDEN
    assert found["plugins.registry.token"].value == HIDDEN
    assert found["plugins.registry.hosts"].value == {"api_key": HIDDEN}
    assert found["plugins.gone.secret"].value == HIDDEN
    assert not any("hunter" in setting.model_dump_json() for setting in found.values())
    assert report(tmp_path, "")["plugins.registry.token"].value is None


def test_table_of_a_plugin_that_is_not_loaded_is_shown_as_written(tmp_path: Path) -> None:
    found = report(tmp_path, "[plugins.gone]\nspeed = 3\n")["plugins.gone.speed"]
    assert (found.value, found.line) == (3, 2) and "not loaded" in found.description


def test_schema_describes_and_refuses_what_the_daemon_does() -> None:
    schema = make_schema({"registry": Registry, "net-user": Registry})
    assert schema["additionalProperties"] is False
    plugins = schema["$defs"]["Plugins"]
    assert set(plugins["properties"]) == {"registry", "net-user"} and plugins["additionalProperties"] is False
    defaults: dict[str, Any] = schema["$defs"]["Defaults"]["properties"]
    assert set(defaults) == set(Defaults.model_fields)
    assert all(key["description"] for key in defaults.values())
    assert {kind["type"] for kind in defaults["memory"]["anyOf"]} == {"integer", "string"}
    assert schema["$defs"]["Registry"]["properties"]["password"]["description"] == "nobody's business"
    assert ":param" not in str(schema)
