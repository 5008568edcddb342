from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from banger.config.settings import CoreSettings, PluginSettings, Settings, load_model, read_settings
from banger.daemon.main import mount_settings
from banger.errors import ConfigError, PluginError
from banger.testing.plugin_sets import load_chosen, make_plugin


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BANGER_LOG_LEVEL", raising=False)


def read(tmp_path: Path, *texts: str) -> Settings:
    files = []
    for number, text in enumerate(texts):
        file = tmp_path / f"config{number}.toml"
        file.write_text(text)
        files.append(file)
    return read_settings(files)


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = 3
    restrict: bool = False


class Loose(BaseModel):
    size: int = 3


class Melting(BaseModel):
    model_config = ConfigDict(extra="forbid")


def test_missing_files_mean_built_in_values(tmp_path: Path) -> None:
    settings = read_settings([tmp_path / "none.toml", tmp_path / "no" / "way.toml"])
    assert settings.core == CoreSettings()
    assert settings.origin("defaults.image") == "built-in"


def test_later_file_wins_key_by_key_and_each_value_knows_its_file(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        '[defaults]\nimage = "system"\nvcpu = 2\n[plugins.net-user]\nrestrict = true',
        '[defaults]\nimage = "mine"',
    )
    assert (settings.core.defaults.image, settings.core.defaults.vcpu) == ("mine", 2)
    assert settings.origin("defaults.image").endswith("config1.toml")
    assert settings.origin("defaults.vcpu").endswith("config0.toml")
    assert settings.origin("plugins.net-user.restrict").endswith("config0.toml")
    assert settings.origin("defaults.memory") == "built-in"


def test_environment_wins_over_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANGER_LOG_LEVEL", "DEBUG")
    settings = read(tmp_path, 'log_level = "error"')
    assert settings.core.log_level == "debug"
    assert "BANGER_LOG_LEVEL" in settings.origin("log_level")


def test_wrong_value_in_the_environment_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BANGER_LOG_LEVEL", "loud")
    with pytest.raises(ConfigError, match="environment variable BANGER_LOG_LEVEL: log_level"):
        read(tmp_path, "")


