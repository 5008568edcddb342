"""``[plugins.net-bridge]``."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Settings(BaseModel):
    """Settings of bridge networking.

    :param bridge: the bridge's name, ``br-banger`` or ``br-banger-`` and up to five letters and digits.
    :param subnet: the VMs' network; its first address is the host's. The host may use none of it elsewhere.
    :param isolate: VMs reach the host, and not each other.
    :param pool: taps that are kept ready for the next VMs.
    :param dns: name servers that VMs are told; none: the host's address on the bridge, which knows other VMs, and two
        of the host's own, where those are not on its loopback.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bridge: str = Field(default="br-banger", pattern=r"^br-banger(-[a-z0-9]{1,5})?$")
    subnet: str = "172.16.176.0/20"
    isolate: bool = False
    pool: int = Field(default=2, ge=0, le=64)
    dns: tuple[str, ...] = Field(default=(), max_length=3)

    @field_validator("subnet")
    @classmethod
    def _subnet(cls, value: str) -> str:
        network = IPv4Network(value)
        if not 8 <= network.prefixlen <= 29:
            raise ValueError("has to be a network of 8 addresses or more, /8 to /29")
        return value

    @field_validator("dns")
    @classmethod
    def _dns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            IPv4Address(address)
        return value
