"""Operations on settings."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from banger.config.report import Report, Setting
from banger.config.schema import make_schema
from banger.daemon.context import OperationContext
from banger.model.command import Operation


class ConfigParams(BaseModel):
    """``environment``: the caller's variables that stand over settings; the daemon's own are another's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: dict[str, Annotated[str, StringConstraints(max_length=4096)]] = Field(
        default_factory=dict, max_length=64
    )


class ConfigReport(BaseModel):
    """Every setting, and the files in order of growing precedence."""

    settings: tuple[Setting, ...]
    files: tuple[str, ...]


class Nothing(BaseModel):
    """No parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ConfigSchema(BaseModel):
    """The JSON schema of the configuration file, as ``document``."""

    document: dict[str, Any]


class Offered(BaseModel):
    """What options of a new VM may name, and what each is for."""

    vmms: dict[str, str]
    networks: dict[str, str]
    capabilities: dict[str, str]
    auth: dict[str, str]


def list_offered(op: OperationContext, _: Nothing) -> Offered:
    """Return what the loaded plugins offer to a new VM."""
    registries = op.services.registries
    return Offered(
        vmms={name: vmm.summary for name, vmm in registries.vmms.items()},
        networks={name: network.summary for name, network in registries.networks.items()},
        capabilities={name: value.summary for name, value in registries.capabilities.items()},
        auth={name: value.host_path for name, value in registries.auth_syncs.items()},
    )


def show(op: OperationContext, params: ConfigParams) -> ConfigReport:
    """Report every setting and where it came from."""
    services = op.services
    services.check_configured()
    report = Report(services.settings, services.plugin_settings, params.environment)
    return ConfigReport(
        settings=tuple(report.settings()), files=tuple(str(file) for file in services.paths.config)
    )


def schema(op: OperationContext, _: Nothing) -> ConfigSchema:
    """Return the schema of the configuration file with the plugins that are loaded."""
    op.services.check_configured()
    models = {name: type(model) for name, model in op.services.plugin_settings.items()}
    return ConfigSchema(document=make_schema(models))


OPERATIONS = [
    Operation("config.show", "every setting and where it came from", ConfigParams, ConfigReport, show),
    Operation("offered.list", "what options of a new VM may name", Nothing, Offered, list_offered),
    Operation("config.schema", "the JSON schema of the configuration", Nothing, ConfigSchema, schema),
]