@pytest.mark.parametrize(
    ("text", "path", "hint"),
    [
        ("dissabled = []", "dissabled", "did you mean 'disabled'?"),
        ("[default]\nvcpu = 1", "default", "did you mean 'defaults'?"),
        ('[defaults]\nimagee = "x"', "defaults.imagee", "did you mean 'image'?"),
    ],
)
def test_unknown_key_is_refused_with_file_path_and_suggestion(
    tmp_path: Path, text: str, path: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, "", text)
    line = text.count("\n") + 1 if "." in path else 1
    assert caught.value.message == f"{tmp_path / 'config1.toml'}:{line}: unknown key {path}"
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("[defaults]\nvcpu = 0", "defaults.vcpu"),
        ('[defaults]\nvcpu = "many"', "defaults.vcpu"),
        ('[defaults]\nmemory = "2X"', "defaults.memory"),
        ("[defaults]\ndisk_size = 0", "defaults.disk_size"),
        ("[defaults]\ndisk_size = -1", "defaults.disk_size"),
        ("[defaults]\nmemory = true", "defaults.memory"),
        ("defaults = 3", "defaults"),
        ('disabled = "workdisk"', "disabled"),
        ('log_level = "loud"', "log_level"),
    ],
)
def test_wrong_value_is_refused_with_file_and_path(tmp_path: Path, text: str, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    line = text.count("\n") + 1
    assert caught.value.message.startswith(f"{tmp_path / 'config0.toml'}:{line}: {path}: ")
    assert "\n" not in caught.value.message and "Value error" not in caught.value.message


def test_sizes_may_be_written_as_people_write_them(tmp_path: Path) -> None:
    defaults = read(
        tmp_path, '[defaults]\nmemory = "2G"\ndisk_size = 512\noverlay_size = "1.5GiB"'
    ).core.defaults
    assert (defaults.memory, defaults.disk_size, defaults.overlay_size) == (2048, 512, 1536)


@pytest.mark.parametrize("text", ["plugins = 3", "[plugins]\nnet-user = 3"])
def test_plugins_must_be_tables(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="plugins"):
        read(tmp_path, text)


def test_file_that_is_not_toml_names_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config0.toml is not TOML: .*line 2"):
        read(tmp_path, "[defaults]\nvcpu = = 1")


def test_file_that_is_not_text_or_not_a_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder.toml").mkdir()
    for name in ("binary.toml", "folder.toml"):
        with pytest.raises(ConfigError, match=f"{name} cannot be read"):
            read_settings([tmp_path / name])


def test_settings_are_frozen(tmp_path: Path) -> None:
    settings = read(tmp_path, "[defaults]\nvcpu = 2")
    with pytest.raises(ValidationError):
        settings.core.defaults.vcpu = 8  # type: ignore[misc]
    with pytest.raises(AttributeError):
        settings.core = CoreSettings()  # type: ignore[misc]


# What plugins declare


def settings_plugin(*targets: str) -> ModuleType:
    def banger_register_settings() -> list[str]:
        return list(targets)

    return make_plugin("foo", banger_register_settings)


HERE = __name__


def test_plugin_gets_its_table_as_its_model(tmp_path: Path) -> None:
    plugins = load_chosen([settings_plugin(f"{HERE}:Strict")], builtin=[])
    mounted = mount_settings(plugins, read(tmp_path, "[plugins.foo]\nsize = 7"))
    assert mounted.get("foo") == Strict(size=7)


def test_plugin_gets_built_in_values_without_a_table(tmp_path: Path) -> None:
    plugins = load_chosen([settings_plugin(f"{HERE}:Strict")], builtin=[])
    assert mount_settings(plugins, read(tmp_path, "")).get("foo") == Strict()


@pytest.mark.parametrize(
    ("table", "message", "hint"),
    [
        ("sise = 7", "unknown key plugins.foo.sise", "did you mean 'size'?"),
        ('size = "big"', "plugins.foo.size: must be a whole number, not 'big'", None),
    ],
)
def test_wrong_plugin_table_is_refused_with_file_path_and_suggestion(
    tmp_path: Path, table: str, message: str, hint: str | None
) -> None:
    plugins = load_chosen([settings_plugin(f"{HERE}:Strict")], builtin=[])
    with pytest.raises(ConfigError) as caught:
        mount_settings(plugins, read(tmp_path, f"[plugins.foo]\n{table}"))
    assert caught.value.message.startswith(f"{tmp_path / 'config0.toml'}:2: {message}")
    assert hint is None or caught.value.hint == hint


def test_table_of_a_plugin_that_is_not_installed_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    plugins = load_chosen([settings_plugin(f"{HERE}:Strict")], builtin=[])
    with pytest.raises(ConfigError, match=r"config0.toml: unknown key plugins.fooo") as caught:
        mount_settings(plugins, read(tmp_path, "[plugins.fooo]\nsize = 1"))
    assert caught.value.hint == "did you mean 'foo'?"


def test_table_of_a_disabled_plugin_may_stay(tmp_path: Path) -> None:
    plugins = load_chosen([settings_plugin(f"{HERE}:Strict")], builtin=[], disabled=["foo"])
    mounted = mount_settings(plugins, read(tmp_path, "[plugins.foo]\nanything = 1"))
    with pytest.raises(PluginError, match="declares no settings"):
        mounted.get("foo")


@pytest.mark.parametrize("model", ["Loose", "Melting"])
def test_model_must_be_frozen_and_refuse_unknown_keys(model: str) -> None:
    with pytest.raises(PluginError, match="frozen=True and extra='forbid'"):
        load_model(f"{HERE}:{model}", "foo")


@pytest.mark.parametrize("target", ["no.such.module:X", f"{HERE}:Nothing", HERE, f"{HERE}:read"])
def test_target_that_is_no_model_is_the_plugins_error(target: str) -> None:
    with pytest.raises(PluginError) as caught:
        load_model(target, "foo")
    assert caught.value.plugin == "foo"


@pytest.mark.parametrize(
    "targets",
    [
        [f"{HERE}:Loose"],
        ["no.such.module:X"],
        [f"{HERE}:Strict", f"{HERE}:Strict"],
        ["banger_explodes:X"],
        [7],
    ],
)
def test_plugin_with_broken_settings_is_taken_out_and_the_daemon_goes_on(
    tmp_path: Path, targets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Explodes(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise RuntimeError("boom")

    monkeypatch.setitem(sys.modules, "banger_explodes", Explodes("banger_explodes"))
    plugins = load_chosen([settings_plugin(*targets)], builtin=["net-user"])
    mounted = mount_settings(plugins, read(tmp_path, ""))
    assert list(plugins.failed) == ["foo"] and "settings" in plugins.failed["foo"].reason
    assert mounted.get("net-user")


def test_settings_of_a_plugin_that_declared_none_are_refused() -> None:
    with pytest.raises(PluginError, match="'foo' declares no settings"):
        PluginSettings().get("foo")
